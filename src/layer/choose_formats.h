// SPDX-License-Identifier: Apache-2.0
// The formats in which a block's weights are kept.
#pragma once

#include "moekit/layer.h"
#include "moekit/weight_format.h"

namespace moekit {

/// Formats for options.dtype. "auto": quantised matrices as they are; plain ones bfloat16 when all plain ones of the
/// block are, float32 otherwise. A format's name: matrices that are in it as they are, the others in the format that
/// formats.cpp has under the name. Throws CheckpointError when the experts of a projection are in different formats,
/// std::invalid_argument for an unknown name.
BlockFormats choose_formats(const BlockConfig& config, const BlockTensors& tensors, const LayerOptions& options);

}  // namespace moekit
