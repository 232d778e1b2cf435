// SPDX-License-Identifier: Apache-2.0
// Slabs of the output: down-projections of all active experts, their weighted sum, and its way to y.
#include <algorithm>
#include <cstring>

#include "backends/cpu/linear.h"
#include "backends/cpu/tile_run.h"
#include "core/float_convert.h"

namespace moekit::cpu {

const std::byte* TileRun::down_panel(std::size_t i, std::int64_t panel) const noexcept {
  const ActiveExpert& active = ws_.active[i];
  return active.expert->down + panel * active.group->down.panel_bytes;
}

const std::byte* TileRun::first_down_panel(std::int64_t slab) const noexcept {
  return slab < slabs_ && !ws_.active.empty() ? down_panel(0, panels_ * slab / slabs_) : nullptr;
}

void TileRun::down(std::int64_t slab, std::int64_t following, int thread) noexcept {
  const std::int64_t first = panels_ * slab / slabs_, last = panels_ * (slab + 1) / slabs_;
  const std::size_t experts = ws_.active.size();
  if (shared_a_) {
    // All experts read the same rows: a panel of the output stays in the cache from zero to y while they pass.
    for (std::int64_t panel = first; panel < last; ++panel) {
      clear(panel, panel + 1);
      for (std::size_t i = 0; i < experts; ++i)
        multiply(i, panel, panel + 1,
                 i + 1 < experts    ? down_panel(i + 1, panel)
                 : panel + 1 < last ? down_panel(0, panel + 1)
                                    : first_down_panel(following),
                 thread);
      add_identity(panel, panel + 1);
      finish(panel, panel + 1);
    }
    return;
  }
  clear(first, last);
  const bool has_shared = block_.config().shared.count != 0;
  for (std::size_t i = 0; i < experts; ++i) {
    // Identity experts come after the routed ones and before the shared ones: ascending ids, then the rest.
    const bool begins_shared =
        ws_.active[i].group == &block_.shared && (i == 0 || ws_.active[i - 1].group != &block_.shared);
    if (begins_shared) add_identity(first, last);
    multiply(i, first, last, i + 1 < experts ? down_panel(i + 1, first) : first_down_panel(following), thread);
  }
  if (!has_shared) add_identity(first, last);
  finish(first, last);
}

void TileRun::clear(std::int64_t first, std::int64_t last) const noexcept {
  if (!part_.first) return;
  std::memset(out_ + first * out_panel_, 0, static_cast<std::size_t>((last - first) * out_panel_) * sizeof(float));
}

void TileRun::finish(std::int64_t first, std::int64_t last) const noexcept {
  if (!part_.last) return;
  FinishArgs args;
  args.out = out_;
  args.out_panel = out_panel_;
  args.rows = x_.rows;
  args.first = first;
  args.last = last;
  args.columns = y_.cols;
  args.y = y_.data;
  args.dtype = y_.dtype;
  args.y_stride = y_.row_stride;
  block_.chosen.table->finish(args);
}

void TileRun::multiply(std::size_t i, std::int64_t first, std::int64_t last, const std::byte* next,
                       int thread) noexcept {
  const ActiveExpert& active = ws_.active[i];
  const ExpertGroup& group = *active.group;
  const std::int64_t row_bytes = block_.row_bytes(group.down);
  const QuantPanels quant = {
      group.down.half, {active.expert->columns[2], active.expert->columns[2]}, group.down.digits};
  const std::int64_t chunk = chunk_rows(active.rows, row_bytes);
  for (std::int64_t row = 0; row < active.rows; row += chunk) {
    const FloatRows floats = {down_a_ + active.hidden + row * block_.float_row_bytes(group.down),
                              &block_.kernels(group.down)};
    DownArgs args;
    args.a = down_a_ + active.down_a + row * row_bytes;
    args.rows = std::min(chunk, active.rows - row);
    args.steps = group.down.steps;
    args.panels = active.expert->down;
    args.first = first;
    args.last = last;
    args.bias = active.expert->down_bias;
    args.token = active.token != nullptr ? active.token + row : nullptr;
    args.weight = active.weight != nullptr ? active.weight + row : nullptr;
    args.out = active.token != nullptr ? out_ : out_ + row * kPanelColumns;
    args.out_stride = kPanelColumns;
    args.out_panel = out_panel_;
    args.next = next;
    args.scratch = scratch_ + thread * scratch_floats_;
    if (group.down.quantised) args.quant = &quant;
    if (group.down.bf16z) args.bf16z = &group.down.compressed;
    if (group.down.split) args.floats = &floats;
    if (unpacked_bytes_ != 0) args.unpacked = unpacked_ + thread * unpacked_bytes_;
    block_.down_kernel(group.down)(args);
  }
}

void TileRun::add_identity(std::int64_t first, std::int64_t last) const noexcept {
  const TokenPermutation& permutation = ws_.permutation;
  const std::int64_t begin = first * kPanelColumns, end = std::min(last * kPanelColumns, x_.cols);
  for (std::int64_t row = identity_first_; row < identity_last_; ++row) {
    const std::int64_t token = permutation.token[static_cast<std::size_t>(row)];
    const float weight = permutation.weight[static_cast<std::size_t>(row)];
    float* out = out_ + token * kPanelColumns;
    for (std::int64_t c = begin; c < end; ++c)
      out[c / kPanelColumns * out_panel_ + c % kPanelColumns] +=
          weight * load_as_float(x_.data, x_.dtype, token * x_.row_stride + c);
  }
}

}  // namespace moekit::cpu
