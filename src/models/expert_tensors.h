// SPDX-License-Identifier: Apache-2.0
// The experts of a block in either layout: one tensor for each matrix, or all experts stacked.
#pragma once

#include <vector>

#include "models/accounting.h"
#include "models/family.h"
#include "moekit/layer.h"

namespace moekit {

/// The routed experts. Throws CheckpointError naming the tensor that is missing or has another shape.
std::vector<ExpertTensors> take_experts(const Family& family, const BlockConfig& config, Accounting& tensors);
/// The shared expert, when the configuration has one.
std::vector<ExpertTensors> take_shared(const Family& family, const BlockConfig& config, Accounting& tensors);

}  // namespace moekit
