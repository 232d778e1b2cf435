// SPDX-License-Identifier: Apache-2.0
#include "moekit/tensor.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <numeric>

#include "core/float_convert.h"
#include "moekit/error.h"

namespace moekit {
namespace {

/// Storage that counts bytes asked for and answers from a copy in `scratch`, as a file does.
class CopyingStorage final : public Storage {
 public:
  explicit CopyingStorage(std::vector<float> values) : values_(std::move(values)) {}
  const std::byte* read(std::size_t offset, std::size_t bytes, ByteScratch& scratch) const override {
    EXPECT_LE(offset + bytes, values_.size() * sizeof(float));
    last_bytes = bytes;
    const auto* data = reinterpret_cast<const std::byte*>(values_.data()) + offset;
    scratch.assign(data, data + bytes);
    return scratch.data();
  }
  mutable std::size_t last_bytes = 0;

 private:
  std::vector<float> values_;
};

/// A tensor whose element i is i.
TensorRef counting_tensor(std::vector<std::int64_t> shape) {
  TensorRef tensor{"counting", DType::kFloat32, std::move(shape), nullptr, 0};
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  std::iota(values.begin(), values.end(), 0.0f);
  tensor.storage = std::make_shared<CopyingStorage>(std::move(values));
  return tensor;
}

float element(const MatrixView& view, std::int64_t row, std::int64_t col) {
  return load_as_float(view.data, view.dtype, row * view.row_stride + col * view.col_stride);
}

TEST(Matrix, StackedMatrixFindsEveryElementEitherWayRound) {
  constexpr std::int64_t kExperts = 3, kRows = 4, kCols = 5;
  const TensorRef plain = counting_tensor({kExperts, kRows, kCols});
  const TensorRef swapped = counting_tensor({kExperts, kCols, kRows});
  ByteScratch scratch;
  for (std::int64_t e = 0; e < kExperts; ++e) {
    for (const bool transposed : {false, true}) {
      const MatrixRef matrix = stacked_matrix(transposed ? swapped : plain, e, transposed);
      ASSERT_EQ(matrix.rows, kRows);
      ASSERT_EQ(matrix.cols, kCols);
      const MatrixView view = matrix.read(scratch);
      for (std::int64_t r = 0; r < kRows; ++r)
        for (std::int64_t c = 0; c < kCols; ++c)
          EXPECT_EQ(element(view, r, c),
                    static_cast<float>(e * kRows * kCols + (transposed ? c * kRows + r : r * kCols + c)));
    }
  }
}

TEST(Matrix, RowSlicesOfInterleavedRows) {
  const MatrixRef matrix = matrix_of(counting_tensor({6, 4}));
  ByteScratch scratch;
  for (const std::int64_t first : {0, 1}) {  // gate and up rows in turn, as gpt-oss stores them
    const MatrixView view = row_slice(matrix, first, 3, 2).read(scratch);
    for (std::int64_t r = 0; r < 3; ++r)
      for (std::int64_t c = 0; c < 4; ++c) EXPECT_EQ(element(view, r, c), static_cast<float>((first + 2 * r) * 4 + c));
  }
  const MatrixView nested = row_slice(row_slice(matrix, 1, 5), 2, 2, 2).read(scratch);  // rows 3 and 5
  EXPECT_EQ(element(nested, 0, 0), 12.0f);
  EXPECT_EQ(element(nested, 1, 3), 23.0f);
}

TEST(Matrix, ReadsTheSmallestRangeThatHoldsIt) {
  const TensorRef tensor = counting_tensor({4, 10, 8});
  const auto& storage = static_cast<const CopyingStorage&>(*tensor.storage);
  ByteScratch scratch;
  stacked_matrix(tensor, 2).read(scratch);
  EXPECT_EQ(storage.last_bytes, 10 * 8 * sizeof(float));
  row_slice(stacked_matrix(tensor, 1), 3, 2).read(scratch);
  EXPECT_EQ(storage.last_bytes, 2 * 8 * sizeof(float));
  row_slice(stacked_matrix(tensor, 1), 0, 5, 2).read(scratch);
  EXPECT_EQ(storage.last_bytes, (8 * 8 + 8) * sizeof(float));
}

TEST(Matrix, EmptyMatricesReadNothing) {
  const TensorRef tensor = counting_tensor({3, 4});
  ByteScratch scratch;
  EXPECT_EQ(row_slice(matrix_of(tensor), 3, 0).read(scratch).data, nullptr);
  EXPECT_EQ(static_cast<const CopyingStorage&>(*tensor.storage).last_bytes, 0u);
}

TEST(Matrix, WrongUseIsATypedError) {
  const TensorRef cube = counting_tensor({2, 3, 4}), flat = counting_tensor({6, 4});
  EXPECT_THROW(matrix_of(cube), CheckpointError);
  EXPECT_THROW(stacked_matrix(flat, 0), CheckpointError);
  EXPECT_THROW(stacked_matrix(cube, -1), CheckpointError);
  EXPECT_THROW(stacked_matrix(cube, 2), CheckpointError);
  const MatrixRef matrix = matrix_of(flat);
  EXPECT_THROW(row_slice(matrix, -1, 2), CheckpointError);
  EXPECT_THROW(row_slice(matrix, 0, -1), CheckpointError);
  EXPECT_THROW(row_slice(matrix, 0, 7), CheckpointError);
  EXPECT_THROW(row_slice(matrix, 1, 3, 3), CheckpointError);
  EXPECT_THROW(row_slice(matrix, 0, 1, 0), CheckpointError);
  EXPECT_THROW(row_slice(matrix, 0, std::numeric_limits<std::int64_t>::max(), 2), CheckpointError);
}

TEST(MemoryTensor, HoldsItsOwnerAndChecksItsSize) {
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{1.0f, 2.0f, 3.0f});
  const std::weak_ptr<std::vector<float>> watch = owner;
  TensorRef tensor = memory_tensor("w", owner->data(), DType::kFloat32, {3}, owner);
  owner.reset();
  EXPECT_EQ(read_float32(tensor), (std::vector<float>{1.0f, 2.0f, 3.0f}));
  EXPECT_FALSE(watch.expired());
  tensor = {};
  EXPECT_TRUE(watch.expired());

  const std::int64_t huge = std::int64_t{1} << 32;
  EXPECT_THROW(memory_tensor("w", nullptr, DType::kFloat32, {huge, huge}), std::invalid_argument);
  EXPECT_THROW(memory_tensor("w", nullptr, DType::kFloat64, {huge, huge / 4}), std::invalid_argument);
  EXPECT_THROW(memory_tensor("w", nullptr, DType::kFloat32, {-1}), std::invalid_argument);
}

template <class T>
void expect_integers(DType dtype, std::initializer_list<T> values) {
  std::vector<T> data(values);
  const TensorRef tensor = memory_tensor("ids", data.data(), dtype, {static_cast<std::int64_t>(data.size())});
  const std::vector<std::int64_t> read = read_int64(tensor);
  ASSERT_EQ(read.size(), data.size());
  for (std::size_t i = 0; i < data.size(); ++i)
    EXPECT_EQ(read[i], static_cast<std::int64_t>(data[i])) << dtype_name(dtype);
  const std::vector<float> floats = read_float32(tensor);
  for (std::size_t i = 0; i < data.size(); ++i) EXPECT_EQ(floats[i], static_cast<float>(data[i])) << dtype_name(dtype);
}

TEST(ReadIntegers, EveryWidthWithItsExtremes) {
  expect_integers<std::int64_t>(DType::kInt64, {std::numeric_limits<std::int64_t>::min(), -1, 0, 1});
  expect_integers<std::int32_t>(DType::kInt32, {std::numeric_limits<std::int32_t>::min(), -1, 7});
  expect_integers<std::int16_t>(DType::kInt16, {-32768, 32767});
  expect_integers<std::int8_t>(DType::kInt8, {-128, 127});
  expect_integers<std::uint64_t>(DType::kUInt64, {0, std::uint64_t{1} << 62});
  expect_integers<std::uint32_t>(DType::kUInt32, {0, 4294967295u});
  expect_integers<std::uint16_t>(DType::kUInt16, {0, 65535});
  expect_integers<std::uint8_t>(DType::kUInt8, {0, 255});
  expect_integers<std::uint8_t>(DType::kBool, {0, 1});
}

TEST(ReadIntegers, FloatsAreRefusedByName) {
  const float value = 1.0f;
  try {
    read_int64(memory_tensor("tid2eid", &value, DType::kFloat32, {1}));
    ADD_FAILURE() << "float32 accepted as integers";
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("tid2eid"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("float32"), std::string::npos) << error.what();
  }
}

TEST(StoreFloat, RoundsForShortTypesAndKeepsFloat32) {
  std::uint16_t words[2] = {0, 0xffff};
  store_float(words, DType::kBFloat16, 0, 1.00390625f);  // 1 + 2^-8: a tie, to the even pattern of 1
  EXPECT_EQ(words[0], 0x3f80u);
  EXPECT_EQ(words[1], 0xffffu);
  store_float(words, DType::kFloat16, 0, 1.00048828125f);  // 1 + 2^-11: a tie, to the even pattern of 1
  EXPECT_EQ(words[0], 0x3c00u);
  EXPECT_EQ(words[1], 0xffffu);
  float values[2] = {0.0f, 5.0f};
  store_float(values, DType::kFloat32, 0, 0.1f);
  EXPECT_EQ(values[0], 0.1f);
  EXPECT_EQ(values[1], 5.0f);
}

}  // namespace
}  // namespace moekit
