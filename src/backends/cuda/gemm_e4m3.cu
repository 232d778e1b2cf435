// SPDX-License-Identifier: Apache-2.0
// OCP FP8: block FP8, MXFP8.
#include "backends/cuda/gemm_groups.h"

namespace moekit::cuda {
namespace {

struct E4M3 {
  // As for E2M1; the bias is 7. 0x7f is NaN.
  static MOEKIT_DEVICE float value(unsigned code) {
    const unsigned bits = code & 0x7fu;
    const float magnitude = bits == 0x7fu ? __uint_as_float(0x7fc00000u)
                                          : __uint_as_float(bits << 20) * __uint_as_float(0x7b800000u);  // 2^120
    return (code & 0x80u) != 0 ? -magnitude : magnitude;
  }
};

}  // namespace

MOEKIT_QUANT_GEMMS(e4m3, ByteWeights<E4M3>)

}  // namespace moekit::cuda
