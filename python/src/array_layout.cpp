// SPDX-License-Identifier: Apache-2.0
// From n-dimensional strided memory to the matrices and contiguous tensors that the library takes.
#include <cstring>

#include "arrays.h"

namespace moekit::python {
namespace {

/// Copies in C order. `out` holds elements() items.
void gather(const ArrayView& array, std::byte* out) {
  const auto size = static_cast<std::int64_t>(dtype_size(array.dtype));
  const std::int64_t count = array.elements();
  if (count == 0) return;
  const int last = array.ndim - 1;
  const std::int64_t inner = array.ndim > 0 ? array.shape[last] : 1;
  const std::int64_t step = array.ndim > 0 ? array.strides[last] * size : size;
  std::int64_t index[kMaxDims] = {};
  const char* row = array.data;
  for (std::int64_t done = 0; done < count; done += inner) {
    if (step == size) {
      std::memcpy(out, row, static_cast<std::size_t>(inner * size));
    } else {
      for (std::int64_t i = 0; i < inner; ++i)
        std::memcpy(out + i * size, row + i * step, static_cast<std::size_t>(size));
    }
    out += inner * size;
    for (int d = last - 1; d >= 0; --d) {  // the next row, as an odometer
      row += array.strides[d] * size;
      if (++index[d] < array.shape[d]) break;
      row -= array.strides[d] * size * array.shape[d];
      index[d] = 0;
    }
  }
}

std::unique_ptr<std::byte[]> gathered(const ArrayView& array) {
  const std::int64_t bytes =
      checked_mul(array.elements(), static_cast<std::int64_t>(dtype_size(array.dtype)), "bytes of the array");
  std::unique_ptr<std::byte[]> copy(new std::byte[static_cast<std::size_t>(bytes) + 1]);
  gather(array, copy.get());
  return copy;
}

bool is_contiguous(const ArrayView& array) {
  std::int64_t expected = 1;
  for (int i = array.ndim - 1; i >= 0; --i) {
    if (array.shape[i] == 0) return true;
    if (array.shape[i] != 1 && array.strides[i] != expected) return false;
    expected *= array.shape[i];
  }
  return true;
}

/// The stride between rows when the leading dimensions collapse into one; false when they do not.
bool row_stride_of(const ArrayView& array, std::int64_t* stride) {
  const int last = array.ndim - 1;
  *stride = array.shape[last];
  bool found = false;
  std::int64_t expected = 0;  // stride the next outer dimension must have
  for (int i = last - 1; i >= 0; --i) {
    if (array.shape[i] == 1) continue;
    if (!found) {
      *stride = array.strides[i];
      found = true;
    } else if (array.strides[i] != expected) {
      return false;
    }
    expected = array.strides[i] * array.shape[i];
  }
  return true;
}

}  // namespace

MatrixView as_matrix(const ArrayView& array, std::unique_ptr<std::byte[]>& copy) {
  const int last = array.ndim - 1;
  const std::int64_t cols = array.shape[last];
  std::int64_t rows = 1;
  for (int i = 0; i < last; ++i) rows = checked_mul(rows, array.shape[i], "rows of the array");
  MatrixView view{array.data, array.dtype, rows, cols, cols, 1};
  if (rows == 0 || cols == 0) return view;
  std::int64_t stride = 0;
  if ((cols == 1 || array.strides[last] == 1) && row_stride_of(array, &stride)) {
    view.row_stride = stride;
    return view;
  }
  copy = gathered(array);
  view.data = copy.get();
  return view;
}

const void* contiguous(const ArrayView& array, std::unique_ptr<std::byte[]>& copy) {
  if (is_contiguous(array)) return array.data;
  copy = gathered(array);
  return copy.get();
}

namespace {

struct Owner {
  ArrayView array;
  std::unique_ptr<std::byte[]> copy;
};

std::shared_ptr<Owner> own(py::handle object, const std::string& name) {
  // The last reference may go on a thread without the GIL.
  const std::shared_ptr<Owner> owner(new Owner, [](Owner* dead) {
    const py::gil_scoped_acquire gil;
    delete dead;
  });
  borrow(object, name.c_str(), owner->array);
  return owner;
}

}  // namespace

TensorRef as_tensor(py::handle object, const std::string& name) {
  const std::shared_ptr<Owner> owner = own(object, name);
  const void* data = contiguous(owner->array, owner->copy);
  std::vector<std::int64_t> shape(owner->array.shape, owner->array.shape + owner->array.ndim);
  return memory_tensor(name, data, owner->array.dtype, std::move(shape), owner);
}

MatrixRef as_strided_matrix(py::handle object, const std::string& name) {
  const std::shared_ptr<Owner> owner = own(object, name);
  const ArrayView& array = owner->array;
  if (array.ndim != 2 || array.elements() == 0 || array.strides[0] < 0 || array.strides[1] < 0 || is_contiguous(array))
    return {};
  const std::int64_t span = checked_mul(array.shape[0] - 1, array.strides[0], name) +
                            checked_mul(array.shape[1] - 1, array.strides[1], name) + 1;
  return {memory_tensor(name, array.data, array.dtype, {span}, owner), 0, array.shape[0], array.shape[1],
          array.strides[0], array.strides[1]};
}

}  // namespace moekit::python
