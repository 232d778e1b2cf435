// SPDX-License-Identifier: Apache-2.0
// Random quantised weights in every packing: valid codes, scales that keep the weights in the range of trained ones.
#pragma once

#include <string>
#include <vector>

#include "conformance/random_block.h"
#include "moekit/quantised.h"

namespace moekit::conformance {

/// A format as some checkpoint has it.
struct QuantVariant {
  std::string name;
  WeightFormat format;
  Packing packing = Packing::kBytes;
  bool act_order = false;     // groups of columns in an order of their own
  std::int64_t multiple = 1;  // rows and columns must be multiples of it
};
const std::vector<QuantVariant>& quant_variants();

/// A random [rows, cols] matrix.
MatrixRef random_quantised(Rng& rng, const QuantVariant& variant, std::int64_t rows, std::int64_t cols);
/// Random tensors whose routed (and shared) projections are quantised.
BlockTensors random_quantised_tensors(Rng& rng, const BlockConfig& config, const QuantVariant& variant,
                                      bool quantised_shared);

}  // namespace moekit::conformance
