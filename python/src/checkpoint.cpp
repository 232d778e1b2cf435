// SPDX-License-Identifier: Apache-2.0
// Layers and facts from checkpoint folders.
#include "moekit/checkpoint.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <set>

#include "bindings.h"
#include "formats/read.h"
#include "gil.h"
#include "moekit/model.h"
#include "moekit/quantised.h"

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

/// Name -> (type, shape, bytes) of every tensor.
py::dict tensors_of(const std::string& path) {
  const Checkpoint checkpoint = Checkpoint::open(path);
  py::dict out;
  for (const auto& [name, tensor] : checkpoint.tensors())
    out[py::str(name)] = py::make_tuple(std::string(tensor.type_name()), tensor.shape, tensor.bytes());
  return out;
}

/// All elements of a tensor as float32, of whatever type it is in the file.
py::array_t<float> read_tensor(const std::string& path, const std::string& name) {
  const TensorRef tensor = Checkpoint::open(path).tensor(name);
  std::vector<float> values;
  {
    const ReleaseGil released;
    values = read_float32(decoded(tensor));
  }
  return py::array_t<float>(tensor.shape, values.data());
}

/// Bytes of a matrix as it lies in the file.
std::size_t matrix_bytes(const MatrixRef& matrix) {
  const auto elements = static_cast<std::size_t>(matrix.rows * matrix.cols);
  if (matrix.tensor.encoding != Encoding::kPlain) {
    const EncodingInfo& info = encoding_info(matrix.tensor.encoding);
    return elements / static_cast<std::size_t>(info.block) * info.bytes;
  }
  if (matrix.quant != nullptr)
    return static_cast<std::size_t>(static_cast<double>(elements) * bits_per_weight(matrix.quant->format, matrix.cols) /
                                    8.0);
  return elements * dtype_size(matrix.tensor.dtype);
}

/// "Q4_K", "bfloat16", or what a matrix's codes and scales are called.
std::string_view matrix_type(const MatrixRef& matrix) {
  const bool named = matrix.quant == nullptr || matrix.tensor.encoding != Encoding::kPlain;
  return named ? matrix.tensor.type_name() : matrix.quant->format.name;
}

/// Bytes of the matrices of one routed expert, and of all of them with the shared ones, as they lie in the file.
py::dict block_bytes(const std::string& path, std::int64_t layer) {
  const LoadedBlock block = load_block(path, layer);
  const auto bytes = [](const ExpertTensors& expert) {
    std::size_t sum = 0;
    for (const MatrixRef* part :
         {&expert.gate, &expert.up, &expert.down, &expert.gate_bias, &expert.up_bias, &expert.down_bias})
      if (*part) sum += matrix_bytes(*part);
    return sum;
  };
  std::size_t routed = 0, shared = 0;
  for (const ExpertTensors& expert : block.tensors.experts) routed += bytes(expert);
  for (const ExpertTensors& expert : block.tensors.shared) shared += bytes(expert);
  py::dict out;
  out["expert"] = block.tensors.experts.empty() ? 0 : bytes(block.tensors.experts.front());
  out["routed"] = routed;
  out["shared"] = shared;
  const ExpertTensors& first = block.tensors.experts.front();
  std::set<std::string_view> types;
  for (const MatrixRef* part : {&first.gate, &first.up, &first.down})
    if (*part) types.insert(matrix_type(*part));
  std::string names;
  for (const std::string_view type : types) names += (names.empty() ? "" : ", ") + std::string(type);
  out["dtype"] = names;
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
  module.def("read_tensor", &read_tensor);
  module.def("model_families", [] {
    py::list names;
    for (const std::string_view name : model_families()) names.append(std::string(name));
    return names;
  });
}

}  // namespace moekit::python
