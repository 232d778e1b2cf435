// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "backends/cpu/bf16z_tiles.h"

namespace moekit::cpu {
namespace {

constexpr int kWords = 512;        // of a tile
constexpr int kLineWords = 32;     // of a pair of k
constexpr int kCodes = 15;         // exponents base - 14 .. base
constexpr int kFewExceptions = 8;  // up to here it is not worth looking for a better base

using Words = std::int16_t __attribute__((vector_size(16)));
using Bytes = std::uint8_t __attribute__((vector_size(16)));

// The low bytes of a, then those of b (in the order of a little-endian machine).
Bytes low_bytes(Words a, Words b) {
  return __builtin_shuffle((Bytes)a, (Bytes)b, Bytes{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30});
}

struct Tile {
  alignas(64) std::uint16_t words[kWords];
  int exponent(int i) const { return words[i] >> 7 & 255; }
  bool is_exception(int i, int base) const {
    return exponent(i) != 0 && static_cast<unsigned>(base - exponent(i)) >= kCodes;
  }
};

int largest_exponent(const Tile& tile) {
  Words largest = {};
  for (int i = 0; i < kWords; i += 8) {
    const Words exponents = load<Words>(tile.words + i) & std::int16_t{0x7f80};
    largest = exponents > largest ? exponents : largest;
  }
  std::int16_t most = 0;
  for (int i = 0; i < 8; ++i) most = std::max<std::int16_t>(most, largest[i]);
  return most >> 7;
}

// The base with the fewest exceptions.
int best_base(const Tile& tile) {
  int below[257] = {};  // weights with exponents of 1 .. e - 1 at e
  for (int i = 0; i < kWords; ++i) ++below[tile.exponent(i) + 1];
  below[1] = 0;
  for (int e = 1; e <= 256; ++e) below[e] += below[e - 1];
  int best = kCodes;
  for (int base = kCodes; base <= 255; ++base)
    if (below[base + 1] - below[base + 1 - kCodes] >= below[best + 1] - below[best + 1 - kCodes]) best = base;
  return best;
}

// Eight words to their codes, and to signs and mantissas; counts -1 for each exception.
struct Split {
  Words base, exceptions = {};
  void operator()(const std::uint16_t* words, Words& codes, Words& rest) {
    const Words w = load<Words>(words), exponents = w >> 7 & std::int16_t{255}, code = base - exponents;
    const Words far = (code < std::int16_t{0}) | (code >= std::int16_t{kCodes}), zero = exponents == std::int16_t{0};
    codes = (code & ~far & ~zero) | (zero & std::int16_t{15});
    rest = (w >> 8 & std::int16_t{0x80}) | (w & std::int16_t{0x7f});
    exceptions += far & ~zero;
  }
};

// Returns the number of exceptions.
int write_tile(const Tile& tile, int base, std::byte* out) {
  Split split = {Words{} + static_cast<std::int16_t>(base)};
  for (int quarter = 0; quarter < 4; ++quarter, out += 192)
    for (int lane = 0; lane < 4; ++lane) {
      Words codes[4], rest[4];
      for (int pair = 0; pair < 4; ++pair)
        split(tile.words + (4 * quarter + pair) * kLineWords + lane * 8, codes[pair], rest[pair]);
      store(out + lane * 16, (Bytes)(low_bytes(codes[0], codes[1]) | low_bytes(codes[2], codes[3]) << 4));
      store(out + 64 + lane * 16, low_bytes(rest[0], rest[1]));
      store(out + 128 + lane * 16, low_bytes(rest[2], rest[3]));
    }
  int count = 0;
  for (int i = 0; i < 8; ++i) count -= split.exceptions[i];
  return count;
}

}  // namespace

std::int64_t pack_bf16z(const Bf16zFormat& format, const std::byte* tiles, int half, std::byte* panel) {
  std::byte* heads = panel + half * format.half_bytes();
  std::int64_t count = 0;
  Tile tile;
  for (std::int64_t s = 0; s < format.steps; ++s) {
    std::memcpy(tile.words, tiles + s * kStepBytes, sizeof tile.words);
    std::byte* out = panel + format.tiles_at() + (2 * s + half) * kBf16zTileBytes;
    // The largest exponent, unless outliers spoil that. Codes of exponents below 1 would have no meaning.
    int base = std::max(largest_exponent(tile), kCodes), exceptions = write_tile(tile, base, out);
    if (exceptions > kFewExceptions) {
      base = best_base(tile);
      exceptions = write_tile(tile, base, out);
    }
    for (int i = 0; exceptions != 0; ++i) {
      if (!tile.is_exception(i, base)) continue;
      const Bf16zException exception = {static_cast<std::uint16_t>(i), tile.words[i]};
      if (count < format.exceptions)
        store(heads + format.exceptions_at() + count * static_cast<std::int64_t>(sizeof exception), exception);
      ++count, --exceptions;
    }
    store(
        heads + s * static_cast<std::int64_t>(sizeof(Bf16zHead)),
        Bf16zHead{static_cast<std::uint8_t>(base), 0, static_cast<std::uint16_t>(std::min(count, format.exceptions))});
  }
  return count;
}

void unpack_bf16z(const Bf16zFormat& format, const std::byte* panel, int half, std::byte* tiles) {
  for (std::int64_t s = 0; s < format.steps; ++s) unpack_bf16z_tile(format, panel, s, half, Bf16zPlain(tiles, s, 0));
}

}  // namespace moekit::cpu
