// SPDX-License-Identifier: Apache-2.0
// For kernels: elements of a view.
#pragma once

#include "backends/cuda/device.h"
#include "backends/cuda/kernels.h"

namespace moekit::cuda {

MOEKIT_DEVICE float load_element(const void* from, Element element, long long index) {
  return element == Element::kBFloat16 ? bf16_value(static_cast<const unsigned short*>(from)[index])
                                       : static_cast<const float*>(from)[index];
}

}  // namespace moekit::cuda
