// SPDX-License-Identifier: Apache-2.0
#include "core/float_convert.h"
#include "formats/format.h"

namespace moekit {
namespace {

void quantise(const float* row, std::int64_t cols, void* out) noexcept {
  auto* words = static_cast<std::uint16_t*>(out);
  for (std::int64_t i = 0; i < cols; ++i) words[i] = float_to_bf16(row[i]);
}

void dequantise(const void* row, std::int64_t cols, float* out) noexcept {
  load_as_float(row, DType::kBFloat16, 0, 1, cols, out);
}

}  // namespace

extern const WeightFormat kBFloat16Format;
const WeightFormat kBFloat16Format = {"bfloat16", DType::kBFloat16, 1, 2, quantise, dequantise};

}  // namespace moekit
