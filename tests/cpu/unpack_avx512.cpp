// SPDX-License-Identifier: Apache-2.0
// unpack_tiles as kernels with AVX-512 have it.
#include "backends/cpu/unpack_tiles.h"

namespace moekit::cpu {

void unpack_avx512(const UnpackArgs& args);
void unpack_avx512(const UnpackArgs& args) { unpack_tiles<std::uint16_t>(args); }

}  // namespace moekit::cpu
