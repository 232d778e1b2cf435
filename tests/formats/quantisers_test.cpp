// SPDX-License-Identifier: Apache-2.0
// Quantisers against brute force: among all codes none is nearer to the weight than the one chosen.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "core/float_convert.h"
#include "formats/format.h"
#include "formats/read.h"

namespace moekit {
namespace {

struct Matrix {
  std::int64_t rows, cols;
  std::vector<float> values;
};

/// Normal weights with rows that are zero, tiny, huge, and of one value.
Matrix draw(std::int64_t rows, std::int64_t cols, std::uint32_t seed) {
  Matrix m = {rows, cols, std::vector<float>(static_cast<std::size_t>(rows * cols))};
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (float& value : m.values) value = normal(random);
  constexpr float kRowScales[] = {1.0f, 0.0f, 1e-30f, 1e30f, 1.0f};
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t k = 0; k < cols; ++k) {
      float& value = m.values[static_cast<std::size_t>(r * cols + k)];
      value = r % 5 == 4 ? std::copysign(0.7f, value) : value * kRowScales[r % 5];
    }
  return m;
}

const QuantRows& quantise(const Matrix& m, const WeightFormat& format, ReadScratch& scratch) {
  const TensorRef tensor = memory_tensor("w", m.values.data(), DType::kFloat32, {m.rows, m.cols});
  return read_quantised(matrix_of(tensor), format, false, scratch);
}

/// Codes that the quantiser of the format may use.
std::vector<std::uint8_t> codes_of(const WeightFormat& format) {
  std::vector<std::uint8_t> codes;
  for (int code = 0; code < 1 << code_bits(format.code); ++code) {
    const auto bits = static_cast<std::uint8_t>(code);
    const bool symmetric = format.code != Code::kInt8 || bits != 0x80;
    if (symmetric && !std::isnan(code_value(format.code, bits))) codes.push_back(bits);
  }
  return codes;
}

TEST(Quantisers, NoCodeIsNearer) {
  for (const char* name : {"int8", "int4", "fp8", "mxfp4"})
    for (const auto& [rows, cols] : {std::pair<std::int64_t, std::int64_t>{11, 70}, {5, 1}, {130, 131}, {6, 64}}) {
      const WeightFormat format = weight_format(name);
      const Matrix m = draw(rows, cols, 3);
      ReadScratch scratch;
      const QuantRows& read = quantise(m, format, scratch);
      const std::vector<std::uint8_t> codes = codes_of(format);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t k = 0; k < cols; ++k) {
          const auto at = static_cast<std::size_t>(r * cols + k);
          const double weight = m.values[at], scale = group_scale(read, r, read.group_of(k)).scale;
          const auto error = [&](std::uint8_t code) {
            return std::fabs(weight - (double{code_value(format.code, code)} - format.zero) * scale);
          };
          const double own = error(read.codes[at]);
          double best = std::numeric_limits<double>::infinity();
          for (const std::uint8_t code : codes) best = std::min(best, error(code));
          // Products with the inverse of the scale round: at most a few ulps of the weight off the midpoint.
          ASSERT_LE(own, best + 1e-6 * std::fabs(weight)) << name << " [" << r << ", " << k << "] = " << weight;
        }
    }
}

TEST(Quantisers, ScalesAreTheDocumentedOnes) {
  const Matrix m = draw(11, 70, 5);
  ReadScratch scratch;
  const auto largest = [&](std::int64_t r, std::int64_t first, std::int64_t last) {
    float value = 0.0f;
    for (std::int64_t k = first; k < std::min(last, m.cols); ++k)
      if (const float each = m.values[static_cast<std::size_t>(r * m.cols + k)]; std::fabs(each) > std::fabs(value))
        value = each;
    return value;
  };
  for (std::int64_t r = 0; r < m.rows; ++r) {
    EXPECT_EQ(group_scale(quantise(m, weight_format("int8"), scratch), r, 0).scale,
              std::fabs(largest(r, 0, m.cols)) / 127.0f);
    for (std::int64_t g = 0; g < 3; ++g) {
      const float extreme = largest(r, g * 32, g * 32 + 32);
      EXPECT_EQ(group_scale(quantise(m, weight_format("int4"), scratch), r, g).scale, round_to_bf16(extreme / -8.0f));
      const float scale = group_scale(quantise(m, weight_format("mxfp4"), scratch), r, g).scale;
      if (extreme != 0.0f) {
        EXPECT_EQ(scale, std::exp2(std::floor(std::log2(std::fabs(extreme))) - 2.0f));
      }
    }
  }
}

TEST(Quantisers, ZeroStaysZero) {
  const Matrix m = {3, 40, std::vector<float>(120, 0.0f)};
  for (const char* name : {"int8", "int4", "fp8", "mxfp4"}) {
    ReadScratch scratch;
    const QuantRows& read = quantise(m, weight_format(name), scratch);
    std::vector<float> row(40);
    for (std::int64_t r = 0; r < 3; ++r) {
      dequantise_row(read, r, row.data());
      for (const float value : row) EXPECT_EQ(value, 0.0f) << name;
    }
  }
}

TEST(Quantisers, E4M3IsTheNearestEven) {
  // Between neighbours: below, at and above the midpoint, where the even code wins.
  for (int code = 0; code < 0x7e; ++code) {
    const float low = fp8_e4m3_to_float(static_cast<std::uint8_t>(code));
    const float high = fp8_e4m3_to_float(static_cast<std::uint8_t>(code + 1)), middle = (low + high) / 2;
    EXPECT_EQ(float_to_fp8_e4m3(low), code);
    EXPECT_EQ(float_to_fp8_e4m3(-low), code | 0x80);
    EXPECT_EQ(float_to_fp8_e4m3(std::nextafter(middle, 0.0f)), code) << middle;
    EXPECT_EQ(float_to_fp8_e4m3(std::nextafter(middle, 1e9f)), code + 1) << middle;
    EXPECT_EQ(float_to_fp8_e4m3(middle), code + code % 2) << middle;
  }
  EXPECT_EQ(float_to_fp8_e4m3(448.0f), 0x7e);
  EXPECT_EQ(float_to_fp8_e4m3(1e30f), 0x7e);
  EXPECT_EQ(float_to_fp8_e4m3(-std::numeric_limits<float>::infinity()), 0xfe);
  EXPECT_EQ(float_to_fp8_e4m3(std::numeric_limits<float>::quiet_NaN()) & 0x7f, 0x7f);
}

TEST(Quantisers, FormatsOfTheirOwnSizes) {
  // A checkpoint's format is kept with its sizes; the names' own sizes are made when something else is asked for.
  for (const char* name : {"int8", "int4", "fp8", "mxfp4"}) {
    const Matrix m = draw(7, 33, 1);
    ReadScratch scratch;
    EXPECT_EQ(quantise(m, weight_format(name), scratch).format, weight_format(name));
  }
  EXPECT_THROW(
      {
        ReadScratch scratch;
        quantise(draw(2, 32, 1), weight_format("nvfp4"), scratch);
      },
      std::invalid_argument);
}

}  // namespace
}  // namespace moekit
