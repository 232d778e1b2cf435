// SPDX-License-Identifier: Apache-2.0
// Rows and panels that bfloat16 parts do not hold have the bits of float32 kernels, and those beside them keep theirs.
#include <algorithm>
#include <cmath>
#include <limits>

#include "conformance/bf16_split.h"

namespace moekit::conformance {
namespace {

struct Bf16SplitExceptions : testing::TestWithParam<Target> {};

// Rows that parts do not hold, each by what it does to a row of numbers.
const std::vector<std::pair<std::string, std::function<void(Matrix&, std::int64_t)>>>& odd_rows() {
  const auto times = [](float factor) {
    return [factor](Matrix& x, std::int64_t r) {
      for (std::int64_t c = 0; c < x.cols(); ++c) x.set(r, c, x.at(r, c) * factor);
    };
  };
  const auto one = [](float value) { return [value](Matrix& x, std::int64_t r) { x.set(r, 33, value); }; };
  static const std::vector<std::pair<std::string, std::function<void(Matrix&, std::int64_t)>>> all = {
      {"infinity", one(std::numeric_limits<float>::infinity())},
      {"-infinity", one(-std::numeric_limits<float>::infinity())},
      {"NaN", one(std::numeric_limits<float>::quiet_NaN())},
      {"2^48", one(0x1p48f)},
      {"largest", one(-std::numeric_limits<float>::max())},
      {"below 2^-40", times(0x1p-43f)},
      {"subnormal", times(0x1p-130f)},
      {"zero", times(0.0f)},
  };
  return all;
}

TEST_P(Bf16SplitExceptions, RowsThatPartsDoNotHoldHaveTheBitsOfFloat32) {
  for (const Activation act : {Activation::kLinear, Activation::kSilu}) {
    Rng rng(33);
    const BlockConfig config = config_of(2, act, {70, 50, 45});
    const Both layers(GetParam(), config, tensors_of(config, random_weights(rng), random_weights(rng)));
    constexpr std::int64_t kRows = 90;  // 45 an expert
    const Matrix clean = random_rows(rng, kRows, 70);
    const Inputs inputs = inputs_of(config, kRows);
    const Result held = run(layers.parts, clean, inputs), floats = run(layers.floats, clean, inputs);
    for (const auto& [name, make_odd] : odd_rows()) {
      SCOPED_TRACE(name);
      const std::vector<std::int64_t> odd = {0, 3, 5, 30, 32, 36, 38, 89};  // alone and side by side, in three blocks
      Matrix x = clean;
      for (const std::int64_t r : odd) make_odd(x, r);
      const Result got = run(layers.parts, x, inputs), want = run(layers.floats, x, inputs);
      for (std::int64_t r = 0; r < kRows; ++r) {
        const bool is_odd = std::find(odd.begin(), odd.end(), r) != odd.end();
        // A row of silu experts comes to its bits in two projections; small rows make hidden rows that are no larger.
        ASSERT_EQ(row_bits(got, r), row_bits(is_odd ? want : held, r)) << "row " << r;
        if (layers.split() && !is_odd) {
          ASSERT_NE(row_bits(got, r), row_bits(floats, r)) << "row " << r;
        }
      }
      const Matrix alone = x.take({5});
      ASSERT_EQ(run(layers.parts, alone, inputs.take({5}, 1)).y.row_bytes(0), got.y.row_bytes(5));
    }
  }
}

// Rows that are held, whose hidden rows are not. Weights of the up-projection pick one number each, which is exact in
// both, so that the hidden rows are the same.
TEST_P(Bf16SplitExceptions, HiddenRowsThatPartsDoNotHoldHaveTheBitsOfFloat32) {
  Rng rng(34);
  const BlockConfig config = config_of(2, Activation::kRelu2, {64, 64, 40});
  const Values pick_one = [](std::int64_t r, std::int64_t c, std::int64_t) { return r == c ? 1.0f : 0.0f; };
  const Both layers(GetParam(), config, tensors_of(config, pick_one, random_weights(rng)));
  const std::int64_t rows = 50;
  Matrix x = random_rows(rng, rows, 64);
  for (std::int64_t r = 0; r < rows; r += 3)
    for (std::int64_t c = 0; c < 64; ++c) x.set(r, c, x.at(r, c) * (r % 2 == 0 ? 0x1p30f : 0x1p-30f));
  const Inputs inputs = inputs_of(config, rows);
  const Result got = run(layers.parts, x, inputs), want = run(layers.floats, x, inputs);
  for (std::int64_t r = 0; r < rows; ++r)
    ASSERT_EQ(row_bits(got, r) == row_bits(want, r), r % 3 == 0 || !layers.split()) << "row " << r;
}

// The range itself: the last number inside differs in bits, the first outside does not.
TEST_P(Bf16SplitExceptions, RangeOfRowsAndColumns) {
  const BlockConfig config = config_of(1, Activation::kLinear, {64, 0, 64});
  struct Edge {
    float largest;
    bool held;
  };
  const Edge edges[] = {{0x1p-40f, true},
                        {std::nextafter(0x1p-40f, 0.0f), false},
                        {std::nextafter(0x1p48f, 0.0f), true},
                        {0x1p48f, false}};
  for (const bool of_weights : {false, true})
    for (const Edge& edge : edges) {
      SCOPED_TRACE(std::string(of_weights ? "weights" : "x") + " up to " + std::to_string(std::log2(edge.largest)));
      Rng rng(35);
      const auto scaled = [&](std::int64_t column) {
        return column == 7 ? edge.largest : 0.5f * edge.largest * (uniform(rng) + uniform(rng) * 0x1p-20f);
      };
      const Values weight = [&](std::int64_t, std::int64_t c, std::int64_t) {
        return of_weights ? scaled(c) : 0.05f * number(rng);
      };
      const Both layers(GetParam(), config, tensors_of(config, weight, weight));
      Matrix x = random_rows(rng, 5, 64);
      for (std::int64_t r = 0; r < 5 && !of_weights; ++r)
        for (std::int64_t c = 0; c < 64; ++c) x.set(r, c, scaled(c));
      const Inputs inputs = inputs_of(config, 5);
      EXPECT_EQ(run(layers.parts, x, inputs).y.bytes() == run(layers.floats, x, inputs).y.bytes(),
                !layers.split() || !edge.held);
    }
}

// Panels are 32 output columns: one odd weight gives its panel of its expert the bits of float32, for every row, and
// leaves the others as they are.
TEST_P(Bf16SplitExceptions, PanelsThatPartsDoNotHoldHaveTheBitsOfFloat32) {
  const BlockConfig config = config_of(2, Activation::kLinear, {70, 0, 100});
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (const float odd : {infinity, nan, 0x1p60f, 1e-42f}) {
    SCOPED_TRACE(std::to_string(odd));
    const auto tensors = [&](bool with_odd) {
      Rng rng(36);
      return tensors_of(config, {}, [&, with_odd](std::int64_t r, std::int64_t c, std::int64_t e) {
        const float w = 0.05f * number(rng);
        if (!with_odd || e != 1 || r != 40) return w;
        return odd == 1e-42f ? std::copysign(odd, w) : c == 9 ? odd : w;  // a small number alone is held
      });
    };
    const Both clean(GetParam(), config, tensors(false)), layers(GetParam(), config, tensors(true));
    Rng rng(37);
    for (const std::int64_t rows : {1, 2, 70}) {
      const Matrix x = random_rows(rng, rows, 70);
      const Inputs inputs = inputs_of(config, rows);
      const Matrix got = run(layers.parts, x, inputs).y, want = run(layers.floats, x, inputs).y;
      const Matrix others = run(clean.parts, x, inputs).y;
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t n = 0; n < 100; ++n) {
          const float expected = (r % 2 == 1 && n / 32 == 1 ? want : others).at(r, n), value = got.at(r, n);
          ASSERT_TRUE(value == expected || (std::isnan(value) && std::isnan(expected)))
              << "row " << r << ", column " << n << ": " << value << ", expected " << expected;
        }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(On, Bf16SplitExceptions, testing::ValuesIn(cpu_targets()), target_name);

}  // namespace
}  // namespace moekit::conformance
