// SPDX-License-Identifier: Apache-2.0
// Which bfloat16 projections are held as bf16z where the layer may choose, and how much room for exceptions they get.
#pragma once

#include <string>
#include <string_view>

#include "backends/cpu/bf16z_format.h"
#include "moekit/layer.h"
#include "moekit/weight_format.h"

namespace moekit::cpu {

/// Makes "bf16z" of "bfloat16" where the bfloat16 kernels of `isa` are faster with it. Returns what decided; nothing
/// where no projection is bfloat16.
std::string choose_bf16z(const BlockConfig& config, std::string_view isa, BlockFormats& formats);

/// Exceptions of a half for which packing first makes room, of rows of `columns` weights.
std::int64_t bf16z_first_room(std::int64_t columns) noexcept;
/// Whether panels with so much room are worth having.
bool bf16z_is_smaller(const Bf16zFormat& format) noexcept;

}  // namespace moekit::cpu
