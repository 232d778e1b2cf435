// SPDX-License-Identifier: Apache-2.0
// The launches that kernels were laid out for: what the occupancy check computes with and real launches are held
// against.
#pragma once

#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>

namespace moekit::standin {

struct Plan {
  unsigned threads = 0;
  unsigned shared_bytes = 0;
  int blocks = 0;  // at least, on one multiprocessor
};

/// Lines "kernel threads shared_bytes blocks"; # begins a comment. Throws std::runtime_error.
inline std::map<std::string, Plan> read_plan(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("[plan] cannot read " + path);
  std::map<std::string, Plan> plans;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string kernel;
    if (!(words >> kernel)) continue;
    Plan& plan = plans[kernel];
    if (!(words >> plan.threads >> plan.shared_bytes >> plan.blocks)) throw std::runtime_error("[plan] " + line);
  }
  return plans;
}

}  // namespace moekit::standin
