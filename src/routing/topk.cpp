// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>

#include "routing/rules.h"

namespace moekit {
namespace {

// Up to here a sorted list of the best so far is fastest: a random row of n values enters it k (1 + ln(n / k)) times
// (30 of 128 at k = 8), and its worst case, an ascending row, moves n * 16 entries.
constexpr std::int64_t kInsertionLimit = 16;

// A key whose unsigned order is the order of the selection: value, then the lower id.
std::uint64_t sort_key(float value, std::int64_t id) noexcept {
  const std::uint32_t bits = bits_from_float(value + 0.0f);  // -0 becomes +0
  const std::uint32_t order = value != value ? 0u : ((bits >> 31) != 0 ? ~bits : bits | 0x80000000u);
  return std::uint64_t{order} << 32 | (0xffffffffu - static_cast<std::uint32_t>(id));
}

void insert_scan(const float* values, std::int64_t n, std::int64_t k, std::int32_t* ids) noexcept {
  float best[kInsertionLimit];
  std::int64_t filled = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const float value = values[i];
    // Ids ascend, so an equal value stays behind those already there.
    if (filled == k && !(value > best[k - 1])) continue;
    std::int64_t at = filled < k ? filled++ : k - 1;
    for (; at > 0 && value > best[at - 1]; --at) {
      best[at] = best[at - 1];
      ids[at] = ids[at - 1];
    }
    best[at] = value;
    ids[at] = static_cast<std::int32_t>(i);
  }
}

}  // namespace

bool any_nan(const float* values, std::int64_t n) noexcept {
  std::uint32_t found = 0;
  for (std::int64_t i = 0; i < n; ++i)
    found |= static_cast<std::uint32_t>((bits_from_float(values[i]) & 0x7fffffffu) > 0x7f800000u);
  return found != 0;
}

void top_k(const float* values, std::int64_t n, std::int64_t k, std::uint64_t* keys, std::int32_t* ids) noexcept {
  if (k <= kInsertionLimit && !any_nan(values, n)) return insert_scan(values, n, k, ids);
  for (std::int64_t i = 0; i < n; ++i) keys[i] = sort_key(values[i], i);
  if (k < n) std::nth_element(keys, keys + k, keys + n, std::greater<>());
  std::sort(keys, keys + k, std::greater<>());
  for (std::int64_t i = 0; i < k; ++i) ids[i] = static_cast<std::int32_t>(0xffffffffu - (keys[i] & 0xffffffffu));
}

float max_value(const float* values, std::int64_t n) noexcept {
  float part[8];
  for (float& lane : part) lane = -std::numeric_limits<float>::infinity();
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int lane = 0; lane < 8; ++lane) part[lane] = values[i + lane] > part[lane] ? values[i + lane] : part[lane];
  for (; i < n; ++i) part[0] = values[i] > part[0] ? values[i] : part[0];
  float top = part[0];
  for (const float lane : part) top = lane > top ? lane : top;
  return top;
}

}  // namespace moekit
