// SPDX-License-Identifier: Apache-2.0
// The stand-in's streams: what is promised is kept under every schedule, what is not promised happens.
#include <set>

#include "cuda/runtime/session.h"

namespace moekit::standin {
namespace {

using namespace cuda;

class StreamOrder : public Session {
 protected:
  static constexpr int kCount = 16;
  // Runs `body` under schedules of all kinds and gathers the value it answers.
  template <typename F>
  static std::set<float> over_schedules(F&& body) {
    std::set<float> seen;
    set_schedule(Schedule::kEager);
    seen.insert(body());
    set_schedule(Schedule::kLazy);
    seen.insert(body());
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
      set_schedule(Schedule::kRandom, seed);
      seen.insert(body());
    }
    return seen;
  }
  // b = 1 on one stream, sum = b + b on another; `sync` stands between.
  template <typename F>
  std::set<float> hand_over(StreamHandle first, StreamHandle second, F&& sync) {
    float *b = floats(kCount), *sum = floats(kCount);
    return over_schedules([&] {
      EXPECT_CUDA(fill(b, 5.0f, kCount, first));
      EXPECT_CUDA(cuCtxSynchronize());
      EXPECT_CUDA(fill(b, 1.0f, kCount, first));
      sync();
      EXPECT_CUDA(add(b, b, sum, kCount, second));
      EXPECT_CUDA(cuStreamSynchronize(second));
      EXPECT_CUDA(cuStreamSynchronize(first));
      return download(sum, kCount)[kCount - 1];
    });
  }
};

TEST_F(StreamOrder, OneStreamKeepsIt) {
  const StreamHandle stream = new_stream();
  EXPECT_EQ(hand_over(stream, stream, [] {}), std::set<float>{2.0f});
  EXPECT_CUDA(cuStreamDestroy_v2(stream));
}

TEST_F(StreamOrder, TwoStreamsDoNot) {
  const StreamHandle first = new_stream(), second = new_stream();
  EXPECT_EQ(hand_over(first, second, [] {}), (std::set<float>{2.0f, 10.0f})) << "both orders must be seen";
  EXPECT_CUDA(cuStreamDestroy_v2(first));
  EXPECT_CUDA(cuStreamDestroy_v2(second));
}

TEST_F(StreamOrder, AnEventKeepsIt) {
  const StreamHandle first = new_stream(), second = new_stream();
  const Event event = new_event();
  EXPECT_EQ(hand_over(first, second,
                      [&] {
                        EXPECT_CUDA(cuEventRecord(event, first));
                        EXPECT_CUDA(cuStreamWaitEvent(second, event, 0));
                      }),
            std::set<float>{2.0f});
  EXPECT_CUDA(cuEventDestroy_v2(event));
  EXPECT_CUDA(cuStreamDestroy_v2(first));
  EXPECT_CUDA(cuStreamDestroy_v2(second));
}

TEST_F(StreamOrder, TheDefaultStreamWaitsForBlockingOnesOnly) {
  const StreamHandle blocking = new_stream(0), free = new_stream();
  EXPECT_EQ(hand_over(blocking, nullptr, [] {}), std::set<float>{2.0f});
  EXPECT_EQ(hand_over(nullptr, blocking, [] {}), std::set<float>{2.0f});
  EXPECT_EQ(hand_over(free, nullptr, [] {}), (std::set<float>{2.0f, 10.0f}));
  EXPECT_CUDA(cuStreamDestroy_v2(blocking));
  EXPECT_CUDA(cuStreamDestroy_v2(free));
}

TEST_F(StreamOrder, PinnedMemoryIsReadLateAndPageableAtOnce) {
  void* pinned = nullptr;
  ASSERT_CUDA(cuMemAllocHost_v2(&pinned, 4));
  float* p = floats(1);
  const StreamHandle stream = new_stream();
  const auto overwritten = [&](float* source) {
    return over_schedules([&] {
      *source = 1.0f;
      EXPECT_CUDA(cuMemcpyHtoDAsync_v2(device(p), source, 4, stream));
      *source = 2.0f;
      EXPECT_CUDA(cuStreamSynchronize(stream));
      return download(p, 1)[0];
    });
  };
  EXPECT_EQ(overwritten(static_cast<float*>(pinned)), (std::set<float>{1.0f, 2.0f}));
  float pageable = 0.0f;
  EXPECT_EQ(overwritten(&pageable), std::set<float>{1.0f});
  EXPECT_CUDA(cuMemFreeHost(pinned));
  EXPECT_CUDA(cuStreamDestroy_v2(stream));
}

TEST_F(StreamOrder, QueriesMakeProgress) {
  set_schedule(Schedule::kLazy);
  const StreamHandle stream = new_stream();
  const Event event = new_event();
  EXPECT_CUDA(fill(floats(4), 1.0f, 4, stream));
  EXPECT_CUDA(cuEventRecord(event, stream));
  EXPECT_EQ(statistics().pending, 2u);
  int tries = 0;
  while (cuEventQuery(event) == ERROR_NOT_READY) ASSERT_LT(++tries, 1000);
  while (cuStreamQuery(stream) == ERROR_NOT_READY) ASSERT_LT(++tries, 1000);
  EXPECT_EQ(statistics().pending, 0u);
  EXPECT_CUDA(cuEventDestroy_v2(event));
  EXPECT_CUDA(cuStreamDestroy_v2(stream));
}

TEST_F(StreamOrder, StreamsBelongToADevice) {
  set_schedule(Schedule::kLazy);
  Context other = nullptr, popped = nullptr;
  ASSERT_CUDA(cuDevicePrimaryCtxRetain(&other, 1));
  const StreamHandle here = new_stream();
  float* p = floats(4);
  ASSERT_CUDA(cuCtxPushCurrent_v2(other));
  EXPECT_EQ(fill(p, 1.0f, 4, here), ERROR_INVALID_HANDLE);
  EXPECT_EQ(cuMemsetD8Async(device(p), 0, 4, nullptr), ERROR_INVALID_VALUE) << "memory of the other device";
  EXPECT_CUDA(fill(p, 1.0f, 4, nullptr));
  const std::vector<std::string> problems = take_problems();
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].find("points to another device"), std::string::npos) << problems[0];
  EXPECT_EQ(cuStreamDestroy_v2(reinterpret_cast<StreamHandle>(p)), ERROR_INVALID_HANDLE);
  fail_kernel(1, ERROR_ILLEGAL_ADDRESS);  // it would touch what is closed: what a device answers is this
  EXPECT_EQ(cuCtxSynchronize(), ERROR_ILLEGAL_ADDRESS);
  ASSERT_CUDA(cuCtxPopCurrent_v2(&popped));
  EXPECT_CUDA(cuStreamDestroy_v2(here));
}

}  // namespace
}  // namespace moekit::standin
