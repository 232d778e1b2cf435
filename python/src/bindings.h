// SPDX-License-Identifier: Apache-2.0
// One function a binding file; module.cpp calls them.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "arrays.h"
#include "moekit/layer.h"

namespace moekit::python {

/// What Python holds of a layer; the pointer may alias a larger object that owns it.
using LayerPtr = std::shared_ptr<MoeLayer>;

/// BlockConfig as nested dicts with snake_case names, and back. Unknown keys, unknown enum names and wrong types are
/// ValueErrors naming the key.
py::dict config_to_dict(const BlockConfig& config);
BlockConfig config_from_dict(const py::dict& config);

/// (experts, expert, always, all).
py::tuple to_tuple(const MemoryNeeds& needs);

/// y = layer(x) with x and y arrays of one kind and dtype: the fast path, without routing in or out.
py::object forward(const MoeLayer& layer, py::handle x, Gradients gradients);

void bind_host_array(py::module_& module);
void bind_layer(py::module_& module);
void bind_quantised(py::module_& module);
void bind_moe(py::module_& module);
void bind_checkpoint(py::module_& module);
void bind_router(py::module_& module);
void bind_host(py::module_& module);
void bind_limits(py::module_& module);
void bind_torch_cell(py::module_& module);

}  // namespace moekit::python
