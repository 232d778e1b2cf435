// SPDX-License-Identifier: Apache-2.0
// Packed weights come back with the bits that went in, on every backend and ISA.
#include <algorithm>
#include <cstring>

#include "conformance/harness.h"
#include "core/float_convert.h"

namespace moekit::conformance {
namespace {

struct Unpack : testing::TestWithParam<Target> {};

// An output for `source` with a margin on the right that must stay as it is; empty when there is no source.
struct Part {
  explicit Part(const MatrixRef& from, DType dtype) : source(from), matrix(from.rows, from.cols + 3, dtype) {
    for (std::int64_t r = 0; r < matrix.rows(); ++r)
      for (std::int64_t c = 0; c < matrix.cols(); ++c) matrix.set(r, c, -7.0f);
  }
  MutableMatrixView view() {
    MutableMatrixView out = matrix.out();
    if (!source) return {};
    out.cols = source.cols;
    return out;
  }
  void expect_same() const {
    if (!source) return;
    ByteScratch scratch;
    const MatrixView in = source.read(scratch);
    for (std::int64_t r = 0; r < in.rows; ++r) {
      for (std::int64_t c = 0; c < in.cols; ++c) {
        const float want = load_as_float(in.data, in.dtype, r * in.row_stride + c * in.col_stride);
        const float got = matrix.at(r, c);
        ASSERT_EQ(std::memcmp(&got, &want, sizeof got), 0) << r << ", " << c << ": " << got << ", " << want;
      }
      for (std::int64_t c = in.cols; c < matrix.cols(); ++c) ASSERT_EQ(matrix.at(r, c), -7.0f);
    }
  }
  const MatrixRef& source;  // of the packed dtype, or a bias of any
  Matrix matrix;
};

void expect_round_trip(const MoeLayer& layer, const std::vector<ExpertTensors>& experts, bool shared) {
  for (std::size_t e = 0; e < experts.size(); ++e) {
    SCOPED_TRACE("expert " + std::to_string(e));
    const ExpertTensors& t = experts[e];
    const DType dtype = t.down.tensor.dtype;
    Part parts[] = {Part(t.gate, dtype),
                    Part(t.up, dtype),
                    Part(t.down, dtype),
                    Part(t.gate_bias, DType::kFloat32),
                    Part(t.up_bias, DType::kFloat32),
                    Part(t.down_bias, DType::kFloat32)};
    despite_faults([&] {
      layer.unpack(static_cast<std::int64_t>(e), {parts[0].view(), parts[1].view(), parts[2].view()}, shared);
      layer.unpack(static_cast<std::int64_t>(e), {{}, {}, {}, parts[3].view(), parts[4].view(), parts[5].view()},
                   shared);
    });
    for (const Part& part : parts) part.expect_same();
  }
}

TEST_P(Unpack, GivesTheBitsThatWerePacked) {
  for (const auto dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
    if (dtype == DType::kFloat16 && !backend_by_name(GetParam().backend).takes_float16()) continue;
    for (const Form& form : forms()) {
      for (const Size& size : sizes()) {
        SCOPED_TRACE(std::string(dtype_name(dtype)) + ", " + form.name);
        const BlockConfig config = make_config(rules().back(), form, 3, size);
        Rng rng(31);
        const BlockTensors tensors = random_tensors(rng, config, dtype);
        const MoeLayer layer = make_layer(GetParam(), config, tensors, std::string(dtype_name(dtype)));
        expect_round_trip(layer, tensors.experts, false);
        expect_round_trip(layer, tensors.shared, true);
      }
    }
  }
}

TEST_P(Unpack, RefusesWhatDoesNotFit) {
  const auto silu =
      std::find_if(forms().begin(), forms().end(), [](const Form& f) { return f.name == std::string("silu"); });
  ASSERT_NE(silu, forms().end());
  const BlockConfig config = make_config(rules().back(), *silu, 3, sizes()[0]);
  Rng rng(32);
  const BlockTensors tensors = random_tensors(rng, config, DType::kFloat32);
  const MoeLayer layer = make_layer(GetParam(), config, tensors, "float32");
  Matrix down(config.expert.output, config.expert.intermediate, DType::kFloat32);
  Matrix wide(config.expert.output, config.expert.intermediate + 1, DType::kFloat32);
  Matrix other(config.expert.output, config.expert.intermediate, DType::kBFloat16);
  EXPECT_NO_THROW(despite_faults([&] { layer.unpack(2, {{}, {}, down.out()}); }));
  EXPECT_THROW(layer.unpack(3, {{}, {}, down.out()}), std::invalid_argument);
  EXPECT_THROW(layer.unpack(-1, {{}, {}, down.out()}), std::invalid_argument);
  EXPECT_THROW(layer.unpack(0, {{}, {}, wide.out()}), std::invalid_argument);
  EXPECT_THROW(layer.unpack(0, {{}, {}, other.out()}), std::invalid_argument);
  EXPECT_THROW(layer.unpack(0, {{}, {}, {}, {}, {}, down.out()}), std::invalid_argument);
  EXPECT_THROW(layer.unpack(0, {{}, {}, down.out()}, true), std::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(On, Unpack, testing::ValuesIn(targets()), target_name);

}  // namespace
}  // namespace moekit::conformance
