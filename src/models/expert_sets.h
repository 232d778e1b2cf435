// SPDX-License-Identifier: Apache-2.0
// Blocks with several sets of experts: which set is asked for, and what a checkpoint calls its tensors.
//
// Two layouts. With a folder for each set: "text_moe.gate.weight", "text_moe.experts.gate_up_proj", ... as in a block
// of its own. Without: names of ExpertSet for the routers, and one list of experts, numbered through all sets.
#pragma once

#include <cstddef>
#include <string>

#include "models/accounting.h"
#include "models/config.h"
#include "models/family.h"

namespace moekit {

/// Index of the set of this name; "" is the first, or the only one. Throws CheckpointError listing the names.
std::size_t find_set(const Family& family, const std::string& name, const Config& config);

/// Throws CheckpointError when the layers with experts are not the same for all sets.
void check_set_layers(const Family& family, Config& config);

/// The family with the names of one set, whose folder of the checkpoint is entered. `first_expert`: the number of
/// experts of the sets before it.
Family enter_set(const Family& family, std::size_t set, std::int64_t first_expert, Accounting& tensors);

}  // namespace moekit
