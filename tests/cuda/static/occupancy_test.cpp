// SPDX-License-Identifier: Apache-2.0
// How many blocks of each kernel a multiprocessor holds at once, by the toolkit's own calculator, from the registers
// that nvcc really gave.
#include <gtest/gtest.h>

#include <cuda_occupancy.h>

#include "cuda/runtime/cubin.h"
#include "cuda/static/plan.h"

#define X(name) extern "C" const unsigned char moekit_fatbin_##name[];
#include "moekit_cuda_fatbins.inc"
#undef X

namespace moekit::standin {
namespace {

// CUDA C++ programming guide, technical specifications per compute capability.
cudaOccDeviceProp properties_of(int capability) {
  cudaOccDeviceProp p;
  p.computeMajor = capability / 10;
  p.computeMinor = capability % 10;
  p.maxThreadsPerBlock = 1024;
  p.maxThreadsPerMultiprocessor = capability == 86 || capability == 89 || capability == 120 ? 1536 : 2048;
  p.regsPerBlock = p.regsPerMultiprocessor = 65536;
  p.warpSize = 32;
  const std::size_t kibibytes = capability == 80 ? 164 : capability == 90 || capability == 100 ? 228 : 100;
  p.sharedMemPerBlock = 48 << 10;
  p.sharedMemPerMultiprocessor = kibibytes << 10;
  p.sharedMemPerBlockOptin = (kibibytes - 1) << 10;
  p.reservedSharedMemPerBlock = 1 << 10;
  p.numSms = 1;
  return p;
}

int blocks_of(int capability, const KernelImage& image, const Plan& plan) {
  const cudaOccDeviceProp properties = properties_of(capability);
  cudaOccFuncAttributes attributes;
  attributes.maxThreadsPerBlock = image.max_threads != 0 ? image.max_threads : 1024;
  attributes.numRegs = image.registers;
  attributes.sharedSizeBytes = static_cast<std::size_t>(image.static_shared_bytes);
  attributes.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  attributes.maxDynamicSharedSizeBytes = plan.shared_bytes;
  attributes.numBlockBarriers = 1;
  cudaOccDeviceState state;
  cudaOccResult result = {};
  const cudaOccError error = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &properties, &attributes, &state,
                                                                     static_cast<int>(plan.threads), plan.shared_bytes);
  EXPECT_EQ(error, CUDA_OCC_SUCCESS) << "sm_" << capability;
  return error == CUDA_OCC_SUCCESS ? result.activeBlocksPerMultiprocessor : 0;
}

// All kernels of the library: capability -> name -> what nvcc made.
std::map<int, std::map<std::string, KernelImage>> kernels_of_library() {
  std::map<int, std::map<std::string, KernelImage>> all;
#define X(name)                                                                                \
  for (const auto& [capability, kernels] : read_fat_binary(moekit_fatbin_##name).machine_code) \
    all[capability].insert(kernels.begin(), kernels.end());
#include "moekit_cuda_fatbins.inc"
#undef X
  return all;
}

TEST(Occupancy, IsAsPlanned) {
  const std::map<std::string, Plan> plans = read_plan(MOEKIT_OCCUPANCY_PLAN);
  for (const auto& [capability, kernels] : kernels_of_library()) {
    EXPECT_FALSE(kernels.empty());
    for (const auto& [name, image] : kernels) {
      SCOPED_TRACE(name + " on sm_" + std::to_string(capability));
      const auto plan = plans.find(name);
      ASSERT_NE(plan, plans.end()) << "no line in " MOEKIT_OCCUPANCY_PLAN;
      EXPECT_TRUE(image.max_threads == 0 || plan->second.threads <= static_cast<unsigned>(image.max_threads));
      const int blocks = blocks_of(capability, image, plan->second);
      EXPECT_GE(blocks, plan->second.blocks) << image.registers << " registers";
      std::cout << name << " sm_" << capability << ": " << image.registers << " registers, " << blocks << " blocks\n";
    }
    for (const auto& [name, plan] : plans) EXPECT_EQ(kernels.count(name), 1u) << name << " is planned, not compiled";
  }
}

TEST(Occupancy, TheCalculatorCounts) {
  KernelImage image;
  image.registers = 255;
  EXPECT_EQ(blocks_of(90, image, {128, 0, 0}), 2);  // 65536 / (256 * 128)
  image.registers = 32;
  EXPECT_EQ(blocks_of(90, image, {1024, 0, 0}), 2);        // 2048 threads
  EXPECT_EQ(blocks_of(86, image, {1024, 0, 0}), 1);        // 1536 threads
  EXPECT_EQ(blocks_of(80, image, {128, 80 << 10, 0}), 2);  // 164 KiB, 1 KiB more a block
  EXPECT_EQ(blocks_of(120, image, {128, 80 << 10, 0}), 1);
}

}  // namespace
}  // namespace moekit::standin
