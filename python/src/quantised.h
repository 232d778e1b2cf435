// SPDX-License-Identifier: Apache-2.0
// Quantised weights that Python gives: arrays with their description.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <string>

#include "moekit/quantised.h"

namespace moekit::python {

/// Rows first, first + step, ... (`rows` of them) of every matrix of a stack, or (index >= 0) of one of them.
struct QuantSelection {
  std::shared_ptr<const QuantTensors> tensors;
  std::int64_t index = -1;
  std::int64_t first = 0, rows = 0, step = 1;

  std::int64_t count() const noexcept { return index >= 0 ? 1 : tensors->count; }
  /// Matrix i of the selection. Throws CheckpointError for an index past its end.
  MatrixRef matrix(std::int64_t i) const;
  /// The same with tensors named `name`.codes, `name`.scales, ... in errors.
  QuantSelection named(const std::string& name) const;
};

}  // namespace moekit::python
