// SPDX-License-Identifier: Apache-2.0
// Measures limits.h: what the machine does at its best, and what it does now, beside what is judged by it.
#pragma once

#include <cstddef>
#include <vector>

#include "backends/cpu/limits.h"
#include "core/aligned_buffer.h"

namespace moekit::cpu {

/// How a pass reads: `streams` neighbouring streams a thread, each `ahead` bytes before its use.
struct ReadWay {
  int streams = 1;
  std::size_t ahead = 2048;
};

/// One thread at a time may use it.
class LimitMeter {
 public:
  /// Holds `read_bytes` of memory, and measures with the num_threads() of now. Throws std::bad_alloc,
  /// std::invalid_argument for less than two lines a thread.
  explicit LimitMeter(std::size_t read_bytes);

  /// The best rates that measure() has seen.
  const Limits& best() const noexcept { return best_; }

  /// Passes that read all of the memory, for at least `seconds`, and of arithmetic, `seconds` / 4 an ISA and dtype.
  /// Throws std::invalid_argument for `seconds` below 0.
  void measure(double seconds);

  /// bytes/s over at least `seconds` of reading on where the last call ended, in the way that was best.
  double read_rate(double seconds);
  /// flop/s over at least `seconds` of the arithmetic that has this peak.
  double flop_rate(const Peak& peak, double seconds) const;

 private:
  Limits best_;
  std::vector<const LimitKernels*> tables_;  // of best_.peaks
  AlignedBuffer memory_;
  std::size_t at_ = 0;  // byte that read_rate reads next
  ReadWay way_;
};

}  // namespace moekit::cpu
