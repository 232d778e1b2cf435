// SPDX-License-Identifier: Apache-2.0
// The emulation's float16 against the library's, and against its own inverse.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/float_convert.h"
#include "cuda/simt/simt.h"

namespace simt {
namespace {

TEST(Half, EveryPatternComesBack) {
  for (unsigned bits = 0; bits <= 0xffff; ++bits) {
    const float value = half_value(bits);
    if (value != value) {
      EXPECT_GT(bits & 0x7fffu, 0x7c00u);
      continue;
    }
    ASSERT_EQ(value, moekit::fp16_to_float(static_cast<std::uint16_t>(bits)));
    ASSERT_EQ(half_bits(value), bits);
  }
}

TEST(Half, RoundsAsTheLibraryDoes) {
  std::mt19937 random(7);
  for (int i = 0; i < 1 << 20; ++i) {
    // All bits; and exponents near float16's own, where ties and subnormals are.
    unsigned bits = static_cast<unsigned>(random());
    if (i % 2 == 1) bits = (bits & 0x807fffffu) | ((100u + bits % 45u) << 23);
    if (i % 4 == 1) bits &= 0xfffff000u;
    const float value = __uint_as_float(bits);
    if (value != value) continue;
    ASSERT_EQ(half_bits(value), moekit::float_to_fp16(value)) << value;
  }
}

}  // namespace
}  // namespace simt
