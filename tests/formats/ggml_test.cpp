// SPDX-License-Identifier: Apache-2.0
// ggml's blocks: what is read is within the bytes of the rows asked for, and rows are the same however they are asked
// for. That the numbers are right is tested against the gguf package (python/tests/test_gguf_formats.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>

#include "formats/ggml/blocks.h"
#include "formats/read.h"
#include "moekit/error.h"

namespace moekit {
namespace {

constexpr Encoding kRead[] = {Encoding::kQ4_0, Encoding::kQ4K,  Encoding::kQ5K,
                              Encoding::kQ6K,  Encoding::kQ8_0, Encoding::kMXFP4};

/// Random bytes. Every read gets memory of its own size, so that AddressSanitizer sees a step past it.
class RandomBytes final : public Storage {
 public:
  RandomBytes(std::size_t bytes, unsigned seed) : bytes_(bytes) {
    std::mt19937 random(seed);
    for (std::byte& byte : bytes_) byte = static_cast<std::byte>(random());
  }
  const std::byte* read(std::size_t offset, std::size_t bytes, ByteScratch& scratch) const override {
    if (offset > bytes_.size() || bytes > bytes_.size() - offset) throw std::out_of_range("read past the tensor");
    scratch = ByteScratch(bytes);
    if (bytes > 0) std::memcpy(scratch.data(), bytes_.data() + offset, bytes);
    return scratch.data();
  }

 private:
  std::vector<std::byte> bytes_;
};

TensorRef random_tensor(Encoding encoding, std::vector<std::int64_t> shape, unsigned seed = 1) {
  TensorRef tensor = {"t", DType::kFloat32, std::move(shape), nullptr, 0, encoding};
  tensor.storage = std::make_shared<RandomBytes>(tensor.bytes(), seed);
  return tensor;
}

std::vector<float> floats_of(const MatrixRef& matrix) {
  ReadScratch scratch;
  const MatrixView view = read_plain(matrix, scratch, true);  // random bits make some scales NaN
  const auto* values = static_cast<const float*>(view.data);
  return {values, values + view.rows * view.cols};
}

void expect_same_bits(const float* a, const float* b, std::int64_t count) {
  EXPECT_EQ(std::memcmp(a, b, static_cast<std::size_t>(count) * sizeof(float)), 0);
}

TEST(Ggml, RowsAreTheSameHoweverTheyAreAskedFor) {
  constexpr std::int64_t kExperts = 3, kRows = 6, kCols = 512;
  for (const Encoding encoding : kRead) {
    SCOPED_TRACE(encoding_info(encoding).name);
    const TensorRef tensor = random_tensor(encoding, {kExperts, kRows, kCols});
    const TensorRef all = decoded(tensor);
    EXPECT_EQ(all.shape, tensor.shape);
    const std::vector<float> expected = read_float32(all);
    const auto stack = ggml_tensors(tensor);
    validate(*stack);
    for (std::int64_t e = 0; e < kExperts; ++e) {
      const MatrixRef whole = quantised_matrix(stack, e);
      expect_same_bits(floats_of(whole).data(), expected.data() + e * kRows * kCols, kRows * kCols);
      for (const auto& [first, count, step] : {std::tuple{0, 3, 1}, {3, 3, 1}, {1, 3, 2}, {5, 1, 1}, {0, 2, 5}}) {
        const std::vector<float> rows = floats_of(row_slice(whole, first, count, step));
        for (std::int64_t i = 0; i < count; ++i)
          expect_same_bits(rows.data() + i * kCols, expected.data() + (e * kRows + first + i * step) * kCols, kCols);
      }
    }
  }
}

TEST(Ggml, CodesHaveTheBitsOfTheFormat) {
  for (const Encoding encoding : kRead) {
    const MatrixRef matrix = quantised_matrix(ggml_tensors(random_tensor(encoding, {8, 1024})));
    const WeightFormat format = format_of(matrix);
    ReadScratch scratch;
    const QuantRows& rows = read_quantised(matrix, format, true, scratch);
    unsigned seen = 0;
    for (const std::uint8_t code : rows.codes) seen = std::max<unsigned>(seen, code);
    // Of 8192 random codes the largest is there, except 8 of MXFP4 which stands for a zero of its own.
    EXPECT_EQ(seen, (1u << static_cast<unsigned>(code_bits(format.code))) - 1) << format.name;
    EXPECT_EQ(rows.scales.size(), static_cast<std::size_t>(8 * format.groups(1024)));
    EXPECT_EQ(rows.super_scales.size(), static_cast<std::size_t>(8 * format.supers(1024)));
  }
}

TEST(Ggml, ScalesThatAreNotFiniteAreToldByRow) {
  constexpr std::int64_t kCols = 64;
  std::vector<std::byte> bytes(4 * 2 * 34);
  const std::uint16_t infinity = 0x7c00;
  std::memcpy(bytes.data() + (2 * 2 + 1) * 34, &infinity, 2);  // row 2, block 1
  TensorRef tensor = memory_tensor("w", bytes.data(), DType::kFloat32, {4, kCols});
  tensor.encoding = Encoding::kQ8_0;
  const MatrixRef matrix = quantised_matrix(ggml_tensors(tensor));
  ReadScratch scratch;
  EXPECT_NO_THROW(read_quantised(matrix, format_of(matrix), true, scratch));
  EXPECT_NO_THROW(read_quantised(row_slice(matrix, 0, 2), format_of(matrix), false, scratch));
  try {
    read_quantised(matrix, format_of(matrix), false, scratch);
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("w: scale 1 of row 2 is inf"), std::string::npos) << error.what();
  }
}

TEST(Ggml, RefusesOtherBlocksAndShapes) {
  const auto error_of = [](const TensorRef& tensor) {
    try {
      ggml_tensors(tensor);
    } catch (const CheckpointError& error) {
      return std::string(error.what());
    }
    return std::string("<no error>");
  };
  EXPECT_NE(error_of(random_tensor(Encoding::kIQ2XXS, {2, 256}))
                .find("t: blocks of IQ2_XXS, those that are read are "
                      "Q4_0, Q4_K, Q5_K, Q6_K, Q8_0, MXFP4"),
            std::string::npos);
  EXPECT_NE(error_of(random_tensor(Encoding::kQ8_0, {64})).find("1 dimensions"), std::string::npos);
  EXPECT_NE(error_of(random_tensor(Encoding::kQ8_0, {1, 2, 2, 64})).find("4 dimensions"), std::string::npos);
  // A description that does not fit the blocks.
  QuantTensors wrong = *ggml_tensors(random_tensor(Encoding::kQ8_0, {2, 64}));
  wrong.format.group = 64;
  EXPECT_THROW(validate(wrong), CheckpointError);
  wrong = *ggml_tensors(random_tensor(Encoding::kQ8_0, {2, 64}));
  wrong.rows = 3;
  EXPECT_THROW(validate(wrong), CheckpointError);
}

TEST(Ggml, EveryEncodingHasASize) {
  for (int i = 0; i <= static_cast<int>(Encoding::kQ1_0); ++i) {
    const auto encoding = static_cast<Encoding>(i);
    const EncodingInfo& info = encoding_info(encoding);
    EXPECT_FALSE(info.name.empty()) << i;
    EXPECT_GE(info.block, 1) << i;
    EXPECT_EQ(info.bytes == 0, encoding == Encoding::kPlain) << i;
  }
}

}  // namespace
}  // namespace moekit
