// SPDX-License-Identifier: Apache-2.0
// Device memory: who may touch it, where it ends, what lies in it.
#include <thread>

#include "device.h"

namespace double_test {
namespace {

class Memory : public DeviceTest {
 protected:
  void* allocate(size_t bytes) {
    void* address = nullptr;
    EXPECT_EQ(status("aclrtMalloc", &address, bytes, 0), 0) << recent_message();
    return address;
  }
  int copy(void* to, const void* from, size_t bytes, int kind) {
    return status("aclrtMemcpy", to, bytes, from, bytes, kind);
  }
  int release(void* address) { return status("aclrtFree", address); }
};

using MemoryDeathTest = Memory;

TEST_F(MemoryDeathTest, HostCannotTouchIt) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto* const bytes = static_cast<volatile char*>(allocate(64));
  EXPECT_DEATH(static_cast<void>(bytes[63] + 0), "the host touched device memory");
  EXPECT_DEATH(*static_cast<volatile char*>(stream_) = 1, "the host touched a handle: stream");
  release(const_cast<char*>(bytes));
  EXPECT_DEATH(bytes[0] = 1, "the host touched device memory");
}

TEST_F(Memory, CopiesThereAndBack) {
  std::vector<char> in(1000), out(1000);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<char>(i * 7);
  void *a = allocate(1000), *b = allocate(1000);
  EXPECT_EQ(copy(a, in.data(), 1000, kHostToDevice), 0);
  EXPECT_EQ(copy(b, a, 1000, kDeviceToDevice), 0);
  EXPECT_EQ(copy(out.data(), b, 1000, 4), 0);  // the kind is found from the addresses
  EXPECT_EQ(in, out);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a) % 64, 0u);
  release(a);
  release(b);
}

TEST_F(Memory, FreshMemoryIsPoisoned) {
  for (const auto& [text, byte] : {std::pair{"0xCD", 0xCD}, {"0xFF", 0xFF}}) {
    set("POISON", text);
    void* const a = allocate(100);
    std::vector<uint8_t> out(100);
    EXPECT_EQ(copy(out.data(), a, 100, kDeviceToHost), 0);
    EXPECT_EQ(out, std::vector<uint8_t>(100, static_cast<uint8_t>(byte)));
    release(a);
  }
}

TEST_F(Memory, StrictPoisonIsNaN) {
  set("PROFILE", "strict");
  set("ON_VIOLATION", "record");
  for (const int dtype : {kFloat, kHalf, kBfloat}) EXPECT_TRUE(std::isnan(empty(dtype, {3})->read()[1])) << dtype;
  EXPECT_EQ(empty(kInt32, {3})->read()[1], -1) << "no expert, no row";
}

TEST_F(Memory, EndsWhereItEnds) {
  void* const a = allocate(100);
  std::vector<char> host(200);
  EXPECT_EQ(copy(a, host.data(), 101, kHostToDevice), 107000);
  expect_violation("out of bounds");
  EXPECT_EQ(copy(static_cast<char*>(a) + 1, host.data(), 100, kHostToDevice), 107000);
  expect_violation("out of bounds");
  EXPECT_EQ(status("aclrtMemset", a, size_t{101}, 0, size_t{101}), 107000);
  expect_violation("out of bounds");
  EXPECT_EQ(status("aclrtMemcpy", a, size_t{50}, static_cast<const void*>(host.data()), size_t{51}, int{kHostToDevice}),
            100000);
  EXPECT_EQ(status("aclrtMemset", a, size_t{50}, 0, size_t{51}), 100000);
  release(a);
}

TEST_F(Memory, DeadAndForeignPointers) {
  void* const a = allocate(100);
  char host[16] = {};
  EXPECT_EQ(release(static_cast<char*>(a) + 32), 107000);
  expect_violation("foreign pointer");
  EXPECT_EQ(release(host), 107000);
  expect_violation("foreign pointer");
  EXPECT_EQ(release(a), 0);
  EXPECT_EQ(release(a), 107000);
  expect_violation("double free");
  EXPECT_EQ(copy(a, host, 16, kHostToDevice), 107000);
  expect_violation("use after free");
  EXPECT_NE(recent_message().find("was freed"), std::string::npos);
  EXPECT_EQ(copy(host, host, 16, kDeviceToHost), 107000);
  expect_violation("foreign pointer");
  EXPECT_EQ(release(nullptr), 107000);
  void* const b = allocate(100);
  EXPECT_NE(a, b) << "addresses are not given twice";
  release(b);
}

TEST_F(Memory, WrongDirection) {
  void *const a = allocate(64), *const b = allocate(64);
  EXPECT_EQ(copy(a, b, 64, kHostToDevice), 107000);
  expect_violation("copy direction");
  EXPECT_EQ(copy(a, b, 64, kDeviceToHost), 107000);
  expect_violation("copy direction");
  EXPECT_EQ(copy(a, b, 64, 9), 107000);
  release(a);
  release(b);
}

TEST_F(Memory, OnChipAsynchronousCopiesAreAligned) {
  void *const a = allocate(256), *const b = allocate(256);
  EXPECT_EQ(status("aclrtMemcpyAsync", static_cast<void*>(static_cast<char*>(a) + 32), size_t{64},
                   static_cast<const void*>(b), size_t{64}, int{kDeviceToDevice}, stream_),
            200003);
  release(a);
  release(b);
}

TEST_F(Memory, RunsOut) {
  set("MEMORY", "1000");
  void *const a = allocate(600), *b = nullptr;
  EXPECT_EQ(status("aclrtMalloc", &b, size_t{401}, 0), 207001);
  EXPECT_EQ(b, nullptr);
  EXPECT_EQ(status("aclrtMalloc", &b, SIZE_MAX, 0), 207001);
  EXPECT_EQ(status("aclrtMalloc", &b, size_t{0}, 0), 107000);
  size_t free_bytes = 0, total = 0;
  EXPECT_EQ(status("aclrtGetMemInfo", 1, &free_bytes, &total), 0);
  EXPECT_EQ(free_bytes, 400u);
  EXPECT_EQ(total, 1000u);
  release(a);
  b = allocate(1000);
  release(b);
}

TEST_F(Memory, PinnedMemoryHasItsOwnFree) {
  void* host = nullptr;
  EXPECT_EQ(status("aclrtMallocHost", &host, size_t{64}), 0);
  static_cast<char*>(host)[0] = 1;
  EXPECT_EQ(release(host), 107000);
  expect_violation("foreign pointer");
  void* const device = allocate(64);
  EXPECT_EQ(status("aclrtFreeHost", device), 107000);
  expect_violation("foreign pointer");
  EXPECT_EQ(status("aclrtFreeHost", host), 0);
  release(device);
}

TEST_F(Memory, ThreadsNeedTheirContext) {
  std::thread([] {
    void* address = nullptr;
    EXPECT_EQ(status("aclrtMalloc", &address, size_t{64}, 0), 107002);
    int32_t device = 0;
    EXPECT_EQ(status("aclrtGetDevice", &device), 107002);
    EXPECT_EQ(status("aclrtSetDevice", int32_t{99}), 107001);
    EXPECT_EQ(status("aclrtSetDevice", int32_t{1}), 0);
    EXPECT_EQ(status("aclrtGetDevice", &device), 0);
    EXPECT_EQ(device, 1);
  }).join();
}

TEST_F(Memory, OfAnotherDevice) {
  void* other = nullptr;
  std::thread([&] {
    EXPECT_EQ(status("aclrtSetDevice", int32_t{1}), 0);
    EXPECT_EQ(status("aclrtMalloc", &other, size_t{64}, 0), 0);
  }).join();
  EXPECT_EQ(status("aclrtMemsetAsync", other, size_t{64}, 0, size_t{64}, stream_), 107000);
  expect_violation("wrong device");
  EXPECT_EQ(release(other), 0);
}

}  // namespace
}  // namespace double_test
