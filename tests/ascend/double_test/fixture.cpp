// SPDX-License-Identifier: Apache-2.0
// The fixture's own work.
#include "device.h"

namespace double_test {

void DeviceTest::SetUp() {
  call<void>("ascend_double_reset");
  // Whatever the environment says: the tests are of these settings.
  for (const char* name : {"ABSENT", "FAULTS", "LAZY", "MEMORY", "POISON", "DEVICES", "DELAY_US"}) set(name, "");
  set("PROFILE", "normal");
  set("ON_VIOLATION", "record");
  const int init = status("aclInit", static_cast<const char*>(nullptr));
  ASSERT_TRUE(init == 0 || init == 100002);
  ASSERT_EQ(status("aclrtSetDevice", int32_t{0}), 0);
  ASSERT_EQ(status("aclrtCreateStream", &stream_), 0);
}

void DeviceTest::TearDown() {
  if (stream_ != nullptr) synchronize();
  for (const void* handle : lists_) EXPECT_EQ(status("aclDestroyTensorList", handle), 0);
  for (const void* handle : views_) EXPECT_EQ(status("aclDestroyTensor", handle), 0);
  for (const void* handle : scalars_) EXPECT_EQ(status("aclDestroyScalar", handle), 0);
  kept_.clear();
  if (stream_ != nullptr) {
    EXPECT_EQ(status("aclrtDestroyStream", stream_), 0);
  }
  EXPECT_EQ(violations(), expected_violations_);
  if (violations() != expected_violations_) {
    char text[512];
    for (uint64_t i = 0; call<uint64_t>("ascend_double_violation", i, static_cast<char*>(text), uint64_t{512}) > 0;
         ++i) {
      ADD_FAILURE() << text;
    }
  }
  for (const char* kind : {"block", "pinned block", "stream", "event", "aclmdlRI", "aclTensor", "aclTensorList",
                           "aclIntArray", "aclScalar", "aclOpExecutor"}) {
    EXPECT_EQ(live(kind), 0u) << kind;
  }
  call<void>("ascend_double_reset");
}

TensorPointer DeviceTest::tensor(int dtype, std::vector<int64_t> dims, const std::vector<double>& values) {
  kept_.push_back(std::make_unique<TestTensor>(dtype, std::move(dims), &values));
  return kept_.back().get();
}

TensorPointer DeviceTest::empty(int dtype, std::vector<int64_t> dims) {
  kept_.push_back(std::make_unique<TestTensor>(dtype, std::move(dims), nullptr));
  return kept_.back().get();
}

TensorPointer DeviceTest::random(int dtype, std::vector<int64_t> dims, double scale) {
  int64_t count = 1;
  for (const int64_t dim : dims) count *= dim;
  std::normal_distribution<double> normal(0.0, scale);
  std::vector<double> values(static_cast<size_t>(count));
  for (double& value : values) value = rounded(dtype, normal(random_));
  return tensor(dtype, std::move(dims), values);
}

TensorPointer DeviceTest::random_integers(int dtype, std::vector<int64_t> dims, int low, int high) {
  int64_t count = 1;
  for (const int64_t dim : dims) count *= dim;
  std::uniform_int_distribution<int> uniform(low, high);
  std::vector<double> values(static_cast<size_t>(count));
  for (double& value : values) value = uniform(random_);
  return tensor(dtype, std::move(dims), values);
}

const void* DeviceTest::view(const TensorPointer& of, std::vector<int64_t> dims, std::vector<int64_t> strides,
                             int64_t offset) {
  const int64_t count = of->elements();
  views_.push_back(call<const void*>("aclCreateTensor", dims.data(), uint64_t{dims.size()}, int{of->dtype},
                                     static_cast<const int64_t*>(strides.data()), offset, 2, &count, uint64_t{1},
                                     of->address));
  EXPECT_NE(views_.back(), nullptr) << recent_message();
  return views_.back();
}

const void* DeviceTest::transposed(const TensorPointer& stored) {
  const int64_t e = stored->dims[0], n = stored->dims[1], k = stored->dims[2];
  return view(stored, {e, k, n}, {n * k, 1, k}, 0);
}

const void* DeviceTest::transposed_list(const TensorPointer& stored) {
  const void* const member = transposed(stored);
  views_.pop_back();  // the list owns it
  lists_.push_back(call<const void*>("aclCreateTensorList", &member, uint64_t{1}));
  return lists_.back();
}

const void* DeviceTest::list(const std::vector<TensorPointer>& members) {
  std::vector<const void*> handles;
  for (const TensorPointer& member : members) {
    const int64_t count = member->elements();
    handles.push_back(call<const void*>("aclCreateTensor", member->dims.data(), uint64_t{member->dims.size()},
                                        int{member->dtype}, static_cast<const int64_t*>(nullptr), int64_t{0}, 2, &count,
                                        uint64_t{1}, member->address));
  }
  lists_.push_back(call<const void*>("aclCreateTensorList", handles.data(), uint64_t{handles.size()}));
  return lists_.back();
}

const void* DeviceTest::scalar(float value) {
  scalars_.push_back(call<const void*>("aclCreateScalar", static_cast<void*>(&value), int{kFloat}));
  return scalars_.back();
}

int DeviceTest::launch(const std::string& operation, uint64_t bytes, void* executor) {
  void* workspace = nullptr;
  if (bytes > 0) {
    EXPECT_EQ(status("aclrtMalloc", &workspace, size_t{bytes}, 0), 0);
  }
  int code = status(operation.c_str(), workspace, bytes, executor, stream_);
  const int waited = synchronize();
  if (workspace != nullptr) {
    EXPECT_EQ(status("aclrtFree", workspace), 0) << recent_message();
  }
  return code != 0 ? code : waited;
}

}  // namespace double_test
