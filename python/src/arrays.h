// SPDX-License-Identifier: Apache-2.0
// Arrays of other libraries as plain views, and new arrays of the same kind: NumPy (ml_dtypes included), types with the
// DLPack C exchange table (torch), and anything with __dlpack__.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dlpack.h"
#include "moekit/core.h"
#include "moekit/tensor.h"

namespace moekit::python {

namespace py = pybind11;

constexpr int kMaxDims = 64;  // NumPy's own limit since 2.0

/// A borrowed array. The memory lives as long as this object and `source` do. Created and destroyed with the GIL held.
struct ArrayView {
  enum class Kind { kNumpy, kExchange, kDlpack };

  ArrayView() = default;
  ArrayView(const ArrayView&) = delete;
  ArrayView& operator=(const ArrayView&) = delete;
  ~ArrayView();

  Kind kind = Kind::kNumpy;
  DType dtype = DType::kFloat32;
  int ndim = 0;
  const char* data = nullptr;
  std::int64_t shape[kMaxDims];
  std::int64_t strides[kMaxDims];  // elements

  py::object source;                       // the array, or the copy that replaced it
  const dl::Exchange* exchange = nullptr;  // kExchange
  dl::Managed* managed = nullptr;          // kDlpack, one of the two
  dl::ManagedVersioned* versioned = nullptr;

  std::int64_t elements() const;
  std::string shape_text() const;
};

/// Whether a torch tensor that requires grad is refused while gradients are enabled, or the caller has seen to it.
enum class Gradients { kRefuse, kChecked };

/// Throws TypeError for a torch tensor that requires grad while gradients are enabled.
void refuse_gradients(py::handle object, const char* name);

/// Fills `out` from any supported array on the CPU; `name` is the argument's name in errors.
/// Throws TypeError (kind, dtype, gradients) or ValueError (device, strides, DLPack contents), naming what was wrong.
void borrow(py::handle object, const char* name, ArrayView& out, Gradients gradients = Gradients::kRefuse);

/// The tensor of a fresh DLPack capsule, of which one of `managed` and `versioned` is then the caller's to delete.
dl::Tensor take_capsule(py::handle object, const char* name, dl::Managed*& managed, dl::ManagedVersioned*& versioned);

/// The array as [rows, cols] with unit column stride, cols being the last dimension. No copy when the leading
/// dimensions collapse into one row stride (of any sign); otherwise one, into `copy`.
MatrixView as_matrix(const ArrayView& array, std::unique_ptr<std::byte[]>& copy);

/// The whole array in C order: its own memory, or one copy into `copy`.
const void* contiguous(const ArrayView& array, std::unique_ptr<std::byte[]>& copy);

/// A tensor that keeps the array (or its contiguous copy) alive.
TensorRef as_tensor(py::handle object, const std::string& name);

/// A matrix whose rows or columns lie apart in memory, without a copy; empty when the array is not one (another number
/// of dimensions, contiguous, negative strides).
MatrixRef as_strided_matrix(py::handle object, const std::string& name);

/// An uninitialised C-ordered array of the kind of `like`. Unknown DLPack producers get theirs through the from_dlpack
/// of their namespace, and a NumPy array where they have none: finish() gives it once the data is written.
class NewArray {
 public:
  NewArray(const ArrayView& like, DType dtype, const std::int64_t* shape, int ndim);
  NewArray(const NewArray&) = delete;
  NewArray& operator=(const NewArray&) = delete;
  void* data() const noexcept { return data_; }
  py::object finish();

 private:
  py::object array_;
  py::object producer_;  // kDlpack: the array whose kind is asked for
  void* data_ = nullptr;
};

}  // namespace moekit::python
