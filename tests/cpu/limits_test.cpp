// SPDX-License-Identifier: Apache-2.0
// The limits that benchmarks are judged by: what is measured, not how fast it is.
#include "backends/cpu/limits.h"

#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

#include "backends/cpu/isa.h"
#include "moekit/core.h"

namespace moekit::cpu {
namespace {

TEST(Limits, CoverEveryIsaOfTheHost) {
  const Limits limits = measure_limits(1 << 20, 0.0);
  EXPECT_EQ(limits.threads, num_threads());
  EXPECT_EQ(limits.read_bytes, std::size_t{1} << 20);
  EXPECT_GT(limits.dram, 0.0);
  const auto isas = host_isas();
  ASSERT_EQ(limits.peaks.size(), isas.size());
  for (std::size_t i = 0; i < isas.size(); ++i) {
    EXPECT_EQ(limits.peaks[i].isa, isas[i]);
    // Those that add products of bytes only take the rest from the ISA after them.
    const bool bytes_only =
        isas[i] == "avx512vnni" || isas[i] == "avxvnni" || isas[i] == "neondot" || isas[i] == "neoni8mm";
    EXPECT_EQ(limits.peaks[i].fp32 + limits.peaks[i].bf16 > 0.0, !bytes_only) << isas[i];
    EXPECT_GT(limits.fp32_peak(isas[i]), 0.0) << isas[i];
  }
}

TEST(Limits, PeaksOfAnIsaCountThoseThatItInheritsFrom) {
  Limits limits;
  limits.peaks = {{"a", 0.0, 5.0}, {"b", 3.0, 0.0}, {"c", 1.0, 2.0}};
  EXPECT_EQ(limits.fp32_peak(), 3.0);
  EXPECT_EQ(limits.fp32_peak("a"), 3.0);
  EXPECT_EQ(limits.fp32_peak("c"), 1.0);
  EXPECT_EQ(limits.bf16_peak("a"), 5.0);
  EXPECT_EQ(limits.bf16_peak("b"), 2.0);
  EXPECT_EQ(limits.fp32_peak("unknown"), 0.0);
}

TEST(Limits, RefuseWhatCannotBeMeasured) {
  EXPECT_THROW(measure_limits(0, 0.0), std::invalid_argument);
  EXPECT_THROW(measure_limits(1 << 20, -1.0), std::invalid_argument);
  EXPECT_THROW(measure_limits(1 << 20, std::numeric_limits<double>::quiet_NaN()), std::invalid_argument);
}

TEST(Limits, ReadMoreThanTheCachesHold) {
  const std::size_t small = default_read_bytes(1 << 20), large = default_read_bytes(std::size_t{1} << 30);
  EXPECT_GE(small, std::size_t{64} << 20);
  EXPECT_LE(small, std::size_t{1536} << 20);
  EXPECT_GE(large, small);
}

// Also for more threads than processors, and for sizes that do not divide.
TEST(Limits, HoldForAnyNumberOfThreads) {
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    const Limits limits = measure_limits(4099 * 64, 0.0);
    EXPECT_EQ(limits.threads, threads);
    EXPECT_GT(limits.dram, 0.0);
  }
  set_num_threads(0);
}

}  // namespace
}  // namespace moekit::cpu
