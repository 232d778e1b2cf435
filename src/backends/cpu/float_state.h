// SPDX-License-Identifier: Apache-2.0
// Subnormal numbers count in kernels whatever the host program has set for itself: small E4M3 codes and scales go
// through them, and results must not depend on a flag of the calling thread. Only for kernels_*.cpp.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace moekit::cpu {
namespace {

inline thread_local std::uint64_t g_float_state = 0;  // of the thread before float_enter()

#if defined(__SSE2__)
inline void float_enter() noexcept {
  constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;  // bits of MXCSR
  g_float_state = _mm_getcsr();
  _mm_setcsr(static_cast<unsigned>(g_float_state) & ~(kFlushToZero | kDenormalsAreZero));
}
inline void float_leave() noexcept { _mm_setcsr(static_cast<unsigned>(g_float_state)); }
#elif defined(__aarch64__)
inline void float_enter() noexcept {
  constexpr std::uint64_t kFlushToZero = std::uint64_t{1} << 24;  // FZ of FPCR
  __asm__ volatile("mrs %0, fpcr" : "=r"(g_float_state));
  __asm__ volatile("msr fpcr, %0" : : "r"(g_float_state & ~kFlushToZero));
}
inline void float_leave() noexcept { __asm__ volatile("msr fpcr, %0" : : "r"(g_float_state)); }
#else
inline void float_enter() noexcept {}
inline void float_leave() noexcept {}
#endif

}  // namespace
}  // namespace moekit::cpu
