// SPDX-License-Identifier: Apache-2.0
#include "common.h"

#include <algorithm>
#include <cstring>

#include "core/thread_pool.h"

namespace moekit::bench {

namespace {

constexpr double kBesideSeconds = 0.02;

double peak_now(DType dtype, std::string_view isa) {
  return limits().flop_rate(limits().best().peak_of(dtype, isa), kBesideSeconds);
}

}  // namespace

cpu::LimitMeter& limits() {
  static cpu::LimitMeter meter = [] {
    cpu::LimitMeter made(cpu::default_read_bytes());
    made.measure(1.0);
    return made;
  }();
  return meter;
}

Beside beside(DType dtype, std::string_view isa) {
  return {dtype, isa, limits().read_rate(kBesideSeconds), peak_now(dtype, isa), now()};
}

void report(benchmark::State& state, const Work& work, const Beside& beside) {
  const double seconds = std::chrono::duration<double>(now() - beside.start).count();
  const auto rate = [&](const char* name, double amount) {
    state.counters[name] = amount * static_cast<double>(state.iterations()) / seconds;
  };
  rate("GB/s", work.weight_bytes * 1e-9);
  rate("TF/s", work.flops * 1e-12);
  rate("of_peak", 2.0 * work.flops / (beside.peak + peak_now(beside.dtype, beside.isa)));
  rate("of_dram", 2.0 * work.weight_bytes / (beside.dram + limits().read_rate(kBesideSeconds)));
}

AlignedBuffer random_values(std::size_t bytes, std::uint64_t seed) {
  AlignedBuffer buffer(bytes);
  const auto words = static_cast<std::int64_t>(bytes / 8);
  constexpr std::int64_t kPiece = 1 << 16;
  parallel_for(num_threads(), (words + kPiece - 1) / kPiece, 1, [&](std::int64_t piece, std::int64_t) {
    std::uint64_t state = seed * 0x9e3779b97f4a7c15u + static_cast<std::uint64_t>(piece + 1) * 0xbf58476d1ce4e5b9u;
    const std::int64_t last = std::min(words, (piece + 1) * kPiece);
    for (std::int64_t i = piece * kPiece; i < last; ++i) {
      const auto draw = [&state] {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        return state;
      };
      // Sign and mantissa of each half are random, exponents are 120 with probability 1/2, 119 with 1/4, and so on:
      // those of any distribution that is smooth around zero.
      std::uint64_t value = draw() & 0x807f807f807f807fu, exponents = draw();
      for (int shift = 0; shift < 64; shift += 16, exponents >>= 16)
        value |= static_cast<std::uint64_t>(120 - __builtin_ctzll(exponents | 1u << 15)) << 7 << shift;
      std::memcpy(buffer.data() + i * 8, &value, 8);
    }
  });
  return buffer;
}

const AlignedBuffer& cold_weights() {
  static const AlignedBuffer weights = random_values(cpu::default_read_bytes(), 1);
  return weights;
}

}  // namespace moekit::bench
