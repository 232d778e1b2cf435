// SPDX-License-Identifier: Apache-2.0
// Device memory of tests of kernels, and launches under every order of threads and blocks.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <new>
#include <vector>

#include "cuda/simt/launch.h"

namespace simt {

/// n elements that the checker knows, uninitialised, at a multiple of 256 bytes as cuMemAlloc gives.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t n) : size_(n), data_(static_cast<T*>(::operator new(bytes() + 1, kAlignment))) {
    std::memset(static_cast<void*>(data_), 0xCD, bytes());
    if (n != 0) add_region(data_, bytes());
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) { set(values); }
  ~DeviceArray() {
    if (size_ != 0) remove_region(data_);
    ::operator delete(data_, kAlignment);
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  void set(const std::vector<T>& values) {
    if (!values.empty()) std::memcpy(static_cast<void*>(data_), values.data(), bytes());
    mark_written(data_, bytes());
  }
  std::vector<T> get() const { return std::vector<T>(data_, data_ + size_); }
  T* data() { return data_; }
  std::size_t bytes() const { return size_ * sizeof(T); }

 private:
  static constexpr std::align_val_t kAlignment{256};
  std::size_t size_;
  T* data_;
};

struct OrderCase {
  Order order;
  std::uint64_t seed;
};
inline const OrderCase kOrders[] = {
    {Order::kAscending, 1}, {Order::kDescending, 1}, {Order::kRandom, 1}, {Order::kRandom, 2}};

/// Runs `body` once under each order; its results (a vector of bytes) must be the same bits.
template <class Body>
void expect_same_under_all_orders(Body body) {
  std::vector<std::byte> first;
  for (const OrderCase& one : kOrders) {
    set_order(one.order, one.seed);
    const std::vector<std::byte> bits = body();
    if (&one == kOrders) {
      first = bits;
    } else {
      EXPECT_TRUE(bits == first) << "order " << static_cast<int>(one.order) << ", seed " << one.seed;
    }
  }
  set_order(Order::kAscending);
}

template <class T>
void append_bits(std::vector<std::byte>& bits, const std::vector<T>& values) {
  const auto* const first = reinterpret_cast<const std::byte*>(values.data());
  bits.insert(bits.end(), first, first + values.size() * sizeof(T));
}

template <class Params>
void run(const char* name, Dim3 grid, unsigned threads, std::size_t shared_bytes, const Params& params) {
  const KernelInfo* const kernel = find_kernel(name);
  ASSERT_NE(kernel, nullptr) << name;
  ASSERT_EQ(kernel->params_bytes, sizeof params) << name;
  launch(*kernel, grid, {threads, 1, 1}, shared_bytes, &params);
}

}  // namespace simt
