// SPDX-License-Identifier: Apache-2.0
// Environment, CPU features and aligned memory: what core asks of the process and its machine.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/aligned_buffer.h"
#include "core/cpu_features.h"
#include "core/environment.h"

namespace moekit {
namespace {

constexpr char kVariable[] = "MOEKIT_TEST_VARIABLE";

class Environment : public testing::Test {
 protected:
  void set(const char* value) { ASSERT_EQ(setenv(kVariable, value, 1), 0); }
  void TearDown() override { unsetenv(kVariable); }
};

TEST_F(Environment, UnsetAndEmptyGiveTheFallback) {
  EXPECT_EQ(environment(kVariable), "");
  EXPECT_EQ(environment_integer(kVariable, 1, 9, 5), 5);
  set("");
  EXPECT_EQ(environment_integer(kVariable, 1, 9, 5), 5);
}

TEST_F(Environment, IntegersInRange) {
  for (const char* text : {"1", "9", "+4"}) {
    set(text);
    EXPECT_EQ(environment_integer(kVariable, 1, 9, 5), std::stol(text));
  }
}

TEST_F(Environment, EverythingElseNamesVariableValueAndLimits) {
  for (const char* text : {"0", "10", "x", "3x", "3.0", "-1", "99999999999999999999999"}) {
    set(text);
    try {
      environment_integer(kVariable, 1, 9, 5);
      ADD_FAILURE() << "accepted '" << text << "'";
    } catch (const std::invalid_argument& error) {
      const std::string message = error.what();
      for (const std::string& part : {std::string(kVariable), "'" + std::string(text) + "'", std::string("1 .. 9")})
        EXPECT_NE(message.find(part), std::string::npos) << message;
    }
  }
}

TEST(AlignedBuffer, AlignedZeroedAndWritable) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{4096}, std::size_t{3} << 20}) {
    const AlignedBuffer buffer(bytes);
    ASSERT_NE(buffer.data(), nullptr);
    EXPECT_EQ(buffer.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 4096, 0u);
    for (std::size_t i = 0; i < bytes; i += 511) EXPECT_EQ(buffer.data()[i], std::byte{0});
    buffer.data()[bytes - 1] = std::byte{1};
  }
}

TEST(AlignedBuffer, EmptyMovedAndTooLarge) {
  EXPECT_EQ(AlignedBuffer(0).data(), nullptr);
  AlignedBuffer first(100);
  std::byte* data = first.data();
  AlignedBuffer second(std::move(first));
  EXPECT_EQ(second.data(), data);
  AlignedBuffer third;
  third = std::move(second);
  EXPECT_EQ(third.data(), data);
  EXPECT_THROW(AlignedBuffer(std::numeric_limits<std::size_t>::max()), std::bad_alloc);
  EXPECT_THROW(AlignedBuffer(std::size_t{1} << 62), std::bad_alloc);
}

TEST(CpuFeatures, ImplyEachOther) {
  const std::uint32_t features = cpu_features();
  EXPECT_EQ(cpu_features(), features);
  if ((features & kAvx512Bf16) != 0) {
    EXPECT_NE(features & kAvx512, 0u);
  }
  if ((features & kAvx512) != 0) {
    EXPECT_NE(features & kAvx2, 0u);
  }
  if ((features & kAvx512Vnni) != 0) {
    EXPECT_NE(features & kAvx512, 0u);
  }
  if ((features & kAmxBf16) != 0) {
    EXPECT_FALSE(amx_refused());
  }
#if defined(__aarch64__)
  EXPECT_EQ(features & ~(std::uint32_t{kNeonDot} | kNeonI8mm | kNeonBf16), std::uint32_t{kNeon});
#elif defined(__x86_64__)
  EXPECT_EQ(features & kNeon, 0u);
#endif
  EXPECT_GE(l2_cache_bytes(), std::size_t{64} << 10);
}

}  // namespace
}  // namespace moekit
