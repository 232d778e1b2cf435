// SPDX-License-Identifier: Apache-2.0
// Repeatable executors and changed addresses.
#include "../core/entry.h"
#include "../core/executor.h"

namespace ascend_double {
namespace {

int set_repeatable(void* handle) {
  executors().get(handle, code::kNullptr, code::kParamInvalid)->repeatable = true;
  return code::kSuccess;
}

int destroy_executor(void* handle) {
  executors().remove(handle, code::kNullptr, code::kParamInvalid);
  return code::kSuccess;
}

int set_address(void* handle, bool output, size_t position, int member, const void* tensor, void* address) {
  const auto executor = executors().get(handle, code::kNullptr, code::kParamInvalid);
  require(executor->repeatable, code::kParamInvalid, "the executor is not repeatable");
  require(address != nullptr, code::kNullptr, "addr is NULL");
  for (Slot& slot : executor->slots) {
    if (slot.output != output || slot.position != static_cast<int>(position) || slot.member != member) continue;
    require(slot.tensor != nullptr, code::kParamInvalid, slot.name, " was NULL in phase one");
    if (slot.handle != tensor) {
      violate("foreign handle", code::kParamInvalid, slot.name, ": phase one was given another aclTensor");
    }
    slot.address = address;
    return code::kSuccess;
  }
  fail(code::kParamInvalid, executor->operation, " has no ", output ? "output " : "input ", position,
       member < 0 ? "" : " with that member");
}

int set_input_address(void* executor, const size_t index, void* tensor, void* address) {
  tensors().get(tensor, code::kNullptr, code::kParamInvalid);
  return set_address(executor, false, index, -1, tensor, address);
}

int set_output_address(void* executor, const size_t index, void* tensor, void* address) {
  tensors().get(tensor, code::kNullptr, code::kParamInvalid);
  return set_address(executor, true, index, -1, tensor, address);
}

int set_member_address(void* executor, bool output, size_t position, size_t member, void* list_handle, void* address) {
  const auto list = tensor_lists().get(list_handle, code::kNullptr, code::kParamInvalid);
  require(member < list->handles.size(), code::kParamInvalid, "member ", member, " of a list of ",
          list->handles.size());
  return set_address(executor, output, position, static_cast<int>(member), list->handles[member], address);
}

int set_dynamic_input_address(void* executor, size_t position, const size_t member, void* list, void* address) {
  return set_member_address(executor, false, position, member, list, address);
}

int set_dynamic_output_address(void* executor, size_t position, const size_t member, void* list, void* address) {
  return set_member_address(executor, true, position, member, list, address);
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_EXPORT(aclSetAclOpExecutorRepeatable, set_repeatable)
ASCEND_DOUBLE_EXPORT(aclDestroyAclOpExecutor, destroy_executor)
ASCEND_DOUBLE_EXPORT(aclSetInputTensorAddr, set_input_address)
ASCEND_DOUBLE_EXPORT(aclSetOutputTensorAddr, set_output_address)
ASCEND_DOUBLE_EXPORT(aclSetDynamicInputTensorAddr, set_dynamic_input_address)
ASCEND_DOUBLE_EXPORT(aclSetDynamicOutputTensorAddr, set_dynamic_output_address)
