// SPDX-License-Identifier: Apache-2.0
// Every packing against a writer of its own: codes, zero points and scales come back as they were, for whole matrices,
// for matrices of a stack, and for rows first, first + step, ... of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "formats/format.h"
#include "formats/read.h"

namespace moekit {
namespace {

using Codes = std::vector<std::uint8_t>;  // [matrices, rows, cols], as unsigned numbers

struct Case {
  Packing packing;
  int bits;
  bool zero_points;
  std::int64_t rows, cols, group, count;
  std::int32_t zero_add = 0;
};

std::string name_of(const Case& c) {
  return "packing " + std::to_string(static_cast<int>(c.packing)) + ", " + std::to_string(c.bits) + " bits, " +
         std::to_string(c.count) + " x " + std::to_string(c.rows) + " x " + std::to_string(c.cols) + ", groups of " +
         std::to_string(c.group) + (c.zero_points ? ", zero points" : "");
}

/// A tensor that owns its values.
template <typename T>
TensorRef tensor(std::vector<T> values, DType dtype, std::vector<std::int64_t> shape) {
  auto owner = std::make_shared<std::vector<T>>(std::move(values));
  return memory_tensor("t", owner->data(), dtype, std::move(shape), owner);
}

/// Writes value (matrix, a, b) of [count, rows, cols] with `slots` values a word along the axis: word(m, a, b), slot.
class Words {
 public:
  Words(std::size_t words, int bits) : words_(words), bits_(bits) {}
  void put(std::int64_t word, std::int64_t slot, std::uint32_t value) {
    words_[static_cast<std::size_t>(word)] |= static_cast<std::int32_t>(value << (slot * bits_));
  }
  TensorRef finish(std::vector<std::int64_t> shape) { return tensor(std::move(words_), DType::kInt32, shape); }

 private:
  std::vector<std::int32_t> words_;
  int bits_;
};

constexpr std::int64_t kAwqColumn[8] = {0, 2, 4, 6, 1, 3, 5, 7};  // of nibble i: the published order

std::int64_t up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Values [count, rows, cols] as each packing stores codes (or zero points, whose cols are groups).
TensorRef write(const Case& c, const Codes& values, std::int64_t cols, bool zeros) {
  const std::int64_t slots = 32 / c.bits;
  const auto at = [&](std::int64_t m, std::int64_t n, std::int64_t k) {
    return values[static_cast<std::size_t>((m * c.rows + n) * cols + k)];
  };
  const auto each = [&](auto&& put) {
    for (std::int64_t m = 0; m < c.count; ++m)
      for (std::int64_t n = 0; n < c.rows; ++n)
        for (std::int64_t k = 0; k < cols; ++k) put(m, n, k, at(m, n, k));
  };
  switch (c.packing) {
    case Packing::kBytes: {
      std::vector<std::uint8_t> bytes;  // two's complement
      each([&](auto, auto, auto, std::uint8_t v) { bytes.push_back(v ^ 0x80u); });
      return tensor(std::move(bytes), DType::kInt8, {c.count, c.rows, cols});
    }
    case Packing::kNibbles: {
      std::vector<std::uint8_t> bytes(static_cast<std::size_t>(c.count * c.rows * up(cols, 2)));
      each([&](auto m, auto n, auto k, std::uint8_t v) {
        bytes[static_cast<std::size_t>((m * c.rows + n) * up(cols, 2) + k / 2)] |=
            static_cast<std::uint8_t>(v << (k % 2 * 4));
      });
      return tensor(std::move(bytes), DType::kUInt8, {c.count, c.rows, up(cols, 2)});
    }
    case Packing::kWordsAlongK: {
      if (zeros) {
        const std::int64_t word_rows = up(c.rows, slots);
        Words words(static_cast<std::size_t>(c.count * word_rows * cols), c.bits);
        each([&](auto m, auto n, auto g, std::uint8_t v) {
          words.put((m * word_rows + n / slots) * cols + g, n % slots, v);
        });
        return words.finish({c.count, word_rows, cols});
      }
      Words words(static_cast<std::size_t>(c.count * c.rows * up(cols, slots)), c.bits);
      each([&](auto m, auto n, auto k, std::uint8_t v) {
        words.put((m * c.rows + n) * up(cols, slots) + k / slots, k % slots, v);
      });
      return words.finish({c.count, c.rows, up(cols, slots)});
    }
    case Packing::kGptq: {
      if (zeros) {
        Words words(static_cast<std::size_t>(cols * up(c.rows, slots)), c.bits);
        each([&](auto, auto n, auto g, std::uint8_t v) { words.put(g * up(c.rows, slots) + n / slots, n % slots, v); });
        return words.finish({cols, up(c.rows, slots)});
      }
      Words words(static_cast<std::size_t>(up(cols, slots) * c.rows), c.bits);
      each([&](auto, auto n, auto k, std::uint8_t v) { words.put(k / slots * c.rows + n, k % slots, v); });
      return words.finish({up(cols, slots), c.rows});
    }
    default: {
      Words words(static_cast<std::size_t>(cols * c.rows / 8), 4);
      for (std::int64_t k = 0; k < cols; ++k)
        for (std::int64_t n = 0; n < c.rows; n += 8)
          for (std::int64_t i = 0; i < 8; ++i) words.put((k * c.rows + n) / 8, i, at(0, n + kAwqColumn[i], k));
      return words.finish({cols, c.rows / 8});
    }
  }
}

struct Written {
  std::shared_ptr<QuantTensors> tensors;
  Codes codes, zeros;
  std::vector<float> scales;  // [count, rows, groups]
  std::vector<std::int32_t> order;
};

Written make(const Case& c, std::mt19937& random, bool shuffled) {
  Written w;
  const std::int64_t groups = c.group == 0 ? 1 : up(c.cols, c.group);
  const auto draw = [&](std::int64_t count, std::uint32_t below) {
    Codes values(static_cast<std::size_t>(count));
    for (std::uint8_t& v : values) v = static_cast<std::uint8_t>(random() % below);
    return values;
  };
  w.codes = draw(c.count * c.rows * c.cols, 1u << c.bits);
  w.tensors = std::make_shared<QuantTensors>();
  QuantTensors& t = *w.tensors;
  t.format = weight_format(c.bits == 4 ? "int4" : "int8");
  t.format.group = c.group;
  t.format.scale = DType::kFloat32;
  t.packing = c.packing;
  t.rows = c.rows;
  t.cols = c.cols;
  t.count = c.count;
  t.zero_add = c.zero_add;
  t.codes = write(c, w.codes, c.cols, false);
  for (std::int64_t i = 0; i < c.count * c.rows * groups; ++i) w.scales.push_back(static_cast<float>(random() % 1000));
  const bool transposed = c.packing == Packing::kGptq || c.packing == Packing::kAwq;
  std::vector<float> lying = w.scales;
  for (std::int64_t n = 0; transposed && n < c.rows; ++n)
    for (std::int64_t g = 0; g < groups; ++g)
      lying[static_cast<std::size_t>(g * c.rows + n)] = w.scales[static_cast<std::size_t>(n * groups + g)];
  t.scales = tensor(
      std::move(lying), DType::kFloat32,
      transposed ? std::vector<std::int64_t>{groups, c.rows} : std::vector<std::int64_t>{c.count, c.rows, groups});
  if (c.zero_points) {
    w.zeros = draw(c.count * c.rows * groups, 1u << c.bits);
    t.format.offset = Offset::kZeroPoint;
    t.format.zero = 0;
    t.zeros = write(c, w.zeros, groups, true);
  }
  if (shuffled && groups > 1) {
    for (std::int64_t k = 0; k < c.cols; ++k) w.order.push_back(static_cast<std::int32_t>(k / c.group));
    std::shuffle(w.order.begin(), w.order.end(), random);
    t.column_groups = tensor(w.order, DType::kInt32, {c.cols});
  }
  validate(t);
  return w;
}

void expect_rows(const Case& c, const Written& w, std::int64_t matrix, std::int64_t first, std::int64_t count,
                 std::int64_t step) {
  ReadScratch scratch;
  const MatrixRef ref = row_slice(quantised_matrix(w.tensors, matrix), first, count, step);
  const QuantRows& read = read_quantised(ref, w.tensors->format, false, scratch);
  const std::int64_t groups = read.groups();
  ASSERT_EQ(read.rows, count);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = matrix * c.rows + first + i * step;
    std::vector<float> weights(static_cast<std::size_t>(c.cols));
    dequantise_row(read, i, weights.data());
    for (std::int64_t k = 0; k < c.cols; ++k) {
      const std::int64_t g = !w.order.empty() ? w.order[static_cast<std::size_t>(k)] : c.group == 0 ? 0 : k / c.group;
      const std::uint8_t code = w.codes[static_cast<std::size_t>(row * c.cols + k)];
      const float scale = w.scales[static_cast<std::size_t>(row * groups + g)];
      // In unsigned numbers throughout, where the library takes 128 off both of 8 bits.
      const int middle = c.bits == 8 ? 128 : 8;
      const int zero = w.zeros.empty() ? middle : w.zeros[static_cast<std::size_t>(row * groups + g)] + c.zero_add;
      ASSERT_EQ(weights[static_cast<std::size_t>(k)], static_cast<float>(code - zero) * scale)
          << name_of(c) << ": matrix " << matrix << ", row " << first + i * step << ", column " << k;
    }
  }
}

TEST(Packings, EveryRowComesBack) {
  std::mt19937 random(7);
  std::vector<Case> cases;
  for (int i = 0; i < 12; ++i) {
    const std::int64_t rows = 1 + random() % 19, cols = 1 + random() % 70, group = std::int64_t{8} << random() % 3;
    const std::int64_t count = 1 + random() % 3, eights = 8 * (1 + random() % 3);
    for (const bool zero_points : {false, true}) {
      cases.push_back({Packing::kBytes, 8, zero_points, rows, cols, i % 3 == 0 ? 0 : group, count});
      if (!zero_points) cases.push_back({Packing::kNibbles, 4, false, rows, cols, group, count});
      for (const int bits : {4, 8}) {
        cases.push_back({Packing::kWordsAlongK, bits, zero_points, rows, cols, group, count});
        cases.push_back({Packing::kGptq, bits, zero_points, rows, cols, i % 3 == 0 ? 0 : group, 1, i % 2});
      }
      cases.push_back({Packing::kAwq, 4, zero_points, eights, cols, group, 1});
    }
  }
  for (const Case& c : cases)
    for (const bool shuffled : {false, true}) {
      if (shuffled && c.packing == Packing::kAwq) continue;
      const Written w = make(c, random, shuffled);
      for (std::int64_t m = 0; m < c.count; ++m) {
        expect_rows(c, w, m, 0, c.rows, 1);
        const std::int64_t first = static_cast<std::int64_t>(random()) % c.rows, step = 1 + random() % 3;
        expect_rows(c, w, m, first, (c.rows - 1 - first) / step + 1, step);
      }
    }
}

TEST(Packings, RowsOfAQuantisedMatrixAreNotReadAsElements) {
  std::mt19937 random(1);
  const Written w = make({Packing::kBytes, 8, false, 3, 5, 0, 2}, random, false);
  ByteScratch scratch;
  EXPECT_THROW(quantised_matrix(w.tensors).read(scratch), std::invalid_argument);
  EXPECT_THROW(quantised_matrix(w.tensors, 2), std::invalid_argument);
  EXPECT_THROW(quantised_matrix(w.tensors, -1), std::invalid_argument);
}

}  // namespace
}  // namespace moekit
