// SPDX-License-Identifier: Apache-2.0
// Opening and reading files: what is there is read, what is not a plain whole file is refused.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "checkpoint/expect_part.h"
#include "checkpoint/files.h"
#include "moekit/checkpoint.h"

namespace moekit {
namespace {

namespace fs = std::filesystem;
using test::checkpoint_error_of;
using test::expect_part;
using test::safetensors_bytes;
using test::TempFolder;

constexpr const char* kTwo =
    R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b.c":{"dtype":"I32","shape":[2],"data_offsets":[3,11]}})";
const std::string kTwoData("\1\2\3\x11\0\0\0\x22\0\0\0", 11);

std::string open_error(const std::string& path) {
  return checkpoint_error_of([&] { Checkpoint::open(path); });
}

TEST(Checkpoint, OpensAFileAndAFolder) {
  const TempFolder folder;
  const std::string file = folder.write("model.safetensors", safetensors_bytes(kTwo, kTwoData));
  for (const std::string& path : {file, folder.path()}) {
    const Checkpoint checkpoint = Checkpoint::open(path);
    EXPECT_EQ(checkpoint.path(), path);
    EXPECT_EQ(checkpoint.folder(), folder.path());
    EXPECT_EQ(checkpoint.tensors().size(), 2u);
    EXPECT_EQ(read_int64(checkpoint.tensor("a")), (std::vector<std::int64_t>{1, 2, 3}));
    EXPECT_EQ(read_int64(checkpoint.tensor("b.c")), (std::vector<std::int64_t>{0x11, 0x22}));
    EXPECT_EQ(checkpoint.tensor("b.c").shape, std::vector<std::int64_t>{2});
  }
}

TEST(Checkpoint, TensorsOutliveTheCheckpointAndTheName) {
  const TempFolder folder;
  const std::string file = folder.write("x.safetensors", safetensors_bytes(kTwo, kTwoData));
  TensorRef tensor = Checkpoint::open(file).tensor("b.c");
  fs::remove(file);
  EXPECT_EQ(read_int64(tensor), (std::vector<std::int64_t>{0x11, 0x22}));
  const std::shared_ptr<const std::byte> mapped = map_tensor(tensor);
  tensor = {};
  EXPECT_EQ(std::memcmp(mapped.get(), kTwoData.data() + 3, 8), 0);
}

TEST(Checkpoint, MapsOnlyFiles) {
  const std::uint8_t byte = 0;
  EXPECT_THROW(map_tensor(memory_tensor("m", &byte, DType::kUInt8, {1})), std::invalid_argument);
}

TEST(Checkpoint, DescriptorsAreGivenBack) {
  const TempFolder folder;
  const std::string file = folder.write("x.safetensors", safetensors_bytes(kTwo, kTwoData));
  const std::string bad = folder.write("y.safetensors", safetensors_bytes("{", ""));
  const auto count = [] { return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()); };
  const auto before = count();
  {
    const Checkpoint checkpoint = Checkpoint::open(file);
    EXPECT_EQ(count(), before + 1);
    open_error(bad);
    EXPECT_EQ(count(), before + 1);
  }
  EXPECT_EQ(count(), before);
}

TEST(Checkpoint, MissingTensorNamesTheNearest) {
  const TempFolder folder;
  const std::string file = folder.write("x.safetensors", safetensors_bytes(kTwo, kTwoData));
  const Checkpoint checkpoint = Checkpoint::open(file);
  EXPECT_FALSE(checkpoint.contains("b.d"));
  const std::string error = checkpoint_error_of([&] { checkpoint.tensor("b.d"); });
  expect_part(error, "x.safetensors");
  expect_part(error, "no tensor 'b.d', the nearest name is 'b.c'");
}

TEST(Checkpoint, FileCutAfterOpeningIsAnErrorAndNoSignal) {
  const TempFolder folder;
  const std::string file = folder.write("x.safetensors", safetensors_bytes(kTwo, kTwoData));
  const Checkpoint checkpoint = Checkpoint::open(file);
  ASSERT_EQ(::truncate(file.c_str(), static_cast<off_t>(8 + std::strlen(kTwo) + 5)), 0);
  const std::string error = checkpoint_error_of([&] { read_int64(checkpoint.tensor("b.c")); });
  expect_part(error, "shorter than when it was opened");
  EXPECT_EQ(read_int64(checkpoint.tensor("a")), (std::vector<std::int64_t>{1, 2, 3}));  // still usable
}

TEST(Checkpoint, RangePastTheEndIsAnError) {
  const TempFolder folder;
  const Checkpoint checkpoint = Checkpoint::open(folder.write("x.safetensors", safetensors_bytes(kTwo, kTwoData)));
  ByteScratch scratch;
  const auto& storage = checkpoint.tensor("a").storage;
  EXPECT_THROW(storage->read(0, 1 << 20, scratch), CheckpointError);
  EXPECT_THROW(storage->read(static_cast<std::size_t>(-1), 2, scratch), CheckpointError);
  EXPECT_TRUE(scratch.empty());  // checked before memory was asked for
}

TEST(Checkpoint, RefusesWhatIsNoRegularFile) {
  const TempFolder folder;
  ASSERT_EQ(::mkfifo(folder.path("fifo").c_str(), 0600), 0);
  expect_part(open_error(folder.path("fifo")), "a FIFO, expected a regular file");
  expect_part(open_error("/dev/zero"), "a device, expected a regular file");
  expect_part(open_error(folder.path("missing")), "No such file");
  expect_part(open_error(folder.path()), "folder has neither model.safetensors nor model.safetensors.index.json");
  expect_part(open_error(std::string("a\0b", 3)), "NUL byte in the path");
  fs::create_directory(folder.path("model.safetensors"));
  expect_part(open_error(folder.path()), "a folder, expected a regular file");
}

TEST(Checkpoint, TinyFilesAreErrors) {
  const TempFolder folder;
  for (std::size_t size = 0; size < 8; ++size)
    expect_part(open_error(folder.write("x.safetensors", std::string(size, '\2'))), "a header needs at least 8");
  expect_part(open_error(folder.write("x.safetensors", std::string(8, '\xff'))), "the limit is 100000000");
}

}  // namespace
}  // namespace moekit
