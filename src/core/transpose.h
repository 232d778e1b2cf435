// SPDX-License-Identifier: Apache-2.0
// The transpose of words of four bytes, as between rows and tiles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace moekit {

using Word = std::uint32_t;
using Words4 = Word __attribute__((vector_size(16)));

// 4 x 4 words: four row pieces in, four column pieces out.
inline void transpose4(const std::byte* in, std::int64_t in_stride, std::byte* out, std::int64_t out_stride) {
  Words4 r[4];
  for (int i = 0; i < 4; ++i) std::memcpy(&r[i], in + i * in_stride, 16);
  const Words4 a = __builtin_shuffle(r[0], r[1], Words4{0, 4, 1, 5}),
               b = __builtin_shuffle(r[2], r[3], Words4{0, 4, 1, 5});
  const Words4 c = __builtin_shuffle(r[0], r[1], Words4{2, 6, 3, 7}),
               d = __builtin_shuffle(r[2], r[3], Words4{2, 6, 3, 7});
  const Words4 o[4] = {__builtin_shuffle(a, b, Words4{0, 1, 4, 5}), __builtin_shuffle(a, b, Words4{2, 3, 6, 7}),
                       __builtin_shuffle(c, d, Words4{0, 1, 4, 5}), __builtin_shuffle(c, d, Words4{2, 3, 6, 7})};
  for (int i = 0; i < 4; ++i) std::memcpy(out + i * out_stride, &o[i], 16);
}

}  // namespace moekit
