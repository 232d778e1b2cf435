// SPDX-License-Identifier: Apache-2.0
// What the conformance suite runs on: every backend of the library that works here, the CPU backend once for each ISA.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "conformance/cases.h"

namespace moekit::conformance {

struct Target {
  std::string backend;
  std::string isa;  // CPU backend only
  std::string name() const { return isa.empty() ? backend : backend + "_" + isa; }
};
/// How GoogleTest shows a parameter.
inline void PrintTo(const Target& target, std::ostream* out) { *out << target.name(); }

/// Also prints "not tested: <isa>" for kernels of the library that this machine cannot run.
const std::vector<Target>& targets();

/// MOEKIT_TEST_SLACK, 1 if unset: how many times further off a device may be that is made less exact on purpose.
double slack();
/// The bound of a mode on a target.
double nmse_bound(const Target& target, const Mode& mode);

/// A layer packed for a target.
MoeLayer make_layer(const Target& target, const BlockConfig& config, const BlockTensors& tensors,
                    const std::string& dtype, bool int8_activations = false);
/// The same without the layer around it.
std::unique_ptr<PackedBlock> pack_block(const Target& target, const BlockConfig& config, const BlockTensors& tensors,
                                        const std::string& dtype);

}  // namespace moekit::conformance
