// SPDX-License-Identifier: Apache-2.0
// Layers and facts from checkpoint folders.
#include "moekit/checkpoint.h"

#include <pybind11/stl.h>

#include "bindings.h"
#include "gil.h"
#include "moekit/model.h"

namespace moekit::python {
namespace {

py::dict inspect(const std::string& path) {
  const ModelInfo info = inspect_model(path);
  py::dict out;
  out["family"] = info.family;
  out["num_layers"] = info.num_layers;
  out["moe_layers"] = info.moe_layers;
  return out;
}

/// Name -> (dtype, shape) of every tensor.
py::dict tensors_of(const std::string& path) {
  const Checkpoint checkpoint = Checkpoint::open(path);
  py::dict out;
  for (const auto& [name, tensor] : checkpoint.tensors())
    out[py::str(name)] = py::make_tuple(std::string(dtype_name(tensor.dtype)), tensor.shape,
                                        dtype_size(tensor.dtype) * static_cast<std::size_t>(tensor.elements()));
  return out;
}

/// Bytes of the matrices of one routed expert, and of all of them with the shared ones, as they lie in the file.
py::dict block_bytes(const std::string& path, std::int64_t layer) {
  const LoadedBlock block = load_block(path, layer);
  const auto bytes = [](const ExpertTensors& expert) {
    std::size_t sum = 0;
    for (const MatrixRef* part :
         {&expert.gate, &expert.up, &expert.down, &expert.gate_bias, &expert.up_bias, &expert.down_bias})
      if (*part) sum += static_cast<std::size_t>(part->rows * part->cols) * dtype_size(part->tensor.dtype);
    return sum;
  };
  std::size_t routed = 0, shared = 0;
  for (const ExpertTensors& expert : block.tensors.experts) routed += bytes(expert);
  for (const ExpertTensors& expert : block.tensors.shared) shared += bytes(expert);
  py::dict out;
  out["expert"] = block.tensors.experts.empty() ? 0 : bytes(block.tensors.experts.front());
  out["routed"] = routed;
  out["shared"] = shared;
  const TensorRef& down = block.tensors.experts.front().down.tensor;
  out["dtype"] = std::string(dtype_name(down.dtype));
  return out;
}

}  // namespace

void bind_checkpoint(py::module_& module) {
  module.def("load_layer", [](const std::string& path, std::int64_t layer, const std::string& dtype,
                              const std::string& device, const std::string& backend) {
    const LayerOptions options{dtype, parse_device(device), backend};
    const ReleaseGil released;
    return std::make_shared<MoeLayer>(load_layer(path, layer, options));
  });
  module.def("inspect_model", &inspect);
  module.def("block_config",
             [](const std::string& path, std::int64_t layer) { return config_to_dict(block_config(path, layer)); });
  module.def("block_bytes", &block_bytes);
  module.def("tensors", &tensors_of);
  module.def("model_families", [] {
    py::list names;
    for (const std::string_view name : model_families()) names.append(std::string(name));
    return names;
  });
}

}  // namespace moekit::python
