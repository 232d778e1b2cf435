// SPDX-License-Identifier: Apache-2.0
// Blocks of float32 numbers that bfloat16 does not hold, packed with and without bfloat16 parts.
#pragma once

#include <functional>

#include "conformance/harness.h"

namespace moekit::conformance {

/// About normal, of 24 bits.
float number(Rng& rng);

/// Experts that the caller chooses, one a token.
BlockConfig config_of(std::int64_t experts, Activation act, const Size& size);
/// Row r to expert r % experts, with weight 1.
Inputs inputs_of(const BlockConfig& config, std::int64_t rows);

/// An element of a matrix by row, column and expert.
using Values = std::function<float(std::int64_t, std::int64_t, std::int64_t)>;
Values random_weights(Rng& rng);
BlockTensors tensors_of(const BlockConfig& config, const Values& up, const Values& down);
Matrix random_rows(Rng& rng, std::int64_t rows, std::int64_t cols);

struct Both {
  Both(const Target& target, const BlockConfig& config, const BlockTensors& tensors);
  /// Whether `parts` has kernels for them.
  bool split() const { return parts.explain().find("three bfloat16 parts") != std::string::npos; }
  MoeLayer parts, floats;  // with the option and without
};

}  // namespace moekit::conformance
