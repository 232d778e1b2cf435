// SPDX-License-Identifier: Apache-2.0
// The kit sees a device that does one thing otherwise than the emulation.
#include "cuda/kit/kit.h"

#include <gtest/gtest.h>

#include <cstring>

namespace moekit::kit {
namespace {

// The emulation, with one word of one kernel's answers changed.
class Crooked final : public Runner {
 public:
  Crooked(const char* kernel, std::size_t word, std::uint32_t flip) : kernel_(kernel), word_(word), flip_(flip) {}
  Words run(const Launch& launch, const std::vector<Words>& inputs, std::size_t out_words, Fill fill,
            const void* more) override {
    Words words = host_runner().run(launch, inputs, out_words, fill, more);
    if (std::strcmp(launch.kernel, kernel_) == 0) words[word_] ^= flip_;
    return words;
  }

 private:
  const char* kernel_;
  std::size_t word_;
  std::uint32_t flip_;
};

std::size_t failed(Runner& device) {
  std::size_t count = 0;
  for (const Finding& finding : run_kit(device, host_runner())) count += finding.passed ? 0 : 1;
  return count;
}

TEST(Kit, AgreesWithItself) { EXPECT_EQ(failed(host_runner()), 0u); }

TEST(Kit, SeesADifference) {
  Crooked mma("moekit_kit_mma", 100, 1u << 23), copy("moekit_kit_copy", 7, 1), warp("moekit_kit_warp", 40, 1);
  EXPECT_GE(failed(mma), 2u) << "whole numbers of both types";
  EXPECT_EQ(failed(copy), 1u);
  EXPECT_EQ(failed(warp), 1u);
}

TEST(Kit, LetsFunctionsDifferByTheirBoundOnly) {
  Crooked last_place("moekit_kit_map", 5, 1), far("moekit_kit_map", 5, 1u << 12);
  EXPECT_EQ(failed(last_place), 8u) << "conversions, sqrtf, division and fmaf are exact";
  EXPECT_EQ(failed(far), 11u);
}

TEST(Kit, WritesJson) {
  const std::string json = to_json(run_kit(host_runner(), host_runner()), "none", 0);
  EXPECT_NE(json.find("\"passed\": true"), std::string::npos);
  EXPECT_NE(json.find("cp.async"), std::string::npos);
}

}  // namespace
}  // namespace moekit::kit
