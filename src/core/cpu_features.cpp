// SPDX-License-Identifier: Apache-2.0
#include "core/cpu_features.h"

#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace moekit {
namespace {

struct Detected {
  std::uint32_t features = 0;
  bool amx_refused = false;
};

#if defined(__x86_64__)

std::uint64_t enabled_state() {
  std::uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t{high} << 32 | low;
}

bool is_intel() {
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(0, &a, &b, &c, &d) != 0 && b == signature_INTEL_ebx && c == signature_INTEL_ecx &&
         d == signature_INTEL_edx;
}

bool ask_for_tiles() {
  // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) of Linux 5.16
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Detected detect() {
  Detected found;
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return found;
  const bool osxsave = (c >> 27 & 1u) != 0, fma = (c >> 12 & 1u) != 0;
  if (!osxsave) return found;
  const std::uint64_t state = enabled_state();
  constexpr std::uint64_t kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000;  // XCR0: SSE+AVX; + opmask, ZMM; TILECFG+TILEDATA
  std::uint32_t b7 = 0, c7 = 0, d7 = 0, a71 = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return found;
  b7 = b;
  c7 = c;
  d7 = d;
  if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) a71 = a;
  if ((state & kYmm) == kYmm && fma && (b7 >> 5 & 1u) != 0) found.features |= kAvx2;
  if ((found.features & kAvx2) != 0 && (a71 >> 4 & 1u) != 0) found.features |= kAvxVnni;
  const bool avx512 = (b7 >> 16 & 1u) && (b7 >> 17 & 1u) && (b7 >> 30 & 1u) && (b7 >> 31 & 1u);  // F, DQ, BW, VL
  if ((found.features & kAvx2) != 0 && (state & kZmm) == kZmm && avx512) {
    found.features |= kAvx512;
    if ((c7 >> 11 & 1u) != 0) found.features |= kAvx512Vnni;
    if ((c7 >> 1 & 1u) != 0) found.features |= kAvx512Vbmi;
    if ((a71 >> 5 & 1u) != 0) found.features |= kAvx512Bf16 | (is_intel() ? 0u : kFastAvx512Bf16);
    const bool amx = (d7 >> 22 & 1u) && (d7 >> 24 & 1u) && (d7 >> 25 & 1u);  // AMX-BF16, -TILE, -INT8
    if (amx && (found.features & kAvx512Bf16) != 0 && (state & kTiles) == kTiles) {
      if (ask_for_tiles()) {
        found.features |= kAmxBf16;
      } else {
        found.amx_refused = true;
      }
    }
  }
  return found;
}

#elif defined(__aarch64__)

// Advanced SIMD is part of every AArch64 Linux.
Detected detect() {
  Detected found{kNeon, false};
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) found.features |= kNeonDot;
  const unsigned long more = getauxval(AT_HWCAP2);
  if ((more & HWCAP2_I8MM) != 0) found.features |= kNeonI8mm;
  if ((more & HWCAP2_BF16) != 0) found.features |= kNeonBf16;
  return found;
}

#else

Detected detect() { return {}; }

#endif

const Detected& detected() noexcept {
  static const Detected value = detect();
  return value;
}

}  // namespace

std::uint32_t cpu_features() noexcept { return detected().features; }

bool amx_refused() noexcept { return detected().amx_refused; }

std::size_t l2_cache_bytes() noexcept {
  static const std::size_t bytes = [] {
#ifdef _SC_LEVEL2_CACHE_SIZE
    const long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (size > 0) return static_cast<std::size_t>(size);
#endif
    return std::size_t{1} << 20;
  }();
  return bytes;
}

}  // namespace moekit
