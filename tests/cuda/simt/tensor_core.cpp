// SPDX-License-Identifier: Apache-2.0
// mma.sync m16n8k16 with float32 accumulation, written down from the PTX manual's tables of fragments. Lane = 4 g + q:
//   A (16 x 16): a0 (row g, columns 2q, 2q + 1), a1 (row g + 8), a2 (row g, columns 2q + 8, 2q + 9), a3 (row g + 8)
//   B (16 x 8):  b0 (rows 2q, 2q + 1, column g), b1 (rows 2q + 8, 2q + 9)
//   C (16 x 8):  c0, c1 (row g, columns 2q, 2q + 1), c2, c3 (row g + 8)
// The manual leaves open in which order and with which rounding the products are added. Here: exactly, then one
// rounding.
#include <cmath>

#include "cuda/simt/block.h"
#include "cuda/simt/simt.h"

namespace simt {
namespace {

constexpr int kTensorCore = 16;  // kinds of collectives: apart from those of intrinsics.cpp

struct MmaLane {
  float* c;
  const unsigned* a;
  unsigned b[2];
  bool bf16;
};

// Element `half` (0: low) of a register.
double element(unsigned word, int half, bool bf16) {
  const unsigned bits = word >> (16 * half) & 0xffffu;
  return bf16 ? static_cast<double>(__uint_as_float(bits << 16)) : static_cast<double>(half_value(bits));
}

void mma_op(void* const* payloads, unsigned) {
  const auto lane = [&](int i) { return static_cast<const MmaLane*>(payloads[i]); };
  const bool bf16 = lane(0)->bf16;
  double a[16][16], b[16][8];
  for (int i = 0; i < 32; ++i) {
    const MmaLane& from = *lane(i);
    const int g = i / 4, q = i % 4;
    if (from.bf16 != bf16) stop_block(Fault::kDivergence, "mma of two element types in one warp");
    for (int half = 0; half < 2; ++half) {
      for (int r = 0; r < 4; ++r) a[g + 8 * (r % 2)][2 * q + half + 8 * (r / 2)] = element(from.a[r], half, bf16);
      for (int r = 0; r < 2; ++r) b[2 * q + half + 8 * r][g] = element(from.b[r], half, bf16);
    }
  }
  double c[16][8];
  for (int i = 0; i < 32; ++i)
    for (int r = 0; r < 4; ++r) c[i / 4 + 8 * (r / 2)][i % 4 * 2 + r % 2] = static_cast<double>(lane(i)->c[r]);
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < 16; ++k)
      for (int column = 0; column < 8; ++column) c[row][column] += a[row][k] * b[k][column];
  for (int i = 0; i < 32; ++i)
    for (int r = 0; r < 4; ++r) lane(i)->c[r] = static_cast<float>(c[i / 4 + 8 * (r / 2)][i % 4 * 2 + r % 2]);
}

}  // namespace

void mma_16816(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, bool bf16) {
  MmaLane lane{c, a, {b0, b1}, bf16};
  runner().collective(kTensorCore, 0xffffffffu, &lane, mma_op);
}

}  // namespace simt
