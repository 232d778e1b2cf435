// SPDX-License-Identifier: Apache-2.0
#include "bindings.h"
#include "moekit/core.h"
#include "moekit/error.h"

PYBIND11_MODULE(_core, module) {
  namespace py = pybind11;
  using namespace moekit;
  module.doc() = "moekit's C++ core; private, use the package's own names";
  module.attr("__version__") = std::string(version());
  // Users see them as moekit.X.
  const auto error = [&](auto* tag, const char* name, PyObject* base) {
    using Error = std::remove_pointer_t<decltype(tag)>;
    py::register_exception<Error>(module, name, base).attr("__module__") = "moekit";
  };
  error(static_cast<CheckpointError*>(nullptr), "CheckpointError", PyExc_ValueError);
  error(static_cast<UnsupportedError*>(nullptr), "UnsupportedError", PyExc_ValueError);
  error(static_cast<DeviceError*>(nullptr), "DeviceError", PyExc_RuntimeError);
  python::bind_host_array(module);
  python::bind_layer(module);
  python::bind_quantised(module);
  python::bind_moe(module);
  python::bind_checkpoint(module);
  python::bind_router(module);
  python::bind_host(module);
  python::bind_limits(module);
  python::bind_torch_cell(module);
}
