// SPDX-License-Identifier: Apache-2.0
// Rows of A: of x, and of hidden activations where those become integers or parts.
#include <algorithm>

#include "backends/cpu/tile_run.h"

namespace moekit::cpu {
namespace {

// The projection whose A is made of x.
const Projection& first_projection(const ExpertGroup& group) { return is_linear(group) ? group.down : group.up; }

// The rows of x that a gather reads: those of the expert's tokens, or a stretch where it takes all.
template <class Args>
void set_rows(const MatrixView& x, const ActiveExpert& active, std::int64_t row, std::int64_t rows, Args& args) {
  args.x = x.data;
  args.row_stride = x.row_stride;
  args.rows = rows;
  args.columns = x.cols;
  if (active.token != nullptr) {
    args.token = active.token + row;
  } else {
    args.x =
        static_cast<const std::byte*>(x.data) + row * x.row_stride * static_cast<std::int64_t>(dtype_size(x.dtype));
  }
  if (active.in_scale != nullptr) args.scale = active.in_scale + row;
}

}  // namespace

void TileRun::gather(const ActiveExpert& active, std::int64_t row, std::int64_t rows, std::byte* a,
                     std::byte* floats) const noexcept {
  const ExpertGroup& group = *active.group;
  const Projection& projection = first_projection(group);
  if (projection.digits != 0) return gather_integers(active, row, rows, a);
  GatherArgs args;
  set_rows(x_, active, row, rows, args);
  args.segments = (projection.split ? block_.float_row_bytes(projection) : block_.row_bytes(projection)) / kLineBytes;
  args.nibble_order = projection.nibble_order();
  args.a = projection.split ? floats : a;
  const WeightKernels& kernels = block_.kernels(projection);
  (x_.dtype == DType::kBFloat16 ? kernels.gather_bf16 : kernels.gather_f32)(args);
  if (projection.split) block_.chosen.table->split.split({floats, rows, projection.steps, a});
}

void TileRun::gather_integers(const ActiveExpert& active, std::int64_t row, std::int64_t rows,
                              std::byte* a) const noexcept {
  const Projection& projection = first_projection(*active.group);
  IntGatherArgs args;
  set_rows(x_, active, row, rows, args);
  args.format = &projection.half[0];
  args.digits = projection.digits;
  args.dtype = x_.dtype;
  args.a = a;
  block_.chosen.integer.gather(args);
}

void TileRun::remake_hidden(int thread, int threads) const noexcept {
  std::int64_t turn = 0;  // blocks of rows go to the threads in turn
  for (const ActiveExpert& active : ws_.active) {
    const Projection& down = active.group->down;
    if (!block_.remakes_hidden(*active.group) || is_linear(*active.group)) continue;
    for (std::int64_t row = 0; row < active.rows; row += kBlockRows, ++turn) {
      if (turn % threads != thread) continue;
      const std::int64_t rows = std::min(kBlockRows, active.rows - row);
      const std::int64_t segments = block_.hidden_segments(*active.group);
      const std::byte* h = down_a_ + active.hidden + row * segments * kLineBytes;
      std::byte* a = down_a_ + active.down_a + row * block_.row_bytes(down);
      if (down.split) {
        block_.chosen.table->split.split({h, rows, segments, a});
        continue;
      }
      IntGatherArgs args;
      args.format = &down.half[0];
      args.digits = down.digits;
      args.rows = rows;
      args.h = h;
      args.h_segments = segments;
      args.a = a;
      block_.chosen.integer.gather(args);
    }
  }
}

}  // namespace moekit::cpu
