// SPDX-License-Identifier: Apache-2.0
#include "moekit/router.h"

#include "bindings.h"

namespace moekit::python {

void bind_router(py::module_& module) {
  module.def("describe", [](const py::dict& config) { return describe(config_from_dict(config).router); });
  module.def("validate", [](const py::dict& config) { validate(config_from_dict(config)); });
  module.def("default_config", [] { return config_to_dict(BlockConfig{}); });
}

}  // namespace moekit::python
