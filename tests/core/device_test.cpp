// SPDX-License-Identifier: Apache-2.0
#include "moekit/device.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace moekit {
namespace {

TEST(Device, ParsesEveryKindWithAndWithoutIndex) {
  EXPECT_EQ(parse_device("cpu"), (Device{DeviceKind::kCpu, 0}));
  EXPECT_EQ(parse_device("cuda"), (Device{DeviceKind::kCuda, 0}));
  EXPECT_EQ(parse_device("cuda:1"), (Device{DeviceKind::kCuda, 1}));
  EXPECT_EQ(parse_device("ascend:15"), (Device{DeviceKind::kAscend, 15}));
  EXPECT_EQ(parse_device("npu:2"), (Device{DeviceKind::kAscend, 2}));
}

TEST(Device, TextComesBack) {
  for (const char* text : {"cpu", "cuda:0", "cuda:7", "ascend:0", "ascend:12345"})
    EXPECT_EQ(to_string(parse_device(text)), text);
  EXPECT_EQ(to_string(parse_device("npu:3")), "ascend:3");
}

TEST(Device, RefusesEverythingElse) {
  for (const char* text : {"", ":", "CPU", "cpu:", "cuda:", "cuda:-1", "cuda:+1", "cuda: 1", "cuda:1 ", "cuda:1:2",
                           "cuda:999999", "cuda:99999999999999999999", "gpu", "cuda1", " cpu", "npu:x"})
    EXPECT_THROW(parse_device(text), std::invalid_argument) << "'" << text << "'";
}

TEST(Buffer, GivesMemoryBackOnceWhenTheLastCopyGoes) {
  int released = 0;
  int storage = 0;
  {
    Buffer first(&storage, sizeof storage, [&](void* data) {
      EXPECT_EQ(data, &storage);
      ++released;
    });
    {
      const Buffer second = first;
      EXPECT_EQ(second.data(), &storage);
      EXPECT_EQ(second.bytes(), sizeof storage);
    }
    EXPECT_EQ(released, 0);
  }
  EXPECT_EQ(released, 1);
}

TEST(Buffer, EmptyByDefault) {
  const Buffer buffer;
  EXPECT_EQ(buffer.data(), nullptr);
  EXPECT_EQ(buffer.bytes(), 0u);
}

}  // namespace
}  // namespace moekit
