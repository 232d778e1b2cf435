// SPDX-License-Identifier: Apache-2.0
// The kit's second half: layers by the own kernels against the same layers by cuBLAS, on the device.
#pragma once

#include "cuda/kit/kit.h"

namespace moekit::kit {

/// One finding an element type and a size of batch. Empty, with `reason` set, where there is no cuBLAS.
std::vector<Finding> run_blas_oracle(std::string* reason);

}  // namespace moekit::kit
