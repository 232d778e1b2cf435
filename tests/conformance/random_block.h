// SPDX-License-Identifier: Apache-2.0
// Random tensors for a configuration, and matrices of float32 or bfloat16.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "moekit/layer.h"

namespace moekit::conformance {

/// The engine's sequence is fixed by the standard, the standard's normal distribution is not.
struct Rng : std::mt19937_64 {
  using std::mt19937_64::mt19937_64;
  bool portable = false;  // whether normal() gives the same numbers everywhere
};

/// 0 .. count - 1.
std::int64_t pick(Rng& rng, std::int64_t count);
/// 0 .. 1, a multiple of 2^-24 below 1.
float uniform(Rng& rng);
/// About normal, rounded to bfloat16 so that every dtype holds it exactly.
float normal(Rng& rng, float scale = 1.0f);

/// A dense row-major matrix that owns its elements.
class Matrix {
 public:
  Matrix(std::int64_t rows, std::int64_t cols, DType dtype);
  static Matrix random(Rng& rng, std::int64_t rows, std::int64_t cols, DType dtype);

  float at(std::int64_t r, std::int64_t c) const;
  void set(std::int64_t r, std::int64_t c, float value);
  /// Copy of some rows, in the order given.
  Matrix take(const std::vector<std::int64_t>& rows) const;
  MatrixView view() const { return {bytes_.data(), dtype_, rows_, cols_, cols_, 1}; }
  MutableMatrixView out() { return {bytes_.data(), dtype_, rows_, cols_, cols_}; }
  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  DType dtype() const { return dtype_; }
  /// Bytes of one row, for bitwise comparison.
  std::vector<std::byte> row_bytes(std::int64_t row) const;
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::int64_t rows_, cols_;
  DType dtype_;
  std::vector<std::byte> bytes_;
};

/// What tensors a router has beyond its weight.
struct RouterParts {
  bool bias = false, selection_bias = false, in_scale = false, per_expert_scale = false;
};
constexpr std::int64_t kVocabulary = 50;  // rows of tid2eid of hash layers

/// Tensors of `dtype` (float32 or bfloat16) for a validated configuration; router vectors are float32.
BlockTensors random_tensors(Rng& rng, const BlockConfig& config, DType dtype, const RouterParts& parts = {});

}  // namespace moekit::conformance
