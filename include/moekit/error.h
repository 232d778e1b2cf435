// SPDX-License-Identifier: Apache-2.0
// Typed errors. Every message reads "[operation] what was wrong, the value seen, the limit".
#pragma once

#include <stdexcept>
#include <string>

namespace moekit {

/// A file, index or config.json that cannot be used: names file, tensor, value seen and limit. ValueError in Python.
class CheckpointError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// A configuration that the asked backend declines, with its reason. ValueError in Python.
class UnsupportedError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// A device that is missing, or a device call that failed. RuntimeError in Python.
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace moekit
