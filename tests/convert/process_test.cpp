// SPDX-License-Identifier: Apache-2.0
// Conversions that are killed, disks that are full, pages that processes share, and what memory conversion takes.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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
  convert_model(source.path(), out, options);
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
    // A conversion of this size takes a few milliseconds; the moments spread over them.
    ::usleep(static_cast<useconds_t>(i * 7919 % 6000));
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

TEST(ConvertProcess, LoadingReadsNoWeights) {
  const LargeLayer large;
  const auto size = static_cast<std::int64_t>(std::filesystem::file_size(large.path));
  const MoeLayer layer = MoeLayer::from_file(large.path);
  EXPECT_LT(mapped_bytes(large.path, "Rss"), size / 4);
}

}  // namespace
}  // namespace moekit
