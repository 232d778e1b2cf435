// SPDX-License-Identifier: Apache-2.0
#include "moekit/core.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <stdexcept>
#include <string>

namespace moekit {
namespace {

constexpr int kDTypeCount = static_cast<int>(DType::kBool) + 1;

TEST(DType, NamesAreUniqueAndComeBack) {
  std::set<std::string_view> names;
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType dtype = static_cast<DType>(i);
    EXPECT_TRUE(names.insert(dtype_name(dtype)).second) << dtype_name(dtype);
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
  }
}

TEST(DType, NameAndSizeBelongTogether) {
  EXPECT_EQ(dtype_name(DType::kFloat32), "float32");
  EXPECT_EQ(dtype_name(DType::kBFloat16), "bfloat16");
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType dtype = static_cast<DType>(i);
    const std::string name(dtype_name(dtype));
    const std::size_t digits = name.find_first_of("0123456789");
    const std::size_t bits = digits == std::string::npos ? 8 : std::stoul(name.substr(digits));  // "float8_e4m3fn": 8
    EXPECT_EQ(dtype_size(dtype) * 8, bits) << name;
  }
}

TEST(DType, UnknownNameIsNamedInTheError) {
  for (const char* name : {"", "float", "Float32", "float32 ", "int4"}) {
    try {
      dtype_from_name(name);
      ADD_FAILURE() << "accepted '" << name << "'";
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find("'" + std::string(name) + "'"), std::string::npos) << error.what();
    }
  }
}

TEST(CheckedMul, ExactUpToTheLimitAndTypedBeyond) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(checked_mul(0, kMax, "n"), 0);
  EXPECT_EQ(checked_mul(kMax, 1, "n"), kMax);
  EXPECT_EQ(checked_mul(kMax / 2, 2, "n"), kMax - 1);
  EXPECT_EQ(checked_mul(3037000499, 3037000499, "n"), 9223372030926249001);  // the largest square below 2^63
  EXPECT_THROW(checked_mul(3037000500, 3037000500, "n"), std::invalid_argument);
  EXPECT_THROW(checked_mul(kMax / 2 + 1, 2, "n"), std::invalid_argument);
  EXPECT_THROW(checked_mul(-1, 1, "n"), std::invalid_argument);
  EXPECT_THROW(checked_mul(0, -1, "n"), std::invalid_argument);
  EXPECT_THROW(checked_mul(std::numeric_limits<std::int64_t>::min(), -1, "n"), std::invalid_argument);
}

TEST(CheckedMul, ErrorNamesWhatAndBothOperands) {
  try {
    checked_mul(std::int64_t{1} << 40, std::int64_t{1} << 41, "bytes of weight");
    ADD_FAILURE() << "2^81 accepted";
  } catch (const std::invalid_argument& error) {
    const std::string text = error.what();
    for (const char* part : {"bytes of weight", "1099511627776", "2199023255552"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

TEST(Version, IsThatOfTheProject) { EXPECT_EQ(version(), MOEKIT_EXPECTED_VERSION); }

}  // namespace
}  // namespace moekit
