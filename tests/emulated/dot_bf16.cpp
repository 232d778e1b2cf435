// SPDX-License-Identifier: Apache-2.0
#include "emulated/dot_bf16.h"

#include <cstdint>
#include <cstring>

#include "emulated/float_rules.h"

namespace moekit::emulated {
namespace {

// Products of 8 bit significands are exact unless they overflow or are subnormal: then their addition alone rounds.
bool is_exact(float a, float b, float product) {
  const float size = std::fabs(product);
  return (size >= 0x1p-126f && size < HUGE_VALF) || a == 0.0f || b == 0.0f;
}
float multiply_add(float a, float b, float c) {
  const float product = a * b;
  return is_exact(a, b, product) ? flush(flush(c) + product) : fused(a, b, c);
}

}  // namespace

void dot_bf16(const float* c, const void* a, const void* b, float* out) noexcept {
  std::uint16_t x[32], w[32];
  std::memcpy(x, a, sizeof x);
  std::memcpy(w, b, sizeof w);
  for (int i = 0; i < 16; ++i) {
    const float odd = multiply_add(widened(x[2 * i + 1]), widened(w[2 * i + 1]), c[i]);
    out[i] = multiply_add(widened(x[2 * i]), widened(w[2 * i]), odd);
  }
}

void round_bf16(const float* high, const float* low, void* out) noexcept {
  std::uint16_t rounded[32];
  for (int i = 0; i < 32; ++i) {
    const float x = flush(i < 16 ? low[i] : high[i - 16]);
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    bits = x == x ? bits + 0x7fffu + (bits >> 16 & 1u) : bits | 0x400000u;
    rounded[i] = static_cast<std::uint16_t>(bits >> 16);
  }
  std::memcpy(out, rounded, sizeof rounded);
}

}  // namespace moekit::emulated
