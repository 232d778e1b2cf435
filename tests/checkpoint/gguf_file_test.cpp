// SPDX-License-Identifier: Apache-2.0
// GGUF files on disk through Checkpoint::open: single files, sets of parts, and what is neither.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "checkpoint/expect_part.h"
#include "checkpoint/files.h"
#include "checkpoint/gguf_bytes.h"
#include "checkpoint/gguf_file.h"
#include "moekit/checkpoint.h"

namespace moekit {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the builder's words

std::string open_error(const std::string& path) {
  return checkpoint_error_of([&] { Checkpoint::open(path); });
}

/// One int32 [2] tensor.
Gguf one_tensor(const std::string& name, std::int32_t first) {
  Gguf file;
  file.tensors = {gguf_tensor(name, {2}, 26, 0)};
  file.data = le(first) + le(first + 1);
  return file;
}

/// Part `number` of `count`, with the tensor "t<number>".
std::string part(std::uint16_t number, std::uint16_t count, std::int32_t total) {
  Gguf file = one_tensor("t" + std::to_string(number), 10 * number);
  file.pairs = {gguf_pair("split.no", kU16, number), gguf_pair("split.count", kU16, count),
                gguf_pair("split.tensors.count", kI32, total)};
  return file.bytes();
}

TEST(GgufFile, OpensByNameAndByMagic) {
  const TempFolder folder;
  for (const char* name : {"a.gguf", "blob-without-a-suffix"}) {
    const std::string path = folder.write(name, one_tensor("t", 5).bytes());
    EXPECT_TRUE(is_gguf(path));
    const Checkpoint checkpoint = Checkpoint::open(path);
    EXPECT_EQ(checkpoint.folder(), folder.path());
    EXPECT_EQ(read_int64(checkpoint.tensor("t")), (std::vector<std::int64_t>{5, 6}));
  }
  EXPECT_FALSE(is_gguf(folder.path()));
  EXPECT_FALSE(is_gguf(folder.write("x.safetensors", safetensors_bytes("{}"))));
  EXPECT_FALSE(is_gguf(folder.write("short", "GG")));
  EXPECT_FALSE(is_gguf(folder.path("missing")));
}

TEST(GgufFile, SmallestFiles) {
  const TempFolder folder;
  const std::string bytes = Gguf().bytes();
  EXPECT_EQ(Checkpoint::open(folder.write("empty.gguf", bytes)).tensors().size(), 0u);
  for (std::size_t size = 0; size < bytes.size(); ++size)
    expect_part(open_error(folder.write("cut.gguf", bytes.substr(0, size))), "cut.gguf");
  expect_part(open_error(folder.write("wrong.gguf", safetensors_bytes("{}"))), "does not begin with the magic 'GGUF'");
}

TEST(GgufFile, BlocksAreNotTakenForElements) {
  const TempFolder folder;
  Gguf file;
  file.tensors = {gguf_tensor("q", {32, 2}, 8, 0)};
  file.data = std::string(68, '\0');
  const Checkpoint checkpoint = Checkpoint::open(folder.write("q.gguf", file.bytes()));
  const TensorRef& tensor = checkpoint.tensor("q");
  EXPECT_EQ(tensor.bytes(), 68u);
  EXPECT_EQ(tensor.type_name(), "Q8_0");
  ByteScratch scratch;
  expect_part(checkpoint_error_of([&] { read_float32(tensor); }), "q: blocks of Q8_0, expected plain elements");
  expect_part(checkpoint_error_of([&] { read_int64(tensor); }), "blocks of Q8_0");
  expect_part(checkpoint_error_of([&] { matrix_of(tensor).read(scratch); }), "blocks of Q8_0");
}

TEST(GgufFile, OpensASetOfParts) {
  const TempFolder folder;
  for (std::uint16_t i = 0; i < 3; ++i)
    folder.write("m-0000" + std::to_string(i + 1) + "-of-00003.gguf", part(i, 3, 3));
  const Checkpoint checkpoint = Checkpoint::open(folder.path("m-00001-of-00003.gguf"));
  ASSERT_EQ(checkpoint.tensors().size(), 3u);
  EXPECT_EQ(read_int64(checkpoint.tensor("t2")), (std::vector<std::int64_t>{20, 21}));
  expect_part(open_error(folder.path("m-00002-of-00003.gguf")),
              "part 2 of 3, open the first, whose name ends in '-00001-of-00003.gguf'");
  std::filesystem::remove(folder.path("m-00003-of-00003.gguf"));
  expect_part(open_error(folder.path("m-00001-of-00003.gguf")), "m-00003-of-00003.gguf: No such file");
}

TEST(GgufFile, RefusesSetsThatDoNotFit) {
  const TempFolder folder;
  const std::string first = "m-00001-of-00002.gguf", second = "m-00002-of-00002.gguf";
  const auto error = [&](const std::string& a, const std::string& b) {
    folder.write(first, a);
    folder.write(second, b);
    return open_error(folder.path(first));
  };
  expect_part(error(part(0, 2, 2), part(0, 2, 2)), "is part 1 of 2, its name says 2 of 2");
  expect_part(error(part(0, 2, 2), part(1, 3, 2)), "is part 2 of 3, its name says 2 of 2");
  expect_part(error(part(0, 2, 5), part(1, 2, 5)), "split.tensors.count is 5, the parts hold 2 tensors");
  Gguf twice = one_tensor("t0", 1);
  twice.pairs = {gguf_pair("split.no", kU16, std::uint16_t{1}), gguf_pair("split.count", kU16, std::uint16_t{2})};
  expect_part(error(part(0, 2, 2), twice.bytes()), "tensor 't0' is in two parts of the set");
  expect_part(open_error(folder.write("renamed.gguf", part(0, 2, 2))), "name should end in '-00001-of-00002.gguf'");
  expect_part(open_error(folder.write("many.gguf", part(0, 65535, 2))), "split.count is 65535, the limit is 1000");
  // A part that leads out of the folder.
  const TempFolder other;
  other.write("x", part(1, 2, 2));
  std::filesystem::remove(folder.path(second));
  std::filesystem::create_symlink(other.path("x"), folder.path(second));
  folder.write(first, part(0, 2, 2));
  expect_part(open_error(folder.path(first)), "link leads out of the folder");
}

TEST(GgufFile, RefusesWhatIsNoRegularFile) {
  const TempFolder folder;
  ASSERT_EQ(::mkfifo(folder.path("fifo.gguf").c_str(), 0600), 0);
  expect_part(open_error(folder.path("fifo.gguf")), "a FIFO, expected a regular file");
  std::filesystem::create_directory(folder.path("folder.gguf"));
  expect_part(open_error(folder.path("folder.gguf")), "folder has neither");
}

}  // namespace
}  // namespace moekit
