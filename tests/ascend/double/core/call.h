// SPDX-License-Identifier: Apache-2.0
// Phase one of an operator: takes the arguments in the order of the prototype, checks them, makes the executor.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "executor.h"
#include "failure.h"
#include "tensor.h"

namespace ascend_double {

class Argument {
 public:
  bool present() const { return tensor_ != nullptr; }
  size_t index() const { return index_; }  // of the kernel's array
  const char* name() const { return name_; }
  DataType dtype() const { return tensor_->dtype; }
  const std::vector<int64_t>& dims() const { return tensor_->dims; }
  int64_t rank() const { return static_cast<int64_t>(tensor_->dims.size()); }
  int64_t dim(int64_t axis) const { return tensor_->dims[static_cast<size_t>(axis < 0 ? axis + rank() : axis)]; }
  int64_t elements() const { return tensor_->elements(); }
  bool contiguous() const { return tensor_->contiguous(); }
  const Tensor& tensor() const { return *tensor_; }

  // Each throws Failure{code} and names the argument, the value seen and the limit.
  const Argument& is(std::initializer_list<DataType> dtypes, int code = code::kParamInvalid) const;
  const Argument& has_rank(int64_t low, int64_t high, int code = code::kParamInvalid) const;
  const Argument& has_shape(const std::vector<int64_t>& dims, int code = code::kParamInvalid) const;

 private:
  friend class Call;
  const char* name_ = "";
  size_t index_ = 0;
  std::shared_ptr<Tensor> tensor_;
};

class Call {
 public:
  Call(const char* operation, uint64_t* workspace_bytes, void** executor);

  Argument input(const char* name, const void* handle);  // 161001 where it is NULL
  Argument optional_input(const char* name, const void* handle);
  Argument output(const char* name, const void* handle);  // contiguous
  Argument optional_output(const char* name, const void* handle);
  Argument strided_output(const char* name, const void* handle);  // of a copy, whose target may have gaps
  std::vector<Argument> input_list(const char* name, const void* handle);
  std::vector<Argument> optional_input_list(const char* name, const void* handle);
  std::vector<Argument> output_list(const char* name, const void* handle);
  // A list or tensor that this use of the operator has no place for.
  void must_be_null(const char* name, const void* handle, bool output = false);

  void allow_in_place() { executor_->in_place = true; }
  // The last step: the executor lives from here on.
  int finish(uint64_t workspace_bytes, Kernel kernel);

 private:
  Argument add(const char* name, const void* handle, bool output, bool required, int position, int member);
  std::vector<Argument> add_list(const char* name, const void* handle, bool output, bool required);

  uint64_t* workspace_bytes_;
  void** handle_;
  std::shared_ptr<Executor> executor_;
  int inputs_ = 0, outputs_ = 0;
};

// Workspace of an operator whose kernels need some: odd on purpose, so that a caller who rounds or assumes is found
// out.
uint64_t odd_workspace(int64_t elements);

}  // namespace ascend_double
