// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "formats/format.h"

namespace moekit {
namespace {

void quantise(const float* row, std::int64_t cols, void* out) noexcept {
  std::memcpy(out, row, static_cast<std::size_t>(cols) * sizeof(float));
}

void dequantise(const void* row, std::int64_t cols, float* out) noexcept {
  std::memcpy(out, row, static_cast<std::size_t>(cols) * sizeof(float));
}

}  // namespace

extern const WeightFormat kFloat32Format;
const WeightFormat kFloat32Format = {"float32", DType::kFloat32, 1, 4, quantise, dequantise};

}  // namespace moekit
