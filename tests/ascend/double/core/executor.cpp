// SPDX-License-Identifier: Apache-2.0
#include "executor.h"

#include <algorithm>
#include <cstring>

#include "context.h"

namespace ascend_double {

namespace {

// The bytes of the storage that the view reaches into.
Region region_of(const Slot& slot) {
  const Tensor& tensor = *slot.tensor;
  const int64_t extent = tensor.extent();
  if (extent == 0) return {};
  if (slot.address == nullptr) violate("null address", code::kNullptr, slot.name, " has no device address");
  Region region = device_memory().region(slot.address, static_cast<uint64_t>(bytes_of(tensor.dtype, extent)),
                                         slot.output, slot.name);
  region.begin += static_cast<uint64_t>(tensor.offset * element_bits(tensor.dtype) / 8);
  return region;
}

std::byte* storage_of(const Slot& slot, const Region& region) {
  if (!region.block) return nullptr;
  return region.data() - slot.tensor->offset * element_bits(slot.tensor->dtype) / 8;
}

void check_overlap(const Executor& executor, const std::vector<Region>& regions) {
  for (size_t i = 0; i < executor.slots.size(); ++i) {
    if (!executor.slots[i].output || !regions[i].block) continue;
    for (size_t j = 0; j < executor.slots.size(); ++j) {
      const bool apart = i == j || regions[j].block != regions[i].block || regions[j].end <= regions[i].begin ||
                         regions[i].end <= regions[j].begin;
      if (apart || (executor.in_place && regions[i].begin == regions[j].begin && regions[i].end == regions[j].end)) {
        continue;
      }
      violate("overlap", code::kParamInvalid, executor.slots[i].name, " overlaps ", executor.slots[j].name);
    }
  }
}

// The kernel owns its workspace while it runs: it leaves its own bytes there, and finds out who else writes them.
void with_workspace(const Region& workspace, const std::function<void()>& run) {
  const size_t bytes = workspace.end - workspace.begin;
  if (bytes == 0) return run();
  std::memset(workspace.data(), 0xA5, bytes);
  run();
  for (size_t i = 0; i < bytes; ++i) {
    if (workspace.data()[i] == std::byte{0xA5}) continue;
    violate("workspace shared", code::kRtAicoreException, "byte ", i,
            " of the workspace was written by something else");
  }
  std::memset(workspace.data(), 0x5A, bytes);
}

}  // namespace

HandleTable<Executor>& executors() {
  static auto* const instance = new HandleTable<Executor>("aclOpExecutor");
  return *instance;
}

void execute(const char* operation, void* workspace, uint64_t workspace_bytes, void* handle, void* stream_handle) {
  const auto executor = executors().get(handle, code::kNullptr, code::kParamInvalid);
  if (std::strcmp(executor->operation, operation) != 0) {
    violate("foreign handle", code::kParamInvalid, "the executor was made by ", executor->operation,
            "GetWorkspaceSize");
  }
  if (!executor->repeatable) executors().remove(handle, code::kNullptr, code::kParamInvalid);
  const uint64_t needed = executor->workspace_bytes;
  if (needed > 0 && workspace == nullptr) {
    violate("missing workspace", code::kNullptr, needed, " bytes of workspace are needed, workspace is NULL");
  }
  if (workspace_bytes < needed) {
    violate("missing workspace", code::kParamInvalid, needed, " bytes of workspace are needed, ", workspace_bytes,
            " were given");
  }
  const auto stream = stream_of(stream_handle);
  Task task;
  task.name = executor->operation;
  std::vector<Array> arrays;
  for (const Slot& slot : executor->slots) {
    if (slot.tensor == nullptr) {
      task.touches.emplace_back();
      arrays.emplace_back();
      continue;
    }
    tensors().get(slot.handle, code::kNullptr, code::kParamInvalid);  // must live until phase two has returned
    task.touches.push_back(region_of(slot));
    arrays.emplace_back(slot.tensor, storage_of(slot, task.touches.back()));
  }
  check_overlap(*executor, task.touches);
  Region scratch;
  if (needed > 0) {
    scratch = device_memory().region(workspace, needed, true, "workspace");
    for (size_t i = 0; i < executor->slots.size(); ++i) {
      const Region& other = task.touches[i];
      if (other.block == scratch.block && other.begin < scratch.end && scratch.begin < other.end) {
        violate("overlap", code::kParamInvalid, "the workspace overlaps ", executor->slots[i].name);
      }
    }
    task.touches.push_back(scratch);
  }
  task.run = [executor, kernel = executor->kernel, arrays = std::move(arrays), scratch] {
    with_workspace(scratch, [&] { kernel(arrays); });
  };
  stream->submit(std::move(task));
}

void discard_executor(int, void*, uint64_t, void* handle, void*) {
  if (handle == nullptr) return;
  const auto executor = executors().get(handle, code::kNullptr, code::kParamInvalid);
  if (!executor->repeatable) executors().remove(handle, code::kNullptr, code::kParamInvalid);
}

}  // namespace ascend_double
