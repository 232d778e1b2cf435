// SPDX-License-Identifier: Apache-2.0
// The limits that benchmarks are judged by: what is measured, not how fast it is.
#include "backends/cpu/limit_meter.h"

#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

#include "backends/cpu/isa.h"
#include "moekit/core.h"

namespace moekit::cpu {
namespace {

Limits measure_limits(std::size_t read_bytes, double seconds) {
  LimitMeter meter(read_bytes);
  meter.measure(seconds);
  return meter.best();
}

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
    EXPECT_GT(limits.fp32_peak(isas[i]).rate, 0.0) << isas[i];
  }
}

TEST(Limits, PeaksOfAnIsaCountThoseThatItInheritsFrom) {
  Limits limits;
  limits.peaks = {{"a", 0.0, 5.0}, {"b", 3.0, 0.0}, {"c", 1.0, 2.0}};
  EXPECT_EQ(limits.fp32_peak().rate, 3.0);
  EXPECT_EQ(limits.fp32_peak("a").rate, 3.0);
  EXPECT_EQ(limits.fp32_peak("c").rate, 1.0);
  EXPECT_EQ(limits.bf16_peak("a").rate, 5.0);
  EXPECT_EQ(limits.bf16_peak("b").rate, 2.0);
  EXPECT_EQ(limits.fp32_peak("unknown").rate, 0.0);
}

TEST(Limits, WeightsAreJudgedByTheFasterArithmetic) {
  Limits limits;
  limits.peaks = {{"a", 0.0, 5.0}, {"b", 3.0, 0.0}, {"c", 1.0, 4.0}};
  const auto expect = [&](DType dtype, const char* isa, std::size_t index, bool bf16, double rate) {
    const Peak peak = limits.peak_of(dtype, isa);
    EXPECT_EQ(peak.isa, index) << isa;
    EXPECT_EQ(peak.bf16, bf16) << isa;
    EXPECT_EQ(peak.rate, rate) << isa;
  };
  expect(DType::kFloat32, "", 1, false, 3.0);
  expect(DType::kBFloat16, "", 0, true, 5.0);
  expect(DType::kBFloat16, "b", 2, true, 4.0);
  limits.peaks[2].bf16 = 2.0;
  expect(DType::kBFloat16, "b", 1, false, 3.0);
}

TEST(LimitMeter, RatesOfNowAreThoseOfTheSameWork) {
  LimitMeter meter(1 << 20);
  EXPECT_EQ(meter.best().dram, 0.0);
  EXPECT_EQ(meter.flop_rate(meter.best().fp32_peak(), 0.0), 0.0);  // nothing measured: no peak to look at
  meter.measure(0.0);
  const double dram = meter.best().dram;
  EXPECT_GT(dram, 0.0);
  for (int pass = 0; pass < 3; ++pass) EXPECT_GT(meter.read_rate(0.0), 0.0);
  const Peak peak = meter.best().fp32_peak();
  EXPECT_GT(meter.flop_rate(peak, 0.0), 0.0);
  meter.measure(0.0);
  EXPECT_GE(meter.best().dram, dram);
  EXPECT_GE(meter.best().fp32_peak().rate, peak.rate);
  EXPECT_THROW(meter.measure(-1.0), std::invalid_argument);
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
