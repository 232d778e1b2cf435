// SPDX-License-Identifier: Apache-2.0
// Layers from arrays: the dense softmax module, and any block from a config and named tensors.
#include "moekit/moe.h"

#include <pybind11/stl.h>

#include <map>

#include "arrays.h"
#include "bindings.h"
#include "gil.h"
#include "moekit/error.h"
#include "quantised.h"

namespace moekit::python {
namespace {

struct Tensors {
  std::map<std::string, TensorRef> whole;
  std::map<std::string, MatrixRef> strided;  // transposed or interleaved sources: read where they lie
  std::map<std::string, QuantSelection> quantised;
};

/// Checks a parameter of the dense module and answers its memory, which `keep` then holds.
const void* parameter(const py::object& object, const std::string& name, const std::vector<std::int64_t>& shape,
                      DType* dtype, std::vector<TensorRef>& keep) {
  const TensorRef tensor = as_tensor(object, name);
  if (keep.empty()) *dtype = tensor.dtype;
  const auto text = [](const std::vector<std::int64_t>& dims) {
    std::string out = "[";
    for (std::size_t i = 0; i < dims.size(); ++i) out += (i != 0 ? ", " : "") + std::to_string(dims[i]);
    return out + "]";
  };
  if (tensor.shape != shape)
    throw py::value_error("[MoE] " + name + " has shape " + text(tensor.shape) + ", expected " + text(shape));
  if (tensor.dtype != *dtype || (*dtype != DType::kFloat32 && *dtype != DType::kBFloat16))
    throw py::type_error("[MoE] " + name + " has dtype " + std::string(dtype_name(tensor.dtype)) +
                         "; all parameters are float32 or all are bfloat16");
  keep.push_back(tensor);
  ByteScratch scratch;  // memory storage answers with its own memory
  return tensor.storage->read(tensor.offset, 0, scratch);
}

LayerPtr make_moe(const py::object& gate_weight, const py::object& gate_bias, const py::list& weights,
                  const py::list& biases, std::int64_t input_dim, std::int64_t output_dim,
                  const LayerOptions& options) {
  const auto experts = static_cast<std::int64_t>(weights.size());
  MoE::Parameters parameters;
  std::vector<TensorRef> keep;
  parameters.gate_weight = parameter(gate_weight, "gate.weight", {experts, input_dim}, &parameters.dtype, keep);
  if (!gate_bias.is_none())
    parameters.gate_bias = parameter(gate_bias, "gate.bias", {experts}, &parameters.dtype, keep);
  for (std::int64_t e = 0; e < experts; ++e) {
    const std::string name = "experts." + std::to_string(e);
    parameters.expert_weights.push_back(parameter(weights[static_cast<std::size_t>(e)], name + ".weight",
                                                  {output_dim, input_dim}, &parameters.dtype, keep));
    const py::object bias = biases[static_cast<std::size_t>(e)];
    parameters.expert_biases.push_back(
        bias.is_none() ? nullptr : parameter(bias, name + ".bias", {output_dim}, &parameters.dtype, keep));
  }
  std::shared_ptr<MoE> moe;
  {
    const ReleaseGil released;
    moe = std::make_shared<MoE>(experts, input_dim, output_dim, parameters, options);
  }
  return {moe, const_cast<MoeLayer*>(&moe->layer())};
}

/// Takes `prefix.index.part`, or expert `index` of the stacked `prefix.part`; empty when there is neither.
MatrixRef take(Tensors& tensors, std::map<std::string, bool>& used, const std::string& prefix, std::int64_t index,
               std::int64_t count, const char* part, bool bias) {
  const auto row = [](const TensorRef& tensor) {  // [n] as [1, n]
    TensorRef matrix = tensor;
    if (matrix.shape.size() == 1) matrix.shape.insert(matrix.shape.begin(), 1);
    return matrix_of(matrix);
  };
  const std::string own = prefix + "." + std::to_string(index) + "." + part, stacked = prefix + "." + part;
  if (const auto found = tensors.strided.find(own); found != tensors.strided.end()) {
    used[own] = true;
    return found->second;
  }
  if (const auto found = tensors.whole.find(own); found != tensors.whole.end()) {
    used[own] = true;
    return bias ? row(found->second) : matrix_of(found->second);
  }
  if (const auto found = tensors.quantised.find(own); found != tensors.quantised.end()) {
    used[own] = true;
    if (found->second.count() != 1)
      throw CheckpointError("[tensors] " + own + " is a stack of " + std::to_string(found->second.count()) +
                            " quantised matrices, expected one");
    return found->second.matrix(0);
  }
  if (const auto found = tensors.quantised.find(stacked); found != tensors.quantised.end()) {
    used[stacked] = true;
    if (found->second.count() != count)
      throw CheckpointError("[tensors] " + stacked + " is a stack of " + std::to_string(found->second.count()) +
                            " quantised matrices, expected " + std::to_string(count));
    return found->second.matrix(index);
  }
  const auto found = tensors.whole.find(stacked);
  if (found == tensors.whole.end()) return {};
  used[stacked] = true;
  if (!bias) return stacked_matrix(found->second, index);
  const MatrixRef all = matrix_of(found->second);
  if (index >= all.rows)
    throw CheckpointError("[tensors] " + stacked + ": row " + std::to_string(index) + " of " +
                          std::to_string(all.rows));
  return row_slice(all, index, 1);
}

std::vector<ExpertTensors> take_experts(Tensors& tensors, std::map<std::string, bool>& used, const std::string& prefix,
                                        std::int64_t count) {
  std::vector<ExpertTensors> experts;
  for (std::int64_t e = 0; e < count; ++e) {
    const auto get = [&](const char* part, bool bias) { return take(tensors, used, prefix, e, count, part, bias); };
    experts.push_back({get("gate", false), get("up", false), get("down", false), get("gate_bias", true),
                       get("up_bias", true), get("down_bias", true)});
  }
  return experts;
}

LayerPtr from_arrays(const py::dict& config_dict, const py::dict& arrays, const LayerOptions& options) {
  const BlockConfig config = config_from_dict(config_dict);
  validate(config);
  Tensors tensors;
  for (const auto& [key, value] : arrays) {
    const auto name = py::cast<std::string>(key);
    const std::string part = name.substr(name.rfind('.') + 1);  // of one expert, or stacked: those have 3 dimensions
    const bool projection = part == "gate" || part == "up" || part == "down";
    if (py::isinstance<QuantSelection>(value)) {
      if (!projection)
        throw CheckpointError("[tensors] '" + name + "' is quantised: only gate, up and down of experts may be");
      tensors.quantised.emplace(name, py::cast<const QuantSelection&>(value).named(name));
    } else if (MatrixRef matrix = projection ? as_strided_matrix(value, name) : MatrixRef{}) {
      tensors.strided.emplace(name, std::move(matrix));
    } else {
      tensors.whole.emplace(name, as_tensor(value, name));
    }
  }
  std::map<std::string, bool> used;
  const auto single = [&](const char* name) {
    used[name] = true;
    const auto found = tensors.whole.find(name);
    return found == tensors.whole.end() ? TensorRef{} : found->second;
  };
  BlockTensors block;
  block.router = {single("router.weight"),           single("router.bias"),
                  single("router.selection_bias"),   single("router.in_scale"),
                  single("router.per_expert_scale"), single("router.tid2eid")};
  block.experts = take_experts(tensors, used, "experts", config.router.num_experts);
  block.shared = take_experts(tensors, used, "shared", config.shared.count);
  TensorRef gate = single("shared_gate");
  if (gate && gate.shape.size() == 1) gate.shape.insert(gate.shape.begin(), 1);
  if (gate) block.shared_gate = matrix_of(gate);
  const auto check_used = [&](const auto& map) {
    for (const auto& entry : map)
      if (used.count(entry.first) == 0)
        throw CheckpointError("[tensors] '" + entry.first + "' is not a tensor of this block");
  };
  check_used(tensors.whole);
  check_used(tensors.strided);
  check_used(tensors.quantised);
  const ReleaseGil released;
  return std::make_shared<MoeLayer>(config, block, options);
}

LayerOptions options_of(const std::string& dtype, const std::string& device, const std::string& backend,
                        bool int8_activations, bool reproducible, bool bf16_split) {
  LayerOptions options{dtype, parse_device(device), backend};
  options.int8_activations = int8_activations;
  options.reproducible = reproducible;
  options.bf16_split = bf16_split;
  return options;
}

}  // namespace

void bind_moe(py::module_& module) {
  module.def("make_moe", [](const py::object& gate_weight, const py::object& gate_bias, const py::list& weights,
                            const py::list& biases, std::int64_t input_dim, std::int64_t output_dim,
                            const std::string& dtype, const std::string& device, const std::string& backend,
                            bool int8_activations, bool reproducible, bool bf16_split) {
    if (biases.size() != weights.size()) throw py::value_error("[MoE] one bias (or None) an expert is needed");
    return make_moe(gate_weight, gate_bias, weights, biases, input_dim, output_dim,
                    options_of(dtype, device, backend, int8_activations, reproducible, bf16_split));
  });
  module.def("from_arrays", [](const py::dict& config, const py::dict& tensors, const std::string& dtype,
                               const std::string& device, const std::string& backend, bool int8_activations,
                               bool reproducible, bool bf16_split) {
    return from_arrays(config, tensors, options_of(dtype, device, backend, int8_activations, reproducible, bf16_split));
  });
}

}  // namespace moekit::python
