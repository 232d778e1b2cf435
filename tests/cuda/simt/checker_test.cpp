// SPDX-License-Identifier: Apache-2.0
// The checker itself: each mistake is found, under every order, and its kernel without the mistake passes.
#include <numeric>

#include "cuda/simt/broken_kernels.h"
#include "cuda/simt/device_array.h"

namespace simt {
namespace {

constexpr int kFloats = 32;

struct Case {
  const KernelInfo* kernel;
  int mistake;
  Fault fault;
};

// Runs a broken kernel with two blocks of 128 threads; `out` gets what it wrote.
void run_case(const KernelInfo& kernel, int mistake, std::vector<float>* out = nullptr) {
  std::vector<float> values(128);
  std::iota(values.begin(), values.end(), 1.0f);
  DeviceArray<float> in(values), result(128);
  const broken::Params params{in.data(), result.data(), kFloats, mistake};
  const unsigned blocks = &kernel == &broken::broken_blocks_race_twin ? 3 : 1;
  launch(kernel, {blocks, 1, 1}, {128, 1, 1}, &kernel == &broken::broken_overruns_shared_twin ? 1024 : 512, &params);
  if (out != nullptr) *out = result.get();
}

// Asynchronous copies need four floats a thread of shared memory.
void run_async(int mistake) {
  std::vector<float> values(36, 1.0f);
  DeviceArray<float> in(values), result(128);
  const broken::Params params{in.data(), result.data(), kFloats, mistake};
  launch(broken::broken_copies_async_twin, {1, 1, 1}, {128, 1, 1}, 2048, &params);
}

template <class Run>
void expect_fault(Fault fault, const char* name, int mistake, Run run) {
  for (const OrderCase& one : kOrders) {
    set_order(one.order, one.seed);
    try {
      run();
      ADD_FAILURE() << name << ", mistake " << mistake << ": not caught";
    } catch (const Error& error) {
      EXPECT_EQ(static_cast<int>(error.fault), static_cast<int>(fault)) << error.what();
    }
  }
  set_order(Order::kAscending);
}

TEST(Checker, FindsEveryMistake) {
  const Case cases[] = {
      {&broken::broken_reverse_in_block_twin, 1, Fault::kRace},
      {&broken::broken_exchange_in_warp_twin, 1, Fault::kRace},
      {&broken::broken_ends_before_barrier_twin, 1, Fault::kDivergence},
      {&broken::broken_half_waits_twin, 1, Fault::kDivergence},
      {&broken::broken_wrong_mask_twin, 1, Fault::kDivergence},
      {&broken::broken_wrong_mask_twin, 2, Fault::kDivergence},
      {&broken::broken_reads_outside_mask_twin, 1, Fault::kDivergence},
      {&broken::broken_overruns_shared_twin, 1, Fault::kOutOfBounds},
      {&broken::broken_takes_too_much_shared_twin, 1, Fault::kOutOfBounds},
      {&broken::broken_misaligned_vector_twin, 1, Fault::kMisaligned},
      {&broken::broken_writes_host_memory_twin, 1, Fault::kOutOfBounds},
      {&broken::broken_blocks_race_twin, 1, Fault::kRace},
      {&broken::broken_blocks_race_twin, 2, Fault::kRace},
  };
  for (const Case& one : cases)
    if (one.kernel != &broken::broken_blocks_race_twin || one.mistake != 2)
      expect_fault(one.fault, one.kernel->name, one.mistake, [&] { run_case(*one.kernel, one.mistake); });
}

// Which of the two is seen first depends on the order: a race, or memory that nobody has written yet.
TEST(Checker, FindsReadsOfWhatAnotherBlockOrThreadWrites) {
  for (const OrderCase& one : kOrders) {
    set_order(one.order, one.seed);
    EXPECT_THROW(run_case(broken::broken_blocks_race_twin, 2), Error);
    EXPECT_THROW(run_case(broken::broken_reads_unwritten_shared_twin, 1), Error);
  }
  set_order(Order::kAscending);
}

TEST(Checker, FindsBoundsOfGlobalMemory) {
  for (const int mistake : {1, 2}) {
    expect_fault(Fault::kOutOfBounds, "overruns_global", mistake, [&] {
      // Regions that touch: bounds are those of the allocation, not of what happens to be mapped.
      DeviceArray<float> in(std::vector<float>(kFloats, 1.0f)), result(128);
      const broken::Params params{in.data(), result.data(), kFloats, mistake};
      launch(broken::broken_overruns_global_twin, {1, 1, 1}, {128, 1, 1}, 0, &params);
    });
  }
}

TEST(Checker, FindsMistakesOfAsynchronousCopies) {
  run_async(0);
  expect_fault(Fault::kUninitialised, "no wait", 1, [] { run_async(1); });
  expect_fault(Fault::kUninitialised, "a group left out", 3, [] { run_async(3); });
  expect_fault(Fault::kMisaligned, "misaligned", 4, [] { run_async(4); });
  expect_fault(Fault::kUnfinished, "nobody waits", 5, [] { run_async(5); });
  for (const OrderCase& one : kOrders) {
    set_order(one.order, one.seed);
    EXPECT_THROW(run_async(2), Error) << "no barrier behind the wait";
  }
  set_order(Order::kAscending);
}

TEST(Checker, LetsRightKernelsPass) {
  std::vector<float> out;
#define X(name)                                                             \
  if (&broken::broken_##name##_twin != &broken::broken_copies_async_twin) { \
    expect_same_under_all_orders([&] {                                      \
      run_case(broken::broken_##name##_twin, 0, &out);                      \
      std::vector<std::byte> bits;                                          \
      append_bits(bits, out);                                               \
      return bits;                                                          \
    });                                                                     \
  }
  MOEKIT_BROKEN_KERNELS(X)
#undef X
  run_case(broken::broken_reverse_in_block_twin, 0, &out);
  for (int i = 0; i < 128; ++i) EXPECT_EQ(out[static_cast<std::size_t>(i)], static_cast<float>(128 - i));
  run_case(broken::broken_sum_in_warp_twin, 0, &out);
  EXPECT_EQ(out[33], (33.0f + 64.0f) * 16.0f);
}

TEST(Checker, FindsUninitialisedGlobalMemory) {
  DeviceArray<float> in(128), out(128);
  const broken::Params params{in.data(), out.data(), kFloats, 0};
  expect_fault(Fault::kUninitialised, "sum_in_warp", 0, [&] {
    launch(broken::broken_sum_in_warp_twin, {1, 1, 1}, {128, 1, 1}, 0, &params);
  });
}

TEST(Launch, RefusesWhatNoDeviceRuns) {
  const broken::Params params{nullptr, nullptr, 0, 0};
  const KernelInfo& kernel = broken::broken_sum_in_warp_twin;
  const auto refused = [&](Dim3 grid, Dim3 block, std::size_t shared) {
    expect_fault(Fault::kLaunch, "geometry", 0, [&] { launch(kernel, grid, block, shared, &params); });
  };
  refused({1, 1, 1}, {0, 1, 1}, 0);
  refused({1, 1, 1}, {129, 1, 1}, 0);  // launch bounds are 128
  refused({1, 1, 1}, {1025, 1, 1}, 0);
  refused({0, 1, 1}, {32, 1, 1}, 0);
  refused({1, 65536, 1}, {32, 1, 1}, 0);
  refused({1, 1, 1}, {32, 1, 1}, 102400);
  EXPECT_EQ(find_kernel("moekit_no_such_kernel"), nullptr);
}

}  // namespace
}  // namespace simt
