// SPDX-License-Identifier: Apache-2.0
// The tensors of a block's router, in the forms that checkpoints give them.
#pragma once

#include <cstdint>

#include "models/accounting.h"
#include "models/config.h"
#include "models/family.h"
#include "moekit/layer.h"

namespace moekit {

/// Columns of the router that are Family::joint_shared.
std::int64_t joint_columns(const Family& family, const Config& config);

/// What the block's router needs. Throws CheckpointError naming the tensor that is missing or has another shape.
RouterTensors take_router(const Family& family, const Config& config, const BlockConfig& block, Accounting& tensors);

}  // namespace moekit
