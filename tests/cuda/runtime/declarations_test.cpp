// SPDX-License-Identifier: Apache-2.0
// The library declares the driver's functions itself, so that it builds without a toolkit. Here they are held against
// the toolkit's own header: number, size and kind of all parameters, and the values of constants.
#include <cuda.h>
#include <gtest/gtest.h>

#include "backends/cuda/driver_api.h"
#include "cuda/runtime/alike.h"
#include "cuda/runtime/error_codes.h"

namespace moekit::cuda {
namespace {

using standin::Alike;

#define X(member, name, params)                                                     \
  static_assert(Alike<decltype(DriverApi::member), decltype(&::name)>::value, #name \
                " is declared otherwise in "                                        \
                "cuda.h");
MOEKIT_CUDA_DRIVER_FUNCTIONS(X)
#undef X

static_assert(sizeof(DevicePointer) == sizeof(CUdeviceptr) && sizeof(DeviceOrdinal) == sizeof(CUdevice));

TEST(DriverDeclarations, ConstantsAreTheToolkits) {
  EXPECT_EQ(kSuccess, CUDA_SUCCESS);
  EXPECT_EQ(kOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(kInvalidImage, CUDA_ERROR_INVALID_IMAGE);
  EXPECT_EQ(kNoBinaryForGpu, CUDA_ERROR_NO_BINARY_FOR_GPU);
  EXPECT_EQ(kMaxSharedMemoryPerBlockOptin, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  EXPECT_EQ(kMultiprocessorCount, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  EXPECT_EQ(kComputeCapabilityMajor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  EXPECT_EQ(kComputeCapabilityMinor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  EXPECT_EQ(kMaxDynamicSharedSizeBytes, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
  EXPECT_EQ(kPointerMemoryType, CU_POINTER_ATTRIBUTE_MEMORY_TYPE);
  EXPECT_EQ(kPointerDeviceOrdinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL);
  EXPECT_EQ(kMemoryTypeDevice, CU_MEMORYTYPE_DEVICE);
  EXPECT_EQ(kCaptureStatusNone, CU_STREAM_CAPTURE_STATUS_NONE);
  EXPECT_EQ(kStreamNonBlocking, CU_STREAM_NON_BLOCKING);
  EXPECT_EQ(kEventDisableTiming, CU_EVENT_DISABLE_TIMING);
}

TEST(DriverDeclarations, CodesOfTheStandInAreTheToolkits) {
#define X(name, number, text) EXPECT_EQ(number, CUDA_##name);
  MOEKIT_STANDIN_ERRORS(X)
#undef X
}

}  // namespace
}  // namespace moekit::cuda
