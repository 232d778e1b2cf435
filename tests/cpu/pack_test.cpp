// SPDX-License-Identifier: Apache-2.0
// Packing: what is taken from the file's words equals, bit for bit, what is made of codes one a byte; and numbers of
// short types come back from lanes as they were.
#include "backends/cpu/pack_lanes.h"
#include "backends/cpu/pack_tiles.h"
#include "conformance/quantised.h"
#include "core/aligned_buffer.h"
#include "core/float_convert.h"
#include "formats/format.h"
#include "formats/read.h"
#include "moekit/quantised.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

namespace moekit::cpu {
namespace {

// Random bytes as the codes (and constant scales) of a matrix in each packing.
MatrixRef words_matrix(Packing packing, int bits, std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  conformance::Rng rng(seed);
  const std::int64_t slots = 32 / bits, groups = (cols + 31) / 32;
  auto t = std::make_shared<QuantTensors>();
  t->format = weight_format(bits == 4 ? "int4" : "int8");
  t->format.group = 32;
  t->format.scale = DType::kFloat32;
  t->packing = packing;
  t->rows = rows;
  t->cols = cols;
  const auto tensor = [&](DType dtype, std::vector<std::int64_t> shape) {
    std::size_t bytes = dtype_size(dtype);
    for (const std::int64_t extent : shape) bytes *= static_cast<std::size_t>(extent);
    auto data =
        std::make_shared<std::vector<std::byte>>(bytes);  // of its own size: AddressSanitizer sees a step past it
    for (std::byte& byte : *data) byte = static_cast<std::byte>(rng());
    return memory_tensor("t", data->data(), dtype, std::move(shape), data);
  };
  const bool transposed = packing == Packing::kGptq || packing == Packing::kAwq;
  switch (packing) {
    case Packing::kBytes: t->codes = tensor(DType::kInt8, {rows, cols}); break;
    case Packing::kNibbles: t->codes = tensor(DType::kUInt8, {rows, ceil_div(cols, 2)}); break;
    case Packing::kWordsAlongK: t->codes = tensor(DType::kInt32, {rows, ceil_div(cols, slots)}); break;
    case Packing::kGptq: t->codes = tensor(DType::kInt32, {ceil_div(cols, slots), rows}); break;
    default: t->codes = tensor(DType::kInt32, {cols, rows / 8});
  }
  auto scales = std::make_shared<std::vector<float>>();
  for (std::int64_t i = 0; i < rows * groups; ++i) scales->push_back(static_cast<float>(1 + rng() % 1000));
  t->scales = memory_tensor(
      "s", scales->data(), DType::kFloat32,
      transposed ? std::vector<std::int64_t>{groups, rows} : std::vector<std::int64_t>{rows, groups}, scales);
  validate(*t);
  return quantised_matrix(t);
}

void expect_same_streams(const MatrixRef& matrix, const WeightFormat& format, const std::string& what) {
  SCOPED_TRACE(what);
  ReadScratch of_codes, of_words;
  const QuantRows& codes = read_quantised(matrix, format, false, of_codes);
  const QuantRows& words = read_words(matrix, format, false, of_words);
  ASSERT_FALSE(codes.words);
  const TileFormat tile = tile_format(format, matrix.cols, false, !codes.column_groups.empty());
  StreamScratch scratch;
  for (std::int64_t first = 0; first < round_up(matrix.rows, kTileColumns); first += kTileColumns) {
    AlignedBuffer expected(static_cast<std::size_t>(tile.bytes())), got(expected.bytes());
    pack_stream(codes, first, tile, scratch, expected.data());
    pack_stream(words, first, tile, scratch, got.data());
    ASSERT_EQ(std::memcmp(expected.data(), got.data(), expected.bytes()), 0) << "tile of row " << first;
  }
}

TEST(Pack, WordsOfTheFileGiveTheStreamsOfTheirCodes) {
  std::uint64_t seed = 1;
  for (const auto& [packing, bits] : {std::pair{Packing::kBytes, 8},
                                      {Packing::kNibbles, 4},
                                      {Packing::kWordsAlongK, 4},
                                      {Packing::kWordsAlongK, 8},
                                      {Packing::kGptq, 4},
                                      {Packing::kGptq, 8},
                                      {Packing::kAwq, 4}})
    for (const std::int64_t rows : {16, 32, 40, 5})
      for (const std::int64_t cols : {64, 96, 31, 70, 1}) {
        if (packing == Packing::kAwq && rows % 8 != 0) continue;
        const MatrixRef whole = words_matrix(packing, bits, rows, cols, ++seed);
        const std::string what = "packing " + std::to_string(static_cast<int>(packing)) + ", " + std::to_string(bits) +
                                 " bits, " + std::to_string(rows) + " x " + std::to_string(cols);
        expect_same_streams(whole, whole.quant->format, what);
        if (rows < 32) continue;
        expect_same_streams(row_slice(whole, 1, rows / 2, 2), whole.quant->format, what + ", odd rows");
        expect_same_streams(row_slice(whole, 12, rows - 12), whole.quant->format, what + ", rows from 12 on");
      }
}

TEST(Pack, FormatsOfTheConformanceSuite) {
  for (const conformance::QuantVariant& variant : conformance::quant_variants())
    for (const std::int64_t rows : {32, 48}) {
      conformance::Rng rng(static_cast<std::uint64_t>(rows));
      const MatrixRef matrix = conformance::random_quantised(rng, variant, rows, round_up(200, variant.multiple));
      expect_same_streams(matrix, variant.format, variant.name);
    }
}

// All numbers of a type.
template <class T>
void expect_numbers_back(DType dtype) {
  std::vector<T> numbers(std::size_t{1} << (8 * sizeof(T)));
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<T>(i);
  const std::int64_t rows = kTileColumns, width = round_up(static_cast<std::int64_t>(numbers.size()), rows) / rows;
  std::vector<float> values(static_cast<std::size_t>(rows * width)), turned;
  load_as_float(numbers.data(), dtype, 0, 1, rows * width, values.data());
  std::vector<std::byte> lanes;
  pack_lanes(values, rows, width, 0, dtype, turned, lanes);
  ASSERT_EQ(lanes.size(), numbers.size() * sizeof(T));
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t i = 0; i < width; ++i) {
      T got, expected = numbers[static_cast<std::size_t>(r * width + i)];
      std::memcpy(&got, lanes.data() + (i * rows + r) * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
      if (std::isnan(load_as_float(&expected, dtype, 0))) {
        ASSERT_TRUE(std::isnan(load_as_float(&got, dtype, 0))) << static_cast<int>(expected);
      } else {
        ASSERT_EQ(got, expected);
      }
    }
}

TEST(Pack, LanesHoldEveryNumberOfTheirType) {
  expect_numbers_back<std::uint16_t>(DType::kBFloat16);
  expect_numbers_back<std::uint16_t>(DType::kFloat16);
  expect_numbers_back<std::uint8_t>(DType::kFloat8E4M3);
  expect_numbers_back<std::uint8_t>(DType::kFloat8E8M0);
  expect_numbers_back<std::uint8_t>(DType::kUInt8);
  expect_numbers_back<std::uint8_t>(DType::kInt8);
}

TEST(Pack, LanesOfAbsentRowsAreZero) {
  const std::vector<float> values(5 * 7, 2.0f);
  std::vector<float> turned;
  std::vector<std::byte> lanes;
  pack_lanes(values, 5, 7, 0, DType::kFloat32, turned, lanes);
  for (std::int64_t i = 0; i < 7 * kTileColumns; ++i) {
    float got;
    std::memcpy(&got, lanes.data() + i * 4, 4);
    EXPECT_EQ(got, i % kTileColumns < 5 ? 2.0f : 0.0f);
  }
  pack_lanes(values, 5, 7, 16, DType::kFloat32, turned, lanes);  // a tile behind the last row
  for (const std::byte byte : lanes) EXPECT_EQ(byte, std::byte{0});
}

}  // namespace
}  // namespace moekit::cpu
