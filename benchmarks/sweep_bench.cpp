// SPDX-License-Identifier: Apache-2.0
// The up and down sweeps of each ISA's kernel table over experts that come from memory, all threads.
#include <string>
#include <vector>

#include "backends/cpu/isa.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/layout.h"
#include "common.h"
#include "core/thread_pool.h"

namespace moekit::bench {
namespace {

using namespace moekit::cpu;

// Experts of one iteration, as a token of the layer has them: starting the threads weighs as much as there.
constexpr std::int64_t kExpertsAtOnce = kTopK;

struct Sweep {
  ChosenKernels chosen;
  DType weight;
  bool up;
  std::int64_t rows;

  std::int64_t inner() const { return up ? kHidden : kIntermediate; }
  std::int64_t panels() const { return (up ? 2 * kIntermediate : kHidden) / kPanelColumns; }
  std::int64_t steps() const { return inner() / step_columns(weight); }
  std::int64_t segments() const { return steps() * segments_per_step(weight, chosen.of(weight).activation); }
  std::int64_t expert_bytes() const { return panels() * steps() * kStepBytes; }
};

/// What one thread works on.
struct ThreadBuffers {
  AlignedBuffer a, h, out, scratch;
  std::int64_t h_segments;

  explicit ThreadBuffers(const Sweep& s)
      : a(static_cast<std::size_t>(round_up(s.rows, kBlockRows) * s.segments() * kLineBytes)),
        h(static_cast<std::size_t>(round_up(s.rows, kBlockRows) * kIntermediate * 4)),
        out(static_cast<std::size_t>(s.rows * kHidden * 4)),
        scratch(static_cast<std::size_t>(accumulator_floats(s.rows) * 4)),
        h_segments(kIntermediate / (s.chosen.of(s.weight).activation == DType::kBFloat16 ? 32 : 16)) {
    const AlignedBuffer x = random_values(static_cast<std::size_t>(s.rows * s.inner() * 4), 2);
    GatherArgs args;
    args.x = x.data();
    args.row_stride = args.columns = s.inner();
    args.rows = s.rows;
    args.segments = s.segments();
    args.a = a.data();
    s.chosen.of(s.weight).gather_f32(args);
  }
};

void sweep_expert(const Sweep& s, const std::byte* expert, const std::byte* next, std::int64_t first, std::int64_t last,
                  const ThreadBuffers& buffers) {
  const WeightKernels& kernels = s.chosen.of(s.weight);
  const auto fill = [&](auto args) {
    args.a = buffers.a.data();
    args.rows = s.rows;
    args.steps = s.steps();
    args.panels = expert;
    args.first = first;
    args.last = last;
    args.next = next;
    args.scratch = reinterpret_cast<float*>(buffers.scratch.data());
    return args;
  };
  if (s.up) {
    UpArgs args = fill(UpArgs{});
    args.h = buffers.h.data();
    args.h_segments = buffers.h_segments;
    kernels.up(args);
  } else {
    DownArgs args = fill(DownArgs{});
    args.out = reinterpret_cast<float*>(buffers.out.data());
    args.out_stride = kPanelColumns;
    args.out_panel = s.rows * kPanelColumns;
    kernels.down(args);
  }
}

void run(benchmark::State& state, const Sweep& s) {
  const AlignedBuffer& weights = cold_weights();
  const std::int64_t experts = static_cast<std::int64_t>(weights.bytes()) / s.expert_bytes();
  std::vector<ThreadBuffers> buffers;
  for (int t = 0; t < num_threads(); ++t) buffers.emplace_back(s);
  std::int64_t at = 0;
  const auto expert = [&](std::int64_t i) { return weights.data() + (at + i) % experts * s.expert_bytes(); };
  const Beside start = beside(s.weight, s.chosen.name_of(s.weight));
  for (auto _ : state) {
    run_parallel(num_threads(), [&](Team& team, int thread) {
      if (s.chosen.table->enter != nullptr) s.chosen.table->enter();
      const std::int64_t first = s.panels() * thread / team.threads(),
                         last = s.panels() * (thread + 1) / team.threads();
      for (std::int64_t i = 0; i < kExpertsAtOnce; ++i)
        sweep_expert(s, expert(i), expert(i + 1) + first * s.steps() * kStepBytes, first, last,
                     buffers[static_cast<std::size_t>(thread)]);
      if (s.chosen.table->leave != nullptr) s.chosen.table->leave();
    });
    at = (at + kExpertsAtOnce) % experts;
  }
  const double elements =
      static_cast<double>(kExpertsAtOnce * s.expert_bytes()) / static_cast<double>(dtype_size(s.weight));
  report(state,
         {static_cast<double>(kExpertsAtOnce * s.expert_bytes()), 2.0 * elements * static_cast<double>(s.rows)}, start);
}

}  // namespace

void register_sweeps() {
  for (const std::string_view isa : host_isas()) {
    force_isa(isa);
    const ChosenKernels chosen = choose_kernels();
    for (const DType weight : {DType::kFloat32, DType::kBFloat16}) {
      if (chosen.name_of(weight) != isa) continue;  // inherited: measured under its own name
      for (const bool up : {true, false})
        for (const std::int64_t rows : {1, 4, 16, 64, 256}) {
          const std::string name = "sweep/" + std::string(isa) + "/" + std::string(dtype_name(weight)) +
                                   (up ? "/up/rows:" : "/down/rows:") + std::to_string(rows);
          const Sweep sweep{chosen, weight, up, rows};
          benchmark::RegisterBenchmark(name.c_str(), [sweep](benchmark::State& state) { run(state, sweep); })
              ->UseRealTime()
              ->Unit(benchmark::kMicrosecond);
        }
    }
  }
  force_isa("");
}

}  // namespace moekit::bench
