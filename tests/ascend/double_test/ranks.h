// SPDX-License-Identifier: Apache-2.0
// Ranks of a group as threads of this process, each with its device.
#pragma once

#include <functional>
#include <thread>

#include "device.h"

namespace double_test {

struct RootInfo {
  char internal[4108];
};

struct Rank {  // what one thread has
  int rank, ranks;
  void *stream, *group;
  std::vector<void*> memory;

  void* upload(int dtype, const std::vector<double>& values) {
    const auto bytes = encode(dtype, values);
    void* const address = allocate(bytes.size());
    EXPECT_EQ(status("aclrtMemcpy", address, bytes.size(), static_cast<const void*>(bytes.data()), bytes.size(),
                     int{kHostToDevice}),
              0);
    return address;
  }
  void* allocate(size_t bytes) {
    void* address = nullptr;
    EXPECT_EQ(status("aclrtMalloc", &address, bytes, 0), 0);
    memory.push_back(address);
    return address;
  }
  std::vector<double> download(int dtype, const void* address, int64_t elements) {
    EXPECT_EQ(status("aclrtSynchronizeStream", stream), 0) << recent_message();
    std::vector<uint8_t> bytes(bytes_of(dtype, elements));
    EXPECT_EQ(status("aclrtMemcpy", static_cast<void*>(bytes.data()), bytes.size(), address, bytes.size(),
                     int{kDeviceToHost}),
              0);
    return decode(dtype, bytes, elements);
  }
};

class RanksTest : public DeviceTest, public ::testing::WithParamInterface<int> {
 protected:
  // Runs the function as every rank of a group, each in a thread with its own device.
  void as_ranks(const std::function<void(Rank&)>& act) {
    const int ranks = GetParam();
    RootInfo info;
    ASSERT_EQ(status("HcclGetRootInfo", static_cast<void*>(&info)), 0) << recent_message();
    std::vector<std::thread> threads;
    for (int i = 0; i < ranks; ++i) {
      threads.emplace_back([&, i] {
        Rank rank{i, ranks, nullptr, nullptr, {}};
        EXPECT_EQ(status("aclrtSetDevice", int32_t{i}), 0);
        EXPECT_EQ(status("aclrtCreateStream", &rank.stream), 0);
        ASSERT_EQ(status("HcclCommInitRootInfo", static_cast<uint32_t>(ranks), static_cast<const void*>(&info),
                         static_cast<uint32_t>(i), &rank.group),
                  0)
            << recent_message();
        act(rank);
        status("aclrtSynchronizeStream", rank.stream);
        for (void* address : rank.memory) EXPECT_EQ(status("aclrtFree", address), 0) << recent_message();
        EXPECT_EQ(status("HcclCommDestroy", rank.group), 0);
        EXPECT_EQ(status("aclrtDestroyStream", rank.stream), 0);
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(live("HcclComm"), 0u);
  }
};

}  // namespace double_test
