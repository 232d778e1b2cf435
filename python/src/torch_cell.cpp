// SPDX-License-Identifier: Apache-2.0
// What moekit.torch needs to be fast: whether the parameters are those that were packed, answered without a trip
// through the torch dispatcher, and the call itself.
#include <pybind11/stl.h>

#include <cstring>

#include "array_types.h"
#include "bindings.h"

namespace moekit::python {
namespace {

/// State of a parameter. torch counts in-place changes in _version, but writes through `.data` or shared memory do not
/// count: the first cache line of the values catches those that touch the whole tensor.
struct Stamp {
  const void* data = nullptr;
  long version = 0;
  std::uint64_t print = 0;
  dl::Type dtype{};
  std::int32_t ndim = 0;
  std::int64_t layout[4] = {};  // shape and strides of up to two dimensions

  bool operator==(const Stamp& o) const noexcept {
    return data == o.data && version == o.version && print == o.print && dtype.code == o.dtype.code &&
           dtype.bits == o.dtype.bits && ndim == o.ndim && std::memcmp(layout, o.layout, sizeof layout) == 0;
  }
};

std::uint64_t fingerprint(const void* data, std::int64_t bytes) {
  std::uint64_t print = 0;
  const auto length = static_cast<std::size_t>(bytes < 64 ? bytes : 64);
  for (std::size_t i = 0; i < length; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, static_cast<const char*>(data) + i, length - i < 8 ? length - i : 8);
    print = (print ^ word) * 0x9E3779B97F4A7C15u;  // 2^64 / golden ratio: spreads every bit upwards
    print ^= print >> 29;
  }
  return print;
}

/// torch's own getter of `_version`, found once: a look-up by name would be made for every parameter of every call.
long version_of(PyObject* tensor) {
  static PyObject* getter = py::module_::import("torch")
                                .attr("Tensor")
                                .attr("__mro__")[py::int_(1)]
                                .attr("__dict__")["_version"]
                                .cast<py::object>()
                                .release()
                                .ptr();
  PyObject* number = Py_TYPE(getter)->tp_descr_get(getter, tensor, reinterpret_cast<PyObject*>(Py_TYPE(tensor)));
  if (number == nullptr) {
    PyErr_Clear();  // inference tensors are not counted
    return -1;
  }
  const long version = PyLong_AsLong(number);
  Py_DECREF(number);
  return version;
}

/// False (no Python error left) for what is no dense one- or two-dimensional CPU tensor.
bool read_stamp(PyObject* tensor, const dl::Exchange* exchange, Stamp& out) {
  dl::Tensor view{};
  if (exchange == nullptr || exchange->borrow(tensor, &view) != 0) {
    PyErr_Clear();
    return false;
  }
  if (view.device.type != dl::kCpu || view.data == nullptr || view.ndim < 1 || view.ndim > 2) return false;
  out.data = static_cast<const char*>(view.data) + view.byte_offset;
  out.dtype = view.dtype;
  out.ndim = view.ndim;
  for (int i = 0; i < view.ndim; ++i) {
    out.layout[i] = view.shape[i];
    out.layout[2 + i] = view.strides != nullptr ? view.strides[i] : 0;
  }
  const std::int64_t row = view.dtype.bits / 8 * out.layout[view.ndim - 1];
  out.print = row > 0 && out.layout[0] > 0 ? fingerprint(out.data, row) : 0;
  out.version = version_of(tensor);
  return true;
}

bool read_stamp(PyObject* tensor, Stamp& out) { return read_stamp(tensor, exchange_of(Py_TYPE(tensor)), out); }

/// Stamps of a list of tensors, to be compared with later ones.
class Stamps {
 public:
  explicit Stamps(const py::list& tensors) {
    for (const py::handle tensor : tensors) {
      stamps_.emplace_back();
      if (!tensor.is_none() && !read_stamp(tensor.ptr(), stamps_.back()))
        throw py::value_error("[torch] parameter " + std::to_string(stamps_.size() - 1) +
                              " is no dense 1-D or 2-D CPU tensor");
    }
  }
  bool matches(const py::list& tensors) const {
    if (tensors.size() != stamps_.size()) return false;
    for (std::size_t i = 0; i < stamps_.size(); ++i) {
      Stamp now;
      PyObject* tensor = PyList_GET_ITEM(tensors.ptr(), static_cast<Py_ssize_t>(i));
      if (tensor != Py_None && !read_stamp(tensor, now)) return false;
      if (!(now == stamps_[i])) return false;
    }
    return true;
  }

 private:
  std::vector<Stamp> stamps_;
};

/// A packed layer with the module state it was packed from. `links` are (dict, key) pairs whose values must stay the
/// same objects (submodules), `parameters` those whose tensors must also keep their stamps; `aliases` keep the packed
/// storages alive, so that an address never comes to mean newer values. `lengths` are dicts that must not grow.
class TorchCell {
 public:
  TorchCell(LayerPtr layer, const py::list& links, const py::list& parameters, const py::list& lengths,
            py::list aliases)
      : layer_(std::move(layer)), aliases_(std::move(aliases)) {
    for (const py::handle item : links) links_.push_back(link(item));
    for (const py::handle item : parameters) {
      parameters_.push_back({link(item), nullptr, {}});
      Parameter& parameter = parameters_.back();
      parameter.exchange = exchange_of(Py_TYPE(parameter.link.value.ptr()));
      if (!parameter.link.value.is_none() && !read_stamp(parameter.link.value.ptr(), parameter.stamp))
        throw py::value_error("[torch] " + py::str(parameter.link.key).cast<std::string>() +
                              " is no dense 1-D or 2-D CPU tensor");
      if (!parameter.link.value.is_none()) dtype_ = dtype_from_dlpack(parameter.stamp.dtype, "parameter");
    }
    for (const py::handle item : lengths) lengths_.emplace_back(py::reinterpret_borrow<py::dict>(item), py::len(item));
  }

  bool fresh() const {
    for (const auto& [dict, length] : lengths_)
      if (static_cast<std::size_t>(PyDict_GET_SIZE(dict.ptr())) != length) return false;
    for (const Link& entry : links_)
      if (!holds(entry)) return false;
    for (const Parameter& parameter : parameters_) {
      if (!holds(parameter.link)) return false;
      if (parameter.link.value.is_none()) continue;
      Stamp now;
      if (!read_stamp(parameter.link.value.ptr(), parameter.exchange, now) || !(now == parameter.stamp)) return false;
    }
    return true;
  }

  /// y, or None when the module changed or x is not the layer's to compute (kind, device, dtype, shape).
  py::object call(const py::object& x) const {
    if (!fits(x.ptr()) || !fresh()) return py::none();
    return forward(*layer_, x, Gradients::kChecked);
  }

  /// Whether a packed parameter requires grad.
  bool requires_grad() const {
    static PyObject* name = PyUnicode_InternFromString("requires_grad");
    for (const Parameter& parameter : parameters_) {
      PyObject* value = parameter.link.value.is_none() ? nullptr : PyObject_GetAttr(parameter.link.value.ptr(), name);
      if (value == nullptr) PyErr_Clear();
      Py_XDECREF(value);
      if (value == Py_True) return true;
    }
    return false;
  }

  LayerPtr layer() const { return layer_; }

 private:
  struct Link {
    py::dict dict;
    py::object key;
    py::object value;
  };
  struct Parameter {
    Link link;
    const dl::Exchange* exchange;
    Stamp stamp;
  };

  static Link link(py::handle pair) {
    const auto tuple = py::reinterpret_borrow<py::tuple>(pair);
    const py::dict dict = tuple[0];
    const py::object key = tuple[1];
    return {dict, key, py::object(dict[key])};
  }

  static bool holds(const Link& entry) {
    PyObject* now = PyDict_GetItemWithError(entry.dict.ptr(), entry.key.ptr());
    if (now == nullptr) PyErr_Clear();
    return now == entry.value.ptr();
  }

  bool fits(PyObject* x) const {
    const dl::Exchange* exchange = exchange_of(Py_TYPE(x));
    dl::Tensor view{};
    if (exchange == nullptr || exchange->borrow(x, &view) != 0) {
      PyErr_Clear();
      return false;
    }
    const dl::Type own = dtype_to_dlpack(dtype_);
    return view.device.type == dl::kCpu && view.dtype.code == own.code && view.dtype.bits == own.bits &&
           view.dtype.lanes == 1 && view.ndim >= 1 && view.shape[view.ndim - 1] == layer_->config().expert.input &&
           (view.data != nullptr || is_empty(view));
  }

  static bool is_empty(const dl::Tensor& view) {
    for (int i = 0; i < view.ndim; ++i)
      if (view.shape[i] == 0) return true;
    return false;
  }

  LayerPtr layer_;
  DType dtype_ = DType::kFloat32;
  py::list aliases_;
  std::vector<Link> links_;
  std::vector<Parameter> parameters_;
  std::vector<std::pair<py::dict, std::size_t>> lengths_;
};

}  // namespace

void bind_torch_cell(py::module_& module) {
  py::class_<Stamps>(module, "Stamps").def(py::init<const py::list&>()).def("matches", &Stamps::matches);
  py::class_<TorchCell>(module, "TorchCell")
      .def(py::init<LayerPtr, const py::list&, const py::list&, const py::list&, py::list>())
      .def("fresh", &TorchCell::fresh)
      .def("call", &TorchCell::call)
      .def("requires_grad", &TorchCell::requires_grad)
      .def_property_readonly("layer", &TorchCell::layer);
}

}  // namespace moekit::python
