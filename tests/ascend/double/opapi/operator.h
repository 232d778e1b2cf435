// SPDX-License-Identifier: Apache-2.0
// What the operators share.
#pragma once

#include <cmath>
#include <functional>

#include "../core/call.h"
#include "../core/entry.h"

// Exports the two functions of an operator: phase one is `function`, phase two is the same for all.
#define ASCEND_DOUBLE_OPERATOR(symbol, function)                                    \
  namespace {                                                                       \
  int run_##symbol(void* workspace, uint64_t bytes, void* executor, void* stream) { \
    ::ascend_double::execute(#symbol, workspace, bytes, executor, stream);          \
    return ::ascend_double::code::kSuccess;                                         \
  }                                                                                 \
  }                                                                                 \
  ASCEND_DOUBLE_EXPORT(symbol##GetWorkspaceSize, function)                          \
  ASCEND_DOUBLE_EXPORT_WITH(symbol, run_##symbol, &::ascend_double::discard_executor)

namespace ascend_double {

using Handle = const void*;  // aclTensor*, aclTensorList*, aclIntArray*, aclScalar*
using Arrays = std::vector<Array>;

#define ASCEND_DOUBLE_FLOATS \
  { DataType::kFloat, DataType::kFloat16, DataType::kBFloat16 }

// softmax over `count` values, in fp32 with the largest taken off.
inline void softmax(float* values, int64_t count) {
  float largest = -INFINITY, sum = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::fmax(largest, values[i]);
  for (int64_t i = 0; i < count; ++i) sum += values[i] = std::exp(values[i] - largest);
  for (int64_t i = 0; i < count; ++i) values[i] /= sum;
}

// Indices of the k largest, descending, the lower index first where values are equal.
std::vector<int64_t> top_k(const std::vector<float>& values, int64_t k);

inline float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
inline float silu(float x) { return x * sigmoid(x); }
inline double gelu_erf(double x) { return 0.5 * x * (1.0 + std::erf(x * 0.70710678118654752)); }
inline double gelu_tanh(double x) {
  return 0.5 * x * (1.0 + std::tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
}

// Rows of each group from a group list that lies on the device. type 0: running sums; 1: counts; 2: pairs (group,
// count). A violation (507015) where a count is negative, the sums decrease or more than `rows` rows are named.
struct Group {
  int64_t index, begin, end;
};
std::vector<Group> read_groups(const Array& list, int64_t type, int64_t groups, int64_t rows);

// The row quantised to int8: scale = max|row| / 127, values round(row / scale); a row of zeros has scale 0 and values
// 0.
float quantise_row(const std::vector<float>& row, const Array& out, int64_t out_row);

}  // namespace ascend_double
