// SPDX-License-Identifier: Apache-2.0
// Poisoned rows, memory limits, strides, overlapping buffers: what must stay contained.
#include <cmath>
#include <cstring>
#include <limits>

#include "conformance/guarded.h"
#include "conformance/harness.h"

namespace moekit::conformance {
namespace {

struct Hostile : testing::TestWithParam<Target> {
  static BlockConfig config(std::size_t size = 0) {
    BlockConfig c = make_config(rules()[0], forms()[2], 7, sizes()[size]);
    c.shared.count = 1;
    c.shared.expert = c.expert;
    return c;
  }
};

TEST_P(Hostile, PoisonedRowsStayAlone) {
  const float poisons[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                           -std::numeric_limits<float>::infinity()};
  for (const Mode& mode : modes(GetParam())) {
    const Block block(GetParam(), config(), mode, {}, 11);
    Rng rng(12);
    for (const std::int64_t tokens : {2, 16, 17, 60}) {
      const Matrix clean = Matrix::random(rng, tokens, 33, mode.data);
      const Result want = run(block.layer, clean, {});
      for (const float poison : poisons) {
        Matrix x = clean;
        for (std::int64_t t = 0; t < tokens; t += 3) x.set(t, t % 33, poison);
        const Result got = run(block.layer, x, {});
        for (std::int64_t t = 0; t < tokens; ++t) {
          if (t % 3 != 0) {
            ASSERT_EQ(row_bits(got, t), row_bits(want, t)) << mode.name << ", row " << t << " of " << tokens;
            continue;
          }
          for (std::int64_t j = 0; j < 3; ++j) {
            const std::int32_t id = got.ids[static_cast<std::size_t>(t * 3 + j)];
            ASSERT_TRUE(id >= 0 && id < 7);
            for (std::int64_t i = 0; i < j; ++i) ASSERT_NE(id, got.ids[static_cast<std::size_t>(t * 3 + i)]);
          }
          for (std::int64_t c = 0; c < 33 && std::isnan(poison); ++c)
            ASSERT_TRUE(std::isnan(got.y.at(t, c))) << mode.name << ", row " << t;
        }
      }
    }
  }
}

// No byte outside x is read and no byte outside y is written, at either end.
TEST_P(Hostile, BuffersMayEndAtAPage) {
  // To a device rows are copied: what touches them here is the same for every size.
  const bool copied = backend_by_name(GetParam().backend).device() != DeviceKind::kCpu;
  const std::vector<std::int64_t> batches =
      copied ? std::vector<std::int64_t>{1, 17} : std::vector<std::int64_t>{1, 2, 3, 15, 16, 17, 31, 33};
  for (const Mode& mode : modes(GetParam())) {
    for (std::size_t size = 0; size < (copied ? 2 : sizes().size()); ++size) {
      const BlockConfig c = config(size);
      const Block block(GetParam(), c, mode, {}, 13);
      for (const std::int64_t tokens : batches) {
        Rng rng(14);
        const Matrix x = Matrix::random(rng, tokens, c.expert.input, mode.data);
        const Result want = run(block.layer, x, {});
        for (const Guarded::Side side : {Guarded::Side::kBefore, Guarded::Side::kAfter}) {
          const Guarded in(x.bytes().size(), side), out(want.y.bytes().size(), side);
          std::memcpy(in.data(), x.bytes().data(), x.bytes().size());
          const std::int64_t k = c.router.top_k;
          const Guarded ids(static_cast<std::size_t>(tokens * k) * 4, side),
              weights(static_cast<std::size_t>(tokens * k) * 4, side);
          const RoutingView routing{tokens, k, reinterpret_cast<std::int32_t*>(ids.data()),
                                    reinterpret_cast<float*>(weights.data())};
          despite_faults([&] {
            block.layer.forward_host({in.data(), mode.data, tokens, c.expert.input, c.expert.input, 1},
                                     {out.data(), mode.data, tokens, c.expert.output, c.expert.output}, {}, &routing);
          });
          EXPECT_EQ(std::memcmp(out.data(), want.y.bytes().data(), want.y.bytes().size()), 0);
        }
      }
    }
  }
}

// Packing reads nothing outside the source matrices.
TEST_P(Hostile, WeightsMayEndAtAPage) {
  for (const Mode& mode : modes(GetParam())) {
    const BlockConfig c = config();
    Rng rng(15);
    BlockTensors tensors = random_tensors(rng, c, mode.weights);
    std::vector<std::unique_ptr<Guarded>> memory;
    const auto guard = [&](TensorRef& tensor) {
      if (!tensor) return;
      ByteScratch scratch;
      const std::size_t bytes = static_cast<std::size_t>(tensor.elements()) * dtype_size(tensor.dtype);
      memory.push_back(std::make_unique<Guarded>(bytes, Guarded::Side::kAfter));
      std::memcpy(memory.back()->data(), tensor.storage->read(tensor.offset, bytes, scratch), bytes);
      tensor = memory_tensor(tensor.name, memory.back()->data(), tensor.dtype, tensor.shape);
    };
    const BlockTensors original = tensors;
    guard(tensors.router.weight);
    for (ExpertTensors& e : tensors.experts)
      for (MatrixRef* m : {&e.gate, &e.up, &e.down}) guard(m->tensor);
    const Matrix x = Matrix::random(rng, 9, 33, mode.data);
    const std::string dtype(dtype_name(mode.weights));
    EXPECT_EQ(run(make_layer(GetParam(), c, tensors, dtype), x, {}).y.bytes(),
              run(make_layer(GetParam(), c, original, dtype), x, {}).y.bytes());
  }
}

TEST_P(Hostile, StridesAreHonoured) {
  constexpr std::int64_t kTokens = 19, kInput = 33, kGap = 5;
  for (const Mode& mode : modes(GetParam())) {
    const Block block(GetParam(), config(), mode, {}, 16);
    Rng rng(17);
    const Matrix x = Matrix::random(rng, kTokens, kInput, mode.data);
    const Result want = run(block.layer, x, {});
    Matrix wide(kTokens, kInput + kGap, mode.data), out = Matrix::random(rng, kTokens, kInput + kGap, mode.data);
    const Matrix before = out;
    for (std::int64_t t = 0; t < kTokens; ++t)  // rows in reverse order, NaN between them
      for (std::int64_t i = 0; i < kInput + kGap; ++i)
        wide.set(kTokens - 1 - t, i, i < kInput ? x.at(t, i) : std::numeric_limits<float>::quiet_NaN());
    const auto row_bytes = static_cast<std::int64_t>(dtype_size(mode.data)) * (kInput + kGap);
    const auto* last = static_cast<const char*>(wide.view().data) + (kTokens - 1) * row_bytes;
    MutableMatrixView y = out.out();
    y.cols = kInput;
    despite_faults([&] { block.layer.forward_host({last, mode.data, kTokens, kInput, -(kInput + kGap), 1}, y); });
    for (std::int64_t t = 0; t < kTokens; ++t)
      for (std::int64_t i = 0; i < kInput + kGap; ++i)
        ASSERT_EQ(out.at(t, i), i < kInput ? want.y.at(t, i) : before.at(t, i)) << mode.name << " " << t << " " << i;
    // Stride 0: the first row for every token.
    const Result first = run(block.layer, x.take({0}), {});
    Matrix repeated(kTokens, kInput, mode.data);
    despite_faults([&] {
      block.layer.forward_host({x.view().data, mode.data, kTokens, kInput, 0, 1}, repeated.out());
    });
    for (std::int64_t t = 0; t < kTokens; ++t) ASSERT_EQ(repeated.row_bytes(t), first.y.row_bytes(0));
  }
}

TEST_P(Hostile, OutputOverInputIsExact) {
  for (const Mode& mode : modes(GetParam())) {
    const Block block(GetParam(), config(), mode, {}, 18);
    Rng rng(19);
    const Matrix x = Matrix::random(rng, 40, 33, mode.data);
    const Result want = run(block.layer, x.take({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}), {});
    for (const std::int64_t shift : {0, 1, -1, 33, -70}) {  // elements between the starts of x and y
      Matrix memory = x;
      Matrix copy = x;
      const std::int64_t base = 200;
      const auto size = static_cast<std::int64_t>(dtype_size(mode.data));
      auto* start = static_cast<char*>(memory.out().data);
      despite_faults([&] {
        std::memcpy(start + base * size, copy.view().data, static_cast<std::size_t>(17 * 33 * size));
        block.layer.forward_host({start + base * size, mode.data, 17, 33, 33, 1},
                                 {start + (base + shift) * size, mode.data, 17, 33, 33});
      });
      EXPECT_EQ(std::memcmp(start + (base + shift) * size, want.y.bytes().data(), want.y.bytes().size()), 0)
          << mode.name << ", shift " << shift;
    }
  }
}

// One expert gets every token, the others none.
TEST_P(Hostile, AllTokensToOneExpert) {
  for (const Mode& mode : modes(GetParam())) {
    BlockConfig c = make_config(rules().back(), forms()[3], 7, sizes()[0]);
    const Block block(GetParam(), c, mode, {}, 20);
    Rng rng(21);
    const Matrix x = Matrix::random(rng, 100, 33, mode.data);
    Inputs inputs;
    for (std::int64_t slot = 0; slot < 100 * c.router.top_k; ++slot) {
      inputs.expert_ids.push_back(slot % c.router.top_k == 0 ? 5 : -1);
      inputs.weights.push_back(normal(rng));
    }
    const Result got = run(block.layer, x, inputs), want = run_oracle(block, x, inputs);
    EXPECT_LE(nmse(got.y, want.y, agreeing_rows(block, x, inputs, got, want)), nmse_bound(GetParam(), mode))
        << mode.name;
    EXPECT_EQ(got.ids, inputs.expert_ids);
  }
}

INSTANTIATE_TEST_SUITE_P(On, Hostile, testing::ValuesIn(targets()), target_name);

}  // namespace
}  // namespace moekit::conformance
