// SPDX-License-Identifier: Apache-2.0
// Row-major matrices to panels. A panel's tile is, for both dtypes, the transpose of 16 rows x 64 bytes in units of four
// bytes: a float32, or a pair of bfloat16.
#include <cstring>

#include "backends/cpu/packed.h"
#include "backends/cpu/transpose.h"
#include "core/float_convert.h"
#include "core/thread_pool.h"

namespace moekit::cpu {
namespace {

struct PackScratch {
  ByteScratch bytes;           // what a file storage reads into
  std::vector<float> row;      // a row on its way between dtypes
  std::vector<std::byte> rows;  // 16 rows of the packed dtype, padded to whole steps
};

// 16 source rows of `steps` lines to one tile a step, `kStepBytes` apart.
void transpose_tiles(const std::byte* rows, std::int64_t row_bytes, std::int64_t steps, std::byte* tiles) {
  for (std::int64_t s = 0; s < steps; ++s)
    for (int column = 0; column < 16; column += 4)
      for (int line = 0; line < 16; line += 4)
        transpose4(rows + column * row_bytes + s * kLineBytes + line * 4, row_bytes,
                   tiles + s * kStepBytes + line * kLineBytes + column * 4, kLineBytes);
}

// Rows [first, first + 16) of a matrix (absent ones are zero) to the tiles of half a panel.
void pack_tiles(const MatrixView& m, std::int64_t first, DType weight, std::int64_t steps, PackScratch& scratch,
                std::byte* tiles) {
  const std::int64_t size = static_cast<std::int64_t>(dtype_size(weight)), row_bytes = steps * kLineBytes;
  const bool direct = m.dtype == weight && m.col_stride == 1 && first + 16 <= m.rows && m.cols * size == row_bytes;
  if (direct) {
    const std::byte* rows = static_cast<const std::byte*>(m.data) + first * m.row_stride * size;
    return transpose_tiles(rows, m.row_stride * size, steps, tiles);
  }
  scratch.rows.assign(static_cast<std::size_t>(16 * row_bytes), std::byte{0});
  for (std::int64_t r = 0; r < 16 && first + r < m.rows; ++r) {
    std::byte* row = scratch.rows.data() + r * row_bytes;
    const std::int64_t begin = (first + r) * m.row_stride;
    if (m.dtype == weight && m.col_stride == 1) {
      std::memcpy(row, static_cast<const std::byte*>(m.data) + begin * size, static_cast<std::size_t>(m.cols * size));
      continue;
    }
    scratch.row.resize(static_cast<std::size_t>(m.cols));
    load_as_float(m.data, m.dtype, begin, m.col_stride, m.cols, scratch.row.data());
    for (std::int64_t c = 0; c < m.cols; ++c) store_float(row, weight, c, scratch.row[static_cast<std::size_t>(c)]);
  }
  transpose_tiles(scratch.rows.data(), row_bytes, steps, tiles);
}

// A whole matrix: both tiles of a panel are 32 rows in order.
void pack_plain(const MatrixView& m, DType weight, std::int64_t steps, PackScratch& scratch, std::byte* panels) {
  for (std::int64_t r = 0; r < round_up(m.rows, kPanelColumns); r += kTileColumns)
    pack_tiles(m, r, weight, steps, scratch,
               panels + r / kPanelColumns * steps * kStepBytes + r % kPanelColumns / kTileColumns * kSegmentBytes);
}

// One operand of a gated up-projection: tile `half` of every panel.
void pack_half(const MatrixView& m, int half, DType weight, std::int64_t steps, PackScratch& scratch,
               std::byte* panels) {
  for (std::int64_t r = 0; r < m.rows; r += kTileColumns)
    pack_tiles(m, r, weight, steps, scratch, panels + r / kTileColumns * steps * kStepBytes + half * kSegmentBytes);
}

// Bias element i to where panel order has it.
void pack_bias(const MatrixRef& bias, std::int64_t stride, std::int64_t at, PackScratch& scratch, float* out) {
  if (!bias) return;
  const MatrixView view = bias.read(scratch.bytes);
  for (std::int64_t i = 0; i < view.cols; ++i)
    out[i / kTileColumns * stride + at + i % kTileColumns] = load_as_float(view.data, view.dtype, i * view.col_stride);
}

}  // namespace

PackedMatrix pack_matrix(const MatrixRef& matrix, DType weight) {
  PackedMatrix packed;
  packed.weight = weight;
  packed.rows = matrix.rows;
  packed.cols = matrix.cols;
  packed.panels = ceil_div(matrix.rows, kPanelColumns);
  packed.steps = ceil_div(matrix.cols, step_columns(weight));
  packed.storage = AlignedBuffer(static_cast<std::size_t>(
      checked_mul(packed.panels, checked_mul(packed.steps, kStepBytes, matrix.tensor.name), matrix.tensor.name)));
  PackScratch scratch;
  pack_plain(matrix.read(scratch.bytes), weight, packed.steps, scratch, packed.storage.data());
  return packed;
}

ExpertGroup pack_group(const ExpertConfig& config, const std::vector<ExpertTensors>& tensors, DType weight) {
  ExpertGroup group;
  group.config = config;
  group.activation = {config.act, static_cast<float>(config.limit), static_cast<float>(config.alpha),
                      static_cast<float>(config.up_add)};
  const bool linear = config.act == Activation::kLinear, gated = is_gated(config.act);
  const std::int64_t columns = step_columns(weight);
  if (!linear) {
    group.up_panels = ceil_div(config.intermediate, gated ? kTileColumns : kPanelColumns);
    group.up_steps = ceil_div(config.input, columns);
  }
  group.down_panels = ceil_div(config.output, kPanelColumns);
  // A panel of an ungated up-projection makes 32 columns of A: the down-projection takes them whole.
  const std::int64_t made = linear ? config.input
                            : gated ? config.intermediate
                                    : round_up(config.intermediate, kPanelColumns);
  group.down_steps = ceil_div(made, columns);
  const std::int64_t count = static_cast<std::int64_t>(tensors.size());
  const std::int64_t up_bytes = checked_mul(group.up_panels, group.up_steps * kStepBytes, "up projection");
  const std::int64_t down_bytes = checked_mul(group.down_panels, group.down_steps * kStepBytes, "down projection");
  const std::int64_t bias_floats = (group.up_panels + group.down_panels) * kPanelColumns;
  const bool has_bias = config.up_bias || config.down_bias;
  group.storage = AlignedBuffer(static_cast<std::size_t>(checked_mul(count, up_bytes + down_bytes, "experts")));
  group.biases = AlignedBuffer(static_cast<std::size_t>(has_bias ? checked_mul(count, bias_floats * 4, "biases") : 0));
  group.experts.resize(tensors.size());

  parallel_for(num_threads(), count, 1, [&](std::int64_t e, std::int64_t) {
    const ExpertTensors& source = tensors[static_cast<std::size_t>(e)];
    PackedExpert& expert = group.experts[static_cast<std::size_t>(e)];
    std::byte* up = group.storage.data() + e * (up_bytes + down_bytes);
    std::byte* down = up + up_bytes;
    float* bias = reinterpret_cast<float*>(group.biases.data()) + (has_bias ? e * bias_floats : 0);
    PackScratch scratch;
    if (gated) {
      pack_half(source.gate.read(scratch.bytes), 0, weight, group.up_steps, scratch, up);
      pack_half(source.up.read(scratch.bytes), 1, weight, group.up_steps, scratch, up);
    } else if (!linear) {
      pack_plain(source.up.read(scratch.bytes), weight, group.up_steps, scratch, up);
    }
    pack_plain(source.down.read(scratch.bytes), weight, group.down_steps, scratch, down);
    expert = {linear ? nullptr : up, down, nullptr, nullptr};
    if (config.up_bias && !linear) {
      expert.up_bias = bias;
      pack_bias(source.gate_bias, kPanelColumns, 0, scratch, bias);
      pack_bias(source.up_bias, gated ? kPanelColumns : kTileColumns, gated ? kTileColumns : 0, scratch, bias);
    }
    if (config.down_bias) {
      bias += group.up_panels * kPanelColumns;
      expert.down_bias = bias;
      pack_bias(source.down_bias, kTileColumns, 0, scratch, bias);
    }
  });
  return group;
}

}  // namespace moekit::cpu
