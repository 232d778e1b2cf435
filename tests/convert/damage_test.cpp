// SPDX-License-Identifier: Apache-2.0
// Files that came to harm: every damage of a header is an error when the file is opened, every damage of data when it
// is verified.
#include "conformance/harness.h"
#include "convert/packed_file.h"

namespace moekit::conformance {
namespace {

using test::checkpoint_error_of;
using test::read_bytes;
using test::TempFolder;

class DamagedFile : public testing::Test {
 protected:
  void SetUp() override {
    Rng rng(1);
    config_.router.num_experts = 3;
    config_.router.top_k = 2;
    config_.expert.input = config_.expert.output = 40;
    config_.expert.intermediate = 24;
    config_.expert.down_bias = true;
    path_ = test::write_layer(folder_, config_, random_tensors(rng, config_, DType::kBFloat16, {true}), "int4");
    bytes_ = read_bytes(path_);
    header_ = 8 + static_cast<unsigned char>(bytes_[0]) + 256u * static_cast<unsigned char>(bytes_[1]);
    ASSERT_EQ(header_ % 4096, 0u);
  }
  std::string open(const std::string& bytes) {
    folder_.write("x.safetensors", bytes);
    return checkpoint_error_of([&] { MoeLayer::from_file(folder_.path("x.safetensors")); });
  }

  BlockConfig config_;
  TempFolder folder_;
  std::string path_, bytes_;
  std::size_t header_ = 0;
};

TEST_F(DamagedFile, EveryBitOfTheHeaderCounts) {
  ASSERT_EQ(open(bytes_), "<no error>");
  const std::size_t step = reduced() ? 17 : 1;
  for (std::size_t at = 0; at < header_; at += step) {
    // One bit of each byte, all eight of the length and of the first ones.
    const unsigned bits = at < 64 ? 8 : 1;
    for (unsigned bit = 0; bit < bits; ++bit) {
      std::string spoilt = bytes_;
      spoilt[at] = static_cast<char>(spoilt[at] ^ (1 << (bits == 1 ? at % 8 : bit)));
      ASSERT_NE(open(spoilt), "<no error>") << "bit of byte " << at;
    }
  }
}

TEST_F(DamagedFile, EveryTruncationIsSeen) {
  for (std::size_t size = 0; size < bytes_.size(); size += size < header_ && !reduced() ? 7 : 511)
    ASSERT_NE(open(bytes_.substr(0, size)), "<no error>") << size << " bytes";
  EXPECT_NE(open(bytes_.substr(0, bytes_.size() - 1)), "<no error>");
  EXPECT_NE(open(bytes_ + "x"), "<no error>");
}

TEST_F(DamagedFile, DataIsCheckedByVerify) {
  ASSERT_NO_THROW(SealedFile::open(path_)->verify());
  for (std::size_t at = header_; at < bytes_.size(); at += 97) {
    std::string spoilt = bytes_;
    spoilt[at] = static_cast<char>(spoilt[at] ^ (1 << at % 8));
    folder_.write("x.safetensors", spoilt);
    const std::string error = checkpoint_error_of([&] { SealedFile::open(folder_.path("x.safetensors"))->verify(); });
    ASSERT_NE(error.find("its data is damaged"), std::string::npos) << "byte " << at << ": " << error;
  }
}

// Damaged data is wrong numbers, or an error where it holds indices: never a fault.
TEST_F(DamagedFile, DamagedDataStaysInBounds) {
  Rng rng(5);
  for (int round = 0; round < 50; ++round) {
    std::string spoilt = bytes_;
    for (int i = 0; i < 200; ++i) spoilt[header_ + rng() % (spoilt.size() - header_)] = static_cast<char>(rng());
    folder_.write("x.safetensors", spoilt);
    try {
      const MoeLayer layer = MoeLayer::from_file(folder_.path("x.safetensors"));
      run(layer, Matrix::random(rng, 3, 40, DType::kFloat32), {});
    } catch (const CheckpointError&) {
    }
  }
}

TEST_F(DamagedFile, CutShortWhileReadIsAnError) {
  const auto file = SealedFile::open(path_);
  std::filesystem::resize_file(path_, bytes_.size() - 4096);
  EXPECT_NE(checkpoint_error_of([&] { file->read(); }).find("shorter than when it was opened"), std::string::npos);
  EXPECT_NE(checkpoint_error_of([&] { file->verify(); }).find("shorter than when it was opened"), std::string::npos);
}

TEST_F(DamagedFile, ReplacedOrDeletedFilesKeepTheirLayers) {
  const MoeLayer layer = MoeLayer::from_file(path_);
  Rng rng(9);
  const Matrix x = Matrix::random(rng, 3, 40, DType::kFloat32);
  const Result before = run(layer, x, {});
  std::filesystem::remove(path_);
  EXPECT_EQ(run(layer, x, {}).y.bytes(), before.y.bytes());
}

}  // namespace
}  // namespace moekit::conformance
