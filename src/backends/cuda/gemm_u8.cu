// SPDX-License-Identifier: Apache-2.0
// Integers of up to eight bits, unsigned: int8 (stored with 128 added, which is its zero point then), Q5_K, Q6_K.
// A value less its zero point has at most eight bits, which bfloat16 holds.
#include "backends/cuda/gemm_groups.h"

namespace moekit::cuda {
namespace {

struct UInt8 {
  static MOEKIT_DEVICE float value(unsigned code) { return static_cast<float>(code); }
};

}  // namespace

MOEKIT_QUANT_GEMMS(u8, ByteWeights<UInt8>)

}  // namespace moekit::cuda
