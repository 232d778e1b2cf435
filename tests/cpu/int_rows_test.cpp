// SPDX-License-Identifier: Apache-2.0
// Rows of integers and their sums, with the instructions of any CPU: what hosts without byte products would not run.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "backends/cpu/dot_generic.h"
#include "backends/cpu/int_panel.h"
#include "backends/cpu/pack_tiles.h"
#include "conformance/quantised.h"
#include "core/aligned_buffer.h"
#include "core/float_convert.h"
#include "formats/read.h"

namespace moekit::cpu {
namespace {

using conformance::QuantVariant;
using conformance::Rng;

TileFormat format_of(Code code, std::int64_t cols) {
  WeightFormat weight;
  weight.code = code;
  weight.group = 32;
  return tile_format(weight, cols, false, false);
}

AlignedBuffer rows_of(const std::vector<float>& x, const TileFormat& format, std::int64_t rows, int digits) {
  AlignedBuffer a(static_cast<std::size_t>(rows * IntRows(format, digits).bytes()));
  IntGatherArgs args;
  args.format = &format;
  args.digits = digits;
  args.x = x.data();
  args.rows = rows;
  args.columns = args.row_stride = static_cast<std::int64_t>(x.size()) / rows;
  args.a = a.data();
  int_gather<false>(args);
  return a;
}

// What a row says x[k] is.
double value(const std::byte* row, const TileFormat& format, int digits, std::int64_t k) {
  const IntRows rows(format, digits);
  constexpr int kOrder[8] = {0, 4, 1, 5, 2, 6, 3, 7};  // where k % 8 lies among the bytes of 4-bit codes
  const std::int64_t at = code_bits(format.weight.code) == 4 ? k / 8 * 8 + kOrder[k % 8] : k;
  double q = 0.0;
  for (int d = digits - 1; d >= 0; --d)
    q = q * 256.0 + reinterpret_cast<const std::int8_t*>(row)[rows.digits_at() + d * rows.plane_bytes() + at];
  float scale;
  std::memcpy(&scale, row, 4);
  return q * static_cast<double>(scale) / (digits == 1 ? 1.0 : 65536.0);
}

TEST(IntRows, HoldTheNearestMultiples) {
  Rng rng(3);
  std::normal_distribution<float> normal;
  for (const Code code : {Code::kInt8, Code::kUInt4})
    for (const int digits : {1, kFixedPointDigits})
      for (const float size : {1e-30f, 1e-3f, 1.0f, 1e20f}) {
        std::vector<float> x(205);
        for (float& v : x) v = size * normal(rng);
        x[7] = size * 6.0f;
        x[9] = -size * 6.0f;
        const TileFormat format = format_of(code, 205);
        const AlignedBuffer a = rows_of(x, format, 1, digits);
        const double step = digits == 1 ? 6.0 * size / 127.0 : std::ldexp(1.0, std::ilogb(6.0 * size) - 21);
        for (std::int64_t k = 0; k < 205; ++k)
          ASSERT_LE(std::fabs(value(a.data(), format, digits, k) - x[static_cast<std::size_t>(k)]), 0.5000001 * step)
              << "k " << k << ", digits " << digits;
      }
}

TEST(IntRows, FixedPointHoldsBfloat16Exactly) {
  Rng rng(4);
  std::vector<float> x(256);
  for (std::size_t k = 0; k < x.size(); ++k)
    x[k] = round_to_bf16(std::ldexp(std::uniform_real_distribution<float>(1.0f, 2.0f)(rng), -static_cast<int>(k % 15)) *
                         (rng() % 2 == 0 ? 1.0f : -1.0f));
  const TileFormat format = format_of(Code::kUInt4, 256);
  const AlignedBuffer a = rows_of(x, format, 1, kFixedPointDigits);
  for (std::int64_t k = 0; k < 256; ++k)
    ASSERT_EQ(value(a.data(), format, kFixedPointDigits, k), static_cast<double>(x[static_cast<std::size_t>(k)]));
}

TEST(IntRows, RowsWithoutNumbersAreNan) {
  const TileFormat format = format_of(Code::kInt8, 64);
  for (const float poison : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
    for (const int digits : {1, kFixedPointDigits}) {
      std::vector<float> x(64, 1.0f);
      x[5] = -poison;
      ASSERT_TRUE(std::isnan(value(rows_of(x, format, 1, digits).data(), format, digits, 0)));
    }
}

template <int kDigits>
void check_panel(const QuantVariant& variant) {
  Rng rng(5);
  std::normal_distribution<float> normal;
  const std::int64_t cols = round_up(200, variant.multiple), count = 7;
  const MatrixRef matrix = conformance::random_quantised(rng, variant, kPanelColumns, cols);
  ReadScratch scratch;
  const QuantRows quant = read_quantised(matrix, variant.format, false, scratch);
  const TileFormat format = tile_format(variant.format, cols, false, false), halves[2] = {format, format};
  AlignedBuffer panel(static_cast<std::size_t>(2 * format.bytes()));
  StreamScratch stream;
  for (int half = 0; half < 2; ++half)
    pack_stream(quant, half * kTileColumns, format, stream, panel.data() + half * format.bytes());
  std::vector<float> x(static_cast<std::size_t>(count * cols)), weights(static_cast<std::size_t>(cols));
  for (float& v : x) v = normal(rng);
  const AlignedBuffer a = rows_of(x, format, count, kDigits);
  AlignedBuffer c(count * kPanelColumns * sizeof(float));
  QuantPanels panels;
  panels.half = halves;
  panels.digits = kDigits;
  int_panel<GenericDot, kDigits>(panels, panel.data(), nullptr, a.data(), count, reinterpret_cast<float*>(c.data()));
  for (std::int64_t n = 0; n < kPanelColumns; ++n) {
    dequantise_row(quant, n, weights.data());
    for (std::int64_t r = 0; r < count; ++r) {
      double want = 0.0, size = 0.0;
      for (std::int64_t k = 0; k < cols; ++k) {
        const double term = value(a.data() + r * IntRows(format, kDigits).bytes(), format, kDigits, k) *
                            static_cast<double>(weights[static_cast<std::size_t>(k)]);
        want += term;
        size += std::fabs(term);
      }
      ASSERT_NEAR(reinterpret_cast<const float*>(c.data())[r * kPanelColumns + n], want, 2e-6 * size)
          << "row " << r << ", column " << n;
    }
  }
}

TEST(IntPanel, SumsWhatTheCodesSay) {
  int tested = 0;
  for (const QuantVariant& variant : conformance::quant_variants()) {
    const Code code = variant.format.code;
    if (variant.act_order || (code != Code::kInt8 && code != Code::kUInt4 && code != Code::kE2M1)) continue;
    SCOPED_TRACE(variant.name);
    check_panel<1>(variant);
    check_panel<kFixedPointDigits>(variant);
    ++tested;
  }
  EXPECT_GE(tested, 8);
}

}  // namespace
}  // namespace moekit::cpu
