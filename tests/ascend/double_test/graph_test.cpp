// SPDX-License-Identifier: Apache-2.0
// Graph capture and what is illegal inside.
#include <thread>

#include "device.h"

namespace double_test {
namespace {

class Graphs : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    x_ = tensor(kFloat, {4}, {1, 2, 3, 4});
    y_ = tensor(kFloat, {2}, {0, 0});
  }
  int begin(int mode = 0) { return status("aclmdlRICaptureBegin", stream_, mode); }
  int end() { return status("aclmdlRICaptureEnd", stream_, &graph_); }
  int swiglu() {
    uint64_t bytes = 0;
    void* const executor = prepare("aclnnSwiGlu", &bytes, x_->handle, int64_t{0}, y_->handle);
    return status("aclnnSwiGlu", static_cast<void*>(nullptr), bytes, executor, stream_);
  }
  int capture_state() {
    int state = -1;
    EXPECT_EQ(status("aclmdlRICaptureGetInfo", stream_, &state, static_cast<void**>(nullptr)), 0);
    return state;
  }
  void destroy() { EXPECT_EQ(status("aclmdlRIDestroy", graph_), 0); }

  TensorPointer x_ = nullptr, y_ = nullptr;
  void* graph_ = nullptr;
};

TEST_F(Graphs, ReplaysWithTheValuesOfTheDay) {
  EXPECT_EQ(capture_state(), 0);
  ASSERT_EQ(begin(), 0);
  EXPECT_EQ(capture_state(), 1);
  EXPECT_EQ(swiglu(), 0);
  ASSERT_EQ(end(), 0);
  EXPECT_EQ(synchronize(), 0);
  EXPECT_EQ(y_->read(), (std::vector<double>{0, 0})) << "captured, not run";
  for (double value : {2.0, 3.0}) {
    const auto bytes = encode(kFloat, {value, 2, 3, 4});
    EXPECT_EQ(status("aclrtMemcpy", x_->address, size_t{16}, static_cast<const void*>(bytes.data()), size_t{16},
                     int{kHostToDevice}),
              0);
    EXPECT_EQ(status("aclmdlRIExecuteAsync", graph_, stream_), 0);
    EXPECT_EQ(synchronize(), 0);
    EXPECT_NEAR(y_->read()[0], value / (1 + std::exp(-value)) * 3, 1e-6);
  }
  destroy();
  EXPECT_EQ(status("aclmdlRIExecuteAsync", graph_, stream_), 107000);
  expect_violation("use after destroy");
}

TEST_F(Graphs, WaitingInsideIsIllegal) {
  const std::vector<std::function<int()>> illegal = {[&] { return synchronize(); },
                                                     [&] { return status("aclrtSynchronizeDevice"); },
                                                     [&] {
                                                       void* address = nullptr;
                                                       return status("aclrtMalloc", &address, size_t{64}, 0);
                                                     },
                                                     [&] { return status("aclrtFree", x_->address); },
                                                     [&] {
                                                       float host;
                                                       return status("aclrtMemcpy", static_cast<void*>(&host),
                                                                     size_t{4}, static_cast<const void*>(x_->address),
                                                                     size_t{4}, int{kDeviceToHost});
                                                     },
                                                     [&] {
                                                       int state = 0;
                                                       return status("aclrtStreamQuery", stream_, &state);
                                                     }};
  for (const auto& act : illegal) {
    ASSERT_EQ(begin(), 0);
    EXPECT_EQ(act(), 107027);
    expect_violation("capture");
    EXPECT_EQ(capture_state(), 2);
    EXPECT_EQ(end(), 107027);
    EXPECT_EQ(capture_state(), 0);
  }
}

TEST_F(Graphs, ModesSayWhoMayAllocate) {
  void* address = nullptr;
  const auto elsewhere = [&] {
    int code = -1;
    std::thread([&] {
      status("aclrtSetDevice", int32_t{0});
      code = status("aclrtMalloc", &address, size_t{64}, 0);
    }).join();
    return code;
  };
  ASSERT_EQ(begin(1), 0);  // thread-local
  EXPECT_EQ(elsewhere(), 0);
  EXPECT_EQ(end(), 0);
  destroy();
  EXPECT_EQ(status("aclrtFree", address), 0);
  ASSERT_EQ(begin(2), 0);  // relaxed
  EXPECT_EQ(status("aclrtMalloc", &address, size_t{64}, 0), 0);
  EXPECT_EQ(end(), 0);
  destroy();
  EXPECT_EQ(status("aclrtFree", address), 0);
  ASSERT_EQ(begin(0), 0);  // global
  EXPECT_EQ(elsewhere(), 107027);
  expect_violation("capture");
  EXPECT_EQ(end(), 107027);
}

TEST_F(Graphs, OtherStreamsJoinAndComeBack) {
  void *other = nullptr, *fork = nullptr, *join = nullptr;
  ASSERT_EQ(status("aclrtCreateStream", &other), 0);
  ASSERT_EQ(status("aclrtCreateEvent", &fork), 0);
  ASSERT_EQ(status("aclrtCreateEvent", &join), 0);
  for (const bool joined : {true, false}) {
    ASSERT_EQ(begin(), 0);
    EXPECT_EQ(status("aclrtRecordEvent", fork, stream_), 0);
    EXPECT_EQ(status("aclrtStreamWaitEvent", other, fork), 0);
    EXPECT_EQ(status("aclrtMemsetAsync", y_->address, size_t{8}, 0, size_t{8}, other), 0);
    EXPECT_EQ(status("aclrtRecordEvent", join, other), 0);
    if (joined) {
      EXPECT_EQ(status("aclrtStreamWaitEvent", stream_, join), 0);
    }
    EXPECT_EQ(end(), joined ? 0 : 107027);
    if (joined) {
      destroy();
    } else {
      expect_violation("capture");
    }
  }
  EXPECT_EQ(status("aclrtDestroyEvent", fork), 0);
  EXPECT_EQ(status("aclrtDestroyEvent", join), 0);
  EXPECT_EQ(status("aclrtDestroyStream", other), 0);
}

TEST_F(Graphs, EventsFromOutsideAreIllegal) {
  void* outside = nullptr;
  ASSERT_EQ(status("aclrtCreateEvent", &outside), 0);
  EXPECT_EQ(status("aclrtRecordEvent", outside, stream_), 0);
  ASSERT_EQ(begin(), 0);
  EXPECT_EQ(status("aclrtStreamWaitEvent", stream_, outside), 107027);
  expect_violation("capture");
  EXPECT_EQ(end(), 107027);
  EXPECT_EQ(synchronize(), 0);
  EXPECT_EQ(status("aclrtDestroyEvent", outside), 0);
}

TEST_F(Graphs, MemoryFreedBeforeTheReplayIsFound) {
  void* memory = nullptr;
  ASSERT_EQ(status("aclrtMalloc", &memory, size_t{64}, 0), 0);
  ASSERT_EQ(begin(), 0);
  EXPECT_EQ(status("aclrtMemsetAsync", memory, size_t{64}, 1, size_t{64}, stream_), 0);
  ASSERT_EQ(end(), 0);
  EXPECT_EQ(status("aclrtFree", memory), 0);
  EXPECT_EQ(status("aclmdlRIExecuteAsync", graph_, stream_), 507015);
  expect_violation("use after free");
  destroy();
}

TEST_F(Graphs, DestroyedWhileItRuns) {
  ASSERT_EQ(begin(), 0);
  EXPECT_EQ(swiglu(), 0);
  ASSERT_EQ(end(), 0);
  set("LAZY", "1");
  EXPECT_EQ(status("aclmdlRIExecuteAsync", graph_, stream_), 0);
  destroy();
  expect_violation("destroyed while busy");
}

}  // namespace
}  // namespace double_test
