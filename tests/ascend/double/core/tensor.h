// SPDX-License-Identifier: Apache-2.0
// Tensor descriptions, lists, arrays of numbers, executors: the objects of the two-phase protocol.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "handles.h"
#include "memory.h"
#include "types.h"

namespace ascend_double {

struct Tensor {
  DataType dtype = DataType::kUndefined;
  std::vector<int64_t> dims, strides;  // strides and offset in elements
  int64_t offset = 0;
  int format = kFormatNd;
  std::vector<int64_t> storage_dims;
  void* address = nullptr;

  int64_t elements() const;
  bool contiguous() const;
  // One past the last element, counted from the first one of the storage: 0 for an empty tensor.
  int64_t extent() const;
};

struct TensorList {
  std::vector<const void*> handles;
};

struct IntArray {
  std::vector<int64_t> values;
};

struct Scalar {
  DataType dtype = DataType::kUndefined;
  double value = 0;
};

HandleTable<Tensor>& tensors();
HandleTable<TensorList>& tensor_lists();
HandleTable<IntArray>& int_arrays();
HandleTable<Scalar>& scalars();

}  // namespace ascend_double
