// SPDX-License-Identifier: Apache-2.0
// Conversions that are killed, disks that are full, pages that processes share, and what memory conversion takes.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "conformance/harness.h"
#include "convert/packed_file.h"
#include "core/environment.h"
#include "models/tiny_model.h"
#include "moekit/convert.h"
#include "moekit/model.h"

namespace moekit {
namespace {

using test::TempFolder;

// Runs in a child and answers its exit code, -signal when it was killed.
template <class Body>
int in_child(Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// The sum of a field of /proc/self/smaps over the mappings of a file, in bytes.
std::int64_t mapped_bytes(const std::string& file, const std::string& field) {
  std::ifstream smaps("/proc/self/smaps");
  std::int64_t sum = 0;
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    if (line.find('-') < line.find(' ') && line.find(':') > line.find(' '))
      inside = line.find(file) != std::string::npos;
    if (inside && line.compare(0, field.size() + 1, field + ":") == 0)
      sum += std::atoll(line.c_str() + field.size() + 1) * 1024;
  }
  return sum;
}

std::int64_t status_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.compare(0, field.size() + 1, field + ":") == 0) return std::atoll(line.c_str() + field.size() + 1) * 1024;
  return -1;
}

// At any moment the folder holds one whole model, the old one or the new one.
TEST(ConvertProcess, KilledAtAnyMoment) {
  const long kills = environment_integer("MOEKIT_TEST_KILLS", 1, 1000000, 20);
  const TempFolder source, parent;
  test::tiny_deepseek_v3().write(source);
  const std::string out = parent.path("out");
  ConvertOptions options;
  const auto begin = std::chrono::steady_clock::now();
  convert_model(source.path(), out, options);
  const std::chrono::duration<double, std::micro> one = std::chrono::steady_clock::now() - begin;
  int old_ones = 0, new_ones = 0;
  for (long i = 0; i < kills; ++i) {
    const std::string before = converted_model(out).layers[0].format;
    const std::string dtype = before == "int8" ? "float32" : "int8";
    const pid_t child = ::fork();
    if (child == 0) {
      ConvertOptions again;
      again.force = true;
      again.dtype = dtype;
      convert_model(source.path(), out, again);
      ::_exit(0);
    }
    // Moments spread over what a conversion takes, and somewhat beyond.
    ::usleep(static_cast<useconds_t>(static_cast<double>(i * 389 % 997) / 997.0 * 1.5 * one.count()));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    const ConvertedModel now = converted_model(out);
    ASSERT_TRUE(now.layers[0].format == before || now.layers[0].format == dtype);
    ++(now.layers[0].format == before ? old_ones : new_ones);
    ASSERT_NO_THROW(verify_converted(out, 1)) << "kill " << i;
    ASSERT_NO_THROW(load_layer(out, 1));
  }
  std::printf("%ld kills: the old model %d times, the new one %d times\n", kills, old_ones, new_ones);
  // What they left goes with the next conversion.
  options.force = true;
  convert_model(source.path(), out, options);
  std::ptrdiff_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(out)) ++files;
  EXPECT_EQ(files, 2);
}

TEST(ConvertProcess, FullDiskIsATypedError) {
  const TempFolder source, parent;
  test::tiny_deepseek_v3().write(source);
  const std::string out = parent.path("out");
  convert_model(source.path(), out);
  const std::string before = test::read_bytes(out + "/moekit.json");
  // The limit of file sizes stands for the disk: the same calls fail, with EFBIG in the place of ENOSPC.
  const int code = in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {6000, 6000};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
    ConvertOptions options;
    options.force = true;
    options.dtype = "int8";
    const std::string error = test::checkpoint_error_of([&] { convert_model(source.path(), out, options); });
    return error.find("File too large") != std::string::npos && error.find("bytes written") != std::string::npos ? 0
                                                                                                                 : 1;
  });
  EXPECT_EQ(code, 0);
  EXPECT_EQ(test::read_bytes(out + "/moekit.json"), before);
  EXPECT_NO_THROW(verify_converted(out, 1));
  std::ptrdiff_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(out)) ++files;
  EXPECT_EQ(files, 2);
}

TEST(ConvertProcess, WritersAtTheSameTime) {
  const TempFolder source, parent;
  test::tiny_deepseek_v3().write(source);
  const std::string out = parent.path("out");
  std::vector<pid_t> children;
  for (int i = 0; i < 6; ++i) {
    children.push_back(::fork());
    if (children.back() != 0) continue;
    const std::string error = test::checkpoint_error_of([&] { convert_model(source.path(), out); });
    ::_exit(error == "<no error>" ? 0 : error.find(out) != std::string::npos ? 1 : 2);
  }
  int winners = 0;
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    winners += WEXITSTATUS(status) == 0 ? 1 : 0;
  }
  EXPECT_EQ(winners, 1);
  EXPECT_NO_THROW(verify_converted(out, 1));
}

struct LargeLayer {
  LargeLayer() {
    config.router.num_experts = 8;
    config.router.top_k = 8;  // every expert is used
    config.expert.input = config.expert.output = 512;
    config.expert.intermediate = 256;
    conformance::Rng rng(1);
    path = test::write_layer(folder, config, conformance::random_tensors(rng, config, DType::kBFloat16));
  }
  void use(const MoeLayer& layer) const {
    conformance::Rng rng(2);
    conformance::run(layer, conformance::Matrix::random(rng, 4, 512, DType::kBFloat16), {});
  }
  BlockConfig config;
  TempFolder folder;
  std::string path;
};

TEST(ConvertProcess, PagesAreSharedBetweenProcesses) {
  const LargeLayer large;
  const auto size = static_cast<std::int64_t>(std::filesystem::file_size(large.path));
  const MoeLayer layer = MoeLayer::from_file(large.path);
  large.use(layer);
  ASSERT_GT(mapped_bytes(large.path, "Rss"), size * 9 / 10);
  EXPECT_EQ(mapped_bytes(large.path, "Private_Dirty"), 0);
  // A child that opens the file itself, while this process has it mapped: each is charged half.
  const int code = in_child([&] {
    const MoeLayer own = MoeLayer::from_file(large.path);
    large.use(own);
    const std::int64_t rss = mapped_bytes(large.path, "Rss"), pss = mapped_bytes(large.path, "Pss");
    if (mapped_bytes(large.path, "Private_Clean") + mapped_bytes(large.path, "Private_Dirty") > size / 10) return 1;
    return pss < rss * 6 / 10 ? 0 : 2;
  });
  EXPECT_EQ(code, 0);
}

// Memory beyond what the process has at most while the body runs.
template <class Body>
std::int64_t peak_of(Body&& body) {
  std::ofstream("/proc/self/clear_refs") << 5;  // the peak so far is forgotten
  const std::int64_t before = status_bytes("VmRSS");
  body();
  return status_bytes("VmHWM") - before;
}

// One packed layer (and 15 %), one expert of the source, and what a process takes by itself.
TEST(ConvertProcess, MemoryOfLoadingAndConverting) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "not tested: peak memory (sanitizers have memory of their own)";
#endif
  constexpr std::int64_t kExperts = 32, kHidden = 1024, kInner = 512, kSlack = 6 << 20;
  const TempFolder source, parent;
  {
    test::TinyModel model = test::tiny_qwen3_moe();
    model.config["hidden_size"] = kHidden;
    model.config["moe_intermediate_size"] = kInner;
    model.config["num_experts"] = kExperts;
    model.tensors.clear();
    model.add("model.layers.1.mlp.gate.weight", {kExperts, kHidden}, "BF16");
    for (int e = 0; e < kExperts; ++e) {
      const std::string expert = "model.layers.1.mlp.experts." + std::to_string(e);
      model.add(expert + ".gate_proj.weight", {kInner, kHidden}, "BF16");
      model.add(expert + ".up_proj.weight", {kInner, kHidden}, "BF16");
      model.add(expert + ".down_proj.weight", {kHidden, kInner}, "BF16");
    }
    model.write(source);
  }
  constexpr std::int64_t kExpertBytes = 3 * kHidden * kInner * 2;
  for (const char* dtype : {"auto", "int8", "int4", "mxfp4"}) {
    const int code = in_child([&] {
      set_num_threads(2);
      std::int64_t packed = 0;
      const std::int64_t loading = peak_of([&] {
        LayerOptions options;
        options.dtype = dtype;
        packed = static_cast<std::int64_t>(load_layer(source.path(), 1, options).packed_bytes());
      });
      const std::int64_t converting = peak_of([&] {
        ConvertOptions options;
        options.dtype = dtype;
        convert_model(source.path(), parent.path(dtype), options);
      });
      std::printf("%s: packed %.1f MB, peak of loading %.1f MB, of converting %.1f MB, an expert %.1f MB\n", dtype,
                  static_cast<double>(packed) * 1e-6, static_cast<double>(loading) * 1e-6,
                  static_cast<double>(converting) * 1e-6, static_cast<double>(kExpertBytes) * 1e-6);
      std::fflush(stdout);
      const std::int64_t limit = packed + packed * 15 / 100 + kExpertBytes + kSlack;
      return loading <= limit && converting <= limit ? 0 : 1;
    });
    EXPECT_EQ(code, 0) << dtype;
  }
}

TEST(ConvertProcess, LoadingReadsNoWeights) {
  const LargeLayer large;
  const auto size = static_cast<std::int64_t>(std::filesystem::file_size(large.path));
  const MoeLayer layer = MoeLayer::from_file(large.path);
  EXPECT_LT(mapped_bytes(large.path, "Rss"), size / 4);
}

}  // namespace
}  // namespace moekit
