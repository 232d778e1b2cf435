// SPDX-License-Identifier: Apache-2.0
// A tensor inside a kernel: where its bytes are, and its elements as numbers by flat (row-major) index or by offset.
#pragma once

#include <memory>
#include <vector>

#include "number.h"
#include "tensor.h"

namespace ascend_double {

class Array {
 public:
  Array() = default;
  Array(std::shared_ptr<const Tensor> tensor, std::byte* storage);

  bool present() const { return tensor_ != nullptr; }
  DataType dtype() const { return tensor_->dtype; }
  int64_t dim(size_t axis) const { return tensor_->dims[axis]; }
  int64_t rank() const { return static_cast<int64_t>(tensor_->dims.size()); }
  int64_t elements() const { return elements_; }
  int64_t stride(size_t axis) const { return tensor_->strides[axis]; }

  double operator[](int64_t flat) const { return load_number(dtype(), storage_, position(flat)); }
  int64_t integer(int64_t flat) const { return load_integer(dtype(), storage_, position(flat)); }
  double at(int64_t offset) const { return load_number(dtype(), storage_, tensor_->offset + offset); }
  // With jitter, where that profile is on.
  void set(int64_t flat, double value) const {
    store_number(dtype(), storage_, position(flat), jittered(dtype(), value));
  }
  // Without.
  void set_exact(int64_t flat, double value) const { store_number(dtype(), storage_, position(flat), value); }
  void set_integer(int64_t flat, int64_t value) const { store_integer(dtype(), storage_, position(flat), value); }
  // `count` elements from another array, bit for bit; both of one type of whole bytes.
  void copy(int64_t flat, const Array& from, int64_t from_flat, int64_t count) const;
  void copy_all(const Array& from) const { copy(0, from, 0, elements_); }
  // One row of the last dimension as floats.
  std::vector<float> row(int64_t index) const;

 private:
  int64_t position(int64_t flat) const;

  std::shared_ptr<const Tensor> tensor_;
  std::byte* storage_ = nullptr;
  int64_t elements_ = 0;
  bool contiguous_ = true;
};

}  // namespace ascend_double
