// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "bindings.h"

namespace moekit::python {

struct DeviceCall {
  bool return_routing = false;
  py::object token_ids = py::none(), expert_ids = py::none(), weights = py::none();
};

/// Throws TypeError when rows of a layer cannot be of the dtype.
void check_dtype(const MoeLayer& layer, DType x);

/// Runs the layer on a tensor of its device and puts (y,) or (y, ids, weights), of the same kind and on the same
/// device, into `result`. False, and nothing done, for arrays in host memory. Queued on the current stream of the
/// tensors' library, and not waited for. Throws ValueError (another device, shape, strides) and TypeError (dtype,
/// gradients).
bool forward_on_device(const MoeLayer& layer, py::handle x, const DeviceCall& call, py::tuple& result);

}  // namespace moekit::python
