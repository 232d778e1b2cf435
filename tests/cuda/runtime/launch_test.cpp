// SPDX-License-Identifier: Apache-2.0
// The stand-in's launches: limits of the device and what a wrong argument gives away.
#include "cuda/runtime/session.h"

namespace moekit::standin {
namespace {

using namespace cuda;

class Launches : public Session {
 protected:
  int shaped(unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared = 0) {
    FillParams params{nullptr, 0.0f, 0};
    void* list[] = {&params};
    return cuLaunchKernel(fill_, gx, gy, gz, bx, by, bz, shared, nullptr, list, nullptr);
  }
};

TEST_F(Launches, KeepToTheGrid) {
  EXPECT_CUDA(shaped(0x7FFFFFFF, 1, 1, 32, 1, 1));
  EXPECT_EQ(shaped(0x80000000, 1, 1, 32, 1, 1), ERROR_INVALID_VALUE);
  EXPECT_CUDA(shaped(1, 65535, 65535, 32, 1, 1));
  EXPECT_EQ(shaped(1, 65536, 1, 32, 1, 1), ERROR_INVALID_VALUE);
  EXPECT_EQ(shaped(1, 1, 65536, 32, 1, 1), ERROR_INVALID_VALUE);
  EXPECT_EQ(shaped(0, 1, 1, 32, 1, 1), ERROR_INVALID_VALUE);
}

TEST_F(Launches, KeepToTheBlock) {
  EXPECT_CUDA(shaped(1, 1, 1, 1024, 1, 1));
  EXPECT_EQ(shaped(1, 1, 1, 1025, 1, 1), ERROR_INVALID_VALUE);
  EXPECT_CUDA(shaped(1, 1, 1, 1, 16, 64));
  EXPECT_EQ(shaped(1, 1, 1, 1, 1, 65), ERROR_INVALID_VALUE);
  EXPECT_EQ(shaped(1, 1, 1, 64, 32, 1), ERROR_INVALID_VALUE);
  EXPECT_EQ(shaped(1, 1, 1, 32, 0, 1), ERROR_INVALID_VALUE);
}

TEST_F(Launches, SharedMemoryIsAskedFor) {
  EXPECT_CUDA(shaped(1, 1, 1, 32, 1, 1, 48 * 1024));
  EXPECT_EQ(shaped(1, 1, 1, 32, 1, 1, 48 * 1024 + 1), ERROR_INVALID_VALUE);
  EXPECT_EQ(cuKernelSetAttribute(kMaxDynamicSharedSizeBytes, 227 * 1024 + 1, fill_, 0), ERROR_INVALID_VALUE);
  ASSERT_CUDA(cuKernelSetAttribute(kMaxDynamicSharedSizeBytes, 227 * 1024, fill_, 0));
  EXPECT_CUDA(shaped(1, 1, 1, 32, 1, 1, 227 * 1024));
  EXPECT_EQ(cuKernelSetAttribute(kMaxDynamicSharedSizeBytes, 227 * 1024, fill_, 1), ERROR_INVALID_VALUE)
      << "163 KiB on sm_80";
}

TEST_F(Launches, AreNoted) {
  EXPECT_CUDA(shaped(3, 2, 1, 64, 1, 1, 128));
  const std::vector<LaunchRecord> launches = take_launches();
  ASSERT_EQ(launches.size(), 1u);
  EXPECT_EQ(launches[0].kernel, "moekit_probe_fill");
  EXPECT_EQ(launches[0].grid[1], 2u);
  EXPECT_EQ(launches[0].block[0], 64u);
  EXPECT_EQ(launches[0].shared_bytes, 128u);
}

TEST_F(Launches, HostPointersAreSeen) {
  float host[4] = {};
  float* p = floats(4);
  EXPECT_CUDA(add(p, host, p, 0, nullptr) == ERROR_INVALID_VALUE ? SUCCESS : ERROR_UNKNOWN) << "an empty grid";
  set_schedule(Schedule::kLazy);
  fail_kernel(1, ERROR_ILLEGAL_ADDRESS);
  EXPECT_CUDA(add(p, host, p, 4, nullptr));
  const std::vector<std::string> problems = take_problems();
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].find("byte 8 of the parameter points to memory of the host"), std::string::npos) << problems[0];
  EXPECT_EQ(cuCtxSynchronize(), ERROR_ILLEGAL_ADDRESS);
}

TEST_F(Launches, ArgumentsAreCopiedWhenLaunched) {
  set_schedule(Schedule::kLazy);
  float* p = floats(4);
  FillParams params{p, 7.0f, 4};
  void* list[] = {&params};
  ASSERT_CUDA(cuLaunchKernel(fill_, 1, 1, 1, 32, 1, 1, 0, nullptr, list, nullptr));
  params = {};
  EXPECT_EQ(download(p, 4), std::vector<float>(4, 7.0f));
}

TEST_F(Launches, WithoutParametersOrWithAStrangeKernel) {
  FillParams params{};
  void* list[] = {&params};
  EXPECT_EQ(cuLaunchKernel(fill_, 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, nullptr), ERROR_INVALID_VALUE);
  EXPECT_EQ(cuLaunchKernel(nullptr, 1, 1, 1, 32, 1, 1, 0, nullptr, list, nullptr), ERROR_INVALID_HANDLE);
}

}  // namespace
}  // namespace moekit::standin
