// SPDX-License-Identifier: Apache-2.0
// The stand-in's memory: what a real device forbids, or what it would let pass and no one would see.
#include <cmath>
#include <cstring>

#include "cuda/runtime/session.h"

namespace moekit::standin {
namespace {

using namespace cuda;
using DeviceMemory = Session;
using DeviceMemoryDeathTest = Session;

TEST_F(DeviceMemory, CopiesThereAndBack) {
  float* p = floats(300);
  std::vector<float> values(300);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  upload(p, values);
  EXPECT_EQ(download(p, 300), values);
}

TEST_F(DeviceMemory, FreshMemoryIsNotANumber) {
  for (const float value : download(floats(64), 64)) EXPECT_TRUE(std::isnan(value));
}

TEST_F(DeviceMemory, CountsWhatIsAlive) {
  const Statistics before = statistics();
  DevicePointer p = 0, q = 0;
  ASSERT_CUDA(cuMemAlloc_v2(&p, 1000));
  ASSERT_CUDA(cuMemAlloc_v2(&q, 1));
  EXPECT_EQ(p % 256, 0u);
  EXPECT_EQ(q % 256, 0u);
  EXPECT_EQ(statistics().live_bytes, before.live_bytes + 1001);
  EXPECT_EQ(statistics().live_allocations, before.live_allocations + 2);
  EXPECT_EQ(statistics().allocations, before.allocations + 2);
  EXPECT_CUDA(cuMemFree_v2(p));
  EXPECT_EQ(cuMemFree_v2(p), ERROR_INVALID_VALUE) << "freed twice";
  EXPECT_EQ(cuMemFree_v2(q + 4), ERROR_INVALID_VALUE) << "not the start of an allocation";
  EXPECT_CUDA(cuMemFree_v2(q));
  EXPECT_EQ(statistics().live_bytes, before.live_bytes);
}

TEST_F(DeviceMemory, IsLimited) {
  set_memory_limit(0, 1 << 20);
  DevicePointer p = 0, q = 0;
  ASSERT_CUDA(cuMemAlloc_v2(&p, 1 << 19));
  EXPECT_EQ(cuMemAlloc_v2(&q, (1 << 19) + 1), ERROR_OUT_OF_MEMORY);
  EXPECT_CUDA(cuMemAlloc_v2(&q, 1 << 19));
  EXPECT_EQ(cuMemAlloc_v2(&q, ~std::size_t{0}), ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(cuMemAlloc_v2(&q, 0), ERROR_INVALID_VALUE);
  set_memory_limit(0, 256u << 20);
}

TEST_F(DeviceMemory, CopiesStayInOneAllocation) {
  float* p = floats(64);
  std::vector<float> host(65);
  EXPECT_EQ(cuMemcpyHtoDAsync_v2(device(p), host.data(), 65 * 4, nullptr), ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemcpyDtoHAsync_v2(host.data(), device(p + 1), 64 * 4, nullptr), ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemcpyDtoDAsync_v2(device(p), device(p + 60), 5 * 4, nullptr), ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemsetD8Async(device(p), 0, 64 * 4 + 1, nullptr), ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemcpyHtoDAsync_v2(device(host.data()), host.data(), 4, nullptr), ERROR_INVALID_VALUE);
}

TEST_F(DeviceMemory, TellsWhatAPointerIs) {
  float* p = floats(8);
  unsigned type = 0;
  int ordinal = -1;
  ASSERT_CUDA(cuPointerGetAttribute(&type, kPointerMemoryType, device(p + 3)));
  ASSERT_CUDA(cuPointerGetAttribute(&ordinal, kPointerDeviceOrdinal, device(p + 3)));
  EXPECT_EQ(type, kMemoryTypeDevice);
  EXPECT_EQ(ordinal, 0);
  EXPECT_EQ(cuPointerGetAttribute(&type, kPointerMemoryType, device(&type)), ERROR_INVALID_VALUE);
}

TEST_F(DeviceMemory, WrittenGuardBytesAreSeen) {
  float* p = floats(60);  // 240 bytes: 16 guard bytes follow within the allocation's alignment
  ASSERT_CUDA(fill(p, 1.0f, 61, nullptr));
  ASSERT_CUDA(cuCtxSynchronize());
  const std::vector<std::string> problems = take_problems();
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].find("kernel moekit_probe_fill wrote 0 bytes after allocation"), std::string::npos)
      << problems[0];
}

TEST_F(DeviceMemoryDeathTest, TheHostCannotTouchIt) {
  float* p = floats(4);
  EXPECT_DEATH(std::memset(p, 0, 4), "the host touched byte 0 of allocation [0-9]+ \\(16 bytes on device 0\\)");
  EXPECT_DEATH(static_cast<void>(std::isnan(*static_cast<volatile float*>(p + 1))), "the host touched byte 4 of");
}

TEST_F(DeviceMemoryDeathTest, AKernelCannotLeaveIt) {
  float* p = floats(64);
  EXPECT_DEATH(
      {
        fill(p, 1.0f, 64 + 1024, nullptr);
        cuCtxSynchronize();
      },
      "kernel moekit_probe_fill, run on the device, touched 0 bytes after allocation");
}

TEST_F(DeviceMemoryDeathTest, ReleasedMemoryIsGone) {
  DevicePointer p = 0;
  ASSERT_CUDA(cuMemAlloc_v2(&p, 64));
  ASSERT_CUDA(cuMemFree_v2(p));
  EXPECT_DEATH(
      {
        fill(reinterpret_cast<float*>(p), 1.0f, 4, nullptr);
        cuCtxSynchronize();
      },
      "touched byte 0 of released allocation");
}

}  // namespace
}  // namespace moekit::standin
