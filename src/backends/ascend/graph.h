// SPDX-License-Identifier: Apache-2.0
// Work of a stream recorded once and run many times (CANN's aclmdlRI).
#pragma once

#include <functional>

#include "backends/ascend/api.h"
#include "moekit/device.h"

namespace moekit::ascend {

class Graph {
 public:
  /// Whether the installation can capture.
  static bool available();
  /// Runs `work`, whose calls on `stream` are recorded and not executed. Throws DeviceError, and what `work` throws.
  Graph(Stream& stream, const std::function<void()>& work);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  /// Enqueues the recorded work: the same memory, whatever it holds by now.
  void replay(Stream& stream) const;

 private:
  AclGraph graph_ = nullptr;
};

}  // namespace moekit::ascend
