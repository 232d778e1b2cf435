// SPDX-License-Identifier: Apache-2.0
// A configuration as the numbers that kernels take.
#pragma once

#include "backends/cuda/kernels.h"

namespace moekit::cuda {

/// Everything of SelectParams but pointers, strides and the number of tokens. `native` is the dtype of x.
SelectParams select_params(const RouterConfig& config, DType native);

ActivationParams activation_params(const ExpertConfig& config);
/// The activation that leaves its argument alone: routers and down projections.
ActivationParams no_activation();

}  // namespace moekit::cuda
