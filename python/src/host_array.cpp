// SPDX-License-Identifier: Apache-2.0
// Host memory as a DLPack producer, for consumers that make their arrays through from_dlpack.
#include "array_types.h"
#include "bindings.h"

namespace moekit::python {
namespace {

class HostArray {
 public:
  HostArray(DType dtype, const std::int64_t* shape, int ndim) : dtype_(dtype), shape_(shape, shape + ndim) {
    std::int64_t bytes = static_cast<std::int64_t>(dtype_size(dtype));
    for (const std::int64_t extent : shape_) bytes = checked_mul(bytes, extent, "bytes of the output");
    memory_.reset(new std::byte[static_cast<std::size_t>(bytes) + 1], std::default_delete<std::byte[]>());
  }
  void* data() const noexcept { return memory_.get(); }

  py::object dlpack(const py::object& max_version) const {
    if (!max_version.is_none() && py::cast<int>(max_version[py::int_(0)]) >= 1) {
      auto* lent = new Lent<dl::ManagedVersioned>{{}, memory_, shape_};
      lent->managed.version = {dl::kMajor, dl::kMinor};
      return lend(lent, dl::kVersionedCapsule);
    }
    return lend(new Lent<dl::Managed>{{}, memory_, shape_}, dl::kCapsule);
  }

 private:
  template <class Managed>
  struct Lent {
    Managed managed;
    std::shared_ptr<std::byte> memory;
    std::vector<std::int64_t> shape;
  };

  template <class Managed>
  py::object lend(Lent<Managed>* lent, const char* name) const {
    lent->managed.context = lent;
    lent->managed.deleter = [](Managed* self) { delete static_cast<Lent<Managed>*>(self->context); };
    lent->managed.tensor = {lent->memory.get(),
                            {dl::kCpu, 0},
                            static_cast<std::int32_t>(lent->shape.size()),
                            dtype_to_dlpack(dtype_),
                            lent->shape.data(),
                            nullptr,
                            0};
    // A capsule that nobody consumed keeps its first name and frees what it lends.
    PyObject* capsule = PyCapsule_New(&lent->managed, name, [](PyObject* self) {
      const char* current = PyCapsule_GetName(self);
      if (current == nullptr || (std::string(current) != dl::kCapsule && std::string(current) != dl::kVersionedCapsule))
        return;
      auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(self, current));
      managed->deleter(managed);
    });
    if (capsule == nullptr) {
      delete lent;
      throw py::error_already_set();
    }
    return py::reinterpret_steal<py::object>(capsule);
  }

  DType dtype_;
  std::vector<std::int64_t> shape_;
  std::shared_ptr<std::byte> memory_;
};

}  // namespace

py::object new_host_array(DType dtype, const std::int64_t* shape, int ndim, void** data) {
  HostArray array(dtype, shape, ndim);
  *data = array.data();
  return py::cast(std::move(array));
}

void bind_host_array(py::module_& module) {
  py::class_<HostArray>(module, "HostArray")
      .def(
          "__dlpack__",
          [](const HostArray& self, const py::object&, const py::object& max_version, const py::object& device,
             const py::object& copy) {
            if (!device.is_none() && py::cast<int>(device[py::int_(0)]) != dl::kCpu)
              throw py::value_error("[array] the output is in CPU memory");
            if (copy.ptr() == Py_True) throw py::value_error("[array] the output is handed over without a copy");
            return self.dlpack(max_version);
          },
          py::kw_only(), py::arg("stream") = py::none(), py::arg("max_version") = py::none(),
          py::arg("dl_device") = py::none(), py::arg("copy") = py::none())
      .def("__dlpack_device__", [](const HostArray&) { return py::make_tuple(dl::kCpu, 0); });
}

}  // namespace moekit::python
