// SPDX-License-Identifier: Apache-2.0
// The stand-in fails on demand, and answers wrong calls as the driver does.
#include "cuda/runtime/session.h"

namespace moekit::standin {
namespace {

using namespace cuda;
using Failures = Session;

TEST_F(Failures, TheNthCallAndNoOther) {
  DevicePointer p = 0;
  fail_call("cuMemAlloc_v2", 2, ERROR_OUT_OF_MEMORY);
  ASSERT_CUDA(cuMemAlloc_v2(&p, 4));
  EXPECT_CUDA(cuMemFree_v2(p));
  EXPECT_EQ(cuMemAlloc_v2(&p, 4), ERROR_OUT_OF_MEMORY);
  ASSERT_CUDA(cuMemAlloc_v2(&p, 4));
  EXPECT_CUDA(cuMemFree_v2(p));
}

TEST_F(Failures, AStickyOneStays) {
  float* p = floats(4);
  fail_call("cuLaunchKernel", 1, ERROR_LAUNCH_FAILED, true);
  EXPECT_EQ(fill(p, 1.0f, 4, nullptr), ERROR_LAUNCH_FAILED);
  DevicePointer q = 0;
  EXPECT_EQ(cuMemAlloc_v2(&q, 4), ERROR_LAUNCH_FAILED);
  EXPECT_EQ(cuStreamSynchronize(nullptr), ERROR_LAUNCH_FAILED);
  clear_failures();
  EXPECT_CUDA(fill(p, 1.0f, 4, nullptr));
}

TEST_F(Failures, AKernelsFaultComesLater) {
  set_schedule(Schedule::kLazy);
  float* p = floats(4);
  fail_kernel(2, ERROR_ILLEGAL_ADDRESS);
  EXPECT_CUDA(fill(p, 1.0f, 4, nullptr));
  EXPECT_CUDA(fill(p, 2.0f, 4, nullptr));
  EXPECT_EQ(cuStreamSynchronize(nullptr), ERROR_ILLEGAL_ADDRESS);
  EXPECT_EQ(fill(p, 3.0f, 4, nullptr), ERROR_ILLEGAL_ADDRESS);
}

TEST_F(Failures, CodesHaveNames) {
  const char *name = nullptr, *text = nullptr;
  ASSERT_CUDA(cuGetErrorName(700, &name));
  ASSERT_CUDA(cuGetErrorString(700, &text));
  EXPECT_STREQ(name, "CUDA_ERROR_ILLEGAL_ADDRESS");
  EXPECT_STREQ(text, "an illegal memory access was encountered");
  EXPECT_EQ(cuGetErrorName(12345, &name), ERROR_INVALID_VALUE);
}

TEST_F(Failures, DevicesAndContextsThatAreNotThere) {
  int count = 0, value = 0;
  ASSERT_CUDA(cuDeviceGetCount(&count));
  EXPECT_EQ(count, 2);
  DeviceOrdinal device = 0;
  EXPECT_EQ(cuDeviceGet(&device, 2), ERROR_INVALID_DEVICE);
  EXPECT_EQ(cuDeviceGet(&device, -1), ERROR_INVALID_DEVICE);
  EXPECT_EQ(cuDeviceGetAttribute(&value, kMultiprocessorCount, 7), ERROR_INVALID_DEVICE);
  ASSERT_CUDA(cuDeviceGetAttribute(&value, kMaxSharedMemoryPerBlockOptin, 1));
  EXPECT_EQ(value, 163 * 1024);
  EXPECT_EQ(cuCtxPushCurrent_v2(nullptr), ERROR_INVALID_CONTEXT);
  Context context = nullptr;
  ASSERT_CUDA(cuCtxPopCurrent_v2(&context));
  DevicePointer p = 0;
  EXPECT_EQ(cuMemAlloc_v2(&p, 4), ERROR_INVALID_CONTEXT);
  EXPECT_EQ(cuCtxPopCurrent_v2(&context), ERROR_INVALID_CONTEXT);
  ASSERT_CUDA(cuCtxPushCurrent_v2(context == nullptr ? nullptr : context));
}

TEST_F(Failures, ImagesAndNamesThatAreNotThere) {
  KernelLibrary library = nullptr;
  Kernel kernel = nullptr;
  EXPECT_EQ(cuLibraryLoadData(&library, "no fat binary", nullptr, nullptr, 0, nullptr, nullptr, 0),
            ERROR_INVALID_IMAGE);
  EXPECT_EQ(cuLibraryGetKernel(&kernel, library_, "moekit_probe_nothing"), ERROR_NOT_FOUND);
  EXPECT_EQ(take_problems().size(), 1u) << "a kernel without a twin is a hole in the tests";
  EXPECT_EQ(cuLibraryUnload(nullptr), ERROR_INVALID_HANDLE);
}

}  // namespace
}  // namespace moekit::standin
