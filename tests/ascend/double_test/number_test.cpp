// SPDX-License-Identifier: Apache-2.0
// Every half and bfloat16 through aclnnCast, against the definition of the types.
#include "device.h"

namespace double_test {
namespace {

class Numbers : public DeviceTest, public ::testing::WithParamInterface<int> {};

TEST_P(Numbers, ToFloatAndBackIsTheSame) {
  const int dtype = GetParam();
  std::vector<uint8_t> bytes(2 * 65536);
  for (size_t i = 0; i < 65536; ++i) {
    bytes[2 * i] = static_cast<uint8_t>(i);
    bytes[2 * i + 1] = static_cast<uint8_t>(i >> 8);
  }
  const auto narrow = empty(dtype, {65536}), wide = empty(kFloat, {65536}), back = empty(dtype, {65536});
  ASSERT_EQ(status("aclrtMemcpy", narrow->address, bytes.size(), static_cast<const void*>(bytes.data()), bytes.size(),
                   int{kHostToDevice}),
            0);
  ASSERT_EQ(run("aclnnCast", narrow->handle, int{kFloat}, wide->handle), 0);
  ASSERT_EQ(run("aclnnCast", wide->handle, int{dtype}, back->handle), 0);
  const auto expected = decode(dtype, bytes, 65536), values = wide->read(), again = back->read();
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(values[i]) && std::isnan(again[i])) << i;
    } else {
      EXPECT_EQ(values[i], expected[i]) << i;
      EXPECT_EQ(again[i], expected[i]) << i;
    }
  }
}

TEST_P(Numbers, RoundsToNearestEven) {
  const int dtype = GetParam();
  std::vector<double> values;
  std::uniform_real_distribution<double> exponent(-30, 18), mantissa(1, 2);
  for (int i = 0; i < 20000; ++i) {
    const double value = static_cast<float>(std::ldexp(mantissa(random_), static_cast<int>(exponent(random_))));
    values.push_back(i % 2 ? value : -value);
    const double on_grid = rounded(dtype, value);  // halfway to a neighbour
    values.push_back(static_cast<float>(on_grid * (1 + (dtype == kHalf ? 0x1p-11 : 0x1p-8))));
  }
  const auto in = tensor(kFloat, {static_cast<int64_t>(values.size())}, values);
  const auto out = empty(dtype, in->dims);
  ASSERT_EQ(run("aclnnCast", in->handle, int{dtype}, out->handle), 0);
  const auto result = out->read();
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(result[i], rounded(dtype, values[i])) << values[i];
}

INSTANTIATE_TEST_SUITE_P(Types, Numbers, ::testing::Values(int{kHalf}, int{kBfloat}));

class Casts : public DeviceTest {};

TEST_F(Casts, FloatsToIntegersTowardZero) {
  const auto in = tensor(kFloat, {5}, {-1.9, -0.5, 0.5, 1.5, 2.9}), out = empty(kInt32, {5});
  ASSERT_EQ(run("aclnnCast", in->handle, int{kInt32}, out->handle), 0);
  EXPECT_EQ(out->read(), (std::vector<double>{-1, 0, 0, 1, 2}));
  const auto wide = empty(kInt64, {5});
  ASSERT_EQ(run("aclnnCast", out->handle, int{kInt64}, wide->handle), 0);
  EXPECT_EQ(wide->read(), out->read());
  EXPECT_EQ(run("aclnnCast", in->handle, int{kInt64}, out->handle), 161002) << "the call names another type";
  EXPECT_EQ(run("aclnnCast", in->handle, int{kFloat}, in->handle), 161002);
  expect_violation("overlap");
}

TEST_F(Casts, JitterStaysWithinAUnit) {
  set("PROFILE", "jitter");
  const auto x = random(kBfloat, {64, 64}), out = empty(kBfloat, {64, 32});
  ASSERT_EQ(run("aclnnSwiGlu", x->handle, int64_t{-1}, out->handle), 0);
  const auto jittered = out->read();
  set("PROFILE", "normal");
  ASSERT_EQ(run("aclnnSwiGlu", x->handle, int64_t{-1}, out->handle), 0);
  const auto plain = out->read();
  int moved = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    moved += plain[i] != jittered[i];
    EXPECT_LE(std::fabs(plain[i] - jittered[i]), std::fabs(plain[i]) * 0x1p-6);
  }
  EXPECT_GT(moved, 100);
}

}  // namespace
}  // namespace double_test
