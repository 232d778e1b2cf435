// SPDX-License-Identifier: Apache-2.0
// A fixture with a device and a stream, and tensors that live as long as a test needs them. Each test ends with no
// violation beyond those it asked for and with nothing left over.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <random>

#include "library.h"

namespace double_test {

size_t bytes_of(int dtype, int64_t elements);
// Values as the dtype holds them, rounded to nearest even, and back.
std::vector<uint8_t> encode(int dtype, const std::vector<double>& values);
std::vector<double> decode(int dtype, const std::vector<uint8_t>& bytes, int64_t elements);
double rounded(int dtype, double value);

class DeviceTest;

// An aclTensor with its own block of device memory.
class TestTensor {
 public:
  TestTensor(int dtype, std::vector<int64_t> dims, const std::vector<double>* values);
  ~TestTensor();
  TestTensor(const TestTensor&) = delete;
  TestTensor& operator=(const TestTensor&) = delete;

  std::vector<double> read() const;  // after a synchronise
  std::vector<uint8_t> read_bytes() const;
  int64_t elements() const;
  void release_handle() { handle = nullptr; }  // a list owns it

  const int dtype;
  const std::vector<int64_t> dims;
  void* address = nullptr;
  const void* handle = nullptr;
};

using TensorPointer = TestTensor*;  // the fixture owns it

class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  TensorPointer tensor(int dtype, std::vector<int64_t> dims, const std::vector<double>& values);
  TensorPointer empty(int dtype, std::vector<int64_t> dims);
  TensorPointer random(int dtype, std::vector<int64_t> dims, double scale = 1.0);
  // Integers of [low, high].
  TensorPointer random_integers(int dtype, std::vector<int64_t> dims, int low, int high);
  // A list around another view of each tensor's memory; destroyed after the test.
  const void* list(const std::vector<TensorPointer>& members);
  // [E, K, N] as a view of memory that holds [E, N, K].
  const void* transposed(const TensorPointer& stored);
  const void* transposed_list(const TensorPointer& stored);
  const void* view(const TensorPointer& of, std::vector<int64_t> dims, std::vector<int64_t> strides, int64_t offset);
  const void* scalar(float value);

  // Both phases and a synchronise; the first code that is not 0.
  template <class... Arguments>
  int run(const std::string& operation, Arguments... arguments) {
    uint64_t bytes = 0;
    void* executor = nullptr;
    const int code =
        status((operation + "GetWorkspaceSize").c_str(), arguments..., static_cast<uint64_t*>(&bytes), &executor);
    return code != 0 ? code : launch(operation, bytes, executor);
  }
  template <class... Arguments>
  void* prepare(const std::string& operation, uint64_t* bytes, Arguments... arguments) {
    void* executor = nullptr;
    EXPECT_EQ(status((operation + "GetWorkspaceSize").c_str(), arguments..., bytes, &executor), 0) << recent_message();
    return executor;
  }
  int launch(const std::string& operation, uint64_t bytes, void* executor);
  // One violation of the kind has just been counted.
  void expect_violation(const char* kind) {
    EXPECT_EQ(violations(), ++expected_violations_);
    EXPECT_EQ(violations(kind), ++expected_kinds_[kind]) << kind;
  }
  int synchronize() { return status("aclrtSynchronizeStream", stream_); }

  void* stream_ = nullptr;
  int expected_violations_ = 0;
  std::map<std::string, int> expected_kinds_;
  std::mt19937 random_{7};

 private:
  std::vector<const void*> lists_, views_, scalars_;
  std::vector<std::unique_ptr<TestTensor>> kept_;
};

}  // namespace double_test
