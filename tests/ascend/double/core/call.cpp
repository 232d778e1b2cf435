// SPDX-License-Identifier: Apache-2.0
#include "call.h"

#include <algorithm>

#include "context.h"

namespace ascend_double {

const Argument& Argument::is(std::initializer_list<DataType> dtypes, int code) const {
  if (!present() || std::find(dtypes.begin(), dtypes.end(), dtype()) != dtypes.end()) return *this;
  std::string allowed;
  for (const DataType each : dtypes) allowed += text(allowed.empty() ? "" : ", ", name_of(each));
  fail(code, name_, ": dtype is ", name_of(dtype()), ", allowed are ", allowed);
}

const Argument& Argument::has_rank(int64_t low, int64_t high, int code) const {
  require(!present() || (rank() >= low && rank() <= high), code, name_, ": shape ", present() ? text_of(dims()) : "",
          " must have ", low, low == high ? "" : text(" to ", high), " dimensions");
  return *this;
}

const Argument& Argument::has_shape(const std::vector<int64_t>& expected, int code) const {
  require(!present() || dims() == expected, code, name_, ": shape is ", present() ? text_of(dims()) : "", ", must be ",
          text_of(expected));
  return *this;
}

Call::Call(const char* operation, uint64_t* workspace_bytes, void** executor)
    : workspace_bytes_(workspace_bytes), handle_(executor), executor_(std::make_shared<Executor>()) {
  current_context();
  require(workspace_bytes != nullptr, code::kNullptr, "workspaceSize is NULL");
  require(executor != nullptr, code::kNullptr, "executor is NULL");
  executor_->operation = operation;
}

Argument Call::add(const char* name, const void* handle, bool output, bool required, int position, int member) {
  Argument argument;
  argument.name_ = name;
  argument.index_ = executor_->slots.size();
  if (handle != nullptr) {
    argument.tensor_ = tensors().get(handle, code::kNullptr, code::kParamInvalid);
    const Tensor& tensor = *argument.tensor_;
    require(tensor.format == kFormatNd, code::kParamInvalid, name, ": format is ", tensor.format, ", must be ND (2)");
    require(element_bits(tensor.dtype) > 0, code::kParamInvalid, name, ": dtype ", static_cast<int>(tensor.dtype),
            " is not supported");
    require(!output || tensor.contiguous(), code::kParamInvalid, name, ": an output must be contiguous");
  }
  require(handle != nullptr || !required, code::kNullptr, name, " is NULL");
  executor_->slots.push_back({name, output, position, member, handle, argument.tensor_,
                              argument.tensor_ ? argument.tensor_->address : nullptr});
  return argument;
}

Argument Call::input(const char* name, const void* handle) { return add(name, handle, false, true, inputs_++, -1); }
Argument Call::optional_input(const char* name, const void* handle) {
  return add(name, handle, false, false, inputs_++, -1);
}
Argument Call::output(const char* name, const void* handle) { return add(name, handle, true, true, outputs_++, -1); }
Argument Call::optional_output(const char* name, const void* handle) {
  return add(name, handle, true, false, outputs_++, -1);
}

Argument Call::strided_output(const char* name, const void* handle) {
  Argument argument = add(name, handle, false, true, outputs_++, -1);
  executor_->slots.back().output = true;
  return argument;
}

std::vector<Argument> Call::add_list(const char* name, const void* handle, bool output, bool required) {
  const int position = output ? outputs_++ : inputs_++;
  require(handle != nullptr || !required, code::kNullptr, name, " is NULL");
  std::vector<Argument> arguments;
  if (handle == nullptr) return arguments;
  const auto list = tensor_lists().get(handle, code::kNullptr, code::kParamInvalid);
  for (size_t i = 0; i < list->handles.size(); ++i) {
    arguments.push_back(add(name, list->handles[i], output, true, position, static_cast<int>(i)));
  }
  require(!arguments.empty() || !required, code::kParamInvalid, name, ": the list is empty");
  return arguments;
}

std::vector<Argument> Call::input_list(const char* name, const void* handle) {
  return add_list(name, handle, false, true);
}
std::vector<Argument> Call::optional_input_list(const char* name, const void* handle) {
  return add_list(name, handle, false, false);
}
std::vector<Argument> Call::output_list(const char* name, const void* handle) {
  return add_list(name, handle, true, true);
}

void Call::must_be_null(const char* name, const void* handle, bool output) {
  ++(output ? outputs_ : inputs_);
  require(handle == nullptr, code::kParamInvalid, name, " must be NULL");
}

int Call::finish(uint64_t workspace_bytes, Kernel kernel) {
  executor_->workspace_bytes = workspace_bytes;
  executor_->kernel = std::move(kernel);
  *workspace_bytes_ = workspace_bytes;
  *handle_ = executors().add(executor_);
  return code::kSuccess;
}

uint64_t odd_workspace(int64_t elements) { return 1027 + static_cast<uint64_t>(elements % 61) * 2; }

}  // namespace ascend_double
