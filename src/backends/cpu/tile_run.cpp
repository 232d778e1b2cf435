// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/tile_run.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/linear.h"

namespace moekit::cpu {
namespace {

// Weights that a step of a panel has.
double step_weights(const Projection& p) {
  return p.digits != 0 ? kPanelColumns * kQuantStep
                       : static_cast<double>(kStepBytes) / static_cast<double>(dtype_size(p.weight));
}

// Every token in order: rows of A that experts can share.
bool all_tokens(const ActiveExpert& active, std::int64_t tokens) {
  return active.rows == tokens && active.in_scale == nullptr;
}

}  // namespace

TileRun::TileRun(const CpuBlock& block, const MatrixView& x, const MutableMatrixView& y, CpuWorkspace& workspace,
                 int threads, const Part& part)
    : block_(block),
      x_(x),
      y_(y),
      ws_(workspace),
      threads_(threads),
      part_(part),
      panels_(block.routed.down.panels),
      out_panel_(checked_mul(x.rows, kPanelColumns, "accumulators")) {
  plan_units();
  allocate();
}

void TileRun::plan_units() {
  // Cost of a panel step in units of a row's share of it: 64 rows' work stands for reading 2 KiB from memory.
  double macs = 0, bytes = 0, cost = 0;
  std::int64_t all_rows = 0;
  for (const ActiveExpert& active : ws_.active) {
    for (const Projection* p : {&active.group->up, &active.group->down}) {
      macs += static_cast<double>(active.rows) * static_cast<double>(p->panels * p->steps) * step_weights(*p);
      bytes += static_cast<double>(p->bytes());
    }
    cost += static_cast<double>(active.group->up.panels * active.group->up.steps) *
            (64.0 + static_cast<double>(active.rows));
    all_rows += active.rows;
  }
  threads_ = std::min(threads_, worthwhile_threads(macs, bytes));
  const double mean_rows =
      static_cast<double>(all_rows) / static_cast<double>(std::max<std::size_t>(1, ws_.active.size()));
  // Smaller units balance better; with many rows a unit must be worth its gather, which every share repeats.
  const double units = static_cast<double>(threads_) * (mean_rows <= 4 ? 32.0 : mean_rows <= 16 ? 16.0 : 8.0);

  ws_.units.clear();
  shared_a_ = !ws_.active.empty() && block_.config().shared.count == 0;
  const ActiveExpert* sharing = nullptr;  // whose A the experts with every token read, if they need no up-projection
  for (std::size_t i = 0; i < ws_.active.size(); ++i) {
    ActiveExpert& active = ws_.active[i];
    const ExpertGroup& group = *active.group;
    const bool linear = is_linear(group);
    const bool share = linear && all_tokens(active, x_.rows);
    shared_a_ = shared_a_ && share;
    if (share && sharing != nullptr && sharing->group == &group) {
      active.down_a = sharing->down_a;
      active.hidden = sharing->hidden;
      continue;
    }
    active.down_a = down_bytes_;
    if (share) sharing = &active;
    down_bytes_ += round_up(active.rows, kBlockRows) * block_.row_bytes(group.down);
    if (linear ? group.down.split : block_.remakes_hidden(group)) {
      active.hidden = down_bytes_;
      down_bytes_ += round_up(active.rows, kBlockRows) * block_.hidden_segments(group) * kLineBytes;
      remakes_hidden_ = remakes_hidden_ || !linear;
    }
    const std::int64_t row_bytes = block_.row_bytes(group.up);
    const std::int64_t chunk =
        linear ? round_up(ceil_div(active.rows, threads_ * 4), kBlockRows) : chunk_rows(active.rows, row_bytes);
    const std::int64_t down_chunk = chunk_rows(active.rows, block_.row_bytes(group.down));
    for (const Projection* p : {&group.up, &group.down})
      if (p->digits == 0 && (p->quantised || p->bf16z || block_.widens(*p)))
        unpacked_bytes_ = std::max(unpacked_bytes_, unpacked_bytes(block_.kernels(*p), p->steps));
    if (group.up.split || group.down.split) unpacked_bytes_ = std::max(unpacked_bytes_, kSplitBytes);
    scratch_floats_ = std::max(scratch_floats_, accumulator_floats(linear ? down_chunk : std::max(chunk, down_chunk)));
    if (!linear)
      chunk_bytes_ = std::max(chunk_bytes_, std::min(chunk, round_up(active.rows, kBlockRows)) *
                                                (row_bytes + block_.float_row_bytes(group.up)));
    for (std::int64_t row = 0; row < active.rows; row += chunk) {
      const std::int64_t rows = std::min(chunk, active.rows - row);
      const double part = static_cast<double>(group.up.panels * group.up.steps) * (64.0 + static_cast<double>(rows));
      const std::int64_t most = std::max<std::int64_t>(1, group.up.panels / (rows > 16 ? 4 : 1));
      const std::int64_t shares =
          linear ? 1 : std::clamp<std::int64_t>(static_cast<std::int64_t>(part * units / cost + 0.5), 1, most);
      for (std::int64_t s = 0; s < shares; ++s)
        ws_.units.push_back({static_cast<std::int64_t>(i), row, rows, group.up.panels * s / shares,
                             group.up.panels * (s + 1) / shares});
    }
  }
  // Small slabs balance better; with many rows a slab must be worth reading all rows again for, unless the rows are
  // read panel by panel anyway.
  const std::int64_t slabs = shared_a_ || mean_rows <= 32 ? threads_ * 4 : threads_;
  slabs_ = threads_ == 1 ? 1 : std::min(panels_, slabs);
}

void TileRun::allocate() {
  const auto bytes = [](std::int64_t n) { return Arena::padded(static_cast<std::size_t>(n)); };
  const std::int64_t out_floats = checked_mul(panels_, out_panel_, "accumulators");
  const std::size_t out_bytes = bytes(checked_mul(out_floats, 4, "accumulators"));
  const bool whole = part_.first && part_.last;
  ws_.arena.reset(bytes(threads_ * chunk_bytes_) + bytes(down_bytes_) + (whole ? out_bytes : 0) +
                  bytes(threads_ * scratch_floats_ * 4) + bytes(threads_ * unpacked_bytes_));
  if (!whole) ws_.sums.reset(out_bytes);  // of the same size in every part: what they hold stays
  a_ = ws_.arena.take<std::byte>(threads_ * chunk_bytes_);
  down_a_ = ws_.arena.take<std::byte>(down_bytes_);
  out_ = (whole ? ws_.arena : ws_.sums).take<float>(out_floats);
  scratch_ = ws_.arena.take<float>(threads_ * scratch_floats_);
  unpacked_ = ws_.arena.take<std::byte>(threads_ * unpacked_bytes_);
}

void TileRun::operator()(Team& team, int thread) noexcept {
  const KernelScope scope(*block_.chosen.table);
  const auto units = static_cast<std::int64_t>(ws_.units.size());
  // One unit and one slab are claimed ahead, so that the last panel of one can prefetch the first of the next.
  std::int64_t unit = next_unit_.fetch_add(1, std::memory_order_relaxed);
  std::int64_t slab = next_slab_.fetch_add(1, std::memory_order_relaxed);
  const UpUnit* held = nullptr;
  while (unit < units) {
    const std::int64_t following = next_unit_.fetch_add(1, std::memory_order_relaxed);
    up(ws_.units[static_cast<std::size_t>(unit)], following < units ? first_panel(following) : first_down_panel(slab),
       thread, held);
    unit = following;
  }
  team.barrier();
  if (remakes_hidden_) {
    remake_hidden(thread, team.threads());
    team.barrier();
  }
  while (slab < slabs_) {
    const std::int64_t following = next_slab_.fetch_add(1, std::memory_order_relaxed);
    down(slab, following, thread);
    slab = following;
  }
}

const std::byte* TileRun::first_panel(std::int64_t unit) const noexcept {
  const UpUnit& u = ws_.units[static_cast<std::size_t>(unit)];
  const ActiveExpert& active = ws_.active[static_cast<std::size_t>(u.active)];
  return active.expert->up == nullptr ? nullptr : active.expert->up + u.first * active.group->up.panel_bytes;
}

bool TileRun::same_rows(const UpUnit& a, const UpUnit& b) const noexcept {
  if (a.active == b.active) return a.row == b.row;
  const ActiveExpert &p = ws_.active[static_cast<std::size_t>(a.active)],
                     &q = ws_.active[static_cast<std::size_t>(b.active)];
  if (p.group != q.group || a.rows != b.rows || p.in_scale != nullptr || q.in_scale != nullptr) return false;
  if (p.token == nullptr || q.token == nullptr) return p.token == q.token && a.row == b.row;
  return std::equal(p.token + a.row, p.token + a.row + a.rows, q.token + b.row);
}

void TileRun::up(const UpUnit& unit, const std::byte* next, int thread, const UpUnit*& held) noexcept {
  const ActiveExpert& active = ws_.active[static_cast<std::size_t>(unit.active)];
  const ExpertGroup& group = *active.group;
  const std::int64_t down_segments = block_.hidden_segments(group);
  std::byte* down_a = down_a_ + active.down_a + unit.row * block_.row_bytes(group.down);
  std::byte* hidden = down_a_ + active.hidden + unit.row * down_segments * kLineBytes;
  if (is_linear(group)) return gather(active, unit.row, unit.rows, down_a, hidden);
  std::byte* h = block_.remakes_hidden(group) ? hidden : down_a;
  UpArgs args;
  std::byte* a = a_ + thread * chunk_bytes_;
  std::byte* beside = a + round_up(unit.rows, kBlockRows) * block_.row_bytes(group.up);
  const FloatRows floats = {beside, &block_.kernels(group.up)};
  if (held == nullptr || !same_rows(*held, unit)) gather(active, unit.row, unit.rows, a, beside);
  held = &unit;
  args.a = a;
  args.rows = unit.rows;
  args.steps = group.up.steps;
  args.panels = active.expert->up;
  args.first = unit.first;
  args.last = unit.last;
  args.bias = active.expert->up_bias;
  args.h = h;
  args.h_segments = down_segments;
  args.h_nibble_order = group.down.nibble_order();
  args.activation = group.activation;
  args.next = next;
  args.scratch = scratch_ + thread * scratch_floats_;
  const QuantPanels quant = {group.up.half,
                             {active.expert->columns[is_gated(group.config.act) ? 0 : 1], active.expert->columns[1]},
                             group.up.digits};
  if (group.up.quantised) args.quant = &quant;
  if (group.up.bf16z) args.bf16z = &group.up.compressed;
  if (group.up.split) args.floats = &floats;
  if (unpacked_bytes_ != 0) args.unpacked = unpacked_ + thread * unpacked_bytes_;
  block_.up_kernel(group.up)(args);
  // Panels end on 16 columns, A on whole steps: the last unit of an expert clears what no panel writes.
  const std::int64_t made = group.up.panels * (is_gated(group.config.act) ? 16 : 32) *
                            static_cast<std::int64_t>(dtype_size(block_.hidden_dtype(group)));
  const std::int64_t row_bytes = down_segments * kLineBytes;
  if (unit.last != group.up.panels) return;
  for (std::int64_t at = made; at < row_bytes; at = (at / kLineBytes + 1) * kLineBytes) {
    const std::int64_t left = kLineBytes - at % kLineBytes;
    for (std::int64_t r = 0; r < unit.rows; ++r)
      std::memset(h + r / kBlockRows * down_segments * kSegmentBytes + at / kLineBytes * kSegmentBytes +
                      r % kBlockRows * kLineBytes + at % kLineBytes,
                  0, static_cast<std::size_t>(left));
  }
}

}  // namespace moekit::cpu
