// SPDX-License-Identifier: Apache-2.0
// Packed experts as the parts of a file, and back.
#pragma once

#include <string_view>

#include "backends/cpu/group_layout.h"

namespace moekit::cpu {

/// Name of the layouts of layout.h, tile_format.h, bf16z_format.h and group_layout.h. A change of any of them is a new
/// name: a file whose panels lie otherwise must not be believed. The same on every instruction set.
inline constexpr std::string_view kPanelLayout = "cpu panels 1";

/// The parts of a group: `prefix` + "panels" uint8 [E, bytes], "biases" float32 [E, n], "columns" uint16 [E, 3, n],
/// "streams" uint8 [7]: uniform and by_column of gate, up and down, and exact; where up or down is bf16z also
/// "exceptions" int32 [2]: how many a half of their panels has room for, -1 of the one that is not.
void export_group(const ExpertGroup& group, const std::string& prefix, PackedParts& out);

/// The group over the memory of the parts; what holds indices is checked and copied. Throws CheckpointError for a part
/// that is missing or of another dtype or shape, and for an index that is out of range.
ExpertGroup import_group(const ExpertConfig& config, std::int64_t count, const ExpertFormats& formats,
                         const StepElements& elements, const std::string& prefix, const PackedParts& parts);

/// The part with the panels of the routed experts. Throws CheckpointError where it is missing.
const PackedPart& routed_panels(const PackedParts& parts);

}  // namespace moekit::cpu
