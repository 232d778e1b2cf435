// SPDX-License-Identifier: Apache-2.0
// What the tests of the stand-in share: a current context, shorthands for device memory, and the rule that a test ends
// without a problem that it did not take.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cuda/runtime/control.h"
#include "cuda/runtime/error_codes.h"
#include "cuda/runtime/extra_api.h"
#include "cuda/runtime/probe.h"

namespace moekit::standin {

#define ASSERT_CUDA(call) ASSERT_EQ(call, moekit::standin::SUCCESS)
#define EXPECT_CUDA(call) EXPECT_EQ(call, moekit::standin::SUCCESS)

class Session : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_CUDA(cuda::cuInit(0));
    cuda::Context context = nullptr;
    ASSERT_CUDA(cuda::cuDevicePrimaryCtxRetain(&context, 0));
    ASSERT_CUDA(cuda::cuCtxPushCurrent_v2(context));
    add_twin({"moekit_probe_add", sizeof(AddParams), run_add});
    add_twin({"moekit_probe_fill", sizeof(FillParams), run_fill});
    ASSERT_CUDA(
        cuda::cuLibraryLoadData(&library_, "moekit: kernels by name", nullptr, nullptr, 0, nullptr, nullptr, 0));
    ASSERT_CUDA(cuda::cuLibraryGetKernel(&add_, library_, "moekit_probe_add"));
    ASSERT_CUDA(cuda::cuLibraryGetKernel(&fill_, library_, "moekit_probe_fill"));
    take_launches();
  }
  void TearDown() override {
    clear_failures();
    set_schedule(Schedule::kRandom, 1);
    EXPECT_CUDA(cuda::cuCtxSynchronize());
    for (const cuda::DevicePointer pointer : owned_) cuda::cuMemFree_v2(pointer);
    EXPECT_CUDA(cuda::cuLibraryUnload(library_));
    cuda::Context context = nullptr;
    EXPECT_CUDA(cuda::cuCtxPopCurrent_v2(&context));
    for (const std::string& problem : take_problems()) ADD_FAILURE() << problem;
  }

  float* floats(std::size_t count) {
    cuda::DevicePointer pointer = 0;
    EXPECT_CUDA(cuda::cuMemAlloc_v2(&pointer, count * sizeof(float)));
    owned_.push_back(pointer);
    return reinterpret_cast<float*>(pointer);
  }
  static cuda::DevicePointer device(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }
  static std::vector<float> download(const float* from, std::size_t count) {
    std::vector<float> to(count);
    EXPECT_CUDA(cuda::cuMemcpyDtoH_v2(to.data(), device(from), count * sizeof(float)));
    return to;
  }
  static void upload(float* to, const std::vector<float>& from) {
    EXPECT_CUDA(cuda::cuMemcpyHtoD_v2(device(to), from.data(), from.size() * sizeof(float)));
  }
  static cuda::StreamHandle new_stream(unsigned flags = cuda::kStreamNonBlocking) {
    cuda::StreamHandle stream = nullptr;
    EXPECT_CUDA(cuda::cuStreamCreate(&stream, flags));
    return stream;
  }
  static cuda::Event new_event() {
    cuda::Event event = nullptr;
    EXPECT_CUDA(cuda::cuEventCreate(&event, cuda::kEventDisableTiming));
    return event;
  }
  template <typename Params>
  static int launch(cuda::Kernel kernel, Params params, cuda::StreamHandle stream, unsigned block = 128) {
    void* list[] = {&params};
    const auto grid = (static_cast<unsigned>(params.count) + block - 1) / block;
    return cuda::cuLaunchKernel(kernel, grid, 1, 1, block, 1, 1, 0, stream, list, nullptr);
  }
  int add(const float* a, const float* b, float* sum, int count, cuda::StreamHandle stream) {
    return launch(add_, AddParams{a, b, sum, count}, stream);
  }
  int fill(float* out, float value, int count, cuda::StreamHandle stream) {
    return launch(fill_, FillParams{out, value, count}, stream);
  }

  cuda::KernelLibrary library_ = nullptr;
  cuda::Kernel add_ = nullptr, fill_ = nullptr;

 private:
  static void run_add(const LaunchShape&, const void* parameter) {
    const auto& p = *static_cast<const AddParams*>(parameter);
    for (int i = 0; i < p.count; ++i) p.sum[i] = p.a[i] + p.b[i];
  }
  static void run_fill(const LaunchShape&, const void* parameter) {
    const auto& p = *static_cast<const FillParams*>(parameter);
    for (int i = 0; i < p.count; ++i) p.out[i] = p.value;
  }

  std::vector<cuda::DevicePointer> owned_;
};

}  // namespace moekit::standin
