// SPDX-License-Identifier: Apache-2.0
// Subnormal numbers count and results round to the nearest, whatever the host program has set for its threads: small
// E4M3 codes and scales go through subnormals, and results must not depend on a flag of the calling thread.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace moekit::cpu {

/// The thread's own state comes back at the end. Scopes nest.
class FloatScope {
 public:
#if defined(__SSE2__)
  FloatScope() noexcept : before_(_mm_getcsr()) {
    constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040, kRounding = 0x6000;  // bits of MXCSR
    _mm_setcsr(static_cast<unsigned>(before_) & ~(kFlushToZero | kDenormalsAreZero | kRounding));
  }
  ~FloatScope() { _mm_setcsr(static_cast<unsigned>(before_)); }
#elif defined(__aarch64__)
  FloatScope() noexcept {
    constexpr std::uint64_t kFlushToZero = std::uint64_t{1} << 24, kRounding = std::uint64_t{3} << 22;  // FZ of FPCR
    __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
    __asm__ volatile("msr fpcr, %0" : : "r"(before_ & ~(kFlushToZero | kRounding)));
  }
  ~FloatScope() { __asm__ volatile("msr fpcr, %0" : : "r"(before_)); }
#else
  FloatScope() noexcept = default;
#endif
  FloatScope(const FloatScope&) = delete;
  FloatScope& operator=(const FloatScope&) = delete;

 private:
  std::uint64_t before_ = 0;
};

}  // namespace moekit::cpu
