// SPDX-License-Identifier: Apache-2.0
// Which kernel table runs: the best that the host can and has what the table wants, or the one that MOEKIT_ISA or
// force_isa names.
#pragma once

#include <string_view>
#include <vector>

#include "backends/cpu/kernels.h"

namespace moekit::cpu {

/// Names of all tables of this build, best first.
std::vector<std::string_view> known_isas();
/// Those that the host can run, best first.
std::vector<std::string_view> host_isas();
/// Layers packed from now on use this table; "" restores the automatic choice (MOEKIT_ISA or the best).
/// Throws std::invalid_argument listing the names when it is unknown or the host cannot run it.
void force_isa(std::string_view name);

/// The table to use, with inherited entries filled in. `f32_from` and `bf16_from` of explain() are in the names.
struct ChosenKernels {
  const KernelTable* table = nullptr;  // enter and leave
  WeightKernels f32, bf16;
  IntKernels integer;
  std::string_view f32_name, bf16_name, integer_name;  // tables that the entries come from
  const WeightKernels& of(DType weight) const noexcept { return weight == DType::kBFloat16 ? bf16 : f32; }
  std::string_view name_of(DType weight) const noexcept { return weight == DType::kBFloat16 ? bf16_name : f32_name; }
};
/// `reproducible`: of tables that are so only. Throws UnsupportedError where the host runs none of them.
ChosenKernels choose_kernels(bool reproducible = false);

}  // namespace moekit::cpu
