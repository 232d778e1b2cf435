// SPDX-License-Identifier: Apache-2.0
// Where everything of a group of experts lies: what pack_group fills and import_group finds.
#pragma once

#include "backends/cpu/packed.h"

namespace moekit::cpu {

/// What the tensors decide about the stream of a projection, besides its format.
struct StreamChoice {
  bool uniform = false, by_column = false;  // as in TileFormat
};
struct GroupChoice {
  StreamChoice gate, up, down;
  bool exact = false;  // as in TileFormat, known once all is packed
  // Of bf16z up- and down-projections: the exceptions that there is room for; below 0: plain.
  std::int64_t exceptions[2] = {-1, -1};
};

/// Elements of the steps that kernels read of plain and of quantised projections.
struct StepElements {
  DType plain, quantised;
  bool int8_activations = false;  // were asked for: groups that rows of integers do not fit are an error
  bool (*fixed_point)(const TileFormat&) noexcept = nullptr;  // as in IntKernels; null where it is not to be
  bool (*codes)(const TileFormat&, const TileFormat&) noexcept = nullptr;  // as in WeightKernels; null likewise
  bool split = false;  // float32 projections go through kernels of bfloat16 parts
};
/// They depend on the formats and, for quantised ones, on the kernels; never on the batch.
StepElements step_elements(const BlockFormats& formats, const ChosenKernels& chosen);

/// Bytes and elements of one expert of a group.
struct ExpertSizes {
  std::int64_t up_bytes = 0, bytes = 0;  // panels: of the up-projection, of all
  std::int64_t bias_floats = 0;          // 0: no biases
  std::int64_t columns = 0;              // uint16 a projection; 0: no format goes by column
};
ExpertSizes expert_sizes(const ExpertGroup& group);

/// A group without its memory. Throws std::invalid_argument for sizes beyond 64 bits.
ExpertGroup group_layout(const ExpertConfig& config, const ExpertFormats& formats, const GroupChoice& choice,
                         const StepElements& elements);
void set_exact(ExpertGroup& group, bool exact);
/// Points `count` experts into the group's memory, which has been set; panels that are not in memory are null.
void place_experts(ExpertGroup& group, std::int64_t count);

}  // namespace moekit::cpu
