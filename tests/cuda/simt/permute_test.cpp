// SPDX-License-Identifier: Apache-2.0
// The permutation on the device against the one of the library.
#include "moekit/permutation.h"

#include <algorithm>
#include <random>

#include "backends/cuda/kernels.h"
#include "cuda/simt/device_array.h"

namespace simt {
namespace {

using namespace moekit;
using moekit::cuda::PermuteParams;
using moekit::cuda::Tile;

struct Permuted {
  std::vector<int> offsets, slot_of_row, token_of_row, row_of_slot;
  std::vector<Tile> tiles;
};

Permuted permute_on_device(const std::vector<int>& ids, int top_k, int experts, int tile_rows, bool small) {
  const int slots = static_cast<int>(ids.size());
  const int chunks = std::max(1, (slots + cuda::kChunkSlots - 1) / cuda::kChunkSlots);
  const std::size_t n = ids.size();
  DeviceArray<int> from(ids), counts(static_cast<std::size_t>(chunks * experts)),
      offsets(static_cast<std::size_t>(experts) + 1), slot_of_row(n), token_of_row(n), row_of_slot(n), tile_count(1);
  DeviceArray<Tile> tiles(n / static_cast<std::size_t>(tile_rows) + static_cast<std::size_t>(experts));
  const PermuteParams p{from.data(),
                        slots,
                        top_k,
                        experts,
                        small ? 1 : chunks,
                        tile_rows,
                        counts.data(),
                        offsets.data(),
                        slot_of_row.data(),
                        token_of_row.data(),
                        row_of_slot.data(),
                        tiles.data(),
                        tile_count.data()};
  const std::size_t counters = (static_cast<std::size_t>(experts) * 4 + 15) / 16 * 16, sums = 66 * 4 + 8;
  if (small) {
    run("moekit_permute_small", {}, 256, counters + sums, p);
  } else {
    run("moekit_count_slots", {static_cast<unsigned>(chunks), 1, 1}, 32, counters, p);
    run("moekit_scan_experts", {}, 256, sums, p);
    run("moekit_place_slots", {static_cast<unsigned>(chunks), 1, 1}, 32, counters, p);
  }
  Permuted result{offsets.get(), slot_of_row.get(), token_of_row.get(), row_of_slot.get(), tiles.get()};
  result.slot_of_row.resize(static_cast<std::size_t>(result.offsets.back()));
  result.token_of_row.resize(result.slot_of_row.size());
  result.tiles.resize(static_cast<std::size_t>(tile_count.get()[0]));
  return result;
}

// Tiles cover every row once, none crosses experts, in order.
void expect_tiles(const Permuted& got, int tile_rows) {
  std::size_t next = 0;
  for (std::size_t e = 0; e + 1 < got.offsets.size(); ++e)
    for (int row = got.offsets[e]; row < got.offsets[e + 1]; row += tile_rows, ++next) {
      ASSERT_LT(next, got.tiles.size());
      EXPECT_EQ(got.tiles[next].expert, static_cast<int>(e));
      EXPECT_EQ(got.tiles[next].row, row);
      EXPECT_EQ(got.tiles[next].rows, std::min(tile_rows, got.offsets[e + 1] - row));
    }
  EXPECT_EQ(next, got.tiles.size());
}

void check(const std::vector<int>& ids, int top_k, int experts, int tile_rows) {
  SCOPED_TRACE(std::to_string(ids.size()) + " slots, " + std::to_string(experts) + " experts");
  std::vector<int> known = ids;  // the library's permutation takes -1 only; the device treats all foreign ids so
  for (int& id : known) id = id >= experts ? -1 : id;
  std::vector<float> weights(ids.size());
  TokenPermutation want;
  permute({static_cast<std::int64_t>(ids.size()) / top_k, top_k, known.data(), weights.data()}, experts, want);
  for (const bool small : {false, true}) {
    if (small && ids.size() > 2048) continue;
    expect_same_under_all_orders([&] {
      const Permuted got = permute_on_device(ids, top_k, experts, tile_rows, small);
      EXPECT_TRUE(std::equal(want.offsets.begin(), want.offsets.end(), got.offsets.begin(), got.offsets.end()));
      EXPECT_TRUE(std::equal(want.slot.begin(), want.slot.end(), got.slot_of_row.begin(), got.slot_of_row.end()));
      EXPECT_TRUE(std::equal(want.token.begin(), want.token.end(), got.token_of_row.begin(), got.token_of_row.end()));
      std::vector<int> inverse(ids.size(), -1);
      for (std::size_t row = 0; row < want.slot.size(); ++row)
        inverse[static_cast<std::size_t>(want.slot[row])] = static_cast<int>(row);
      EXPECT_EQ(got.row_of_slot, inverse);
      expect_tiles(got, tile_rows);
      std::vector<std::byte> bits;
      append_bits(bits, got.slot_of_row);
      append_bits(bits, got.row_of_slot);
      return bits;
    });
  }
}

TEST(CudaPermute, EqualsTheLibrarys) {
  std::mt19937 rng(1);
  struct Shape {
    int tokens, top_k, experts, spread;  // ids are -1 .. experts + spread
  };
  for (const Shape& s : {Shape{1, 1, 1, 0}, Shape{1, 8, 256, 0}, Shape{33, 3, 7, 2}, Shape{100, 8, 64, 0},
                         Shape{600, 2, 300, 5}, Shape{1500, 2, 5, 0}, Shape{17, 4, 1000, 0}}) {
    std::vector<int> ids(static_cast<std::size_t>(s.tokens * s.top_k));
    for (int& id : ids) id = std::uniform_int_distribution<int>(-1, s.experts - 1 + s.spread)(rng);
    check(ids, s.top_k, s.experts, 8);
    check(ids, s.top_k, s.experts, 64);
  }
  check(std::vector<int>(3000, 2), 3, 4, 64);  // all to one expert
  check(std::vector<int>(96, -1), 3, 4, 8);    // all skipped
}

}  // namespace
}  // namespace simt
