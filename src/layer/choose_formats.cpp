// SPDX-License-Identifier: Apache-2.0
#include "layer/choose_formats.h"

#include <string>

#include "backend/backend.h"
#include "formats/format.h"
#include "formats/read.h"
#include "moekit/error.h"

namespace moekit {
namespace {

// In the order of kProjectionFormats.
constexpr MatrixRef ExpertTensors::*kParts[] = {&ExpertTensors::gate, &ExpertTensors::up, &ExpertTensors::down};

bool plain_are(DType dtype, const BlockTensors& tensors) {
  for (const auto* experts : {&tensors.experts, &tensors.shared})
    for (const ExpertTensors& expert : *experts)
      for (const auto part : kParts) {
        const MatrixRef& matrix = expert.*part;
        if (matrix && matrix.quant == nullptr && matrix.tensor.dtype != dtype) return false;
      }
  return true;
}

// Whether the backend that comes first for the options has float16; those behind it are there for what it declines.
bool takes_float16(const LayerOptions& options) {
  if (options.backend != "auto") return backend_by_name(options.backend).takes_float16();
  std::size_t count = 0;
  const Backend* const* list = backends(&count);
  for (std::size_t i = 0; i < count; ++i)
    if (list[i]->device() == options.device.kind) return list[i]->takes_float16();
  return false;
}

// What plain matrices are kept in.
const WeightFormat& plain_format(const BlockTensors& tensors, const LayerOptions& options) {
  if (options.dtype != "auto" && weight_format(options.dtype).plain()) return weight_format(options.dtype);
  if (plain_are(DType::kBFloat16, tensors)) return weight_format("bfloat16");
  return weight_format(plain_are(DType::kFloat16, tensors) && takes_float16(options) ? "float16" : "float32");
}

// Of a plain matrix: `plain`.
WeightFormat kept_format(const MatrixRef& matrix, const WeightFormat& plain, const std::string& dtype) {
  const WeightFormat own = matrix.quant != nullptr ? format_of(matrix) : plain;
  return dtype == "auto" || own.name == dtype ? own : weight_format(dtype);
}

ExpertFormats formats_of(const std::vector<ExpertTensors>& experts, const WeightFormat& plain,
                         const std::string& dtype) {
  ExpertFormats formats = {plain, plain, plain};
  for (std::size_t i = 0; i < std::size(kParts); ++i) {
    const auto part = kParts[i];
    WeightFormat& chosen = formats.*kProjectionFormats[i];
    for (const ExpertTensors& expert : experts) {
      const MatrixRef& matrix = expert.*part;
      if (!matrix) continue;
      const WeightFormat format = kept_format(matrix, plain, dtype);
      if (&expert == &experts.front()) chosen = format;
      if (format != chosen)
        throw CheckpointError("[dtype] " + matrix.tensor.name + " is " + describe(format) + ", " +
                              (experts.front().*part).tensor.name + " is " + describe(chosen) +
                              ": the experts of a projection must be in one format");
    }
  }
  // A projection that the form lacks takes the format of down, so that names() lists what is there.
  if (!experts.empty() && !experts.front().gate) formats.gate = formats.down;
  if (!experts.empty() && !experts.front().up) formats.up = formats.down;
  return formats;
}

}  // namespace

BlockFormats choose_formats(const BlockConfig& config, const BlockTensors& tensors, const LayerOptions& options) {
  const WeightFormat& plain = plain_format(tensors, options);
  BlockFormats formats;
  formats.nonfinite_scales = options.nonfinite_scales;
  formats.int8_activations = options.int8_activations;
  formats.may_compress = options.dtype == "auto";
  formats.reproducible = options.reproducible;
  formats.bf16_split = options.bf16_split;
  formats.routed = formats_of(tensors.experts, plain, options.dtype);
  formats.shared = config.shared.count > 0 ? formats_of(tensors.shared, plain, options.dtype) : formats.routed;
  return formats;
}

}  // namespace moekit
