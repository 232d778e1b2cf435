// SPDX-License-Identifier: Apache-2.0
// Order: what waited for what, found whatever the timing was.
#include <atomic>
#include <thread>

#include "device.h"

namespace double_test {
namespace {

class Streams : public DeviceTest, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    set("LAZY", GetParam());
    ASSERT_EQ(status("aclrtMalloc", &block_, size_t{256}, 0), 0);
    ASSERT_EQ(status("aclrtCreateStream", &second_), 0);
  }
  void TearDown() override {
    if (second_ != nullptr) {
      status("aclrtSynchronizeStream", second_);
      EXPECT_EQ(status("aclrtDestroyStream", second_), 0);
    }
    synchronize();
    EXPECT_EQ(status("aclrtFree", block_), 0) << recent_message();
    DeviceTest::TearDown();
  }
  int fill(void* stream, int value, size_t at = 0, size_t bytes = 128) {
    return status("aclrtMemsetAsync", static_cast<void*>(static_cast<char*>(block_) + at), bytes, value, bytes, stream);
  }
  int read(size_t at = 0) {
    return status("aclrtMemcpy", static_cast<void*>(host_), size_t{128},
                  static_cast<const void*>(static_cast<char*>(block_) + at), size_t{128}, int{kDeviceToHost});
  }
  void* event() {
    void* handle = nullptr;
    EXPECT_EQ(status("aclrtCreateEvent", &handle), 0);
    return handle;
  }

  void *block_ = nullptr, *second_ = nullptr;
  char host_[128] = {};
};

TEST_P(Streams, ReadingBeforeTheSynchroniseIsFound) {
  EXPECT_EQ(fill(stream_, 5), 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));  // done by now, unless lazy: found all the same
  EXPECT_EQ(read(), 107000);
  expect_violation("race");
  EXPECT_EQ(read(128), 0) << "other bytes of the block are free";
  EXPECT_EQ(synchronize(), 0);
  EXPECT_EQ(read(), 0);
  EXPECT_EQ(host_[127], 5);
}

TEST_P(Streams, FreeingBeforeTheSynchroniseIsFound) {
  EXPECT_EQ(fill(stream_, 5), 0);
  EXPECT_EQ(status("aclrtFree", block_), 107000);
  expect_violation("race");
  EXPECT_EQ(status("aclrtSynchronizeDevice"), 0);
}

TEST_P(Streams, TwoStreamsNeedAnEvent) {
  EXPECT_EQ(fill(stream_, 1), 0);
  EXPECT_EQ(fill(second_, 2), 107000);
  expect_violation("race");
  void* const done = event();
  EXPECT_EQ(status("aclrtRecordEvent", done, stream_), 0);
  EXPECT_EQ(status("aclrtStreamWaitEvent", second_, done), 0);
  EXPECT_EQ(fill(second_, 3), 0);
  EXPECT_EQ(status("aclrtSynchronizeStream", second_), 0);
  EXPECT_EQ(read(), 0) << "waiting for the second stream waits for what came before it";
  EXPECT_EQ(host_[0], 3);
  EXPECT_EQ(status("aclrtDestroyEvent", done), 0);
}

TEST_P(Streams, AHostThatWaitedPutsStreamsInOrder) {
  EXPECT_EQ(fill(stream_, 1), 0);
  EXPECT_EQ(synchronize(), 0);
  EXPECT_EQ(fill(second_, 2), 0) << recent_message();
  EXPECT_EQ(status("aclrtSynchronizeDevice"), 0);
  EXPECT_EQ(fill(stream_, 3, 64, 64), 0) << recent_message();
  EXPECT_EQ(synchronize(), 0);
  EXPECT_EQ(read(), 0);
  EXPECT_EQ(host_[0], 2);
  EXPECT_EQ(host_[64], 3);
}

TEST_P(Streams, WorkAfterTheRecordIsNotCovered) {
  void* const done = event();
  EXPECT_EQ(status("aclrtRecordEvent", done, stream_), 0);
  EXPECT_EQ(fill(stream_, 1), 0);
  EXPECT_EQ(status("aclrtStreamWaitEvent", second_, done), 0);
  EXPECT_EQ(fill(second_, 2), 107000);
  expect_violation("race");
  EXPECT_EQ(status("aclrtSynchronizeEvent", done), 0);
  EXPECT_EQ(read(), 107000);
  expect_violation("race");
  EXPECT_EQ(synchronize(), 0);
  EXPECT_EQ(status("aclrtSynchronizeStream", second_), 0);
  EXPECT_EQ(status("aclrtDestroyEvent", done), 0);
}

TEST_P(Streams, PollingCountsAsWaiting) {
  EXPECT_EQ(fill(stream_, 4), 0);
  int state = 1;
  for (int i = 0; i < 10000 && state != 0; ++i) {
    EXPECT_EQ(status("aclrtStreamQuery", stream_, &state), 0);
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  EXPECT_EQ(state, 0);
  EXPECT_EQ(read(), 0);
  void* const done = event();
  EXPECT_EQ(status("aclrtQueryEventStatus", done, &state), 0);
  EXPECT_EQ(state, 0);
  EXPECT_EQ(fill(stream_, 6), 0);
  EXPECT_EQ(status("aclrtRecordEvent", done, stream_), 0);
  for (int i = 0; i < 10000 && state != 1; ++i) {
    EXPECT_EQ(status("aclrtQueryEventStatus", done, &state), 0);
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  EXPECT_EQ(state, 1);
  EXPECT_EQ(read(), 0);
  EXPECT_EQ(host_[0], 6);
  EXPECT_EQ(status("aclrtDestroyEvent", done), 0);
}

TEST_P(Streams, EventsNobodyRecords) {
  void* const never = event();
  EXPECT_EQ(status("aclrtStreamWaitEvent", stream_, never), 107000);
  expect_violation("event not recorded");
  EXPECT_EQ(status("aclrtSynchronizeEvent", never), 107000);
  expect_violation("event not recorded");
  EXPECT_EQ(status("aclrtRecordEvent", never, stream_), 0);
  EXPECT_EQ(status("aclrtSynchronizeEvent", never), 0);
  EXPECT_EQ(status("aclrtDestroyEvent", never), 0);
  EXPECT_EQ(status("aclrtRecordEvent", never, stream_), 107000);
  expect_violation("use after destroy");
  EXPECT_EQ(status("aclrtRecordEvent", stream_, stream_), 107000);
  expect_violation("foreign handle");
}

TEST_P(Streams, ElapsedTimeGoesForward) {
  void *const from = event(), *const to = event();
  float milliseconds = -1;
  EXPECT_EQ(status("aclrtEventElapsedTime", &milliseconds, from, to), 107000);
  EXPECT_EQ(status("aclrtRecordEvent", from, stream_), 0);
  EXPECT_EQ(fill(stream_, 1), 0);
  EXPECT_EQ(status("aclrtRecordEvent", to, stream_), 0);
  EXPECT_EQ(synchronize(), 0);
  EXPECT_EQ(status("aclrtEventElapsedTime", &milliseconds, from, to), 0);
  EXPECT_GE(milliseconds, 0.0f);
  EXPECT_EQ(status("aclrtDestroyEvent", from), 0);
  EXPECT_EQ(status("aclrtDestroyEvent", to), 0);
}

TEST_P(Streams, DestroyedAndForeignStreams) {
  EXPECT_EQ(status("aclrtDestroyStream", second_), 0);
  EXPECT_EQ(fill(second_, 1), 107000);
  expect_violation("use after destroy");
  EXPECT_EQ(status("aclrtDestroyStream", second_), 107000);
  expect_violation("use after destroy");
  std::thread([&] {
    EXPECT_EQ(status("aclrtSetDevice", int32_t{1}), 0);
    EXPECT_EQ(status("aclrtSynchronizeStream", stream_), 107003);
    EXPECT_EQ(fill(stream_, 1), 107003);
  }).join();
  second_ = nullptr;
}

TEST_P(Streams, DestroyingABusyStreamIsFound) {
  std::atomic<bool> go{false};
  const auto wait = [](void* flag) {
    while (!*static_cast<std::atomic<bool>*>(flag)) std::this_thread::yield();
  };
  EXPECT_EQ(status("aclrtLaunchHostFunc", second_, static_cast<void (*)(void*)>(wait), static_cast<void*>(&go)), 0);
  EXPECT_EQ(status("aclrtSynchronizeStreamWithTimeout", second_, int32_t{5}), 507046);
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    go = true;
  });
  EXPECT_EQ(status("aclrtDestroyStream", second_), 0);
  expect_violation("destroyed while busy");
  later.join();
  second_ = nullptr;
}

TEST_P(Streams, ManyThreadsAndStreams) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      EXPECT_EQ(status("aclrtSetDevice", int32_t{0}), 0);
      void *stream = nullptr, *memory = nullptr;
      EXPECT_EQ(status("aclrtCreateStream", &stream), 0);
      EXPECT_EQ(status("aclrtMalloc", &memory, size_t{64}, 0), 0);
      char byte = 0;
      for (int step = 1; step < 50; ++step) {
        EXPECT_EQ(status("aclrtMemsetAsync", memory, size_t{64}, step, size_t{64}, stream), 0);
        EXPECT_EQ(status("aclrtMemcpyAsync", static_cast<void*>(&byte), size_t{1}, static_cast<const void*>(memory),
                         size_t{1}, int{kDeviceToHost}, stream),
                  0);
        EXPECT_EQ(status("aclrtSynchronizeStream", stream), 0);
        EXPECT_EQ(byte, step);
      }
      EXPECT_EQ(status("aclrtFree", memory), 0);
      EXPECT_EQ(status("aclrtDestroyStream", stream), 0);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

INSTANTIATE_TEST_SUITE_P(EagerAndLazy, Streams, ::testing::Values("0", "1"));

}  // namespace
}  // namespace double_test
