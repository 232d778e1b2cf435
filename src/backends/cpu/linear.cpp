// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/linear.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "core/cpu_features.h"
#include "core/thread_pool.h"

namespace moekit::cpu {
namespace {

std::int64_t row_bytes(const WeightKernels& kernels, const PackedMatrix& matrix) {
  return matrix.steps * segments_per_step(matrix.weight, kernels.activation) * kLineBytes;
}

}  // namespace

std::int64_t chunk_rows(std::int64_t rows, std::int64_t row_bytes) noexcept {
  // Two thirds of the cache for A; the rest holds the panel in use and the one on its way.
  const std::int64_t limit = static_cast<std::int64_t>(l2_cache_bytes()) * 2 / 3;
  const std::int64_t most = std::max<std::int64_t>(32, limit / std::max<std::int64_t>(1, row_bytes) / 32 * 32);
  const std::int64_t chunks = std::max<std::int64_t>(1, ceil_div(rows, most));
  return std::max<std::int64_t>(32, round_up(ceil_div(rows, chunks), 32));
}

int worthwhile_threads(double multiply_adds, double weight_bytes) noexcept {
  // A core does about 100 float32 multiply-adds a nanosecond and reads about 15 bytes; a second thread costs about 2 us
  // to start and to wait for.
  const double nanoseconds = multiply_adds / 100.0 + weight_bytes / 15.0;
  const double useful = std::max(1.0, nanoseconds / 2000.0);
  return useful >= 4096.0 ? num_threads() : std::min(num_threads(), static_cast<int>(useful));
}

std::size_t linear_bytes(const ChosenKernels& chosen, const PackedMatrix& matrix, std::int64_t tokens, int threads) {
  const std::int64_t row = row_bytes(chosen.of(matrix.weight), matrix);
  const std::int64_t chunk = chunk_rows(tokens, row), scratch = chunk * row + accumulator_floats(chunk) * 4;
  const std::int64_t out = checked_mul(tokens, matrix.panels * kPanelColumns * 4, "router logits");
  return static_cast<std::size_t>(out + checked_mul(threads, scratch + 128, "router scratch") + 64);
}

float* linear(const ChosenKernels& chosen, const PackedMatrix& matrix, const MatrixView& x, Arena& arena, int threads) {
  const WeightKernels& kernels = chosen.of(matrix.weight);
  const std::int64_t row = row_bytes(kernels, matrix), segments = row / kLineBytes,
                     stride = matrix.panels * kPanelColumns;
  // Few panels are shared out by rows instead.
  const std::int64_t pieces = matrix.panels < 2 * threads ? 2 * threads : 1;
  const std::int64_t chunk = std::min(chunk_rows(x.rows, row), round_up(ceil_div(x.rows, pieces), kBlockRows));
  const std::int64_t chunks = ceil_div(x.rows, chunk);
  const std::int64_t shares = std::clamp<std::int64_t>(ceil_div(2 * threads, chunks), 1, matrix.panels);
  float* out = arena.take<float>(x.rows * stride);
  std::byte* a = arena.take<std::byte>(threads * chunk * row);
  float* scratch = arena.take<float>(threads * accumulator_floats(chunk));
  const auto gather = x.dtype == DType::kBFloat16 ? kernels.gather_bf16 : kernels.gather_f32;
  std::atomic<std::int64_t> next{0};
  run_parallel(static_cast<int>(std::min<std::int64_t>(threads, chunks * shares)), [&](Team&, int thread) {
    const KernelScope scope(*chosen.table);
    for (std::int64_t unit; (unit = next.fetch_add(1, std::memory_order_relaxed)) < chunks * shares;) {
      const std::int64_t first = unit / shares * chunk, rows = std::min(chunk, x.rows - first), share = unit % shares;
      const std::int64_t panel = matrix.panels * share / shares, last = matrix.panels * (share + 1) / shares;
      GatherArgs in;
      in.x =
          static_cast<const std::byte*>(x.data) + first * x.row_stride * static_cast<std::int64_t>(dtype_size(x.dtype));
      in.row_stride = x.row_stride;
      in.rows = rows;
      in.columns = x.cols;
      in.segments = segments;
      in.a = a + thread * chunk * row;
      gather(in);
      DownArgs args;
      args.a = in.a;
      args.rows = rows;
      args.steps = matrix.steps;
      args.panels = matrix.storage.data();
      args.first = panel;
      args.last = last;
      args.out = out + first * stride;
      args.out_stride = stride;
      args.out_panel = kPanelColumns;  // logits are wanted row by row
      args.scratch = scratch + thread * accumulator_floats(chunk);
      for (std::int64_t r = 0; r < rows; ++r)
        std::memset(args.out + r * stride + panel * kPanelColumns, 0,
                    static_cast<std::size_t>((last - panel) * kPanelColumns) * sizeof(float));
      kernels.down(args);
    }
  });
  return out;
}

}  // namespace moekit::cpu
