// SPDX-License-Identifier: Apache-2.0
// The executor that phase one makes and phase two runs.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "array.h"
#include "stream.h"
#include "tensor.h"

namespace ascend_double {

struct Slot {        // one tensor of a call
  const char* name;  // as the prototype names it
  bool output;
  int position;        // among the inputs, or among the outputs, of the prototype; a list is one
  int member;          // inside a list, -1 elsewhere
  const void* handle;  // of the aclTensor
  std::shared_ptr<Tensor> tensor;
  void* address;  // of the storage; aclSet*TensorAddr changes it
};

// What a kernel sees: its tensors, by the order in which phase one named them.
using Kernel = std::function<void(const std::vector<Array>&)>;

struct Executor {
  const char* operation;
  std::vector<Slot> slots;
  uint64_t workspace_bytes = 0;
  bool in_place = false;  // the output may be an input
  bool repeatable = false;
  Kernel kernel;
};

HandleTable<Executor>& executors();

// Phase two: takes the executor away unless it is repeatable, and queues its kernel.
void execute(const char* operation, void* workspace, uint64_t workspace_bytes, void* handle, void* stream);

// Phase two takes its executor whatever it answers, an injected fault too.
void discard_executor(int fault, void* workspace, uint64_t workspace_bytes, void* handle, void* stream);

}  // namespace ascend_double
