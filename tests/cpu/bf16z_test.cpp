// SPDX-License-Identifier: Apache-2.0
// bf16z panels by themselves: every bit pattern, every number of exceptions, and bytes that nobody packed.
#include "backend/backend.h"
#include "backends/cpu/bf16z_choice.h"
#include "backends/cpu/bf16z_format.h"
#include "backends/cpu/gemm_fma.h"
#include "backends/cpu/sweep.h"
#include "core/aligned_buffer.h"
#include "formats/format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

namespace moekit::cpu {
namespace {

constexpr std::int64_t kWords = 512;

struct Tiles {
  explicit Tiles(std::int64_t count) : steps(count), bytes(static_cast<std::size_t>(count * kStepBytes)) {}
  std::int64_t steps;
  AlignedBuffer bytes;
  std::uint16_t get(std::int64_t step, std::int64_t i) const {
    std::uint16_t word;
    std::memcpy(&word, bytes.data() + step * kStepBytes + i * 2, 2);
    return word;
  }
  void set(std::int64_t step, std::int64_t i, std::uint16_t word) {
    std::memcpy(bytes.data() + step * kStepBytes + i * 2, &word, 2);
  }
};

// Both halves of a panel, and what they have for exceptions. The halves differ, so that none reads the other's.
std::int64_t expect_round_trip(const Tiles& tiles, std::int64_t room) {
  const Bf16zFormat format = {tiles.steps, room};
  AlignedBuffer panel(static_cast<std::size_t>(format.bytes()));
  Tiles other(tiles.steps), back(tiles.steps);
  for (std::int64_t s = 0; s < tiles.steps; ++s)
    for (std::int64_t i = 0; i < kWords; ++i) other.set(s, i, tiles.get(tiles.steps - 1 - s, kWords - 1 - i));
  std::int64_t most = 0;
  for (int half = 0; half < 2; ++half)
    most = std::max(most, pack_bf16z(format, (half == 0 ? tiles : other).bytes.data(), half, panel.data()));
  for (int half = 0; most <= room && half < 2; ++half) {
    unpack_bf16z(format, panel.data(), half, back.bytes.data());
    const Tiles& want = half == 0 ? tiles : other;
    for (std::int64_t s = 0; s < tiles.steps; ++s)
      for (std::int64_t i = 0; i < kWords; ++i) {
        EXPECT_EQ(back.get(s, i), want.get(s, i)) << "step " << s << ", word " << i << ", half " << half;
        if (back.get(s, i) != want.get(s, i)) return most;
      }
  }
  return most;
}

// 15 neighbouring exponents and 0 need no exception: each of the 65536 patterns is in such a tile.
TEST(Bf16z, EveryBitPatternAmongItsNeighbours) {
  for (int base = 15; base <= 255; ++base) {
    Tiles tiles(8);
    // 16 exponents x 128 mantissas x 2 signs.
    for (std::int64_t i = 0; i < 8 * kWords; ++i) {
      const int code = static_cast<int>(i / 256), exponent = code == 15 ? 0 : base - code;
      tiles.set(i % 8, i / 8, static_cast<std::uint16_t>((i & 0x80) << 8 | exponent << 7 | (i & 0x7f)));
    }
    EXPECT_EQ(expect_round_trip(tiles, 0), 0) << "base " << base;
  }
}

TEST(Bf16z, EveryBitPatternAsAnException) {
  Tiles tiles(128);
  for (std::int64_t i = 0; i < 65536; ++i) tiles.set(i % 128, i / 128, static_cast<std::uint16_t>(i));
  EXPECT_LE(expect_round_trip(tiles, 65535), 65535);
  std::mt19937 random(3);
  for (int trial = 0; trial < 20; ++trial) {
    for (std::int64_t i = 0; i < 65536; ++i) tiles.set(i / 512, i % 512, static_cast<std::uint16_t>(random()));
    EXPECT_GT(expect_round_trip(tiles, 65535), 1000);
  }
}

TEST(Bf16z, TheBaseIsNotSpoiltByOutliers) {
  Tiles tiles(1);
  std::mt19937 random(4);
  for (std::int64_t i = 0; i < kWords; ++i)
    tiles.set(0, i, static_cast<std::uint16_t>((random() & 0x807f) | (110 + random() % 10) << 7));
  for (std::int64_t i = 0; i < 12; ++i) tiles.set(0, i * 40, 0x7f80);  // infinities
  EXPECT_EQ(expect_round_trip(tiles, 65535), 12);
}

TEST(Bf16z, TellsWhatItHasNoRoomFor) {
  Tiles tiles(2);
  for (std::int64_t i = 0; i < kWords; ++i) tiles.set(0, i, 0x3f80), tiles.set(1, i, i < 5 ? 0x0080 : 0x3f80);
  EXPECT_EQ(expect_round_trip(tiles, 0), 5);
  EXPECT_EQ(expect_round_trip(tiles, 4), 5);
  EXPECT_EQ(expect_round_trip(tiles, 5), 5);
  EXPECT_EQ(expect_round_trip(tiles, 16), 5);
}

// A file may hold anything: memory is left alone (what AddressSanitizer sees).
TEST(Bf16z, BytesThatNobodyPackedStayWithinThePanel) {
  std::mt19937 random(5);
  for (int trial = 0; trial < 200; ++trial) {
    const Bf16zFormat format = {1 + static_cast<std::int64_t>(random() % 5), static_cast<std::int64_t>(random() % 40)};
    std::vector<std::byte> panel(static_cast<std::size_t>(format.bytes()));
    for (std::byte& b : panel) b = static_cast<std::byte>(random());
    std::vector<std::byte> tiles(static_cast<std::size_t>(format.steps * kStepBytes));
    for (int half = 0; half < 2; ++half) unpack_bf16z(format, panel.data(), half, tiles.data());
  }
}

// Rows of ones through a panel; columns of both tiles.
std::vector<float> sweep(const Bf16zFormat* bf16z, const std::byte* panel, std::int64_t steps, std::int64_t rows) {
  const std::int64_t floats = round_up(rows, kBlockRows) * steps * 32;
  AlignedBuffer a(static_cast<std::size_t>(floats * 4)), unpacked(static_cast<std::size_t>(12 * kStepBytes)),
      scratch(static_cast<std::size_t>(accumulator_floats(rows) * 4));
  std::fill_n(reinterpret_cast<float*>(a.data()), floats, 1.0f);
  std::vector<float> out(static_cast<std::size_t>(rows * kPanelColumns));
  DownArgs args;
  args.a = a.data();
  args.rows = rows;
  args.steps = steps;
  args.panels = panel;
  args.last = 1;
  args.out = out.data();
  args.out_stride = kPanelColumns;
  args.bf16z = bf16z;
  args.unpacked = unpacked.data();
  args.scratch = reinterpret_cast<float*>(scratch.data());
  down_sweep<GemmSweep<FmaGemm<std::uint16_t, 16, 4, 1>>>(args);
  return out;
}

TEST(Bf16z, SweepsOverBytesThatNobodyPackedStayWithinThePanel) {
  std::mt19937 random(6);
  for (int trial = 0; trial < 200; ++trial) {
    const Bf16zFormat format = {1 + static_cast<std::int64_t>(random() % 20), static_cast<std::int64_t>(random() % 40)};
    AlignedBuffer panel(static_cast<std::size_t>(format.bytes()));
    for (std::int64_t i = 0; i < format.bytes(); ++i) panel.data()[i] = static_cast<std::byte>(random());
    for (const std::int64_t rows : {1, 2, 4, 20}) sweep(&format, panel.data(), format.steps, rows);
  }
}

// From no exception to more than there are other weights, in every place of a step.
TEST(Bf16z, SweepsGiveTheBitsOfPlainPanels) {
  std::mt19937 random(7);
  for (const std::int64_t steps : {1, 7, 13, 30})
    for (const unsigned often : {0u, 1u, 40u, 2000u}) {
      Tiles tiles(steps);
      for (std::int64_t i = 0; i < steps * 2 * kWords; ++i) {
        const std::uint32_t exponent = random() % 4096 < often ? random() % 140 : 110 + random() % 14;
        tiles.set(i / kWords / 2, i % (2 * kWords), static_cast<std::uint16_t>((random() & 0x807f) | exponent << 7));
      }
      const Bf16zFormat format = {steps, kWords * steps};
      AlignedBuffer panel(static_cast<std::size_t>(format.bytes()));
      for (int half = 0; half < 2; ++half)
        pack_bf16z(format, tiles.bytes.data() + half * kSegmentBytes, half, panel.data());
      for (const std::int64_t rows : {1, 2, 3, 4, 5, 17, 40})
        ASSERT_EQ(sweep(&format, panel.data(), steps, rows), sweep(nullptr, tiles.bytes.data(), steps, rows))
            << steps << " steps, " << rows << " rows, " << often << " of 4096";
    }
}

TEST(Bf16z, TwelveBitsAWeight) {
  for (const std::int64_t columns : {768, 2048, 7168}) {
    const std::int64_t steps = columns / 32;
    const Bf16zFormat format = {steps, bf16z_first_room(columns)};
    EXPECT_LT(static_cast<double>(format.bytes()) * 8 / static_cast<double>(steps * 1024), 12.2) << columns;
    EXPECT_TRUE(bf16z_is_smaller(format));
  }
  EXPECT_FALSE(bf16z_is_smaller({64, 64 * 60}));
}

TEST(Bf16z, OtherBackendsDeclineItByName) {
  BlockConfig config;
  config.expert.input = config.expert.output = config.expert.intermediate = 64;
  config.router.num_experts = 4;
  const BlockFormats formats = uniform_formats(weight_format("bf16z"));
  std::size_t count = 0;
  const Backend* const* list = backends(&count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string name(list[i]->name()), reason = list[i]->supports(config, formats).reason;
    if (name == "cpu" || name == "reference") {  // the reference, which is last, holds it as plain bfloat16
      EXPECT_EQ(reason, "") << name;
    } else {
      EXPECT_NE(reason.find("bf16z is held by the cpu backend only"), std::string::npos) << name << ": " << reason;
    }
  }
}

TEST(Bf16z, TheChoiceSaysWhy) {
  BlockConfig config;
  config.expert.input = config.expert.output = 2048;
  config.expert.intermediate = 768;
  config.router.num_experts = 2;
  const WeightFormat bfloat16 = weight_format("bfloat16"), int8 = weight_format("int8");
  const auto chosen = [&](std::string_view isa, const ExpertFormats& each, std::string* why) {
    BlockFormats formats = {each, each};
    *why = choose_bf16z(config, isa, formats);
    return formats.routed;
  };
  std::string why;
  EXPECT_EQ(chosen("avx512", {bfloat16, bfloat16, bfloat16}, &why).up, bfloat16);
  EXPECT_NE(why.find("cache"), std::string::npos) << why;
  config.router.num_experts = 128;
  EXPECT_EQ(chosen("an isa of tomorrow", {bfloat16, bfloat16, bfloat16}, &why).up, bfloat16);
  EXPECT_NE(why.find("not measured"), std::string::npos) << why;
  EXPECT_TRUE(chosen("avx512", {bfloat16, bfloat16, bfloat16}, &why).up.compressed());
  EXPECT_EQ(why.find("chosen"), 0u) << why;
  const ExpertFormats mixed = chosen("avx512", {int8, int8, bfloat16}, &why);
  EXPECT_EQ(mixed.up, int8);
  EXPECT_TRUE(mixed.down.compressed());
  EXPECT_EQ(chosen("avx512", {int8, int8, int8}, &why).down, int8);
  EXPECT_EQ(why, "");
}

}  // namespace
}  // namespace moekit::cpu
