// SPDX-License-Identifier: Apache-2.0
// What is said where CANN, or a part of it, is missing: MOEKIT_TEST_ASCEND_REASON, set by ctest with what makes it so.
#include "conformance/harness.h"
#include "core/environment.h"
#include "moekit/error.h"

namespace moekit::conformance {
namespace {

BlockConfig plain_block() {
  BlockConfig config;
  config.router.num_experts = 4;
  config.router.top_k = 2;
  config.expert.input = config.expert.output = 8;
  config.expert.intermediate = 6;
  return config;
}

TEST(Absent, TheReasonIsInTheErrorOfTheLayer) {
  const std::string reason = environment("MOEKIT_TEST_ASCEND_REASON");
  Rng rng(1);
  const BlockTensors tensors = random_tensors(rng, plain_block(), DType::kFloat32);
  const LayerOptions options = {"auto", {DeviceKind::kAscend, 0}, "auto"};
  if (reason.empty()) {
    EXPECT_NO_THROW(MoeLayer(plain_block(), tensors, options));
    return;
  }
  for (int attempt = 0; attempt < 2; ++attempt) try {
      const MoeLayer layer(plain_block(), tensors, options);
      FAIL() << "no error";
    } catch (const UnsupportedError& error) {
      EXPECT_NE(std::string(error.what()).find("\nascend: " + reason), std::string::npos) << error.what();
    }
}

TEST(Absent, OtherDevicesGoOn) {
  Rng rng(2);
  const BlockTensors tensors = random_tensors(rng, plain_block(), DType::kFloat32);
  const MoeLayer layer(plain_block(), tensors);
  EXPECT_EQ(run(layer, Matrix::random(rng, 3, 8, DType::kFloat32), {}).y.rows(), 3);
}

TEST(Absent, EveryCallSaysSoAndNothingCrashes) {
  const Backend& backend = backend_by_name("ascend");
  if (backend.available()) return;
  EXPECT_THROW(backend.allocate(8, {DeviceKind::kAscend, 0}), DeviceError);
  EXPECT_THROW(backend.new_stream({DeviceKind::kAscend, 0}), DeviceError);
  char byte = 0;
  EXPECT_THROW(backend.copy(&byte, &byte, 1, CopyKind::kHostToDevice, nullptr), DeviceError);
  EXPECT_TRUE(backend.supports(plain_block(), uniform_formats({}))) << "the table of a complete installation";
}

}  // namespace
}  // namespace moekit::conformance
