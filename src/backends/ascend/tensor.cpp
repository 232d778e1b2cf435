// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/tensor.h"

#include <utility>

namespace moekit::ascend {

std::size_t dtype_bytes(AclDType dtype, std::int64_t elements) noexcept {
  const auto count = static_cast<std::size_t>(elements);
  switch (dtype) {
    case kAclInt4: return (count + 1) / 2;
    case kAclInt8:
    case kAclBool: return count;
    case kAclFloat16:
    case kAclBFloat16: return 2 * count;
    case kAclInt64: return 8 * count;
    default: return 4 * count;
  }
}

AclDType acl_dtype(DType dtype) noexcept {
  if (dtype == DType::kBFloat16) return kAclBFloat16;
  return dtype == DType::kFloat16 ? kAclFloat16 : kAclFloat;
}

DType host_dtype(AclDType dtype) noexcept {
  if (dtype == kAclBFloat16) return DType::kBFloat16;
  return dtype == kAclFloat16 ? DType::kFloat16 : DType::kFloat32;
}

std::size_t Tensor::bytes() const noexcept { return dtype_bytes(dtype, elements()); }

bool Tensor::contiguous() const noexcept {
  std::int64_t stride = 1;
  for (std::size_t i = rank; i-- > 0;) {
    if (dims[i] != 1 && strides[i] != stride) return false;
    stride *= dims[i];
  }
  return true;
}

Tensor tensor_over(const void* data, AclDType dtype, std::initializer_list<std::int64_t> shape) noexcept {
  Tensor t;
  t.data = const_cast<void*>(data);
  t.dtype = dtype;
  for (const std::int64_t extent : shape) t.dims[t.rank++] = extent;
  std::int64_t stride = 1;
  for (std::size_t i = t.rank; i-- > 0;) {
    t.strides[i] = stride;
    stride *= t.dims[i];
  }
  return t;
}

Tensor Tensor::reshaped(std::initializer_list<std::int64_t> shape) const noexcept {
  Tensor t = tensor_over(data, dtype, shape);
  t.foreign = foreign;
  return t;
}

Tensor Tensor::columns(std::int64_t first, std::int64_t count) const noexcept {
  Tensor t = *this;
  t.data = static_cast<char*>(data) + dtype_bytes(dtype, first * strides[rank - 1]);
  t.dims[rank - 1] = count;
  return t;
}

Tensor Tensor::slice(std::int64_t first, std::int64_t count) const noexcept {
  Tensor t = *this;
  t.data = static_cast<char*>(data) + dtype_bytes(dtype, first * strides[0]);
  t.dims[0] = count;
  return t;
}

Tensor Tensor::transposed() const noexcept {
  Tensor t = *this;
  std::swap(t.dims[rank - 1], t.dims[rank - 2]);
  std::swap(t.strides[rank - 1], t.strides[rank - 2]);
  return t;
}

}  // namespace moekit::ascend
