// SPDX-License-Identifier: Apache-2.0
#include "array.h"

#include <cstring>

namespace ascend_double {

Array::Array(std::shared_ptr<const Tensor> tensor, std::byte* storage)
    : tensor_(std::move(tensor)),
      storage_(storage),
      elements_(tensor_->elements()),
      contiguous_(tensor_->contiguous()) {}

int64_t Array::position(int64_t flat) const {
  if (contiguous_) return tensor_->offset + flat;
  int64_t position = tensor_->offset;
  for (size_t i = tensor_->dims.size(); i-- > 0;) {
    position += flat % tensor_->dims[i] * tensor_->strides[i];
    flat /= tensor_->dims[i];
  }
  return position;
}

void Array::copy(int64_t flat, const Array& from, int64_t from_flat, int64_t count) const {
  const int64_t bytes = element_bits(dtype()) / 8;
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(storage_ + position(flat + i) * bytes, from.storage_ + from.position(from_flat + i) * bytes,
                static_cast<size_t>(bytes));
  }
}

std::vector<float> Array::row(int64_t index) const {
  const int64_t width = tensor_->dims.back();
  std::vector<float> values(static_cast<size_t>(width));
  for (int64_t i = 0; i < width; ++i) values[static_cast<size_t>(i)] = static_cast<float>((*this)[index * width + i]);
  return values;
}

}  // namespace ascend_double
