// SPDX-License-Identifier: Apache-2.0
#include "arrays.h"

#include <pybind11/numpy.h>

#include <cstring>

#include "array_types.h"

namespace moekit::python {
namespace {

[[noreturn]] void raise_value(const char* name, const std::string& text) {
  throw py::value_error("[array] " + std::string(name) + ": " + text);
}

[[noreturn]] void raise_type(const char* name, const std::string& text) {
  throw py::type_error("[array] " + std::string(name) + ": " + text);
}

/// Replaces the Python error in flight by one of ours that names the argument and keeps the old one as its cause.
[[noreturn]] void reraise(py::error_already_set& error, PyObject* type, const char* name) {
  const std::string text =
      "[array] " + std::string(name) + " cannot be read: " + py::str(error.value()).cast<std::string>();
  py::raise_from(error, type, text.c_str());
  throw py::error_already_set();
}

void borrow_numpy(py::handle object, const char* name, ArrayView& out) {
  out.source = py::reinterpret_borrow<py::object>(object);
  bool swapped = false;
  out.dtype = dtype_from_numpy(object, name, &swapped);
  const auto* proxy = py::detail::array_proxy(object.ptr());
  const auto size = static_cast<std::int64_t>(dtype_size(out.dtype));
  bool odd = swapped || reinterpret_cast<std::uintptr_t>(proxy->data) % static_cast<std::uintptr_t>(size) != 0;
  for (int i = 0; i < proxy->nd; ++i) odd = odd || (proxy->dimensions[i] > 1 && proxy->strides[i] % size != 0);
  if (odd) {  // foreign byte order, unaligned memory or strides between elements: NumPy copies
    const py::object native = object.attr("dtype").attr("newbyteorder")("=");
    out.source = object.attr("astype")(native, py::arg("order") = "C", py::arg("copy") = true);
    proxy = py::detail::array_proxy(out.source.ptr());
  }
  out.kind = ArrayView::Kind::kNumpy;
  out.ndim = proxy->nd;
  out.data = proxy->data;
  for (int i = 0; i < proxy->nd; ++i) {
    out.shape[i] = proxy->dimensions[i];
    out.strides[i] = proxy->strides[i] / size;
  }
}

void take_dl_tensor(const dl::Tensor& tensor, const char* name, ArrayView& out) {
  if (tensor.device.type != dl::kCpu)
    raise_value(name, "DLPack device type " + std::to_string(tensor.device.type) + ", the layer runs on the CPU (1)");
  if (tensor.ndim < 0 || tensor.ndim > kMaxDims)
    raise_value(name, std::to_string(tensor.ndim) + " dimensions, the limit is " + std::to_string(kMaxDims));
  if (tensor.ndim > 0 && tensor.shape == nullptr) raise_value(name, "DLPack shape is NULL");
  out.dtype = dtype_from_dlpack(tensor.dtype, name);
  out.ndim = tensor.ndim;
  out.data = static_cast<const char*>(tensor.data) + tensor.byte_offset;
  std::int64_t count = 1;
  for (int i = tensor.ndim - 1; i >= 0; --i) {
    if (tensor.shape[i] < 0)
      raise_value(name, "dimension " + std::to_string(i) + " is " + std::to_string(tensor.shape[i]));
    out.shape[i] = tensor.shape[i];
    out.strides[i] = tensor.strides != nullptr ? tensor.strides[i] : count;
    count = checked_mul(count, tensor.shape[i], name);
  }
  if (count > 0 && tensor.data == nullptr)
    raise_value(name, "DLPack data is NULL for " + std::to_string(count) + " elements");
  if (reinterpret_cast<std::uintptr_t>(out.data) % dtype_size(out.dtype) != 0)
    raise_value(name, "memory is not aligned to its elements of " + std::to_string(dtype_size(out.dtype)) + " bytes");
}

/// torch: gradients would be lost in silence.
void check_gradients(py::handle object, const char* name) {
  static PyObject* requires_grad = PyUnicode_InternFromString("requires_grad");
  const auto attribute = py::reinterpret_steal<py::object>(PyObject_GetAttr(object.ptr(), requires_grad));
  if (!attribute) return PyErr_Clear();  // an exchange type of another library
  if (attribute.ptr() == Py_True && py::module_::import("torch").attr("is_grad_enabled")().ptr() == Py_True)
    raise_type(name,
               "requires grad, which this layer does not compute; use torch.no_grad(), x.detach() or moekit.torch.MoE");
}

/// torch: a pending negation is not in the memory. It comes from imaginary parts of conjugates, which are strided views
/// of complex numbers: plain contiguous tensors (of more than one element) need not be asked.
bool may_be_negated(const ArrayView& array) {
  std::int64_t expected = 1;
  for (int i = array.ndim - 1; i >= 0; --i) {
    if (array.strides[i] != expected) return true;
    expected *= array.shape[i];
  }
  return expected == 1;
}

void borrow_exchange(py::handle object, const dl::Exchange& exchange, const char* name, Gradients gradients,
                     ArrayView& out) {
  if (gradients == Gradients::kRefuse) check_gradients(object, name);
  out.source = py::reinterpret_borrow<py::object>(object);
  out.kind = ArrayView::Kind::kExchange;
  out.exchange = &exchange;
  dl::Tensor tensor{};
  if (exchange.borrow(object.ptr(), &tensor) != 0) {
    py::error_already_set error;
    reraise(error, PyExc_TypeError, name);
  }
  take_dl_tensor(tensor, name, out);
  if (may_be_negated(out) && py::hasattr(object, "is_neg") && object.attr("is_neg")().ptr() == Py_True)
    borrow_exchange(object.attr("resolve_neg")(), exchange, name, gradients, out);
}

py::object export_capsule(py::handle object, const char* name) {
  try {
    try {
      return object.attr("__dlpack__")(py::arg("max_version") = py::make_tuple(dl::kMajor, dl::kMinor));
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_TypeError)) throw;  // an exporter from before max_version
    }
    return object.attr("__dlpack__")();
  } catch (py::error_already_set& error) {
    reraise(error, PyExc_TypeError, name);
  }
}

void borrow_dlpack(py::handle object, const char* name, ArrayView& out) {
  out.source = py::reinterpret_borrow<py::object>(object);
  out.kind = ArrayView::Kind::kDlpack;
  if (py::hasattr(object, "__dlpack_device__")) {
    py::object device;
    try {
      device = object.attr("__dlpack_device__")();
    } catch (py::error_already_set& error) {
      reraise(error, PyExc_ValueError, name);
    }
    const int type = py::cast<int>(py::int_(py::object(device[py::int_(0)])));
    if (type != dl::kCpu)
      raise_value(name, "DLPack device type " + std::to_string(type) + ", the layer runs on the CPU (1)");
  }
  take_dl_tensor(take_capsule(object, name, out.managed, out.versioned), name, out);
}

}  // namespace

void refuse_gradients(py::handle object, const char* name) { check_gradients(object, name); }

dl::Tensor take_capsule(py::handle object, const char* name, dl::Managed*& managed, dl::ManagedVersioned*& versioned) {
  const py::object capsule = export_capsule(object, name);
  if (PyCapsule_IsValid(capsule.ptr(), dl::kVersionedCapsule) != 0) {
    versioned = static_cast<dl::ManagedVersioned*>(PyCapsule_GetPointer(capsule.ptr(), dl::kVersionedCapsule));
    PyCapsule_SetName(capsule.ptr(), dl::kUsedVersionedCapsule);
    if (versioned->version.major != dl::kMajor)
      raise_value(name, "DLPack version " + std::to_string(versioned->version.major) + ", version 1 is read");
    return versioned->tensor;
  }
  if (PyCapsule_IsValid(capsule.ptr(), dl::kCapsule) == 0)
    raise_value(name, "__dlpack__ gave no fresh DLPack capsule but " + py::repr(capsule).cast<std::string>());
  managed = static_cast<dl::Managed*>(PyCapsule_GetPointer(capsule.ptr(), dl::kCapsule));
  PyCapsule_SetName(capsule.ptr(), dl::kUsedCapsule);
  return managed->tensor;
}

ArrayView::~ArrayView() {
  if (managed != nullptr && managed->deleter != nullptr) managed->deleter(managed);
  if (versioned != nullptr && versioned->deleter != nullptr) versioned->deleter(versioned);
}

std::int64_t ArrayView::elements() const {
  std::int64_t count = 1;
  for (int i = 0; i < ndim; ++i) count = checked_mul(count, shape[i], "array elements");
  return count;
}

std::string ArrayView::shape_text() const {
  std::string text = "[";
  for (int i = 0; i < ndim; ++i) text += (i != 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

void borrow(py::handle object, const char* name, ArrayView& out, Gradients gradients) {
  PyTypeObject* type = Py_TYPE(object.ptr());
  PyTypeObject* ndarray = py::detail::npy_api::get().PyArray_Type_;
  if (type == ndarray) return borrow_numpy(object, name, out);
  if (const dl::Exchange* exchange = exchange_of(type)) return borrow_exchange(object, *exchange, name, gradients, out);
  if (PyType_IsSubtype(type, ndarray) != 0) {
    if (py::hasattr(object, "mask")) raise_type(name, "a masked array, whose mask would be lost; use x.filled(value)");
    return borrow_numpy(object, name, out);
  }
  if (py::hasattr(object, "__dlpack__")) return borrow_dlpack(object, name, out);
  raise_type(name, "a " + std::string(type->tp_name) + " is no NumPy array, torch tensor or DLPack object");
}

NewArray::NewArray(const ArrayView& like, DType dtype, const std::int64_t* shape, int ndim) {
  switch (like.kind) {
    case ArrayView::Kind::kNumpy: array_ = new_numpy(dtype, shape, ndim, &data_); break;
    case ArrayView::Kind::kExchange: array_ = new_exchange(*like.exchange, dtype, shape, ndim, &data_); break;
    case ArrayView::Kind::kDlpack:
      array_ = new_host_array(dtype, shape, ndim, &data_);
      producer_ = like.source;
      break;
  }
}

py::object NewArray::finish() {
  if (!producer_) return std::move(array_);
  // The array API's own way first, then the library's top-level from_dlpack, then NumPy.
  py::object library = py::none();
  if (py::hasattr(producer_, "__array_namespace__")) {
    library = producer_.attr("__array_namespace__")();
  } else {
    const auto module = py::str(py::object(py::type::handle_of(producer_).attr("__module__"))).cast<std::string>();
    const py::dict modules = py::module_::import("sys").attr("modules");
    const py::str root(module.substr(0, module.find('.')));
    if (modules.contains(root)) library = modules[root];
  }
  if (!py::hasattr(library, "from_dlpack")) library = py::module_::import("numpy");
  return library.attr("from_dlpack")(array_);
}

}  // namespace moekit::python
