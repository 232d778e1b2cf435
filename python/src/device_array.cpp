// SPDX-License-Identifier: Apache-2.0
#include "device_array.h"

#include <pybind11/stl.h>

#include "array_types.h"
#include "moekit/error.h"

namespace moekit::python {
namespace {

std::string device_text(dl::Device device) {
  const std::string index = std::to_string(device.index);
  if (device.type == dl::kCuda) return "cuda:" + index;
  if (device.type == dl::kExtension) return "ascend:" + index;
  return "DLPack device " + std::to_string(device.type) + ":" + index;
}

std::int32_t dlpack_type(DeviceKind kind) noexcept { return kind == DeviceKind::kCuda ? dl::kCuda : dl::kExtension; }

// Whether the object says that it lies in memory of torch's PrivateUse1, which is torch_npu's.
bool in_extension_memory(py::handle object) {
  if (!py::hasattr(object, "__dlpack_device__") || !py::hasattr(object, "__dlpack__")) return false;
  const py::object device = object.attr("__dlpack_device__")();
  return py::cast<int>(py::int_(py::object(device[py::int_(0)]))) == dl::kExtension;
}

void check_dimensions(const char* name, const dl::Tensor& tensor) {
  if (tensor.ndim < 0 || tensor.ndim > kMaxDims)
    throw py::value_error("[layer] " + std::string(name) + " has " + std::to_string(tensor.ndim) + " dimensions");
  if (tensor.ndim > 0 && tensor.shape == nullptr)
    throw py::value_error("[layer] " + std::string(name) + ": DLPack shape is NULL");
}

}  // namespace

DeviceArray::~DeviceArray() {
  if (managed != nullptr && managed->deleter != nullptr) managed->deleter(managed);
  if (versioned != nullptr && versioned->deleter != nullptr) versioned->deleter(versioned);
}

DType DeviceArray::dtype(const char* name) const { return dtype_from_dlpack(tensor.dtype, name); }

std::int64_t DeviceArray::elements() const {
  std::int64_t count = 1;
  for (int i = 0; i < tensor.ndim; ++i) count = checked_mul(count, tensor.shape[i], "array elements");
  return count;
}

bool DeviceArray::contiguous() const noexcept {
  std::int64_t expected = 1;
  for (int i = tensor.ndim - 1; i >= 0; --i) {
    if (tensor.strides != nullptr && tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
    expected *= tensor.shape[i];
  }
  return true;
}

bool read_device_array(py::handle object, const char* name, DeviceArray& out) {
  out.exchange = exchange_of(Py_TYPE(object.ptr()));
  if (out.exchange != nullptr) {
    if (out.exchange->borrow(object.ptr(), &out.tensor) != 0) throw py::error_already_set();
  } else if (in_extension_memory(object)) {
    out.tensor = take_capsule(object, name, out.managed, out.versioned);
  } else {
    return false;
  }
  if (out.tensor.device.type == dl::kCpu) return false;
  out.source = py::reinterpret_borrow<py::object>(object);
  check_dimensions(name, out.tensor);
  return true;
}

void check_on_device(const Device& device, const DeviceArray& array, const char* name) {
  if (array.tensor.device.type != dlpack_type(device.kind) || array.tensor.device.index != device.index)
    throw py::value_error("[layer] " + std::string(name) + " is on " + device_text(array.tensor.device) +
                          ", the layer on " + to_string(device));
}

py::object new_device_array(const DeviceArray& like, DType dtype, const std::vector<std::int64_t>& shape,
                            DeviceArray& out) {
  py::object array;
  if (like.tensor.device.type != dl::kExtension) {
    void* data = nullptr;
    array =
        new_exchange(*like.exchange, dtype, shape.data(), static_cast<int>(shape.size()), &data, like.tensor.device);
  } else {
    if (!py::hasattr(like.source, "new_empty"))
      throw py::type_error("[layer] x is a " + std::string(Py_TYPE(like.source.ptr())->tp_name) +
                           " without new_empty(shape, dtype=), by which y is made on its device");
    const auto module = py::str(py::object(py::type::handle_of(like.source).attr("__module__"))).cast<std::string>();
    const py::object library = py::module_::import(module.substr(0, module.find('.')).c_str());
    array = like.source.attr("new_empty")(py::tuple(py::cast(shape)),
                                          py::arg("dtype") = library.attr(std::string(dtype_name(dtype)).c_str()));
  }
  if (!read_device_array(array, "y", out)) throw py::type_error("[layer] y could not be made on the device of x");
  return array;
}

void* current_stream(const DeviceArray& array) {
  const dl::Device device = array.tensor.device;
  if (device.type != dl::kExtension) {
    void* handle = nullptr;
    if (array.exchange->current_stream(device.type, device.index, &handle) != 0) throw py::error_already_set();
    return handle;
  }
  try {
    // Asking for the handle also hands over what torch_npu's own queue still holds.
    const py::object stream = py::module_::import("torch_npu").attr("npu").attr("current_stream")(device.index);
    return reinterpret_cast<void*>(py::cast<std::uintptr_t>(stream.attr("npu_stream")));
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_ImportError)) throw;
    throw UnsupportedError("[layer] x is on " + device_text(device) +
                           "; its current stream is known to torch_npu, which cannot be imported: " +
                           py::str(error.value()).cast<std::string>());
  }
}

}  // namespace moekit::python
