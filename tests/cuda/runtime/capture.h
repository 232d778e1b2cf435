// SPDX-License-Identifier: Apache-2.0
// Stream capture: what the streams would have done, as nodes with what comes before them.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cuda/runtime/queue.h"

namespace moekit::standin {

struct Node {
  std::string what;
  std::function<void()> run;
  std::vector<std::size_t> after;  // indices of earlier nodes
};

struct Capture {
  int device = 0;
  int mode = 0;  // 0 global, 1 thread-local, 2 relaxed
  std::thread::id thread;
  const void* origin = nullptr;  // the stream that began it
  int invalid = 0;               // the code of what broke it
  std::vector<Node> nodes;
  std::set<const void*> streams;  // the origin and those that joined by an event
};

/// Indices of `from` and of all nodes that come before them.
std::set<std::size_t> ancestors(const std::vector<Node>& nodes, const std::vector<std::size_t>& from);

}  // namespace moekit::standin
