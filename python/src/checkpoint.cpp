// SPDX-License-Identifier: Apache-2.0
// Layers and facts from checkpoint folders.
#include "moekit/checkpoint.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bindings.h"
#include "formats/read.h"
#include "gil.h"
#include "moekit/convert.h"
#include "moekit/model.h"

namespace moekit::python {
namespace {

py::dict inspect(const std::string& path) {
  const ModelInfo info = inspect_model(path);
  py::dict out;
  out["family"] = info.family;
  out["num_layers"] = info.num_layers;
  out["moe_layers"] = info.moe_layers;
  out["expert_sets"] = info.expert_sets;
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

/// WeightsInfo as a dict.
py::dict to_dict(const WeightsInfo& info) {
  py::dict out;
  out["dtype"] = info.dtype;
  out["expert"] = info.expert_bytes;
  out["routed"] = info.routed_bytes;
  out["shared"] = info.shared_bytes;
  out["bits_per_weight"] = info.bits_per_weight;
  py::list parts;
  for (const WeightsInfo::Part& part : info.parts) {
    py::dict item;
    item["name"] = part.name;
    item["format"] = part.format;
    item["bits_per_weight"] = part.bits_per_weight;
    parts.append(item);
  }
  out["parts"] = parts;
  out["notes"] = info.notes;
  return out;
}

/// How the weights of each layer's experts lie in the file.
py::list weights_of(const std::string& path, const std::vector<std::int64_t>& layers, const std::string& experts) {
  py::list out;
  if (is_converted(path)) {
    for (const std::int64_t layer : layers) out.append(to_dict(inspect_converted_weights(path, layer, experts)));
    return out;
  }
  const Checkpoint checkpoint = Checkpoint::open(path);
  for (const std::int64_t layer : layers) out.append(to_dict(inspect_weights(load_block(checkpoint, layer, experts))));
  return out;
}

/// The layer without the shared experts of its block: for models that compute them beside it.
MoeLayer load_routed(const std::string& path, std::int64_t layer, const LayerOptions& options,
                     const std::string& experts) {
  if (is_converted(path))
    throw UnsupportedError("[load] " + path + " is converted, and its layers hold shared experts, which the model " +
                           "computes beside the block: expected the checkpoint that it was converted from");
  LoadedBlock block = load_block(path, layer, experts);
  block.config.shared = {};
  block.tensors.shared.clear();
  block.tensors.shared_gate = {};
  return MoeLayer(block.config, block.tensors, options);
}

/// The conversion, after which the GIL is taken back for `progress` at each layer.
py::dict convert(const std::string& path, const std::string& out, const std::string& dtype, bool force,
                 bool nonfinite_scales, const py::object& progress) {
  ConvertOptions options;
  options.dtype = dtype;
  options.force = force;
  options.nonfinite_scales = nonfinite_scales;
  // Also where a signal is seen: Ctrl-C ends the conversion after the layer, and what was written is removed.
  options.progress = [&](std::int64_t done, std::int64_t total) {
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!progress.is_none()) progress(done, total);
  };
  ConvertedModel model;
  {
    const py::gil_scoped_release released;
    model = convert_model(path, out, options);
  }
  py::list layers;
  for (const ConvertedLayer& layer : model.layers) {
    py::dict entry;
    entry["layer"] = layer.layer;
    if (!layer.experts.empty()) entry["experts"] = layer.experts;
    entry["file"] = layer.file;
    entry["bytes"] = layer.bytes;
    entry["checksum"] = layer.checksum;
    entry["format"] = layer.format;
    layers.append(entry);
  }
  py::dict result;
  result["family"] = model.family;
  result["num_layers"] = model.num_layers;
  result["layers"] = layers;
  return result;
}

}  // namespace

void bind_checkpoint(py::module_& module) {
  module.def(
      "load_layer",
      [](const std::string& path, std::int64_t layer, const std::string& dtype, const std::string& device,
         const std::string& backend, bool nonfinite_scales, bool map_files, bool int8_activations,
         std::int64_t memory_budget, bool reproducible, const std::string& experts, bool shared, bool bf16_split) {
        if (memory_budget < 0)
          throw py::value_error("[load] memory_budget is " + std::to_string(memory_budget) +
                                " bytes, expected from 0 (no limit)");
        const LayerOptions options{dtype,
                                   parse_device(device),
                                   backend,
                                   nonfinite_scales,
                                   map_files,
                                   int8_activations,
                                   static_cast<std::size_t>(memory_budget),
                                   reproducible,
                                   bf16_split};
        const ReleaseGil released;
        return std::make_shared<MoeLayer>(shared ? load_layer(path, layer, options, experts)
                                                 : load_routed(path, layer, options, experts));
      },
      py::arg("path"), py::arg("layer"), py::arg("dtype") = "auto", py::arg("device") = "cpu",
      py::arg("backend") = "auto", py::arg("nonfinite_scales") = false, py::arg("map_files") = true,
      py::arg("int8_activations") = false, py::arg("memory_budget") = 0, py::arg("reproducible") = false,
      py::arg("experts") = "", py::arg("shared") = true, py::arg("bf16_split") = false);
  module.def("convert_model", &convert);
  module.def("is_converted", &is_converted);
  module.def(
      "memory_needs",
      [](const std::string& path, std::int64_t layer, const std::string& experts) {
        return to_tuple(memory_needs(path, layer, experts));
      },
      py::arg("path"), py::arg("layer"), py::arg("experts") = "");
  module.def(
      "verify_converted",
      [](const std::string& path, std::int64_t layer, const std::string& experts) {
        const ReleaseGil released;
        verify_converted(path, layer, experts);
      },
      py::arg("path"), py::arg("layer"), py::arg("experts") = "");
  module.def("inspect_model", &inspect);
  module.def(
      "block_config",
      [](const std::string& path, std::int64_t layer, const std::string& experts) {
        return config_to_dict(block_config(path, layer, experts));
      },
      py::arg("path"), py::arg("layer"), py::arg("experts") = "");
  module.def("weights_of", &weights_of, py::arg("path"), py::arg("layers"), py::arg("experts") = "");
  module.def("tensors", &tensors_of);
  module.def("read_tensor", &read_tensor);
  module.def("model_families", [] {
    py::list names;
    for (const std::string_view name : model_families()) names.append(std::string(name));
    return names;
  });
}

}  // namespace moekit::python
