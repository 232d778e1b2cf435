// SPDX-License-Identifier: Apache-2.0
// The experts of a block in either layout: one tensor for each matrix, or all experts stacked; plain or quantised.
#pragma once

#include <vector>

#include "models/accounting.h"
#include "models/family.h"
#include "models/quantisation.h"
#include "moekit/layer.h"

namespace moekit {

/// The routed experts. Throws CheckpointError naming the tensor that is missing or has another shape.
std::vector<ExpertTensors> take_experts(const Family& family, const BlockConfig& config,
                                        const Quantisation& quantisation, Accounting& tensors);
/// The routed experts and, behind them, the `joint` shared experts of Family::joint_shared.
std::vector<ExpertTensors> take_joint_experts(const Family& family, const BlockConfig& config, std::int64_t joint,
                                              const Quantisation& quantisation, Accounting& tensors);
/// The shared expert, when the configuration has one.
std::vector<ExpertTensors> take_shared(const Family& family, const BlockConfig& config,
                                       const Quantisation& quantisation, Accounting& tensors);

/// Elements first, first + step, ... (count of them) of a row of a stacked [E, n] tensor, as a [1, count] matrix.
MatrixRef bias_of(const TensorRef& tensor, std::int64_t row, std::int64_t first, std::int64_t count, std::int64_t step);
/// The layout of stacked experts, when the checkpoint has it: stacked_experts.cpp.
std::vector<ExpertTensors> take_stacked(const Family& family, const BlockConfig& config, const StackedNames& names,
                                        const Quantisation& quantisation, Accounting& tensors);
/// The same with gate, up and down in tensors of their own.
std::vector<ExpertTensors> take_separate(const BlockConfig& config, const SeparateNames& names,
                                         const Quantisation& quantisation, Accounting& tensors);

}  // namespace moekit
