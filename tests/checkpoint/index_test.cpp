// SPDX-License-Identifier: Apache-2.0
// Sharded checkpoints: the index and its shards agree in everything, and nothing outside the folder is opened.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "checkpoint/files.h"
#include "moekit/checkpoint.h"

namespace moekit {
namespace {

namespace fs = std::filesystem;
using test::checkpoint_error_of;
using test::safetensors_bytes;
using test::TempFolder;

constexpr const char* kIndex = "model.safetensors.index.json";

std::string one_byte(const std::string& name, char value) {
  return safetensors_bytes(R"({")" + name + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                           std::string(1, value));
}
std::string map_of(const std::string& body) { return R"({"metadata":{"total_size":2},"weight_map":{)" + body + "}}"; }

class ShardedIndexTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_.write("m-1.safetensors", one_byte("a", '\1'));
    folder_.write("m-2.safetensors", one_byte("b", '\2'));
  }
  /// The error of opening the folder with this index.
  std::string error_with(const std::string& index) {
    folder_.write(kIndex, index);
    return checkpoint_error_of([&] { Checkpoint::open(folder_.path()); });
  }
  void expect_error(const std::string& index, const std::string& part) {
    const std::string error = error_with(index);
    EXPECT_NE(error.find(part), std::string::npos) << error << "\nlacks: " << part;
  }
  TempFolder folder_;
};

TEST_F(ShardedIndexTest, ReadsAllShards) {
  folder_.write(kIndex, map_of(R"("a":"m-1.safetensors","b":"m-2.safetensors")"));
  const Checkpoint checkpoint = Checkpoint::open(folder_.path());
  EXPECT_EQ(read_int64(checkpoint.tensor("a")), std::vector<std::int64_t>{1});
  EXPECT_EQ(read_int64(checkpoint.tensor("b")), std::vector<std::int64_t>{2});
}

TEST_F(ShardedIndexTest, DisagreementsAreNamed) {
  expect_error(map_of(R"("a":"m-1.safetensors","b":"m-3.safetensors")"), "m-3.safetensors");
  expect_error(map_of(R"("a":"m-1.safetensors","b":"m-2.safetensors","c":"m-2.safetensors")"),
               "tensor 'c' is not in its shard 'm-2.safetensors'");
  expect_error(map_of(R"("a":"m-1.safetensors","c":"m-2.safetensors")"),
               "tensor 'b' of shard 'm-2.safetensors' is not in weight_map");
  folder_.write("m-2.safetensors", one_byte("a", '\2'));
  expect_error(map_of(R"("a":"m-1.safetensors","b":"m-2.safetensors")"),
               "tensor 'a' is in shard 'm-2.safetensors', weight_map names 'm-1.safetensors'");
}

TEST_F(ShardedIndexTest, MalformedIndexes) {
  expect_error("", "empty, expected a JSON object");
  expect_error("[]", "begins with '['");
  expect_error("{}", "no weight_map");
  expect_error(R"({"weight_map":3})", "weight_map is a number, expected an object");
  expect_error(R"({"weight_map":["a"]})", "weight_map is an array");
  expect_error(map_of(R"("a":1)"), "tensor 'a' is a number, expected a file name");
  expect_error(map_of(R"("a":{"x":"y"})"), "tensor 'a' is an object");
  expect_error(map_of(R"("a":"m-1.safetensors","a":"m-1.safetensors")"), "duplicate key 'a'");
  expect_error(R"({"weight_map":{},"weight_map":{}})", "duplicate key 'weight_map'");
  expect_error(R"({"metadata":)" + std::string(100'000, '['), "deeper than 64");
}

TEST_F(ShardedIndexTest, PathsStayInTheFolder) {  // CVE-2022-25882, CVE-2024-27318
  const TempFolder outside;
  outside.write("m-2.safetensors", one_byte("b", '\2'));
  for (const std::string& path :
       {std::string("../m-2.safetensors"), outside.path("m-2.safetensors"), std::string("sub/../../m-2.safetensors"),
        std::string("./m-2.safetensors"), std::string(""), std::string("m-2.safetensors\\u0000.txt")})
    expect_error(map_of(R"("a":"m-1.safetensors","b":")" + path + "\""), "is not a plain path in the folder");
}

TEST_F(ShardedIndexTest, LinksOutOfTheFolderAreRefused) {  // CVE-2026-34446
  const TempFolder outside;
  outside.write("blob", one_byte("b", '\2'));
  fs::remove(folder_.path("m-2.safetensors"));
  fs::create_symlink(outside.path("blob"), folder_.path("m-2.safetensors"));
  const std::string index = map_of(R"("a":"m-1.safetensors","b":"m-2.safetensors")");
  expect_error(index, "link leads out of the folder");
  fs::remove(folder_.path("m-2.safetensors"));
  fs::create_directory_symlink(outside.path(), folder_.path("sub"));
  expect_error(map_of(R"("a":"m-1.safetensors","b":"sub/blob")"), "link leads out of the folder");
}

TEST_F(ShardedIndexTest, LinksInsideTheFolderAreFollowed) {
  fs::rename(folder_.path("m-2.safetensors"), folder_.path("real"));
  fs::create_symlink("real", folder_.path("m-2.safetensors"));
  folder_.write(kIndex, map_of(R"("a":"m-1.safetensors","b":"m-2.safetensors")"));
  EXPECT_TRUE(Checkpoint::open(folder_.path()).contains("b"));
}

TEST_F(ShardedIndexTest, FifoAsShardIsRefusedWithoutWaiting) {
  fs::remove(folder_.path("m-2.safetensors"));
  ASSERT_EQ(::mkfifo(folder_.path("m-2.safetensors").c_str(), 0600), 0);
  expect_error(map_of(R"("a":"m-1.safetensors","b":"m-2.safetensors")"), "a FIFO, expected a regular file");
}

TEST(HubCache, ItsOwnBlobsMayBeLinkedAndNothingElse) {
  const TempFolder root;
  const std::string snapshot = root.path("models--x/snapshots/1f");
  fs::create_directories(snapshot);
  fs::create_directories(root.path("models--x/blobs"));
  fs::create_directories(root.path("models--y/blobs"));
  root.write("models--x/blobs/0a", one_byte("a", '\1'));
  root.write("models--y/blobs/0b", one_byte("a", '\1'));
  fs::create_symlink("../../blobs/0a", snapshot + "/model.safetensors");
  EXPECT_TRUE(Checkpoint::open(snapshot).contains("a"));
  fs::remove(snapshot + "/model.safetensors");
  fs::create_symlink("../../../models--y/blobs/0b", snapshot + "/model.safetensors");
  const std::string error = checkpoint_error_of([&] { Checkpoint::open(snapshot); });
  EXPECT_NE(error.find("link leads out of the folder"), std::string::npos) << error;
}

TEST(HubCache, DanglingLinkIsNamed) {
  const TempFolder folder;
  fs::create_symlink("nowhere", folder.path("model.safetensors"));
  const std::string error = checkpoint_error_of([&] { Checkpoint::open(folder.path()); });
  EXPECT_NE(error.find("model.safetensors: No such file"), std::string::npos) << error;
}

}  // namespace
}  // namespace moekit
