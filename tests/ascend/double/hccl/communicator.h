// SPDX-License-Identifier: Apache-2.0
// A rank's end of a group, and the exchange that every collective is made of: each posts its bytes, all read all.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "../core/handles.h"
#include "../core/number.h"
#include "../core/stream.h"
#include "segment.h"

namespace ascend_double {

enum class Collective : int32_t {
  kBarrier = 1,
  kAllReduce,
  kAllGather,
  kReduceScatter,
  kBroadcast,
  kAllToAll,
  kAllToAllOfCounts,
  kDispatch,
  kCombine
};

struct Communicator {
  std::shared_ptr<Segment> segment;
  uint32_t rank = 0, ranks = 0;
  int device = 0;
  std::atomic<int> pending{0};  // collectives still in a queue
};

HandleTable<Communicator>& communicators();

// Bytes of each rank, and what each rank said it would do.
struct Exchange {
  std::vector<std::vector<std::byte>> data;
  std::vector<Signature> signatures;
};

// Waits for the other ranks. A violation ("collective mismatch") where they mean something else.
Exchange exchange(Communicator* communicator, const Signature& signature, const std::byte* bytes);

// DataType of an HCCL one, and whether it can be summed. Throws Failure{kNotSupported}.
DataType type_of(int hccl_type);

}  // namespace ascend_double
