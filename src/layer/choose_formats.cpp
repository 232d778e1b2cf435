// SPDX-License-Identifier: Apache-2.0
#include "layer/choose_formats.h"

#include <string>

#include "formats/format.h"
#include "formats/read.h"
#include "moekit/error.h"

namespace moekit {
namespace {

// In the order of kProjectionFormats.
constexpr MatrixRef ExpertTensors::*kParts[] = {&ExpertTensors::gate, &ExpertTensors::up, &ExpertTensors::down};

bool plain_are_bfloat16(const std::vector<ExpertTensors>& experts) {
  for (const ExpertTensors& expert : experts)
    for (const auto part : kParts) {
      const MatrixRef& matrix = expert.*part;
      if (matrix && matrix.quant == nullptr && matrix.tensor.dtype != DType::kBFloat16) return false;
    }
  return true;
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
  const bool named_plain = options.dtype != "auto" && weight_format(options.dtype).plain();
  const bool short_ones = plain_are_bfloat16(tensors.experts) && plain_are_bfloat16(tensors.shared);
  const WeightFormat plain =
      named_plain ? weight_format(options.dtype) : weight_format(short_ones ? "bfloat16" : "float32");
  BlockFormats formats;
  formats.nonfinite_scales = options.nonfinite_scales;
  formats.int8_activations = options.int8_activations;
  formats.routed = formats_of(tensors.experts, plain, options.dtype);
  formats.shared = config.shared.count > 0 ? formats_of(tensors.shared, plain, options.dtype) : formats.routed;
  return formats;
}

}  // namespace moekit
