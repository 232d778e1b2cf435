// SPDX-License-Identifier: Apache-2.0
// OCP FP4: MXFP4, NVFP4.
#include "backends/cuda/gemm_groups.h"

namespace moekit::cuda {
namespace {

struct E2M1 {
  // Exponent and mantissa put where float32 has them count from 2^-127; the format's bias is 1. Subnormals come right.
  static MOEKIT_DEVICE float value(unsigned code) {
    const float magnitude = __uint_as_float((code & 7u) << 22) * __uint_as_float(0x7e800000u);  // 2^126
    return (code & 8u) != 0 ? -magnitude : magnitude;
  }
};

}  // namespace

MOEKIT_QUANT_GEMMS(e2m1, NibbleWeights<E2M1>)

}  // namespace moekit::cuda
