// SPDX-License-Identifier: Apache-2.0
// Every single-bit flip of a GGUF header and every truncation of a file: a typed error, or a load that keeps its
// promises.
#include <gtest/gtest.h>

#include <random>

#include "checkpoint/files.h"
#include "checkpoint/gguf_bytes.h"
#include "checkpoint/gguf_header.h"
#include "moekit/error.h"

namespace moekit {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the builder's words

/// Whether the bytes load. What loads must lie in the file, without overlap, and have the size that its shape says.
bool loads_validly(const std::string& bytes) {
  GgufHeader header;
  try {
    const BytesStorage storage(bytes);
    header = parse_gguf_header(storage, bytes.size(), "x");
  } catch (const CheckpointError&) {
    return false;
  }
  std::uint64_t at = 0;
  for (const GgufTensor& tensor : header.tensors) {
    EXPECT_GE(tensor.begin, at);
    EXPECT_LE(tensor.end, bytes.size());
    const TensorRef ref = {tensor.name, tensor.dtype, tensor.shape, nullptr, 0, tensor.encoding};
    EXPECT_EQ(tensor.end - tensor.begin, ref.bytes());
    at = tensor.end;
  }
  return true;
}

/// A well-formed file with random pairs and tensors.
Gguf random_file(unsigned seed) {
  std::mt19937 random(seed);
  Gguf file;
  file.pairs = {gguf_pair("general.architecture", "qwen3moe"), gguf_pair("a.count", kU32, std::uint32_t{8}),
                gguf_pair("scale", kF32, 2.5f), gguf_array<std::uint16_t>("list", kU16, {1, 2, 3})};
  if (seed % 2 == 0) file.pairs.push_back(gguf_pair("general.alignment", kU32, std::uint32_t{64}));
  file.alignment = seed % 2 == 0 ? 64 : 32;
  struct Kind {
    std::uint32_t type;
    std::uint64_t block, bytes;
  };
  const Kind kinds[] = {{0, 1, 4}, {30, 1, 2}, {2, 32, 18}, {8, 32, 34}, {12, 256, 144}, {39, 32, 17}};
  const unsigned tensors = 1 + random() % 4;
  for (unsigned i = 0; i < tensors; ++i) {
    const Kind& kind = kinds[random() % 6];
    const std::uint64_t rows = random() % 3, blocks = 1 + random() % 3;
    file.data.resize((file.data.size() + file.alignment - 1) / file.alignment * file.alignment);
    file.tensors.push_back(
        gguf_tensor("t" + std::to_string(i), {blocks * kind.block, rows}, kind.type, file.data.size()));
    file.data.append(rows * blocks * kind.bytes, '\x5a');
  }
  return file;
}

class GgufMutations : public ::testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Seeds, GgufMutations, ::testing::Range(0u, 10u));

TEST_P(GgufMutations, EveryBitOfTheHeader) {
  const Gguf file = random_file(GetParam());
  const std::string bytes = file.bytes();
  ASSERT_TRUE(loads_validly(bytes));
  const std::size_t header = file.header().size();
  EXPECT_GT(test::refused_bit_flips(bytes, header, loads_validly),
            2 * header);  // flips within names and values may load; most others may not
}

TEST_P(GgufMutations, EveryTruncation) {
  Gguf file = random_file(GetParam());
  while (file.data.empty()) file = random_file(GetParam() + 100);
  const std::string bytes = file.bytes();
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(loads_validly(bytes.substr(0, size))) << size;
}

TEST_P(GgufMutations, RandomEdits) {
  const std::string bytes = random_file(GetParam()).bytes();
  const std::string pieces[] = {le(std::uint64_t{0}),
                                le(~std::uint64_t{0}),
                                le(std::uint64_t{1} << 63),
                                le(std::uint64_t{1} << 32),
                                le(std::uint32_t{kArr}),
                                le(std::uint32_t{kStr}),
                                le(std::uint32_t{0}),
                                "GGUF",
                                gguf_pair("k", kU8, std::uint8_t{1}),
                                gguf_tensor("t", {32}, 8, 0),
                                ""};
  std::mt19937 random(GetParam());
  for (int i = 0; i < 3000; ++i) {
    std::string mutated = bytes;
    for (unsigned edits = 1 + random() % 3; edits > 0; --edits) {
      const std::size_t at = random() % (mutated.size() + 1), length = random() % 12;
      mutated.replace(at, length, pieces[random() % std::size(pieces)]);
    }
    loads_validly(mutated);
  }
}

}  // namespace
}  // namespace moekit
