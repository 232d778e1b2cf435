// SPDX-License-Identifier: Apache-2.0
// Every single-bit flip of a header and every truncation of a file: a typed error, or a load that keeps its promises.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "checkpoint/files.h"
#include "checkpoint/index.h"
#include "checkpoint/json_value.h"
#include "checkpoint/safetensors_header.h"

namespace moekit {
namespace {

using test::safetensors_bytes;

/// Reads a file's bytes as the reader would, touching nothing outside them.
std::vector<SafetensorsEntry> load(std::string_view bytes) {
  const std::uint64_t length = safetensors_header_length(bytes.substr(0, 8), bytes.size(), "x");
  return parse_safetensors_header(bytes.substr(8, length), bytes.size(), "x");
}

/// Whether the bytes load. What loads must lie in the file, without overlap, and have the size that its shape says.
bool loads_validly(std::string_view bytes) {
  std::vector<SafetensorsEntry> entries;
  try {
    entries = load(bytes);
  } catch (const CheckpointError&) {
    return false;
  }
  std::uint64_t at = entries.empty() ? bytes.size() : entries.front().begin;
  for (const SafetensorsEntry& entry : entries) {
    EXPECT_EQ(entry.begin, at);
    EXPECT_LE(entry.end, bytes.size());
    std::uint64_t size = dtype_size(entry.dtype);
    for (const std::int64_t extent : entry.shape) size *= static_cast<std::uint64_t>(extent);
    EXPECT_EQ(entry.end - entry.begin, size);
    at = entry.end;
  }
  EXPECT_EQ(at, bytes.size());
  return true;
}

/// A well-formed file with random tensors.
std::string random_file(unsigned seed) {
  std::mt19937 random(seed);
  const char* dtypes[] = {"F32", "BF16", "U8", "I64", "F8_E4M3"};
  const std::size_t sizes[] = {4, 2, 1, 8, 1};
  std::string json = seed % 3 == 0 ? R"({"__metadata__":{"format":"pt"},)" : "{";
  std::size_t at = 0;
  const unsigned tensors = 1 + random() % 4;
  for (unsigned i = 0; i < tensors; ++i) {
    const unsigned kind = random() % 5;
    const std::size_t rows = random() % 3, cols = 1 + random() % 4, end = at + rows * cols * sizes[kind];
    json += (i != 0 ? ",\"t" : "\"t") + std::to_string(i) + R"(":{"dtype":")" + dtypes[kind] + R"(","shape":[)" +
            std::to_string(rows) + "," + std::to_string(cols) + R"(],"data_offsets":[)" + std::to_string(at) + "," +
            std::to_string(end) + "]}";
    at = end;
  }
  json += "}";
  json.append(seed % 8, ' ');
  return safetensors_bytes(json, std::string(at, '\x5a'));
}

class Mutations : public ::testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Seeds, Mutations, ::testing::Range(0u, 10u));

TEST_P(Mutations, EveryBitOfTheHeader) {
  const std::string bytes = random_file(GetParam());
  ASSERT_TRUE(loads_validly(bytes));
  const std::uint64_t header = 8 + safetensors_header_length(bytes, bytes.size(), "x");
  EXPECT_GT(test::refused_bit_flips(bytes, header, loads_validly),
            2 * header);  // flips within names and metadata may load; most others may not
}

TEST_P(Mutations, EveryTruncation) {
  const std::string bytes = random_file(GetParam());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(loads_validly(std::string_view(bytes).substr(0, size))) << size;
}

TEST_P(Mutations, RandomEditsOfTheText) {
  const std::string bytes = random_file(GetParam());
  const std::string json = bytes.substr(8, safetensors_header_length(bytes, bytes.size(), "x"));
  const std::string data = bytes.substr(8 + json.size());
  const char* pieces[] = {"{",
                          "}",
                          "[",
                          "]",
                          ",",
                          ":",
                          "\"",
                          "-1",
                          "0",
                          "9223372036854775807",
                          "18446744073709551616",
                          "1e999",
                          "null",
                          "\\u0000",
                          "\xff",
                          "\"dtype\"",
                          "\"shape\":[4294967296,4294967296]"};
  std::mt19937 random(GetParam());
  for (int i = 0; i < 3000; ++i) {
    std::string mutated = json;
    for (unsigned edits = 1 + random() % 3; edits > 0; --edits) {
      const std::size_t at = random() % (mutated.size() + 1), length = random() % 6;
      mutated.replace(at, length, pieces[random() % std::size(pieces)]);
    }
    loads_validly(safetensors_bytes(mutated, data));
  }
}

TEST(MutatedJson, IndexAndConfigGiveTypedErrorsOnly) {
  const std::string index = R"({"metadata":{"a":[1,2.5,null,true]},"weight_map":{"x":"1.safetensors","y":"2"}})";
  for (std::size_t bit = 0; bit < 8 * index.size(); ++bit) {
    std::string mutated = index;
    mutated[bit / 8] = static_cast<char>(mutated[bit / 8] ^ (1 << (bit % 8)));
    try {
      EXPECT_LE(parse_index(mutated, "i").entries.size(), 2u);
    } catch (const CheckpointError&) {
    }
    try {
      EXPECT_TRUE(parse_json(mutated, "config", "c").object() != nullptr);
    } catch (const CheckpointError&) {
    }
  }
}

}  // namespace
}  // namespace moekit
