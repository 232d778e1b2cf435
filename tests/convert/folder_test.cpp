// SPDX-License-Identifier: Apache-2.0
// Converting a model: what the folder holds, what is refused, and what happens when writing fails.
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "checkpoint/atomic_file.h"
#include "convert/packed_file.h"
#include "models/tiny_model.h"
#include "moekit/convert.h"
#include "moekit/model.h"

namespace moekit {
namespace {

namespace fs = std::filesystem;
using test::checkpoint_error_of;
using test::read_bytes;
using test::TempFolder;

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

class Convert : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(source_);
    source().write(kModel);
  }
  struct Writer {
    const std::string path;
    void write(const test::TinyModel& model) const {
      const TempFolder made;
      model.write(made);
      for (const char* name : {"config.json", "model.safetensors"})
        fs::copy_file(made.path(name), path + "/" + name, fs::copy_options::overwrite_existing);
    }
  };
  Writer source() const { return {source_}; }
  std::string error_of(const ConvertOptions& options = {}) {
    return checkpoint_error_of([&] { convert_model(source_, out_, options); });
  }
  static std::vector<float> outputs(const std::string& path) {
    const MoeLayer layer = load_layer(path, 1);
    std::vector<float> x = {0.5f, -1.0f, 2.0f, 0.25f, 1.5f, -0.75f}, y(6);
    layer.forward({x.data(), DType::kFloat32, 1, 6, 6, 1}, {y.data(), DType::kFloat32, 1, 6, 6});
    return y;
  }

  const test::TinyModel kModel = test::tiny_deepseek_v3();
  TempFolder folder_;
  const std::string source_ = folder_.path("source"), out_ = folder_.path("out");
};

TEST_F(Convert, LoadsLikeTheCheckpoint) {
  EXPECT_FALSE(is_converted(source_));
  const ConvertedModel made = convert_model(source_, out_);
  ASSERT_EQ(made.layers.size(), 1u);
  EXPECT_EQ(names_in(out_), (std::vector<std::string>{made.layers[0].file, "moekit.json"}));
  EXPECT_TRUE(is_converted(out_));
  EXPECT_EQ(outputs(out_), outputs(source_));
  EXPECT_EQ(outputs(out_ + "/" + made.layers[0].file), outputs(source_));
  EXPECT_EQ(inspect_model(out_).family, "deepseek_v3");
  EXPECT_EQ(inspect_model(out_).moe_layers, std::vector<std::int64_t>{1});
  EXPECT_EQ(block_config(out_, 1).shared.expert.intermediate, 10);
  EXPECT_EQ(load_block(out_, 1).tensors.experts.size(), 4u);
  EXPECT_EQ(made.layers[0].bytes, fs::file_size(out_ + "/" + made.layers[0].file));
  verify_converted(out_, 1);
  EXPECT_NE(checkpoint_error_of([&] { load_layer(out_, 0); }).find("layer 0 is dense"), std::string::npos);
  EXPECT_NE(checkpoint_error_of([&] { load_layer(out_, 9); }).find("layer 9 of 2"), std::string::npos);
}

TEST_F(Convert, TheSameCheckpointGivesTheSameBytes) {
  const ConvertedModel made = convert_model(source_, out_);
  const std::string first = read_bytes(out_ + "/moekit.json"), layer = read_bytes(out_ + "/" + made.layers[0].file);
  ConvertOptions options;
  options.force = true;
  EXPECT_EQ(convert_model(source_, out_, options).layers[0].file, made.layers[0].file);
  EXPECT_EQ(read_bytes(out_ + "/moekit.json"), first);
  EXPECT_EQ(read_bytes(out_ + "/" + made.layers[0].file), layer);
}

TEST_F(Convert, ReplacesOnlyWhenTold) {
  const ConvertedModel made = convert_model(source_, out_);
  EXPECT_NE(error_of().find("holds a converted model already"), std::string::npos);
  ConvertOptions options;
  options.force = true;
  options.dtype = "int8";
  const ConvertedModel again = convert_model(source_, out_, options);
  EXPECT_EQ(again.layers[0].format, "int8");
  EXPECT_EQ(names_in(out_), (std::vector<std::string>{again.layers[0].file, "moekit.json"}));
}

TEST_F(Convert, RefusesFoldersThatHoldOtherThings) {
  ConvertOptions options;
  options.force = true;
  EXPECT_NE(checkpoint_error_of([&] { convert_model(source_, source_, options); }).find("is the folder of the"),
            std::string::npos);
  const std::string file = source_ + "/model.safetensors";
  EXPECT_NE(checkpoint_error_of([&] { convert_model(file, source_ + "/.", options); }).find("is the folder of the"),
            std::string::npos);
  fs::create_directory(out_);
  std::ofstream(out_ + "/thesis.txt") << "mine";
  EXPECT_NE(error_of(options).find("'thesis.txt'"), std::string::npos);
  EXPECT_EQ(names_in(out_), std::vector<std::string>{"thesis.txt"});
  EXPECT_NE(checkpoint_error_of([&] { convert_model(source_, folder_.path("no/such")); }).find("No such file"),
            std::string::npos);
  EXPECT_NE(checkpoint_error_of([&] { convert_model(source_, file); }).find("a file, expected a folder"),
            std::string::npos);
  const std::string fine = folder_.path("fine");
  convert_model(source_, fine);
  EXPECT_NE(checkpoint_error_of([&] { convert_model(fine, out_ + "2"); }).find("is converted already"),
            std::string::npos);
}

TEST_F(Convert, FailureLeavesNothing) {
  test::TinyModel broken = kModel;
  broken.tensors.erase("model.layers.1.mlp.experts.3.down_proj.weight");
  source().write(broken);
  EXPECT_NE(error_of().find("experts.3.down_proj"), std::string::npos);
  EXPECT_FALSE(fs::exists(out_));
  source().write(kModel);
  convert_model(source_, out_);
  const std::vector<std::string> before = names_in(out_);
  source().write(broken);
  ConvertOptions options;
  options.force = true;
  EXPECT_NE(error_of(options), "<no error>");
  EXPECT_EQ(names_in(out_), before);
  EXPECT_NO_THROW(verify_converted(out_, 1));
}

TEST_F(Convert, StoppingInTheMiddleIsAFailure) {
  ConvertOptions options;
  options.progress = [](std::int64_t done, std::int64_t total) {
    EXPECT_EQ(done, total);
    throw std::runtime_error("stop");
  };
  EXPECT_THROW(convert_model(source_, out_, options), std::runtime_error);
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(Convert, OneWriterAtATime) {
  {
    const LockedFolder other(out_);
    EXPECT_NE(error_of().find("another process is writing"), std::string::npos);
  }
  EXPECT_EQ(error_of(), "<no error>");
}

TEST_F(Convert, LeftoversOfAKilledWriterAreRemoved) {
  fs::create_directory(out_);
  std::ofstream(out_ + "/.moekit-unfinished-layer-00001-0123456789abcdef.safetensors") << "half";
  std::ofstream(out_ + "/layer-00001-0123456789abcdef.safetensors") << "whole, and not counted";
  EXPECT_FALSE(is_converted(out_));
  convert_model(source_, out_);
  EXPECT_EQ(names_in(out_).size(), 2u);
}

TEST_F(Convert, ReadOnlyFolder) {
  if (::geteuid() == 0) GTEST_SKIP() << "not tested: no permission (root has all)";
  fs::create_directory(out_);
  fs::permissions(out_, fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_NE(error_of().find("Permission denied"), std::string::npos);
}

TEST_F(Convert, EveryByteOfTheManifestCounts) {
  convert_model(source_, out_);
  const std::string path = out_ + "/moekit.json", text = read_bytes(path);
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::string spoilt = text;
    spoilt[at] = static_cast<char>(spoilt[at] ^ (1 << at % 8));
    std::ofstream(path, std::ios::binary) << spoilt;
    ASSERT_NE(checkpoint_error_of([&] { load_layer(out_, 1); }), "<no error>") << "byte " << at;
    std::ofstream(path, std::ios::binary) << text.substr(0, at);
    ASSERT_NE(checkpoint_error_of([&] { load_layer(out_, 1); }), "<no error>") << at << " bytes";
  }
}

TEST_F(Convert, ManifestAndFilesBelongTogether) {
  const ConvertedModel made = convert_model(source_, out_);
  const std::string path = out_ + "/moekit.json", text = read_bytes(path);
  const auto with_file = [&](const std::string& name) {
    auto json = nlohmann::ordered_json::parse(text);
    json["checksum"] = std::string(16, '0');
    json["layers"][0]["file"] = name;
    std::string sealed = json.dump();
    seal(sealed, R"({"checksum":")");
    std::ofstream(path, std::ios::binary) << sealed;
    return checkpoint_error_of([&] { load_layer(out_, 1); });
  };
  EXPECT_NE(with_file("../source/model.safetensors").find("not a plain path"), std::string::npos);
  EXPECT_NE(with_file("/etc/passwd").find("not a plain path"), std::string::npos);
  EXPECT_NE(with_file("gone.safetensors").find("No such file"), std::string::npos);
  // Another model's layer under the right name.
  const std::string other = folder_.path("other");
  ConvertOptions options;
  options.dtype = "int8";
  const ConvertedModel stranger = convert_model(source_, other, options);
  fs::copy_file(other + "/" + stranger.layers[0].file, out_ + "/stranger.safetensors");
  EXPECT_NE(with_file("stranger.safetensors").find("is not the file that"), std::string::npos);
  EXPECT_EQ(with_file(made.layers[0].file), "<no error>");
}

TEST_F(Convert, ExpertSetsHaveFilesOfTheirOwn) {
  const TempFolder source;
  test::tiny_ernie_vl(false).write(source);
  const ConvertedModel made = convert_model(source.path(), out_);
  ASSERT_EQ(made.layers.size(), 2u);
  EXPECT_EQ(inspect_model(out_).expert_sets, (std::vector<std::string>{"text_moe", "vision_moe"}));
  EXPECT_EQ(inspect_model(out_).moe_layers, std::vector<std::int64_t>{0});
  EXPECT_EQ(block_config(out_, 0).expert.intermediate, 5);
  EXPECT_EQ(block_config(out_, 0, "vision_moe").expert.intermediate, 2);
  const std::string path = out_ + "/moekit.json", text = read_bytes(path);
  const auto with_sets = [&](const char* first, const char* second) {
    auto json = nlohmann::ordered_json::parse(text);
    json["checksum"] = std::string(16, '0');
    json["layers"][0]["experts"] = first;
    json["layers"][1]["experts"] = second;
    std::string sealed = json.dump();
    seal(sealed, R"({"checksum":")");
    std::ofstream(path, std::ios::binary) << sealed;
    return checkpoint_error_of([&] { load_layer(out_, 0); });
  };
  EXPECT_EQ(with_sets("text_moe", "vision_moe"), "<no error>");
  EXPECT_NE(with_sets("vision_moe", "text_moe").find("is not the file that"), std::string::npos);
  EXPECT_NE(with_sets("text_moe", "text_moe").find("one entry for each layer and expert set"), std::string::npos);
  EXPECT_NE(with_sets("text_moe", "").find("expert sets with a name in all layers or in none"), std::string::npos);
}

}  // namespace
}  // namespace moekit
