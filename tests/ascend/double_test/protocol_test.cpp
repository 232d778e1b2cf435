// SPDX-License-Identifier: Apache-2.0
// The two phases: executors, workspaces, the life of tensors, repeatable executors, injected faults, absent names.
#include "device.h"

namespace double_test {
namespace {

constexpr const void* kNone = nullptr;

class Protocol : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    x_ = tensor(kFloat, {2, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
    y_ = empty(kFloat, {2, 2});
  }
  void* swiglu(uint64_t* bytes) { return prepare("aclnnSwiGlu", bytes, x_->handle, int64_t{-1}, y_->handle); }
  int execute(void* executor) {
    return status("aclnnSwiGlu", static_cast<void*>(nullptr), uint64_t{0}, executor, stream_);
  }
  // An operator with a workspace.
  void* gating(uint64_t* bytes) {
    if (!ids_) {
      logits_ = random(kFloat, {3, 8});
      y2_ = empty(kFloat, {3, 2});
      ids_ = empty(kInt32, {3, 2});
    }
    return prepare("aclnnMoeGatingTopKSoftmaxV2", bytes, logits_->handle, kNone, int64_t{2}, int64_t{0}, false,
                   y2_->handle, ids_->handle, kNone);
  }

  TensorPointer x_ = nullptr, y_ = nullptr, logits_ = nullptr, y2_ = nullptr, ids_ = nullptr;
  uint64_t bytes_ = 0;
};

TEST_F(Protocol, AnExecutorRunsOnce) {
  void* const executor = swiglu(&bytes_);
  EXPECT_EQ(execute(executor), 0);
  EXPECT_EQ(execute(executor), 161002);
  expect_violation("use after destroy");
  EXPECT_EQ(execute(nullptr), 161001);
  EXPECT_EQ(execute(stream_), 161002);
  expect_violation("foreign handle");
}

TEST_F(Protocol, AnExecutorBelongsToItsOperator) {
  void* const executor = swiglu(&bytes_);
  EXPECT_EQ(status("aclnnCast", static_cast<void*>(nullptr), uint64_t{0}, executor, stream_), 161002);
  expect_violation("foreign handle");
  EXPECT_EQ(execute(executor), 0);
}

TEST_F(Protocol, WorkspaceIsNeeded) {
  void* executor = gating(&bytes_);
  ASSERT_GT(bytes_, 0u);
  EXPECT_EQ(status("aclnnMoeGatingTopKSoftmaxV2", static_cast<void*>(nullptr), bytes_, executor, stream_), 161001);
  expect_violation("missing workspace");
  EXPECT_EQ(live("aclOpExecutor"), 0u) << "gone even so";

  void* workspace = nullptr;
  ASSERT_EQ(status("aclrtMalloc", &workspace, size_t{bytes_}, 0), 0);
  executor = gating(&bytes_);
  EXPECT_EQ(status("aclnnMoeGatingTopKSoftmaxV2", workspace, bytes_ - 1, executor, stream_), 161002);
  expect_violation("missing workspace");
  executor = gating(&bytes_);
  EXPECT_EQ(status("aclnnMoeGatingTopKSoftmaxV2", static_cast<void*>(static_cast<char*>(workspace) + 64), bytes_,
                   executor, stream_),
            107000);
  expect_violation("out of bounds");
  executor = gating(&bytes_);
  char host[4096];
  EXPECT_EQ(status("aclnnMoeGatingTopKSoftmaxV2", static_cast<void*>(host), bytes_, executor, stream_), 107000);
  expect_violation("foreign pointer");
  EXPECT_EQ(status("aclrtFree", workspace), 0);
  executor = gating(&bytes_);
  EXPECT_EQ(status("aclnnMoeGatingTopKSoftmaxV2", workspace, bytes_, executor, stream_), 107000);
  expect_violation("use after free");
}

TEST_F(Protocol, TwoStreamsDoNotShareAWorkspace) {
  void *other = nullptr, *workspace = nullptr;
  ASSERT_EQ(status("aclrtCreateStream", &other), 0);
  void* executor = gating(&bytes_);
  ASSERT_EQ(status("aclrtMalloc", &workspace, size_t{bytes_}, 0), 0);
  EXPECT_EQ(status("aclnnMoeGatingTopKSoftmaxV2", workspace, bytes_, executor, stream_), 0);
  const auto logits = random(kFloat, {3, 8}), y = empty(kFloat, {3, 2}), ids = empty(kInt32, {3, 2});
  executor = prepare("aclnnMoeGatingTopKSoftmaxV2", &bytes_, logits->handle, kNone, int64_t{2}, int64_t{0}, false,
                     y->handle, ids->handle, kNone);
  EXPECT_EQ(status("aclnnMoeGatingTopKSoftmaxV2", workspace, bytes_, executor, other), 107000);
  expect_violation("race");
  EXPECT_EQ(synchronize(), 0);
  EXPECT_EQ(status("aclrtDestroyStream", other), 0);
  EXPECT_EQ(status("aclrtFree", workspace), 0);
}

TEST_F(Protocol, FreeingTheWorkspaceTooEarlyIsFound) {
  void* const executor = gating(&bytes_);
  void* workspace = nullptr;
  ASSERT_EQ(status("aclrtMalloc", &workspace, size_t{bytes_}, 0), 0);
  EXPECT_EQ(status("aclnnMoeGatingTopKSoftmaxV2", workspace, bytes_, executor, stream_), 0);
  EXPECT_EQ(status("aclrtFree", workspace), 107000);
  expect_violation("race");
  EXPECT_EQ(synchronize(), 0);
  EXPECT_EQ(status("aclrtFree", workspace), 0);
}

TEST_F(Protocol, TensorsLiveUntilPhaseTwo) {
  const int64_t dims[] = {2, 4};
  const void* const early =
      call<const void*>("aclCreateTensor", &dims[0], uint64_t{2}, int{kFloat}, static_cast<const int64_t*>(nullptr),
                        int64_t{0}, 2, &dims[0], uint64_t{2}, x_->address);
  void* executor = prepare("aclnnSwiGlu", &bytes_, early, int64_t{1}, y_->handle);
  EXPECT_EQ(status("aclDestroyTensor", early), 0);
  EXPECT_EQ(execute(executor), 161002);
  expect_violation("use after destroy");
  EXPECT_EQ(status("aclnnSwiGluGetWorkspaceSize", early, int64_t{1}, y_->handle, &bytes_, &executor), 161002);
  expect_violation("use after destroy");
  EXPECT_EQ(status("aclDestroyTensor", early), 161002);
  expect_violation("use after destroy");
  EXPECT_EQ(status("aclDestroyTensor", kNone), 0);
}

TEST_F(Protocol, AListOwnsItsMembers) {
  const int64_t dims[] = {2};
  const void* member =
      call<const void*>("aclCreateTensor", &dims[0], uint64_t{1}, int{kFloat}, static_cast<const int64_t*>(nullptr),
                        int64_t{0}, 2, &dims[0], uint64_t{1}, x_->address);
  const void* const list = call<const void*>("aclCreateTensorList", &member, uint64_t{1});
  EXPECT_EQ(status("aclDestroyTensorList", list), 0);
  EXPECT_EQ(status("aclDestroyTensor", member), 161002);
  expect_violation("use after destroy");
}

TEST_F(Protocol, TensorsThatCannotBe) {
  const int64_t dims[] = {2, 4}, negative[] = {2, -1}, storage[] = {7}, huge[] = {int64_t{1} << 40, int64_t{1} << 40};
  const auto make = [&](const int64_t* shape, uint64_t rank, const int64_t* of, uint64_t of_rank) {
    return call<const void*>("aclCreateTensor", shape, rank, int{kFloat}, static_cast<const int64_t*>(nullptr),
                             int64_t{0}, 2, of, of_rank, x_->address);
  };
  EXPECT_EQ(make(nullptr, 2, dims, 2), nullptr);
  EXPECT_EQ(make(negative, 2, dims, 2), nullptr);
  EXPECT_EQ(make(huge, 2, dims, 2), nullptr);
  EXPECT_EQ(make(dims, 2, storage, 1), nullptr);
  expect_violation("view outside storage");
}

TEST_F(Protocol, OutputsOverlapNothing) {
  const void* const inside = view(x_, {2, 2}, {2, 1}, 0);
  EXPECT_EQ(run("aclnnSwiGlu", x_->handle, int64_t{-1}, inside), 161002);
  expect_violation("overlap");
}

TEST_F(Protocol, FreedInputsAreFoundAtPhaseTwo) {
  void* memory = nullptr;
  ASSERT_EQ(status("aclrtMalloc", &memory, size_t{32}, 0), 0);
  const int64_t dims[] = {2, 4};
  const void* const x =
      call<const void*>("aclCreateTensor", &dims[0], uint64_t{2}, int{kFloat}, static_cast<const int64_t*>(nullptr),
                        int64_t{0}, 2, &dims[0], uint64_t{2}, memory);
  void* const executor = prepare("aclnnSwiGlu", &bytes_, x, int64_t{-1}, y_->handle);
  EXPECT_EQ(status("aclrtFree", memory), 0);
  EXPECT_EQ(execute(executor), 107000);
  expect_violation("use after free");
  EXPECT_EQ(status("aclDestroyTensor", x), 0);
}

TEST_F(Protocol, RepeatableExecutorsAndNewAddresses) {
  void* const executor = swiglu(&bytes_);
  const auto x2 = tensor(kFloat, {2, 4}, {8, 7, 6, 5, 4, 3, 2, 1}), y2 = empty(kFloat, {2, 2});
  void* const ex = executor;
  EXPECT_EQ(status("aclSetInputTensorAddr", ex, size_t{0}, x_->handle, x2->address), 161002) << "not repeatable yet";
  EXPECT_EQ(status("aclSetAclOpExecutorRepeatable", ex), 0);
  EXPECT_EQ(execute(ex), 0);
  EXPECT_EQ(execute(ex), 0);
  EXPECT_EQ(synchronize(), 0);
  const auto first = y_->read();
  EXPECT_EQ(status("aclSetInputTensorAddr", ex, size_t{0}, x_->handle, x2->address), 0);
  EXPECT_EQ(status("aclSetOutputTensorAddr", ex, size_t{0}, y_->handle, y2->address), 0);
  EXPECT_EQ(status("aclSetInputTensorAddr", ex, size_t{1}, x_->handle, x2->address), 161002);
  EXPECT_EQ(status("aclSetInputTensorAddr", ex, size_t{0}, y_->handle, x2->address), 161002);
  expect_violation("foreign handle");
  EXPECT_EQ(execute(ex), 0);
  EXPECT_EQ(synchronize(), 0);
  EXPECT_EQ(y_->read(), first);
  EXPECT_NEAR(y2->read()[0], 8 / (1 + std::exp(-8.0)) * 6, 1e-5);
  EXPECT_EQ(live("aclOpExecutor"), 1u);
  EXPECT_EQ(status("aclDestroyAclOpExecutor", ex), 0);
  EXPECT_EQ(execute(ex), 161002);
  expect_violation("use after destroy");
}

TEST_F(Protocol, LeftOverExecutorsAreCounted) {
  void* const executor = swiglu(&bytes_);
  EXPECT_EQ(live("aclOpExecutor"), 1u);
  EXPECT_EQ(status("aclDestroyAclOpExecutor", executor), 0);
}

TEST_F(Protocol, FaultsAtTheNthCall) {
  set("FAULTS", "aclnnSwiGlu:2:561003,aclnnCastGetWorkspaceSize:0:561000");
  EXPECT_EQ(run("aclnnSwiGlu", x_->handle, int64_t{-1}, y_->handle), 0);
  void* const executor = swiglu(&bytes_);
  EXPECT_EQ(execute(executor), 561003);
  EXPECT_NE(recent_message().find("aclnnSwiGlu"), std::string::npos);
  EXPECT_EQ(recent_message(), "") << "read once";
  EXPECT_EQ(live("aclOpExecutor"), 0u) << "phase two takes its executor even so";
  for (int i = 0; i < 2; ++i) EXPECT_EQ(run("aclnnCast", x_->handle, int{kFloat}, y_->handle), 561000);
  EXPECT_EQ(call<uint64_t>("ascend_double_calls", "aclnnSwiGlu"), 2u);
}

TEST_F(Protocol, AbsentNamesAndTheOldProfile) {
  EXPECT_NE(find("aclnnGroupedMatmulV5"), nullptr);
  set("ABSENT", "aclnnSwiGlu,aclrtGetSocName");
  EXPECT_EQ(find("aclnnSwiGlu"), nullptr);
  EXPECT_EQ(find("aclnnSwiGluGetWorkspaceSize"), nullptr);
  EXPECT_EQ(find("aclrtGetSocName"), nullptr);
  EXPECT_NE(find("aclnnCast"), nullptr);
  set("ABSENT", "");
  set("PROFILE", "old,jitter");
  for (const char* name : {"aclnnGroupedMatmulV5", "aclnnMoeInitRoutingV3GetWorkspaceSize", "aclmdlRICaptureBegin"}) {
    EXPECT_EQ(find(name), nullptr) << name;
  }
  for (const char* name : {"aclnnGroupedMatmulV4", "aclnnMoeInitRoutingV2", "aclnnMoeGatingTopKSoftmax"}) {
    EXPECT_NE(find(name), nullptr) << name;
  }
}

TEST_F(Protocol, InitialisedBefore) {
  EXPECT_EQ(status("aclInit", static_cast<const char*>(nullptr)), 100002);
  EXPECT_EQ(status("aclFinalize"), 0);
  EXPECT_EQ(status("aclFinalize"), 100037);
  int32_t device = 0;
  EXPECT_EQ(status("aclrtGetDevice", &device), 100001);
  set("FAULTS", "aclInit:0:100002");
  EXPECT_EQ(status("aclInit", static_cast<const char*>(nullptr)), 100002);
  EXPECT_EQ(status("aclrtGetDevice", &device), 0);
}

using ProtocolDeathTest = Protocol;

TEST_F(ProtocolDeathTest, StrictEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  set("ON_VIOLATION", "abort");
  EXPECT_DEATH(status("aclrtFree", static_cast<void*>(this)), "foreign pointer");
}

TEST_F(ProtocolDeathTest, LeaksFailTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        set("LEAKS", "fail");
        std::exit(0);
      },
      ::testing::ExitedWithCode(86), "leaked");
}

}  // namespace
}  // namespace double_test
