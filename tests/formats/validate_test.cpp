// SPDX-License-Identifier: Apache-2.0
// Hostile tensors: whatever is wrong with the parts of a quantised matrix is an error that names the part.
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "formats/format.h"
#include "formats/read.h"
#include "moekit/error.h"

namespace moekit {
namespace {

TensorRef tensor(const char* name, DType dtype, std::vector<std::int64_t> shape) {
  static const std::vector<std::uint64_t> zeros(4096);
  return memory_tensor(name, zeros.data(), dtype, std::move(shape));
}

/// 24 x 64 weights in groups of 16.
QuantTensors make(Packing packing) {
  QuantTensors t;
  t.packing = packing;
  t.rows = 24;
  t.cols = 64;
  const bool fp4 = packing == Packing::kNibbles, bytes = packing == Packing::kBytes;
  t.format = weight_format(fp4 ? "nvfp4" : bytes ? "int8" : "int4");
  t.format.group = 16;
  if (!fp4) {
    t.format.scale = DType::kFloat16;
    t.format.offset = Offset::kZeroPoint;
  }
  const bool transposed = packing == Packing::kGptq || packing == Packing::kAwq;
  const DType word = bytes ? DType::kInt8 : fp4 ? DType::kUInt8 : DType::kInt32;
  t.codes = tensor("codes", word,
                   bytes                       ? std::vector<std::int64_t>{24, 64}
                   : fp4                       ? std::vector<std::int64_t>{24, 32}
                   : packing == Packing::kGptq ? std::vector<std::int64_t>{8, 24}
                   : packing == Packing::kAwq  ? std::vector<std::int64_t>{64, 3}
                                               : std::vector<std::int64_t>{24, 8});
  t.scales = tensor("scales", t.format.scale,
                    transposed ? std::vector<std::int64_t>{4, 24} : std::vector<std::int64_t>{24, 4});
  if (t.format.offset == Offset::kZeroPoint)
    t.zeros = tensor("zeros", bytes ? DType::kInt8 : DType::kInt32,
                     bytes        ? std::vector<std::int64_t>{24, 4}
                     : transposed ? std::vector<std::int64_t>{4, 3}
                                  : std::vector<std::int64_t>{3, 4});
  if (fp4) t.row_scales = tensor("row scales", DType::kFloat32, {1});
  if (packing == Packing::kGptq) t.column_groups = tensor("g_idx", DType::kInt32, {64});
  return t;
}

constexpr Packing kPackings[] = {Packing::kBytes, Packing::kNibbles, Packing::kWordsAlongK, Packing::kGptq,
                                 Packing::kAwq};

/// The error of a spoilt one, empty when there is none.
std::string error_of(Packing packing, const std::function<void(QuantTensors&)>& spoil) {
  QuantTensors t = make(packing);
  spoil(t);
  try {
    validate(t);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "";
}

TEST(ValidateQuantised, GoodOnesPass) {
  for (const Packing packing : kPackings) EXPECT_EQ(error_of(packing, [](QuantTensors&) {}), "");
}

TEST(ValidateQuantised, EveryExtentCounts) {
  for (const Packing packing : kPackings)
    for (TensorRef QuantTensors::*part : {&QuantTensors::codes, &QuantTensors::scales, &QuantTensors::zeros,
                                          &QuantTensors::row_scales, &QuantTensors::column_groups}) {
      const TensorRef good = make(packing).*part;
      for (std::size_t axis = 0; good && axis < good.shape.size(); ++axis)
        for (const std::int64_t by : {std::int64_t{-1}, std::int64_t{1}, std::int64_t{1} << 40}) {
          const std::string error = error_of(packing, [&](QuantTensors& t) { (t.*part).shape[axis] += by; });
          EXPECT_NE(error.find("[quantised] " + good.name + ": shape ["), std::string::npos)
              << static_cast<int>(packing) << " " << good.name << " " << axis << " " << by << ": " << error;
        }
    }
}

TEST(ValidateQuantised, EveryDTypeCounts) {
  for (const Packing packing : kPackings)
    for (TensorRef QuantTensors::*part : {&QuantTensors::codes, &QuantTensors::scales, &QuantTensors::zeros,
                                          &QuantTensors::row_scales, &QuantTensors::column_groups}) {
      const TensorRef good = make(packing).*part;
      if (!good) continue;
      const std::string error = error_of(packing, [&](QuantTensors& t) { (t.*part).dtype = DType::kFloat64; });
      EXPECT_NE(error.find("[quantised] " + good.name + ": dtype float64, expected"), std::string::npos) << error;
    }
}

TEST(ValidateQuantised, MissingParts) {
  for (const Packing packing : kPackings) {
    EXPECT_NE(error_of(packing, [](QuantTensors& t) { t.scales = {}; }).find("codes: its scales are missing"),
              std::string::npos);
    if (packing == Packing::kNibbles)
      EXPECT_NE(error_of(packing, [](QuantTensors& t) { t.row_scales = {}; }).find("its tensor scales are missing"),
                std::string::npos);
    else
      EXPECT_NE(error_of(packing, [](QuantTensors& t) { t.zeros = {}; }).find("its zero points are missing"),
                std::string::npos);
  }
}

TEST(ValidateQuantised, SizesThatAreNone) {
  for (std::int64_t QuantTensors::*size : {&QuantTensors::rows, &QuantTensors::cols, &QuantTensors::count})
    for (const std::int64_t value : {std::int64_t{0}, std::int64_t{-24}, std::int64_t{1} << 40})
      EXPECT_NE(error_of(Packing::kBytes, [&](QuantTensors& t) { t.*size = value; }), "");
  EXPECT_NE(error_of(Packing::kAwq, [](QuantTensors& t) { t.rows = 20; }).find("multiple of 8"), std::string::npos);
  for (const Packing packing : {Packing::kGptq, Packing::kAwq})  // a stack asks for a leading extent
    EXPECT_NE(error_of(packing, [](QuantTensors& t) { t.count = 2; }).find("expected [2, "), std::string::npos);
  EXPECT_NE(error_of(Packing::kBytes, [](QuantTensors& t) { t.format = weight_format("float32"); }), "");
}

TEST(ReadQuantised, GroupIndicesOutsideAreRefused) {
  for (const std::int32_t bad : {-1, 4, std::numeric_limits<std::int32_t>::max()}) {
    std::vector<std::int32_t> order(64, 1);
    order[63] = bad;
    auto t = std::make_shared<QuantTensors>(make(Packing::kGptq));
    t->column_groups = memory_tensor("g_idx", order.data(), DType::kInt32, {64});
    ReadScratch scratch;
    EXPECT_THROW(read_quantised(quantised_matrix(t), t->format, false, scratch), CheckpointError);
  }
  // A single group for the whole row has one index.
  std::vector<std::int32_t> order(64, 0);
  auto t = std::make_shared<QuantTensors>(make(Packing::kGptq));
  t->format.group = 0;
  t->scales.shape = {1, 24};
  t->zeros.shape = {1, 3};
  t->column_groups = memory_tensor("g_idx", order.data(), DType::kInt32, {64});
  ReadScratch scratch;
  EXPECT_TRUE(read_quantised(quantised_matrix(t), t->format, false, scratch).column_groups.empty());
}

TEST(ReadQuantised, ScalesThatAreNoNumbers) {
  auto t = std::make_shared<QuantTensors>(make(Packing::kBytes));
  std::vector<std::uint16_t> scales(96, 0x3c00);  // 1 in float16
  for (const std::uint16_t bad : {0x7e00, 0x7c00, 0xfc00}) {
    scales[50] = bad;
    t->scales = memory_tensor("scales", scales.data(), DType::kFloat16, {24, 4});
    ReadScratch scratch;
    const MatrixRef matrix = quantised_matrix(t);
    EXPECT_THROW(read_quantised(matrix, t->format, false, scratch), CheckpointError);
    EXPECT_NO_THROW(read_quantised(matrix, t->format, true, scratch));
    EXPECT_NO_THROW(read_quantised(row_slice(matrix, 0, 12), t->format, false, scratch));  // rows 13 on are others'
  }
}

}  // namespace
}  // namespace moekit
