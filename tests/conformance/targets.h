// SPDX-License-Identifier: Apache-2.0
// What the conformance suite runs on: every backend of the library that works here, the CPU backend once for each ISA.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "conformance/cases.h"
#include "moekit/error.h"

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
/// Those of the CPU backend.
std::vector<Target> cpu_targets();

/// MOEKIT_TEST_SLACK, 1 if unset: how many times further off a device may be that is made less exact on purpose.
double slack();
/// The bound of a mode on a target.
double nmse_bound(const Target& target, const Mode& mode);
/// Those without float16 where the target does not have it.
std::vector<Mode> modes(const Target& target);

/// Whether calls of the device fail on purpose (MOEKIT_TEST_FAULTS): despite_faults() then repeats what they ended.
bool with_faults();
/// Counts an error that ended an action. Throws it again where none was to be expected or after a hundred in a row.
void survive(const DeviceError& error, int attempt);
/// What `action` returns, which is run again after a DeviceError of a device with faults.
template <class Action>
auto despite_faults(const Action& action) {
  for (int attempt = 0;; ++attempt) {
    try {
      return action();
    } catch (const DeviceError& error) {
      survive(error, attempt);
    }
  }
}

/// A layer packed for a target, with bfloat16 parts for float32 where it has them.
MoeLayer make_layer(const Target& target, const BlockConfig& config, const BlockTensors& tensors,
                    const std::string& dtype, bool int8_activations = false);
/// The same with these options; backend and device are the target's.
MoeLayer make_layer(const Target& target, const BlockConfig& config, const BlockTensors& tensors, LayerOptions options);
/// The same without the layer around it.
std::unique_ptr<PackedBlock> pack_block(const Target& target, const BlockConfig& config, const BlockTensors& tensors,
                                        const std::string& dtype);

}  // namespace moekit::conformance
