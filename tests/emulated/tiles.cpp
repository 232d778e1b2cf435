// SPDX-License-Identifier: Apache-2.0
#include "emulated/tiles.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "emulated/float_rules.h"

namespace moekit::emulated {
namespace {

// Palette 1.
constexpr int kTiles = 8, kRows = 16, kRowBytes = 64;

struct Tile {
  int rows = 0, bytes = 0;  // bytes: of a row
  alignas(64) std::uint8_t data[kRows][kRowBytes] = {};
};
struct Unit {
  bool configured = false;
  Tile tiles[kTiles];
};
thread_local Unit g_unit;

[[noreturn]] void fault(const std::string& what) { throw EmulatedFault("[emulated AMX] " + what); }

Tile& tile_of(int index) {
  if (!g_unit.configured) fault("no tile configuration");
  if (index < 0 || index >= kTiles) fault("tile " + std::to_string(index) + ", expected 0 .. 7");
  Tile& tile = g_unit.tiles[index];
  if (tile.rows == 0) fault("tile " + std::to_string(index) + " has no rows in the configuration");
  return tile;
}

void check_stride(int index, const Tile& tile, std::ptrdiff_t stride) {
  if (stride < tile.bytes && stride > -tile.bytes && tile.rows > 1)
    fault("tile " + std::to_string(index) + ": stride " + std::to_string(stride) + ", rows of " +
          std::to_string(tile.bytes) + " bytes overlap");
}

struct Operands {
  Tile& c;
  const Tile &a, &b;
  int rows, columns, inner;  // in elements of four bytes
};
Operands operands(int c, int a, int b) {
  if (c == a || c == b || a == b)
    fault("tiles " + std::to_string(c) + ", " + std::to_string(a) + ", " + std::to_string(b) + " are not three");
  const Operands o = {tile_of(c), tile_of(a), tile_of(b), tile_of(c).rows, tile_of(c).bytes / 4, tile_of(a).bytes / 4};
  if (o.a.rows != o.c.rows) fault("a has " + std::to_string(o.a.rows) + " rows, c " + std::to_string(o.c.rows));
  if (o.b.bytes != o.c.bytes)
    fault("b has rows of " + std::to_string(o.b.bytes) + " bytes, c of " + std::to_string(o.c.bytes));
  if (o.c.bytes % 4 != 0 || o.a.bytes % 4 != 0) fault("rows are not whole elements of four bytes");
  if (o.inner != o.b.rows)
    fault("a has " + std::to_string(o.inner) + " groups of k, b has " + std::to_string(o.b.rows) + " rows");
  return o;
}

template <class T>
T element(const Tile& tile, int row, int index) {
  T value;
  std::memcpy(&value, tile.data[row] + static_cast<std::size_t>(index) * sizeof(T), sizeof value);
  return value;
}
template <class T>
void set_element(Tile& tile, int row, int index, T value) {
  std::memcpy(tile.data[row] + static_cast<std::size_t>(index) * sizeof(T), &value, sizeof value);
}

template <class A, class B>
void multiply_bytes(int c, int a, int b) {
  const Operands o = operands(c, a, b);
  for (int m = 0; m < o.rows; ++m)
    for (int n = 0; n < o.columns; ++n) {
      auto sum = element<std::uint32_t>(o.c, m, n);
      for (int k = 0; k < o.inner; ++k)
        for (int i = 0; i < 4; ++i)
          sum += static_cast<std::uint32_t>(element<A>(o.a, m, 4 * k + i) * element<B>(o.b, k, 4 * n + i));
      set_element(o.c, m, n, sum);
    }
}

// Exponents of the numbers of a tile that are not zero, as they stand in the bits.
struct Exponents {
  int smallest = 255, largest = 0;
};
Exponents exponents(const Tile& tile, int rows) {
  Exponents found;
  for (int r = 0; r < rows; ++r)
    for (int i = 0; i < tile.bytes / 2; ++i) {
      const int exponent = element<std::uint16_t>(tile, r, i) >> 7 & 255;
      if (exponent == 0) continue;
      found.smallest = std::min(found.smallest, exponent);
      found.largest = std::max(found.largest, exponent);
    }
  return found;
}

// Whether multiplication and addition, each rounded, are the fused ones: products of 8 bit significands are exact as
// long as none overflows or is subnormal, nor, since all are multiples of 2^-14 of the smallest, is any sum of them.
bool products_are_exact(const Exponents& a, const Exponents& b) {
  return a.smallest + b.smallest - 2 * 127 - 14 >= -126 && a.largest + b.largest - 2 * 127 + 2 + 4 <= 127;
}

// One row of a: the sums of even and odd k, from zero. Inlined, so that it is compiled for its caller's processor.
template <class Add>
__attribute__((always_inline)) inline void chains(const Operands& o, int m, const float (&b)[kRows][kRowBytes / 2],
                                                  float (&sums)[kRowBytes / 2], Add&& add) {
  std::fill(std::begin(sums), std::end(sums), 0.0f);
  for (int k = 0; k < o.inner; ++k) {
    const float even = widened(element<std::uint16_t>(o.a, m, 2 * k)),
                odd = widened(element<std::uint16_t>(o.a, m, 2 * k + 1));
    for (int n = 0; n < kRowBytes / 4; ++n) {
      sums[2 * n] = add(even, b[k][2 * n], sums[2 * n]);
      sums[2 * n + 1] = add(odd, b[k][2 * n + 1], sums[2 * n + 1]);
    }
  }
}

// Also for processors that have fused multiply-adds, where the C library's are calls that take most of the time.
__attribute__((target_clones("fma", "default"))) void multiply_bf16(const Operands& o) {
  float weights[kRows][kRowBytes / 2] = {};
  for (int k = 0; k < o.inner; ++k)
    for (int i = 0; i < 2 * o.columns; ++i) weights[k][i] = widened(element<std::uint16_t>(o.b, k, i));
  const bool exact = products_are_exact(exponents(o.a, o.rows), exponents(o.b, o.inner));
  float sums[kRowBytes / 2];
  for (int m = 0; m < o.rows; ++m) {
    if (exact) {
      chains(o, m, weights, sums, [](float x, float w, float sum) { return sum + x * w; });
    } else {
      chains(o, m, weights, sums, [](float x, float w, float sum) { return fused(x, w, sum); });
    }
    for (int n = 0; n < o.columns; ++n)
      set_element(o.c, m, n, flush(flush(element<float>(o.c, m, n)) + flush(sums[2 * n] + sums[2 * n + 1])));
  }
}

}  // namespace

void tile_loadconfig(const void* config) {
  const auto* bytes = static_cast<const std::uint8_t*>(config);
  const int palette = bytes[0];
  if (palette == 0) return tile_release();
  if (palette != 1) fault("palette " + std::to_string(palette) + ", expected 0 or 1");
  if (bytes[1] != 0) fault("start_row " + std::to_string(bytes[1]) + ", expected 0");
  for (int i = 2; i < 16; ++i)
    if (bytes[i] != 0) fault("reserved byte " + std::to_string(i) + " of the configuration is not 0");
  Unit unit;
  unit.configured = true;
  for (int t = 0; t < 16; ++t) {
    std::uint16_t columns;
    std::memcpy(&columns, bytes + 16 + 2 * t, sizeof columns);
    const int rows = bytes[48 + t];
    const std::string name = "tile " + std::to_string(t) + ": ";
    if (t >= kTiles && (rows != 0 || columns != 0)) fault(name + "configured, but there are 8");
    if (rows > kRows) fault(name + std::to_string(rows) + " rows, at most 16");
    if (columns > kRowBytes) fault(name + std::to_string(columns) + " bytes a row, at most 64");
    if ((rows == 0) != (columns == 0)) fault(name + "rows without bytes, or bytes without rows");
    if (t < kTiles) unit.tiles[t].rows = rows, unit.tiles[t].bytes = columns;
  }
  g_unit = unit;
}

void tile_release() noexcept { g_unit = Unit{}; }
bool tile_configured() noexcept { return g_unit.configured; }

void tile_loadd(int index, const void* base, std::ptrdiff_t stride) {
  Tile& tile = tile_of(index);
  check_stride(index, tile, stride);
  for (int r = 0; r < tile.rows; ++r)
    std::memcpy(tile.data[r], static_cast<const std::byte*>(base) + r * stride, static_cast<std::size_t>(tile.bytes));
}

void tile_stored(int index, void* base, std::ptrdiff_t stride) {
  const Tile& tile = tile_of(index);
  check_stride(index, tile, stride);
  for (int r = 0; r < tile.rows; ++r)
    std::memcpy(static_cast<std::byte*>(base) + r * stride, tile.data[r], static_cast<std::size_t>(tile.bytes));
}

void tile_zero(int index) { std::memset(tile_of(index).data, 0, sizeof(Tile::data)); }

void tile_dpbf16ps(int c, int a, int b) { multiply_bf16(operands(c, a, b)); }

void tile_dpbssd(int c, int a, int b) { multiply_bytes<std::int8_t, std::int8_t>(c, a, b); }
void tile_dpbsud(int c, int a, int b) { multiply_bytes<std::int8_t, std::uint8_t>(c, a, b); }
void tile_dpbusd(int c, int a, int b) { multiply_bytes<std::uint8_t, std::int8_t>(c, a, b); }
void tile_dpbuud(int c, int a, int b) { multiply_bytes<std::uint8_t, std::uint8_t>(c, a, b); }

}  // namespace moekit::emulated
