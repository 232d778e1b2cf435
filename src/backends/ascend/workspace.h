// SPDX-License-Identifier: Apache-2.0
// What one call in flight has on the device.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "backends/ascend/arena.h"
#include "backends/ascend/device.h"
#include "backends/ascend/queue.h"
#include "routing/routing.h"

namespace moekit::ascend {

/// Small tables on the device: they spare a call the upload of a number.
struct Constants {
  Buffer counts;   // entry n is the int64 n, one every kAlignment bytes: the group list of one expert with n rows
  Buffer iota;     // int32 0, 1, 2, ...: the row index of rows that lie in order
  Buffer all_ids;  // int32 [tokens, experts], each row 0 .. experts - 1: the ids of a dense block
  std::int64_t tokens = 0;  // they have room for
};

/// Shape of a call that can be repeated.
struct CallKey {
  std::int64_t tokens;
  DType x, y;
  bool operator<(const CallKey& other) const noexcept {
    if (tokens != other.tokens) return tokens < other.tokens;
    return x != other.x ? x < other.x : y < other.y;
  }
};

/// Memory and recordings that belong together: recordings hold addresses of the memory.
struct CallMemory {
  explicit CallMemory(int device) : arena(device), operators(device) {}
  Arena arena;
  Arena operators;  // workspace of the operators, one after the other
  Constants constants;
  std::map<CallKey, std::unique_ptr<Recording>> recordings;
};

class AscendWorkspace final : public Workspace {
 public:
  explicit AscendWorkspace(int device) : device_(device), memory_(std::make_unique<CallMemory>(device)) {}
  ~AscendWorkspace() override;

  /// Orders a call after the one before: nothing to do on the same stream, an event otherwise. A graph cannot wait for
  /// what is not in it, so the host does.
  void begin(AclStream stream, bool capturing);
  void end(AclStream stream);
  /// The workspace's own stream, for callers that have none.
  AclStream own_stream();

  CallMemory& memory() noexcept { return *memory_; }
  /// After a call was recorded into the caller's graph: the graph holds addresses of this memory for good, so later
  /// calls get another. It is freed with the workspace.
  void leave_to_graph();

  // of routing on the host
  std::vector<float> host_logits, host_weights;
  std::vector<std::int32_t> host_ids;
  std::vector<std::int64_t> host_tokens;

 private:
  int device_;
  std::unique_ptr<CallMemory> memory_;
  std::vector<std::unique_ptr<CallMemory>> of_graphs_;
  std::unique_ptr<AscendStream> stream_;
  std::unique_ptr<Event> last_;      // end of the last call
  AclStream last_stream_ = nullptr;  // its stream
};

}  // namespace moekit::ascend
