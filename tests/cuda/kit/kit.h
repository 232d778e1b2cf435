// SPDX-License-Identifier: Apache-2.0
// The conformance kit: each thing that the emulation imitates, done by a device and by the host, compared.
#pragma once

#include <string>
#include <vector>

#include "cuda/kit/device_runner.h"

namespace moekit::kit {

struct Finding {
  std::string name;
  std::size_t compared = 0;   // words
  std::size_t different = 0;  // in their bits
  double worst = 0.0;         // of those that may differ: units in the last place
  double allowed = 0.0;
  std::string detail;  // the first words beyond what is allowed
  bool passed = false;
};

/// Runs everything on both. Throws where a kernel cannot run at all.
std::vector<Finding> run_kit(Runner& device, Runner& host);

/// JSON: {"device", "driver", "findings": [...], "passed"}.
std::string to_json(const std::vector<Finding>& findings, const std::string& device, int driver);

}  // namespace moekit::kit
