// SPDX-License-Identifier: Apache-2.0
// The emulation of AMX itself: what it computes, against loops that are written another way, and the mistakes that it
// must catch.
#include "emulated/tiles.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "emulated/no_subnormal.h"

namespace moekit::emulated {
namespace {

struct Config {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {};
  std::uint8_t rows[16] = {};
  Config& tile(int index, int tile_rows, int tile_bytes) {
    rows[index] = static_cast<std::uint8_t>(tile_rows);
    bytes[index] = static_cast<std::uint16_t>(tile_bytes);
    return *this;
  }
};
static_assert(sizeof(Config) == 64);

// c [16 x 16], a [16 x 64 bytes], b [16 x 64 bytes].
Config full() {
  Config config;
  for (int t = 0; t < 8; ++t) config.tile(t, 16, 64);
  return config;
}

struct Tiles : testing::Test {
  ~Tiles() override { tile_release(); }
  std::mt19937 random{1};
  std::uint8_t memory[4096] = {};

  template <class T>
  std::vector<T> values(std::size_t count) {
    std::vector<T> v(count);
    for (T& x : v) x = static_cast<T>(random());
    return v;
  }
};

TEST_F(Tiles, ConfigurationsOutsideThePaletteAreFaults) {
  const auto refused = [](Config config) { EXPECT_THROW(tile_loadconfig(&config), EmulatedFault); };
  refused(full().tile(3, 17, 64));
  refused(full().tile(3, 16, 65));
  refused(full().tile(3, 0, 64));
  refused(full().tile(3, 16, 0));
  refused(full().tile(8, 16, 64));
  refused(full().tile(15, 1, 4));
  Config config = full();
  config.palette = 2;
  refused(config);
  config = full();
  config.start_row = 1;
  refused(config);
  config = full();
  config.reserved[13] = 1;
  refused(config);
  EXPECT_FALSE(tile_configured());
  config = full();
  EXPECT_NO_THROW(tile_loadconfig(&config));
  EXPECT_TRUE(tile_configured());
  config.palette = 0;
  tile_loadconfig(&config);
  EXPECT_FALSE(tile_configured());
}

TEST_F(Tiles, TilesWithoutConfigurationAreFaults) {
  EXPECT_THROW(tile_zero(0), EmulatedFault);
  EXPECT_THROW(tile_loadd(0, memory, 64), EmulatedFault);
  EXPECT_THROW(tile_stored(0, memory, 64), EmulatedFault);
  EXPECT_THROW(tile_dpbf16ps(0, 1, 2), EmulatedFault);
  const Config config = Config().tile(0, 16, 64).tile(1, 16, 64);
  tile_loadconfig(&config);
  EXPECT_NO_THROW(tile_zero(1));
  EXPECT_THROW(tile_zero(2), EmulatedFault);
  EXPECT_THROW(tile_zero(8), EmulatedFault);
  EXPECT_THROW(tile_zero(-1), EmulatedFault);
  EXPECT_THROW(tile_dpbf16ps(0, 1, 2), EmulatedFault);
  // The configuration is the thread's own.
  std::thread([] { EXPECT_THROW(tile_zero(0), EmulatedFault); }).join();
  tile_release();
  EXPECT_THROW(tile_zero(0), EmulatedFault);
}

TEST_F(Tiles, StridesShorterThanARowAreFaults) {
  const Config config = Config().tile(0, 16, 64).tile(1, 1, 64).tile(2, 4, 8);
  tile_loadconfig(&config);
  for (const std::ptrdiff_t stride : {0, 1, 32, 63, -63}) {
    EXPECT_THROW(tile_loadd(0, memory + 1024, stride), EmulatedFault) << stride;
    EXPECT_THROW(tile_stored(0, memory + 1024, stride), EmulatedFault) << stride;
    EXPECT_NO_THROW(tile_loadd(1, memory, stride)) << stride;
  }
  EXPECT_NO_THROW(tile_loadd(0, memory, 128));
  EXPECT_NO_THROW(tile_loadd(0, memory + 1024, -64));
  EXPECT_NO_THROW(tile_loadd(2, memory, 8));
  EXPECT_THROW(tile_loadd(2, memory, 7), EmulatedFault);
}

TEST_F(Tiles, ProductsOfTilesThatDoNotFitAreFaults) {
  const Config config = Config()
                            .tile(0, 4, 32)  // c: 4 x 8
                            .tile(1, 4, 20)  // a: 4 rows, 5 groups
                            .tile(2, 5, 32)  // b: 5 groups, 8 columns
                            .tile(3, 3, 20)  // other rows
                            .tile(4, 6, 32)  // other groups
                            .tile(5, 5, 28)  // other columns
                            .tile(6, 4, 18)  // half an element
                            .tile(7, 4, 32);
  tile_loadconfig(&config);
  for (const auto product : {tile_dpbf16ps, tile_dpbssd, tile_dpbsud, tile_dpbusd, tile_dpbuud}) {
    EXPECT_NO_THROW(product(0, 1, 2));
    EXPECT_THROW(product(0, 3, 2), EmulatedFault);
    EXPECT_THROW(product(0, 1, 4), EmulatedFault);
    EXPECT_THROW(product(0, 1, 5), EmulatedFault);
    EXPECT_THROW(product(0, 6, 2), EmulatedFault);
    EXPECT_THROW(product(0, 0, 2), EmulatedFault);
    EXPECT_THROW(product(0, 1, 1), EmulatedFault);
    EXPECT_THROW(product(2, 1, 2), EmulatedFault);
  }
}

TEST_F(Tiles, LoadsAndStoresKeepToTheirRowsAndBytes) {
  const Config config = Config().tile(0, 3, 20);
  tile_loadconfig(&config);
  const auto from = values<std::uint8_t>(4 * 40);
  std::vector<std::uint8_t> to(4 * 50, 7);
  tile_loadd(0, from.data(), 40);
  tile_stored(0, to.data(), 50);
  for (std::size_t i = 0; i < to.size(); ++i)
    EXPECT_EQ(to[i], i / 50 < 3 && i % 50 < 20 ? from[i / 50 * 40 + i % 50] : 7) << i;
  tile_loadconfig(&config);  // zeroes
  tile_stored(0, to.data(), 50);
  EXPECT_EQ(to[51], 0);
}

template <class A, class B>
void expect_integer_product(std::mt19937& random, void (*product)(int, int, int)) {
  const Config config = Config().tile(0, 5, 28).tile(1, 5, 12).tile(2, 3, 28);
  tile_loadconfig(&config);
  std::vector<A> a(5 * 12);
  std::vector<B> b(3 * 28);
  std::vector<std::int32_t> c(5 * 7), got(c.size());
  for (A& x : a) x = static_cast<A>(random());
  for (B& x : b) x = static_cast<B>(random());
  for (std::int32_t& x : c) x = static_cast<std::int32_t>(random() % 1000);
  tile_loadd(0, c.data(), 28);
  tile_loadd(1, a.data(), 12);
  tile_loadd(2, b.data(), 28);
  product(0, 1, 2);
  tile_stored(0, got.data(), 28);
  for (std::size_t m = 0; m < 5; ++m)
    for (std::size_t n = 0; n < 7; ++n) {
      std::int32_t want = c[m * 7 + n];
      for (std::size_t k = 0; k < 12; ++k) want += a[m * 12 + k] * b[k / 4 * 28 + 4 * n + k % 4];
      ASSERT_EQ(got[m * 7 + n], want);
    }
}

TEST_F(Tiles, IntegerProducts) {
  for (int i = 0; i < 20; ++i) {
    expect_integer_product<std::int8_t, std::int8_t>(random, tile_dpbssd);
    expect_integer_product<std::int8_t, std::uint8_t>(random, tile_dpbsud);
    expect_integer_product<std::uint8_t, std::int8_t>(random, tile_dpbusd);
    expect_integer_product<std::uint8_t, std::uint8_t>(random, tile_dpbuud);
  }
}

float from_bits(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
float bfloat16(std::uint16_t bits) {
  const float x = from_bits(std::uint32_t{bits} << 16);
  return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x;
}

// Exponents of `spread` around 1: narrow ranges take the short way through the emulation, wide ones the exact one, and
// both must be the chain of fused multiply-adds.
void expect_float_product(std::mt19937& random, int spread, int centre) {
  const Config config = full();
  tile_loadconfig(&config);
  std::uint16_t a[512], b[512];
  float c[256], got[256];
  const auto number = [&] {
    const int exponent = centre + static_cast<int>(random() % static_cast<unsigned>(2 * spread + 1)) - spread;
    return random() % 16 == 0 ? std::uint16_t{0}
                              : static_cast<std::uint16_t>((random() & 0x807f) | static_cast<unsigned>(exponent) << 7);
  };
  for (std::uint16_t& x : a) x = number();
  for (std::uint16_t& x : b) x = number();
  for (float& x : c) x = bfloat16(number()) * bfloat16(number());
  tile_loadd(0, c, 64);
  tile_loadd(1, a, 64);
  tile_loadd(2, b, 64);
  tile_dpbf16ps(0, 1, 2);
  tile_stored(0, got, 64);
  for (int m = 0; m < 16; ++m)
    for (int n = 0; n < 16; ++n) {
      float chain[2] = {};
      for (int k = 0; k < 32; ++k)
        chain[k % 2] =
            no_subnormal(std::fma(bfloat16(a[m * 32 + k]), bfloat16(b[k / 2 * 32 + 2 * n + k % 2]), chain[k % 2]));
      const float want = no_subnormal(no_subnormal(c[m * 16 + n]) + no_subnormal(chain[0] + chain[1]));
      ASSERT_EQ(std::memcmp(&got[m * 16 + n], &want, 4), 0)
          << got[m * 16 + n] << ", expected " << want << ", spread " << spread << " around " << centre;
    }
}

TEST_F(Tiles, Bfloat16ProductsAreTwoChainsOfFusedMultiplyAdds) {
  for (int i = 0; i < 10; ++i)
    for (const int spread : {0, 3, 20, 60}) {
      expect_float_product(random, spread, 127);
      expect_float_product(random, spread, 66);   // products are subnormal or nearly so
      expect_float_product(random, spread, 188);  // products overflow or nearly so
    }
}

TEST_F(Tiles, SubnormalNumbersAreZeros) {
  const Config config = full();
  tile_loadconfig(&config);
  std::uint16_t a[512] = {}, b[512] = {};
  float c[256] = {};
  a[0] = 0x0040;         // subnormal
  b[0] = 0x7f00;         // 2^127
  a[32] = 0x0080;        // 2^-126, row 1
  b[2] = 0x3f00;         // 0.5, column 1: the product is subnormal
  c[0] = from_bits(17);  // subnormal
  c[1] = 3.0f;
  tile_loadd(0, c, 64);
  tile_loadd(1, a, 64);
  tile_loadd(2, b, 64);
  tile_dpbf16ps(0, 1, 2);
  tile_stored(0, c, 64);
  EXPECT_EQ(c[0], 0.0f);
  EXPECT_EQ(c[1], 3.0f);
  EXPECT_EQ(c[16], 2.0f);  // 2^-126 * 2^127
  EXPECT_EQ(c[17], 0.0f);
}

TEST_F(Tiles, InfinitiesAndNansGoThrough) {
  const Config config = full();
  tile_loadconfig(&config);
  std::uint16_t a[512] = {}, b[512] = {};
  float c[256] = {};
  a[0] = 0x7f80, b[0] = 0x3f80;  // infinity * 1, and * 0 in the other columns
  a[32] = 0x7fc1;                // NaN
  tile_loadd(0, c, 64);
  tile_loadd(1, a, 64);
  tile_loadd(2, b, 64);
  tile_dpbf16ps(0, 1, 2);
  tile_stored(0, c, 64);
  EXPECT_EQ(c[0], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(c[1]));
  EXPECT_TRUE(std::isnan(c[16]));
  EXPECT_EQ(c[32], 0.0f);
}

// Results do not depend on the rows above and below: what lets one kernel serve every number of rows.
TEST_F(Tiles, RowsDoNotMeet) {
  const Config config = full();
  const auto a = values<std::uint16_t>(512), b = values<std::uint16_t>(512);
  float all[256], one[256] = {};
  tile_loadconfig(&config);
  tile_loadd(1, a.data(), 64);
  tile_loadd(2, b.data(), 64);
  tile_dpbf16ps(0, 1, 2);
  tile_stored(0, all, 64);
  const Config single = Config().tile(0, 1, 64).tile(1, 1, 64).tile(2, 16, 64);
  tile_loadconfig(&single);
  tile_loadd(2, b.data(), 64);
  for (int m = 0; m < 16; ++m) {
    tile_zero(0);
    tile_loadd(1, a.data() + m * 32, 64);
    tile_dpbf16ps(0, 1, 2);
    tile_stored(0, one, 64);
    ASSERT_EQ(std::memcmp(one, all + m * 16, 64), 0) << m;
  }
}

}  // namespace
}  // namespace moekit::emulated
