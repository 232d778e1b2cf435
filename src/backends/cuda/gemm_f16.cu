// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/gemm_short.h"

namespace moekit::cuda {

MOEKIT_SHORT_GEMMS(f16, ShortWeights<false>)

}  // namespace moekit::cuda
