// SPDX-License-Identifier: Apache-2.0
#include "tensor.h"

namespace ascend_double {

int64_t Tensor::elements() const {
  int64_t count = 1;
  for (const int64_t dim : dims) count *= dim;
  return count;
}

bool Tensor::contiguous() const {
  int64_t expected = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    if (dims[i] != 1 && strides[i] != expected) return false;
    expected *= dims[i];
  }
  return true;
}

int64_t Tensor::extent() const {
  if (elements() == 0) return 0;
  int64_t last = offset;
  for (size_t i = 0; i < dims.size(); ++i) last += (dims[i] - 1) * strides[i];
  return last + 1;
}

HandleTable<Tensor>& tensors() {
  static auto* const instance = new HandleTable<Tensor>("aclTensor");
  return *instance;
}

HandleTable<TensorList>& tensor_lists() {
  static auto* const instance = new HandleTable<TensorList>("aclTensorList");
  return *instance;
}

HandleTable<IntArray>& int_arrays() {
  static auto* const instance = new HandleTable<IntArray>("aclIntArray");
  return *instance;
}

HandleTable<Scalar>& scalars() {
  static auto* const instance = new HandleTable<Scalar>("aclScalar");
  return *instance;
}

}  // namespace ascend_double
