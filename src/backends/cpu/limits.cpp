// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/limits.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace moekit::cpu {
namespace {

Peak best_from(const Limits& limits, std::string_view isa, bool bf16) {
  Peak best;
  bool reached = isa.empty();
  for (std::size_t i = 0; i < limits.peaks.size(); ++i) {
    const IsaPeak& peak = limits.peaks[i];
    reached = reached || peak.isa == isa;
    const double rate = bf16 ? peak.bf16 : peak.fp32;
    if (reached && rate > best.rate) best = {i, bf16, rate};
  }
  return best;
}

// The largest cache that the system reports for CPU 0, and the memory that is free.
std::size_t reported_cache_bytes() {
  std::size_t largest = 0;
  for (int i = 0; i < 8; ++i) {
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/size");
    std::size_t kib = 0;
    if (file >> kib) largest = std::max(largest, kib * 1024);
  }
  return largest;
}

std::size_t free_memory_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  for (std::size_t kib = 0; file >> key;) {
    if (key == "MemAvailable:" && file >> kib) return kib * 1024;
    file.ignore(256, '\n');
  }
  return std::size_t{4} << 30;
}

}  // namespace

Peak Limits::fp32_peak(std::string_view isa) const noexcept { return best_from(*this, isa, false); }
Peak Limits::bf16_peak(std::string_view isa) const noexcept { return best_from(*this, isa, true); }
Peak Limits::peak_of(DType weights, std::string_view isa) const noexcept {
  const Peak fp32 = fp32_peak(isa), bf16 = bf16_peak(isa);
  return weights == DType::kFloat32 || fp32.rate >= bf16.rate ? fp32 : bf16;
}

std::size_t default_read_bytes(std::size_t cache_bytes) {
  const std::size_t cache = cache_bytes != 0 ? cache_bytes : reported_cache_bytes();
  const std::size_t wanted = std::max<std::size_t>(3 * cache, std::size_t{1536} << 20);
  return std::max<std::size_t>(std::min(wanted, free_memory_bytes() / 4), std::size_t{64} << 20);
}

}  // namespace moekit::cpu
