// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/xxh64.h"

namespace moekit {
namespace {

std::string hash_of(const std::string& text) { return hex64(xxh64(text.data(), text.size())); }

// Values of the reference implementation (python-xxhash 3).
TEST(Xxh64, IsThePublishedHash) {
  EXPECT_EQ(hash_of(""), "ef46db3751d8e999");
  EXPECT_EQ(hash_of("a"), "d24ec4f1a98c6e5b");
  EXPECT_EQ(hash_of("abc"), "44bc2cf5ad770999");
  EXPECT_EQ(hash_of("Nobody inspects the spammish repetition"), "fbcea83c8a378bf1");
  std::string bytes;
  for (int i = 0; i < 257; ++i) bytes += static_cast<char>(i * 7 + 3);
  EXPECT_EQ(hash_of(bytes.substr(0, 31)), "a2aa5f33cc4a6119");
  EXPECT_EQ(hash_of(bytes.substr(0, 32)), "23c3c17ef790fd97");
  EXPECT_EQ(hash_of(bytes.substr(0, 63)), "5e3e54b431c7493c");
  EXPECT_EQ(hash_of(bytes), "b7b604f7e4f822fa");
}

TEST(Xxh64, PiecesGiveTheHashOfTheWhole) {
  std::string bytes;
  for (int i = 0; i < 300; ++i) bytes += static_cast<char>(i * 31);
  for (std::size_t first = 0; first <= 100; ++first)
    for (const std::size_t second : {0, 1, 31, 32, 33, 150}) {
      Xxh64 hash;
      hash.update(bytes.data(), first);
      hash.update(bytes.data() + first, second);
      hash.update(bytes.data() + first + second, bytes.size() - first - second);
      ASSERT_EQ(hex64(hash.digest()), hash_of(bytes)) << first << " + " << second;
    }
}

}  // namespace
}  // namespace moekit
