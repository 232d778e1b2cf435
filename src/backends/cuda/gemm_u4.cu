// SPDX-License-Identifier: Apache-2.0
// Integers of four bits: int4 with and without zero points, Q4_K.
#include "backends/cuda/gemm_groups.h"

namespace moekit::cuda {
namespace {

struct UInt4 {
  static MOEKIT_DEVICE float value(unsigned code) { return static_cast<float>(code); }
};

}  // namespace

MOEKIT_QUANT_GEMMS(u4, NibbleWeights<UInt4>)

}  // namespace moekit::cuda
