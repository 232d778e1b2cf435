// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/group_layout.h"

#include <algorithm>
#include <string>

#include "backends/cpu/int_rows.h"
#include "moekit/error.h"

namespace moekit::cpu {
namespace {

// What a tile of a panel is: its format, and what its tensors decided.
struct Half {
  const WeightFormat& format;
  const StreamChoice& choice;
  std::int64_t exceptions;  // as in GroupChoice
};

// `cols`: weights of a row. `made`: k that the projection reads, at least `cols`.
Projection projection(const Half& first, const Half& second, std::int64_t panels, std::int64_t cols, std::int64_t made,
                      const StepElements& elements) {
  Projection p;
  p.panels = panels;
  p.quantised = !first.format.plain();
  p.weight = p.quantised ? elements.quantised : elements.plain;
  if (!p.quantised) {
    p.steps = ceil_div(made, step_columns(p.weight));
    p.panel_bytes = checked_mul(p.steps, kStepBytes, "panel");
    p.bf16z = first.exceptions >= 0;
    p.split = elements.split && p.weight == DType::kFloat32 && cols >= kSplitColumns;
    if (p.bf16z) p.compressed = {p.steps, first.exceptions}, p.panel_bytes = p.compressed.bytes();
    return p;
  }
  p.half[0] = tile_format(first.format, cols, first.choice.uniform, first.choice.by_column);
  p.half[1] = tile_format(second.format, cols, second.choice.uniform, second.choice.by_column);
  p.steps = ceil_div(made, kQuantStep) * (kQuantStep / step_columns(p.weight));
  p.panel_bytes = p.half[0].bytes() + p.half[1].bytes();
  return p;
}

}  // namespace

StepElements step_elements(const BlockFormats& formats, const ChosenKernels& chosen) {
  // bfloat16 unless a projection is float32.
  DType plain = DType::kBFloat16;
  for (const ExpertFormats* each : {&formats.routed, &formats.shared})
    for (const auto part : kProjectionFormats)
      if (each->*part == WeightFormat{}) plain = DType::kFloat32;
  // Quantised weights become what the fastest kernels multiply, unless float32 weights beside them ask for float32
  // rows.
  const bool short_rows = chosen.bf16.unpacks && plain == DType::kBFloat16;
  const bool split = formats.bf16_split && chosen.table->split.up != nullptr;
  return {plain,
          short_rows ? DType::kBFloat16 : DType::kFloat32,
          formats.int8_activations,
          formats.reproducible ? nullptr : chosen.integer.fixed_point,
          plain == DType::kBFloat16 ? chosen.bf16.codes : nullptr,
          split};
}

ExpertGroup group_layout(const ExpertConfig& config, const ExpertFormats& formats, const GroupChoice& choice,
                         const StepElements& elements) {
  ExpertGroup group;
  group.config = config;
  group.activation = {config.act, static_cast<float>(config.limit), static_cast<float>(config.alpha),
                      static_cast<float>(config.up_add)};
  const bool linear = config.act == Activation::kLinear, gated = is_gated(config.act);
  const Half up = {formats.up, choice.up, choice.exceptions[0]},
             gate = {formats.gate, choice.gate, choice.exceptions[0]},
             down = {formats.down, choice.down, choice.exceptions[1]};
  if (!linear)
    group.up = projection(gated ? gate : up, up, ceil_div(config.intermediate, gated ? kTileColumns : kPanelColumns),
                          config.input, config.input, elements);
  // A panel of an ungated up-projection makes 32 columns of A: the down-projection takes them whole.
  const std::int64_t inner = linear ? config.input : config.intermediate;
  const std::int64_t made = linear || gated ? inner : round_up(inner, kPanelColumns);
  group.down = projection(down, down, ceil_div(config.output, kPanelColumns), inner, made, elements);
  set_exact(group, choice.exact);
  const auto coded = [&](const Projection& p) {
    return p.quantised && !elements.int8_activations && elements.codes != nullptr &&
           elements.codes(p.half[0], p.half[1]);
  };
  if ((linear || coded(group.up)) && coded(group.down)) {
    for (Projection* p : {&group.up, &group.down}) {
      p->weight = DType::kBFloat16;
      p->codes = true;
      p->steps = p->half[0].steps;
    }
    return group;
  }
  const auto fits = [&](const Projection& p) {
    return p.quantised && has_int_codes(p.half[0], p.half[1]) &&
           (elements.int8_activations || (elements.fixed_point != nullptr && elements.fixed_point(p.half[0])));
  };
  if ((linear || fits(group.up)) && fits(group.down)) {
    for (Projection* p : {&group.up, &group.down}) {
      p->weight = DType::kInt8;
      p->digits = elements.int8_activations ? 1 : kFixedPointDigits;
      p->steps = p->half[0].steps;
    }
  } else if (elements.int8_activations && (group.down.quantised || group.up.quantised)) {
    throw UnsupportedError("[pack] int8 activations: groups in the order of g_idx, or rows of more than " +
                           std::to_string(kMaxIntColumns) + " weights");
  }
  return group;
}

void set_exact(ExpertGroup& group, bool exact) {
  for (Projection* p : {&group.up, &group.down})
    for (TileFormat& format : p->half) format.exact = exact;
}

ExpertSizes expert_sizes(const ExpertGroup& group) {
  const ExpertConfig& config = group.config;
  ExpertSizes sizes;
  sizes.up_bytes = group.up.bytes();
  sizes.bytes = sizes.up_bytes + group.down.bytes();
  if (config.up_bias || config.down_bias) sizes.bias_floats = (group.up.panels + group.down.panels) * kPanelColumns;
  if (group.up.half[0].by_column || group.up.half[1].by_column || group.down.half[0].by_column)
    sizes.columns = round_up(std::max(config.input, config.intermediate), kQuantStep);
  return sizes;
}

void place_experts(ExpertGroup& group, std::int64_t count) {
  const ExpertSizes sizes = expert_sizes(group);
  group.experts.resize(static_cast<std::size_t>(count));
  for (std::int64_t e = 0; e < count; ++e) {
    PackedExpert& expert = group.experts[static_cast<std::size_t>(e)];
    expert = {};
    if (const std::byte* panels = group.storage.data(); panels != nullptr) {
      panels += e * sizes.bytes;
      expert.up = group.config.act == Activation::kLinear ? nullptr : panels;
      expert.down = panels + sizes.up_bytes;
    }
    const auto* bias = reinterpret_cast<const float*>(group.biases.data());
    if (bias != nullptr) bias += e * sizes.bias_floats;
    if (group.config.up_bias) expert.up_bias = bias;
    if (group.config.down_bias) expert.down_bias = bias + group.up.panels * kPanelColumns;
    for (int part = 0; part < 3 && sizes.columns != 0; ++part)
      expert.columns[part] =
          reinterpret_cast<const std::uint16_t*>(group.columns.data()) + (e * 3 + part) * sizes.columns;
  }
}

}  // namespace moekit::cpu
