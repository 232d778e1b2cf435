// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/queue.h"

#include <string>

#include "backends/ascend/device.h"
#include "moekit/error.h"

namespace moekit::ascend {
namespace {

void give_address(const Step& step, const ForeignArgument& argument, void* address) {
  const Runtime& rt = api().rt;
  if (argument.foreign == Foreign::kOutput)
    return check(rt.aclSetOutputTensorAddr(step.executor, 0, argument.tensor, address), "aclSetOutputTensorAddr");
  if (argument.list != nullptr)
    return check(rt.aclSetDynamicInputTensorAddr(step.executor, 0, 0, argument.list, address),
                 "aclSetDynamicInputTensorAddr");
  check(rt.aclSetInputTensorAddr(step.executor, 0, argument.tensor, address), "aclSetInputTensorAddr");
}

// Indices of the functions that change addresses count inputs and outputs apart; how absent optional ones count is
// written down nowhere. So only the first input and the first output are ever changed.
bool can_change(const ForeignArgument& argument) noexcept {
  const Runtime& rt = api().rt;
  if (argument.foreign == Foreign::kOutput) return argument.list == nullptr && rt.aclSetOutputTensorAddr != nullptr;
  if (argument.position != 0) return false;
  return argument.list != nullptr ? rt.aclSetDynamicInputTensorAddr != nullptr : rt.aclSetInputTensorAddr != nullptr;
}

}  // namespace

Recording::~Recording() {
  for (const Step& step : steps)
    if (step.executor != nullptr && api().rt.aclDestroyAclOpExecutor != nullptr)
      api().rt.aclDestroyAclOpExecutor(step.executor);
}

void Recording::run(void* new_input, void* new_output, void* operator_workspace, AclStream stream) {
  const bool input_moved = new_input != input, output_moved = new_output != output;
  for (Step& step : steps) {
    if (step.run == nullptr) {
      check(api().rt.aclrtMemcpyAsync(step.target, step.bytes, step.source, step.bytes, kAclDeviceToDevice, stream),
            "aclrtMemcpyAsync");
      continue;
    }
    for (const ForeignArgument& argument : step.arguments.foreign()) {
      const bool is_input = argument.foreign == Foreign::kInput;
      if (is_input ? input_moved : output_moved) give_address(step, argument, is_input ? new_input : new_output);
    }
    void* workspace = step.workspace_bytes != 0 ? operator_workspace : nullptr;
    check(step.run(workspace, step.workspace_bytes, step.executor, stream), step.name);
  }
  input = new_input;
  output = new_output;
}

void Queue::require(const char* name, bool there) {
  if (!there) throw UnsupportedError("[ascend] this CANN installation lacks " + std::string(name));
}

void Queue::check_plan(const char* name, int code) {
  if (code != 0) check(code, (std::string(name) + "GetWorkspaceSize").c_str());
}

void Queue::make_repeatable(AclExecutor* executor, const Arguments& arguments) {
  const Runtime& rt = api().rt;
  bool able = rt.aclSetAclOpExecutorRepeatable != nullptr && rt.aclDestroyAclOpExecutor != nullptr;
  for (const ForeignArgument& argument : arguments.foreign()) able = able && can_change(argument);
  if (!able || rt.aclSetAclOpExecutorRepeatable(executor) != 0) forget();
}

void Queue::launch(const char* name, int (*function)(void*, std::uint64_t, AclExecutor*, AclStream),
                   std::uint64_t bytes, AclExecutor* executor, Arguments arguments) {
  struct Owner {  // of an executor that has not run
    AclExecutor* executor;
    ~Owner() {
      if (executor != nullptr && api().rt.aclDestroyAclOpExecutor != nullptr)
        api().rt.aclDestroyAclOpExecutor(executor);
    }
  } owner{executor};
  if (bytes > operators_.bytes()) {
    if (is_capturing(stream_))
      throw DeviceError("[ascend] " + std::string(name) + " needs " + std::to_string(bytes) +
                        " bytes of workspace while the stream is captured; call the layer once with this many tokens "
                        "before capturing");
    check(api().rt.aclrtSynchronizeStream(stream_), "aclrtSynchronizeStream");  // operators that run use the old one
    operators_.reserve(bytes);
    operators_.begin(false);
  }
  void* workspace = bytes != 0 ? operators_.data() : nullptr;
  Step* kept = nullptr;
  if (mode_ == Mode::kRecord && repeatable_) {
    recording_->steps.emplace_back();
    make_repeatable(executor, arguments);
    if (repeatable_) kept = &recording_->steps.back();
  }
  // Running takes an executor that is not repeatable. Whether it does when it fails is written down nowhere: one lost
  // is better than one freed twice.
  if (kept == nullptr) owner.executor = nullptr;
  check(function(workspace, bytes, executor, stream_), name);
  if (kept == nullptr) return;
  owner.executor = nullptr;
  kept->name = name;
  kept->run = function;
  kept->workspace_bytes = bytes;
  kept->executor = executor;
  kept->arguments = std::move(arguments);
}

void Queue::copy(void* target, const void* source, std::size_t bytes) {
  if (counting() || bytes == 0) return;
  check(api().rt.aclrtMemcpyAsync(target, bytes, source, bytes, kAclDeviceToDevice, stream_), "aclrtMemcpyAsync");
  if (mode_ != Mode::kRecord || !repeatable_) return;
  Step step;
  step.target = target;
  step.source = source;
  step.bytes = bytes;
  recording_->steps.push_back(std::move(step));
}

void Queue::zero(const Tensor& target) {
  if (counting()) return;
  forget();
  check(api().rt.aclrtMemsetAsync(target.data, target.bytes(), 0, target.bytes(), stream_), "aclrtMemsetAsync");
}

}  // namespace moekit::ascend
