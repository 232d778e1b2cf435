// SPDX-License-Identifier: Apache-2.0
// For kernels: elements of a view, and rounding to them.
#pragma once

#include "backends/cuda/device.h"
#include "backends/cuda/kernels.h"

namespace moekit::cuda {

/// bfloat16 or float16 as bits.
MOEKIT_DEVICE float short_value(unsigned bits, Element element) {
  return element == Element::kBFloat16 ? bf16_value(bits) : f16_value(bits);
}
MOEKIT_DEVICE unsigned short_bits(float value, Element element) {
  return element == Element::kBFloat16 ? bf16_bits(value) : f16_bits(value);
}

MOEKIT_DEVICE float rounded(float value, Element element) {
  return element == Element::kFloat32 ? value : short_value(short_bits(value, element), element);
}

MOEKIT_DEVICE float load_element(const void* from, Element element, long long index) {
  return element == Element::kFloat32 ? static_cast<const float*>(from)[index]
                                      : short_value(static_cast<const unsigned short*>(from)[index], element);
}

MOEKIT_DEVICE void store_element(void* to, Element element, long long index, float value) {
  if (element == Element::kFloat32) {
    static_cast<float*>(to)[index] = value;
  } else {
    static_cast<unsigned short*>(to)[index] = static_cast<unsigned short>(short_bits(value, element));
  }
}

}  // namespace moekit::cuda
