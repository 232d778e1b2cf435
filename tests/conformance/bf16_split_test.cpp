// SPDX-License-Identifier: Apache-2.0
// float32 experts as bfloat16 parts: where the option says so, and no less accurate than float32 kernels. Targets
// without such kernels have one set of bits, with the option and without.
#include <cmath>
#include <cstring>

#include "backends/cpu/isa.h"
#include "conformance/bf16_split.h"
#include "core/aligned_buffer.h"

namespace moekit::conformance {
namespace {

struct Bf16Split : testing::TestWithParam<Target> {};

TEST_P(Bf16Split, IsWhatTheOptionSays) {
  Rng rng(31);
  const BlockConfig config = config_of(2, Activation::kSilu, {64, 48, 40});
  const BlockTensors tensors = tensors_of(config, random_weights(rng), random_weights(rng));
  const Both layers(GetParam(), config, tensors);
  LayerOptions same;
  same.reproducible = same.bf16_split = true;
  const MoeLayer reproducible = make_layer(GetParam(), config, tensors, same);
  const Matrix x = random_rows(rng, 9, 64);
  const Inputs inputs = inputs_of(config, 9);
  EXPECT_EQ(layers.split(), GetParam().isa.find("amx") == 0) << layers.parts.explain();
  EXPECT_EQ(layers.floats.explain().find("parts"), std::string::npos);
  EXPECT_EQ(reproducible.explain().find("parts"), std::string::npos);
  const auto bits = [&](const MoeLayer& layer) { return run(layer, x, inputs).y.bytes(); };
  EXPECT_EQ(bits(layers.parts) != bits(layers.floats), layers.split());
  if (layers.split()) {
    EXPECT_EQ(bits(layers.floats), bits(reproducible));
  }
}

// What a converted file holds is what memory holds: nothing of it says that parts are made.
TEST_P(Bf16Split, ImportedBlocksHaveTheSameBits) {
  Rng rng(38);
  const BlockConfig config = config_of(2, Activation::kSilu, {64, 48, 40});
  const BlockTensors tensors = tensors_of(config, random_weights(rng), random_weights(rng));
  const Backend& backend = backend_by_name("cpu");
  const auto packed = pack_block(GetParam(), config, tensors, "float32");
  PackedParts parts = packed->export_parts();
  for (PackedPart& part : parts.parts) {  // as a file has them, from multiples of 64 bytes on
    auto bytes = dtype_size(part.dtype);
    for (const std::int64_t extent : part.shape) bytes *= static_cast<std::size_t>(extent);
    const auto copy = std::make_shared<AlignedBuffer>(bytes);
    std::memcpy(copy->data(), part.data.get(), bytes);
    part.data = {copy, copy->data()};
  }
  cpu::force_isa(GetParam().isa);
  const auto imported = backend.import_block(config, {}, packed->formats(), parts, {DeviceKind::kCpu, 0});
  cpu::force_isa("");
  EXPECT_EQ(imported->explain(), packed->explain());
  const Matrix x = random_rows(rng, 9, 64);
  Inputs inputs = inputs_of(config, 9);
  const auto bits = [&](const PackedBlock& block) {
    Matrix y(9, 40, DType::kFloat32);
    const auto workspace = backend.new_workspace(block);
    backend.experts(block, x.view(), {9, 1, inputs.expert_ids.data(), inputs.weights.data()}, y.out(), *workspace,
                    nullptr);
    return y.bytes();
  };
  EXPECT_EQ(bits(*imported), bits(*packed));
}

// Squares of the errors against float64, over those of sum |x w|.
struct Errors {
  double parts = 0.0, floats = 0.0;
};
Errors errors_of(const Target& target, const Matrix& x, const Values& weight) {
  constexpr std::int64_t kOutput = 96;
  const BlockConfig config = config_of(1, Activation::kLinear, {x.cols(), 0, kOutput});
  const Both layers(target, config, tensors_of(config, weight, weight));
  const Inputs inputs = inputs_of(config, x.rows());
  const Matrix parts = run(layers.parts, x, inputs).y, floats = run(layers.floats, x, inputs).y;
  Errors errors;
  for (std::int64_t r = 0; r < x.rows(); ++r)
    for (std::int64_t n = 0; n < kOutput; ++n) {
      double sum = 0.0, size = 0.0;
      for (std::int64_t k = 0; k < x.cols(); ++k) {
        const double product = static_cast<double>(x.at(r, k)) * static_cast<double>(weight(n, k, 0));
        sum += product;
        size += std::fabs(product);
      }
      const auto square = [&](float got) { return std::pow((static_cast<double>(got) - sum) / size, 2.0); };
      errors.parts += square(parts.at(r, n));
      errors.floats += square(floats.at(r, n));
    }
  return errors;
}

TEST_P(Bf16Split, IsNoLessAccurateThanFloat32) {
  struct Data {
    const char* name;
    std::function<float(Rng&)> size;  // of a number
    bool cancels;                     // the second half of the products is the first with the other sign, but for 2^-12
  };
  const auto wide = [](Rng& rng) { return std::ldexp(1.0f, static_cast<int>(pick(rng, 41)) - 20); };
  const Data kinds[] = {{"normal", [](Rng&) { return 1.0f; }, false},
                        {"wide", wide, false},
                        {"cancelling", [](Rng&) { return 1.0f; }, true},
                        {"wide and cancelling", wide, true}};
  for (const Data& data : kinds)
    for (const std::int64_t inner : {32, 100, 700}) {
      SCOPED_TRACE(std::string(data.name) + ", " + std::to_string(inner));
      Rng rng(32);
      rng.portable = true;
      Matrix x(reduced() ? 21 : 70, inner, DType::kFloat32), w(96, inner, DType::kFloat32);
      const std::int64_t half = inner / 2;
      for (Matrix* m : {&x, &w})
        for (std::int64_t r = 0; r < m->rows(); ++r)
          for (std::int64_t k = 0; k < inner; ++k) {
            const bool repeats = data.cancels && k >= half && k < 2 * half;
            const float sign = m == &w ? -1.0f : 1.0f;
            m->set(
                r, k,
                repeats ? sign * m->at(r, k - half) * (1.0f + 0x1p-12f * uniform(rng)) : number(rng) * data.size(rng));
          }
      const Errors errors =
          errors_of(GetParam(), x, [&](std::int64_t r, std::int64_t c, std::int64_t) { return w.at(r, c); });
      RecordProperty((std::string(data.name) + std::to_string(inner)).c_str(),
                     std::to_string(std::sqrt(errors.parts / errors.floats)));
      EXPECT_LE(errors.parts, errors.floats);
    }
}

INSTANTIATE_TEST_SUITE_P(On, Bf16Split, testing::ValuesIn(cpu_targets()), target_name);

}  // namespace
}  // namespace moekit::conformance
