// SPDX-License-Identifier: Apache-2.0
// Every call of CANN that a layer makes fails once: a typed error that names the call, nothing lost, the next call
// right.
#include <algorithm>
#include <cstdlib>

#include "ascend/device_layer.h"
#include "backends/ascend/ascend_abi.h"
#include "moekit/error.h"

namespace moekit::ascend_test {
namespace {

using conformance::Block;
using conformance::Matrix;
using conformance::Rng;

constexpr int kOutOfMemory = 207001, kInner = 561103;

// Names of all functions that may fail with a code.
std::vector<std::string> functions() {
  std::vector<std::string> names;
#define MOEKIT_NAME(result, name, parameters) names.emplace_back(#name);
#define MOEKIT_NONE(result, name, parameters)
  MOEKIT_ASCEND_RUNTIME(MOEKIT_NAME, MOEKIT_NONE)
#undef MOEKIT_NAME
#undef MOEKIT_NONE
#define MOEKIT_NAME(member, symbol, ...) \
  names.emplace_back(#symbol);           \
  names.emplace_back(std::string(#symbol) + "GetWorkspaceSize");
  MOEKIT_ASCEND_OPERATORS(MOEKIT_NAME)
#undef MOEKIT_NAME
  names.insert(names.end(), {"aclSetInputTensorAddr", "aclSetOutputTensorAddr", "aclSetDynamicInputTensorAddr"});
  // What gives back has no way to report, and what only asks is not asked in vain.
  const auto gives_back = [](const std::string& name) {
    return name.find("Destroy") != std::string::npos || name == "aclrtFree" || name == "aclrtGetDevice" ||
           name == "aclrtSynchronizeEvent";
  };
  names.erase(std::remove_if(names.begin(), names.end(), gives_back), names.end());
  return names;
}

constexpr const char* kKinds[] = {"block", "stream", "event", "aclTensor", "aclTensorList", "aclIntArray", "aclScalar"};

struct Faults : OnAscend {
  void SetUp() override {
    OnAscend::SetUp();
    if (!control()) GTEST_SKIP() << "not tested: faults are injected by the double only";
  }
  static std::vector<std::uint64_t> live() {
    std::vector<std::uint64_t> counts;
    for (const char* kind : kKinds) counts.push_back(control().live(kind));
    return counts;
  }
  static void fail_call(const std::string& name, std::uint64_t number, int code) {
    control().set("FAULTS", (name + ":" + std::to_string(number) + ":" + std::to_string(code)).c_str());
  }
  // Runs `action` once for each call of each function that it makes, that call failing.
  template <class Action>
  static int sweep(const Action& action) {
    control().set("FAULTS", "");
    action();
    action();
    int failures = 0;
    for (const std::string& name : functions()) {
      action();
      control().reset();
      action();
      const std::uint64_t calls = control().calls(name.c_str());
      for (std::uint64_t number = 1; number <= calls; number += std::max<std::uint64_t>(1, calls / 6)) {
        control().reset();
        fail_call(name, number, name == "aclrtMalloc" ? kOutOfMemory : kInner);
        try {
          action();
          ADD_FAILURE() << "no error although call " << number << " of " << name << " failed";
        } catch (const DeviceError& error) {
          ++failures;
          EXPECT_NE(std::string(error.what()).find(name.substr(0, name.find("GetWorkspaceSize"))), std::string::npos)
              << error.what();
        }
        EXPECT_EQ(violations(), "") << name << ", call " << number;
        control().reset();
      }
    }
    return failures;
  }
};

TEST_F(Faults, InACall) {
  for (const std::int64_t tokens : {3, 70}) {
    const Block block(kAscend, small_block(), conformance::modes()[2], kBiased, 1);
    Rng rng(2);
    const Matrix x = Matrix::random(rng, tokens, 48, DType::kBFloat16);
    const auto want = run(block.layer, x, {}).y.bytes();
    EXPECT_GT(sweep([&] { run(block.layer, x, {}); }), 10);
    EXPECT_EQ(run(block.layer, x, {}).y.bytes(), want);
  }
}

TEST_F(Faults, InTheFirstCall) {
  const Block block(kAscend, small_block(), conformance::modes()[2], kBiased, 3);
  Rng rng(4);
  const Matrix x = Matrix::random(rng, 3, 48, DType::kBFloat16);
  const auto want = run(block.layer, x, {}).y.bytes();
  const auto before = live();
  EXPECT_GT(sweep([&] {
              const MoeLayer layer = make_layer(kAscend, block.config, block.tensors, "bfloat16");
              if (run(layer, x, {}).y.bytes() != want) ADD_FAILURE() << "another result";
            }),
            20);
  EXPECT_EQ(live(), before);
}

TEST_F(Faults, OutOfMemoryLeavesTheLayerUsable) {
  const Block block(kAscend, small_block(), conformance::modes()[2], kBiased, 5);
  Rng rng(6);
  const Matrix x = Matrix::random(rng, 3, 48, DType::kBFloat16),
               large = Matrix::random(rng, 3000, 48, DType::kBFloat16);
  const auto want = run(block.layer, x, {}).y.bytes();
  fail_call("aclrtMalloc", 0, kOutOfMemory);
  try {
    run(block.layer, large, {});
    FAIL() << "no error";
  } catch (const DeviceError& error) {
    EXPECT_NE(std::string(error.what()).find("bytes on device 0 failed with 207001 (out of device memory)"),
              std::string::npos)
        << error.what();
  }
  control().reset();
  EXPECT_EQ(run(block.layer, x, {}).y.bytes(), want);
  EXPECT_NO_THROW(run(block.layer, large, {}));
}

TEST_F(Faults, NothingIsLeftBehind) {
  const auto before = live();
  const std::uint64_t executors = control().live("aclOpExecutor");
  for (int i = 0; i < 3; ++i) {
    const Block block(kAscend, small_block(), conformance::modes()[2], kBiased, 7);
    Rng rng(8);
    for (const std::int64_t tokens : {1, 3, 100})
      run(block.layer, Matrix::random(rng, tokens, 48, DType::kBFloat16), {});
  }
  EXPECT_EQ(live(), before);
  EXPECT_EQ(control().live("aclOpExecutor"), executors);
}

}  // namespace
}  // namespace moekit::ascend_test
