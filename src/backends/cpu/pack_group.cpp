// SPDX-License-Identifier: Apache-2.0
// The experts of a group: layout of its projections, then one expert at a time, experts in parallel.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <string>

#include "backends/cpu/pack.h"
#include "backends/cpu/pack_tiles.h"
#include "core/thread_pool.h"
#include "moekit/error.h"

namespace moekit::cpu {
namespace {

using Part = MatrixRef ExpertTensors::*;

// Whether rows [16 i, 16 i + 16) of the matrix, in its own format or quantised into it, always have the same scales.
bool tiles_share_scales(const MatrixRef& matrix, const WeightFormat& format) {
  if (format.scale_rows % kTileColumns != 0 || format.group == 0) return false;
  if (matrix.quant == nullptr || matrix.quant->format != format) return true;
  return matrix.row_stride == 1 && matrix.offset % matrix.quant->rows % kTileColumns == 0;
}

TileFormat stream_of(const std::vector<ExpertTensors>& tensors, Part part, const WeightFormat& format) {
  const auto every = [&](auto&& holds) {
    return std::all_of(tensors.begin(), tensors.end(), [&](const ExpertTensors& e) { return holds(e.*part); });
  };
  const bool uniform = every([&](const MatrixRef& m) { return tiles_share_scales(m, format); });
  const bool in_order = every(
      [&](const MatrixRef& m) { return m.quant == nullptr || m.quant->format != format || !has_column_groups(m); });
  return tile_format(format, (tensors.front().*part).cols, uniform, !in_order);
}

// `made`: k that the projection reads. `first`, `second`: what tile 0 and tile 1 of a panel are.
Projection projection(const std::vector<ExpertTensors>& tensors, Part first, Part second, const WeightFormat& a,
                      const WeightFormat& b, std::int64_t panels, std::int64_t made, DType plain, DType quantised) {
  Projection p;
  p.panels = panels;
  p.quantised = !a.plain();
  p.weight = p.quantised ? quantised : plain;
  if (!p.quantised) {
    p.steps = ceil_div(made, step_columns(p.weight));
    p.panel_bytes = checked_mul(p.steps, kStepBytes, "panel");
    return p;
  }
  p.half[0] = stream_of(tensors, first, a);
  p.half[1] = stream_of(tensors, second, b);
  p.steps = ceil_div(made, kQuantStep) * (kQuantStep / step_columns(p.weight));
  p.panel_bytes = p.half[0].bytes() + p.half[1].bytes();
  return p;
}

// Groups of the columns for streams that go by column.
void store_columns(const QuantRows& rows, std::uint16_t* out) {
  if (rows.groups() > std::numeric_limits<std::uint16_t>::max())
    throw UnsupportedError("[pack] " + std::to_string(rows.groups()) +
                           " groups in the order of g_idx, expected at most 65535");
  for (std::int64_t k = 0; k < rows.cols; ++k) out[k] = static_cast<std::uint16_t>(rows.group_of(k));
}

// Whether E4M3 codes must be read one way for all: NaN codes have float32 bits that are a number's, and the scale is
// multiplied by 2^120 where the codes' bits are used as they are.
bool needs_exact(const QuantRows& rows) {
  if (rows.format.code != Code::kE4M3) return false;
  const auto is_nan = [](std::uint8_t code) { return (code & 0x7f) == 0x7f; };
  const auto is_large = [](float scale) { return !(std::fabs(scale) < 64.0f); };
  return std::any_of(rows.codes.begin(), rows.codes.end(), is_nan) ||
         std::any_of(rows.scales.begin(), rows.scales.end(), is_large);
}

struct Packer {
  bool nonfinite_scales;
  std::atomic<bool>& exact;
  PackScratch scratch;

  // Tile `half` of every panel from rows 16 i, or (half -1) both tiles from rows 32 i.
  void quantised(const MatrixRef& matrix, const Projection& p, int half, std::byte* panels, std::uint16_t* columns) {
    const TileFormat& format = p.half[std::max(half, 0)];
    const QuantRows& rows = read_quantised(matrix, format.weight, nonfinite_scales, scratch.read);
    if (columns != nullptr) store_columns(rows, columns);
    if (needs_exact(rows)) exact.store(true, std::memory_order_relaxed);
    const std::int64_t tiles = half < 0 ? 2 * p.panels : p.panels;
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const std::int64_t panel = half < 0 ? tile / 2 : tile, side = half < 0 ? tile % 2 : half;
      pack_stream(rows, tile * kTileColumns, format, scratch.plane,
                  panels + panel * p.panel_bytes + side * p.half[0].bytes());
    }
  }
  void whole(const MatrixRef& matrix, const Projection& p, std::byte* panels, std::uint16_t* columns) {
    if (p.quantised) return quantised(matrix, p, -1, panels, columns);
    pack_plain(read_plain(matrix, scratch.read), p.weight, p.steps, scratch, panels);
  }
  void half(const MatrixRef& matrix, const Projection& p, int side, std::byte* panels, std::uint16_t* columns) {
    if (p.quantised) return quantised(matrix, p, side, panels, columns);
    pack_half(read_plain(matrix, scratch.read), side, p.weight, p.steps, scratch, panels);
  }
};

// Columns [3][stride] of an expert: gate, up, down.
std::int64_t column_stride(const ExpertGroup& group) {
  const std::int64_t widest = std::max(group.config.input, group.config.intermediate);
  const bool needed = group.up.half[0].by_column || group.up.half[1].by_column || group.down.half[0].by_column;
  return needed ? round_up(widest, kQuantStep) : 0;
}

}  // namespace

ExpertGroup pack_group(const ExpertConfig& config, const std::vector<ExpertTensors>& tensors,
                       const ExpertFormats& formats, DType plain, DType quantised, bool nonfinite_scales) {
  ExpertGroup group;
  group.config = config;
  group.activation = {config.act, static_cast<float>(config.limit), static_cast<float>(config.alpha),
                      static_cast<float>(config.up_add)};
  const bool linear = config.act == Activation::kLinear, gated = is_gated(config.act);
  if (!linear)
    group.up =
        projection(tensors, gated ? &ExpertTensors::gate : &ExpertTensors::up, &ExpertTensors::up,
                   gated ? formats.gate : formats.up, formats.up,
                   ceil_div(config.intermediate, gated ? kTileColumns : kPanelColumns), config.input, plain, quantised);
  // A panel of an ungated up-projection makes 32 columns of A: the down-projection takes them whole.
  const std::int64_t made = linear  ? config.input
                            : gated ? config.intermediate
                                    : round_up(config.intermediate, kPanelColumns);
  group.down = projection(tensors, &ExpertTensors::down, &ExpertTensors::down, formats.down, formats.down,
                          ceil_div(config.output, kPanelColumns), made, plain, quantised);
  const std::int64_t count = static_cast<std::int64_t>(tensors.size());
  const std::int64_t up_bytes = group.up.bytes(), expert_bytes = up_bytes + group.down.bytes();
  const std::int64_t bias_floats = (group.up.panels + group.down.panels) * kPanelColumns;
  const std::int64_t columns_each = 3 * column_stride(group);
  const bool has_bias = config.up_bias || config.down_bias;
  group.storage = AlignedBuffer(static_cast<std::size_t>(checked_mul(count, expert_bytes, "experts")));
  group.biases = AlignedBuffer(static_cast<std::size_t>(has_bias ? checked_mul(count, bias_floats * 4, "biases") : 0));
  group.columns = AlignedBuffer(static_cast<std::size_t>(checked_mul(count, columns_each * 2, "column groups")));
  group.experts.resize(tensors.size());

  std::atomic<bool> exact{false};
  parallel_for(num_threads(), count, 1, [&](std::int64_t e, std::int64_t) {
    const ExpertTensors& source = tensors[static_cast<std::size_t>(e)];
    PackedExpert& expert = group.experts[static_cast<std::size_t>(e)];
    std::byte* up = group.storage.data() + e * expert_bytes;
    std::byte* down = up + up_bytes;
    float* bias = reinterpret_cast<float*>(group.biases.data()) + (has_bias ? e * bias_floats : 0);
    expert = {linear ? nullptr : up, down, nullptr, nullptr, {}};
    std::uint16_t* columns[3] = {};
    for (int part = 0; part < 3 && columns_each != 0; ++part)
      expert.columns[part] = columns[part] =
          reinterpret_cast<std::uint16_t*>(group.columns.data()) + e * columns_each + part * columns_each / 3;
    Packer packer{nonfinite_scales, exact, {}};
    if (gated) {
      packer.half(source.gate, group.up, 0, up, columns[0]);
      packer.half(source.up, group.up, 1, up, columns[1]);
    } else if (!linear) {
      packer.whole(source.up, group.up, up, columns[1]);
    }
    packer.whole(source.down, group.down, down, columns[2]);
    if (config.up_bias && !linear) {
      expert.up_bias = bias;
      pack_bias(source.gate_bias, kPanelColumns, 0, packer.scratch, bias);
      pack_bias(source.up_bias, gated ? kPanelColumns : kTileColumns, gated ? kTileColumns : 0, packer.scratch, bias);
    }
    if (config.down_bias) {
      bias += group.up.panels * kPanelColumns;
      expert.down_bias = bias;
      pack_bias(source.down_bias, kTileColumns, 0, packer.scratch, bias);
    }
  });
  for (Projection* p : {&group.up, &group.down})
    for (TileFormat& format : p->half) format.exact = exact;
  return group;
}

}  // namespace moekit::cpu
