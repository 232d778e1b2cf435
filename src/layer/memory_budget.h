// SPDX-License-Identifier: Apache-2.0
// Layers of files under a memory budget: what they need, and the parts of which as much is in memory as it holds.
#pragma once

#include <cstddef>

#include "backend/backend.h"
#include "layer/packed_layer.h"

namespace moekit {

/// From the header of a file. Throws CheckpointError for one without routed experts.
MemoryNeeds memory_needs(const PackedLayer& layer);
/// Of a block that is in memory, by its parts (PackedBlock::export_parts).
MemoryNeeds memory_needs(const PackedParts& parts);

/// Panels of the routed experts stay in the file, the rest is read into memory. Throws std::invalid_argument for a
/// budget that leaves room for no expert, UnsupportedError for a block whose calls need all of them, CheckpointError.
PackedParts budgeted_parts(const PackedLayer& layer, std::size_t memory_budget);

}  // namespace moekit
