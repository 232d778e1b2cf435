// SPDX-License-Identifier: Apache-2.0
// The experts of a group: one at a time, experts in parallel.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <string>

#include "backends/cpu/bf16z_choice.h"
#include "backends/cpu/group_layout.h"
#include "backends/cpu/pack.h"
#include "backends/cpu/pack_tiles.h"
#include "core/thread_pool.h"
#include "moekit/error.h"
#include "moekit/quantised.h"

namespace moekit::cpu {
namespace {

using Part = MatrixRef ExpertTensors::*;

// Whether rows [16 i, 16 i + 16) of the matrix, in its own format or quantised into it, always have the same scales.
bool tiles_share_scales(const MatrixRef& matrix, const WeightFormat& format) {
  if (format.scale_rows % kTileColumns != 0 || format.group == 0) return false;
  if (matrix.quant == nullptr || matrix.quant->format != format) return true;
  return matrix.row_stride == 1 && matrix.offset % matrix.quant->rows % kTileColumns == 0;
}

StreamChoice choose_stream(const std::vector<ExpertTensors>& tensors, Part part, const WeightFormat& format) {
  if (format.plain() || !(tensors.front().*part)) return {};
  const auto every = [&](auto&& holds) {
    return std::all_of(tensors.begin(), tensors.end(), [&](const ExpertTensors& e) { return holds(e.*part); });
  };
  const bool uniform = every([&](const MatrixRef& m) { return tiles_share_scales(m, format); });
  const bool in_order = every(
      [&](const MatrixRef& m) { return m.quant == nullptr || m.quant->format != format || !has_column_groups(m); });
  return {uniform, !in_order};
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
  unsigned nans = 0;  // all of them, so that the loop is one of vectors
  const auto look = [&](const std::uint8_t* codes, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) nans |= (codes[i] & 0x7f) == 0x7f ? 1u : 0u;
  };
  if (rows.words) {
    for (std::int64_t r = 0; r < rows.rows; ++r)  // of E4M3 every packing has a row's codes together
      look(reinterpret_cast<const std::uint8_t*>(rows.words.data + r * rows.words.row_stride), rows.cols);
  } else {
    look(rows.codes.data(), static_cast<std::int64_t>(rows.codes.size()));
  }
  const auto is_large = [](float scale) { return !(std::fabs(scale) < 64.0f); };
  return nans != 0 || std::any_of(rows.scales.begin(), rows.scales.end(), is_large);
}

// Rows that are read and packed at once: whole panels, whole blocks of FP8 scales, and few enough that they are still
// in the second-level cache when they are packed.
constexpr std::int64_t kSliceRows = 128;

// Whether rows of the matrix lie together in the file. `format`: what it becomes, whose scales may span rows.
bool has_slices(const MatrixRef& matrix, const WeightFormat& format) {
  if (kSliceRows % format.scale_rows != 0) return false;
  if (matrix.quant == nullptr) return matrix.col_stride == 1;
  return matrix.quant->packing != Packing::kGptq && matrix.quant->packing != Packing::kAwq;
}

// What is known once all is packed.
struct Findings {
  std::atomic<bool> exact{false};
  // The most exceptions that a half of a bf16z panel has: of the up-projection, of the down-projection.
  std::atomic<std::int64_t> exceptions[2] = {{0}, {0}};
};

void raise_to(std::atomic<std::int64_t>& most, std::int64_t value) {
  for (std::int64_t seen = most.load(std::memory_order_relaxed);
       seen < value && !most.compare_exchange_weak(seen, value, std::memory_order_relaxed);) {
  }
}

// One a thread: what it allocates serves all of its experts.
struct Packer {
  const ExpertGroup& group;
  bool nonfinite_scales;
  Findings& found;
  PackScratch scratch = {};

  // Calls body(slice, its first row, whether it is the last).
  template <class Body>
  void for_slices(const MatrixRef& matrix, const WeightFormat& format, Body&& body) {
    const std::int64_t step = has_slices(matrix, format) ? kSliceRows : matrix.rows;
    for (std::int64_t first = 0; first < matrix.rows; first += step) {
      scratch.read.first_row = first;
      body(row_slice(matrix, first, std::min(step, matrix.rows - first)), first, first + step >= matrix.rows);
    }
  }

  // Tile `half` of every panel from rows 16 i, or (half -1) both tiles from rows 32 i.
  void quantised(const MatrixRef& matrix, const Projection& p, int half, std::byte* panels, std::uint16_t* columns) {
    const TileFormat& format = p.half[std::max(half, 0)];
    const std::int64_t tiles = half < 0 ? 2 * p.panels : p.panels;
    for_slices(matrix, format.weight, [&](const MatrixRef& slice, std::int64_t first, bool last) {
      const QuantRows& rows = read_words(slice, format.weight, nonfinite_scales, scratch.read);
      if (columns != nullptr && format.by_column) store_columns(rows, columns);
      if (!found.exact.load(std::memory_order_relaxed) && needs_exact(rows))
        found.exact.store(true, std::memory_order_relaxed);
      const std::int64_t end = last ? tiles : (first + slice.rows) / kTileColumns;
      for (std::int64_t tile = first / kTileColumns; tile < end; ++tile) {
        const std::int64_t panel = half < 0 ? tile / 2 : tile, side = half < 0 ? tile % 2 : half;
        pack_stream(rows, tile * kTileColumns - first, format, scratch.stream,
                    panels + panel * p.panel_bytes + side * p.half[0].bytes());
      }
    });
  }
  // The same of plain elements; those of bf16z are packed as they are first.
  void plain(const MatrixRef& matrix, const Projection& p, int half, std::byte* panels) {
    const std::int64_t rows_a_panel = half < 0 ? kPanelColumns : kTileColumns;
    for_slices(matrix, {}, [&](const MatrixRef& slice, std::int64_t first, bool) {
      const MatrixView rows = read_plain(slice, scratch.read, nonfinite_scales);
      const std::int64_t count = ceil_div(rows.rows, rows_a_panel), panel_bytes = p.steps * kStepBytes;
      std::byte* target = panels + first / rows_a_panel * p.panel_bytes;
      if (p.bf16z) scratch.plain.resize(static_cast<std::size_t>(count * panel_bytes));
      std::byte* steps = p.bf16z ? scratch.plain.data() : target;
      if (half < 0) {
        pack_plain(rows, p.weight, p.steps, scratch, steps);
      } else {
        pack_half(rows, half, p.weight, p.steps, scratch, steps);
      }
      for (std::int64_t n = 0; p.bf16z && n < count; ++n)
        for (int side = 0; side < 2; ++side)
          if (half < 0 || side == half)
            raise_to(found.exceptions[&p == &group.down],
                     pack_bf16z(p.compressed, steps + n * panel_bytes + side * kSegmentBytes, side,
                                target + n * p.panel_bytes));
    });
  }
  /// A whole matrix, or (`half` 0 or 1) one operand of a gated up-projection.
  void pack(const MatrixRef& matrix, const Projection& p, int half, std::byte* panels, std::uint16_t* columns) {
    if (p.quantised) return quantised(matrix, p, half, panels, columns);
    plain(matrix, p, half, panels);
  }
};

ExpertGroup pack_as(const ExpertConfig& config, const std::vector<ExpertTensors>& tensors, const ExpertFormats& formats,
                    const GroupChoice& choice, const StepElements& elements, bool nonfinite_scales, Findings& found) {
  ExpertGroup group = group_layout(config, formats, choice, elements);
  const auto count = static_cast<std::int64_t>(tensors.size());
  const ExpertSizes sizes = expert_sizes(group);
  const auto bytes = [&](std::int64_t each, const char* what) {
    return static_cast<std::size_t>(checked_mul(count, each, what));
  };
  group.storage = PanelStorage(bytes(sizes.bytes, "experts"));
  group.biases = PanelStorage(bytes(sizes.bias_floats * 4, "biases"));
  group.columns = PanelStorage(bytes(3 * sizes.columns * 2, "column groups"));
  place_experts(group, count);

  const bool linear = config.act == Activation::kLinear, gated = is_gated(config.act);
  const auto pack_expert = [&](std::int64_t e, Packer& packer) {
    const ExpertTensors& source = tensors[static_cast<std::size_t>(e)];
    std::byte* up = group.storage.writable() + e * sizes.bytes;
    std::byte* down = up + sizes.up_bytes;
    auto* columns = reinterpret_cast<std::uint16_t*>(group.columns.writable());
    const auto columns_of = [&](std::int64_t part) {
      return columns == nullptr ? nullptr : columns + (e * 3 + part) * sizes.columns;
    };
    if (gated) {
      packer.pack(source.gate, group.up, 0, up, columns_of(0));
      packer.pack(source.up, group.up, 1, up, columns_of(1));
    } else if (!linear) {
      packer.pack(source.up, group.up, -1, up, columns_of(1));
    }
    packer.pack(source.down, group.down, -1, down, columns_of(2));
    if (sizes.bias_floats == 0) return;
    float* bias = reinterpret_cast<float*>(group.biases.writable()) + e * sizes.bias_floats;
    if (config.up_bias && !linear) {
      pack_bias(source.gate_bias, kPanelColumns, 0, packer.scratch, bias);
      pack_bias(source.up_bias, gated ? kPanelColumns : kTileColumns, gated ? kTileColumns : 0, packer.scratch, bias);
    }
    if (config.down_bias)
      pack_bias(source.down_bias, kTileColumns, 0, packer.scratch, bias + group.up.panels * kPanelColumns);
  };
  std::atomic<std::int64_t> next{0};
  run_throwing(static_cast<int>(std::min<std::int64_t>(num_threads(), count)), [&](Team&, int) {
    Packer packer{group, nonfinite_scales, found};
    for (std::int64_t e; (e = next.fetch_add(1, std::memory_order_relaxed)) < count;) pack_expert(e, packer);
  });
  set_exact(group, found.exact);
  return group;
}

}  // namespace

ExpertGroup pack_group(const ExpertConfig& config, const std::vector<ExpertTensors>& tensors,
                       const ExpertFormats& formats, const StepElements& elements, bool nonfinite_scales) {
  GroupChoice choice = {choose_stream(tensors, &ExpertTensors::gate, formats.gate),
                        choose_stream(tensors, &ExpertTensors::up, formats.up),
                        choose_stream(tensors, &ExpertTensors::down, formats.down)};
  const bool linear = config.act == Activation::kLinear;
  if (formats.up.compressed() && !linear) choice.exceptions[0] = bf16z_first_room(config.input);
  if (formats.down.compressed()) choice.exceptions[1] = bf16z_first_room(linear ? config.input : config.intermediate);
  // Once as a rule. Where weights have more exceptions than the first room holds, a second time: with room for them, or
  // plain where that is no smaller.
  std::string plain;
  for (;;) {
    Findings found;
    ExpertGroup group = pack_as(config, tensors, formats, choice, elements, nonfinite_scales, found);
    group.plain_instead = plain;
    bool again = false;
    for (int i = 0; i < 2; ++i) {
      const Projection& p = i == 0 ? group.up : group.down;
      const std::int64_t most = found.exceptions[i];
      if (!p.bf16z || most <= p.compressed.exceptions) continue;
      again = true;
      choice.exceptions[i] = bf16z_is_smaller({p.steps, most}) ? most : -1;
      if (choice.exceptions[i] < 0)
        plain += (plain.empty() ? "" : ", ") + std::string(i == 0 ? "up" : "down") + " has " + std::to_string(most) +
                 " exponents far from the others in a row of " + std::to_string(p.steps) + " tiles";
    }
    if (!again) return group;
  }
}

}  // namespace moekit::cpu
