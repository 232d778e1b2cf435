// SPDX-License-Identifier: Apache-2.0
// The collectives between threads of this process and between processes.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <numeric>

#include "ranks.h"

namespace double_test {
namespace {

using Values = std::vector<double>;
enum : int { kHcclInt32 = 2, kHcclHalf = 3, kHcclFloat = 4, kHcclBfloat = 11 };
enum : int { kSum = 0, kMax = 2 };

class Collectives : public RanksTest {};

TEST_P(Collectives, ReduceGatherScatter) {
  const int64_t count = 70000;  // two rounds of a slot
  as_ranks([&](Rank& self) {
    Values own(static_cast<size_t>(count));
    for (size_t i = 0; i < own.size(); ++i) own[i] = static_cast<double>(i % 17) + self.rank;
    const double extra = self.ranks * (self.ranks - 1) / 2;
    void *const in = self.upload(kFloat, own), *const out = self.allocate(4 * own.size());
    EXPECT_EQ(status("HcclAllReduce", in, out, uint64_t{70000}, int{kHcclFloat}, int{kSum}, self.group, self.stream), 0)
        << recent_message();
    const Values sums = self.download(kFloat, out, count);
    for (size_t i = 0; i < own.size(); i += 997) EXPECT_EQ(sums[i], static_cast<double>(i % 17) * self.ranks + extra);

    const Values few{self.rank + 0.5, self.rank * 2.0, -self.rank * 1.0};
    void *const small = self.upload(kBfloat, few), *const all = self.allocate(6 * static_cast<size_t>(self.ranks));
    EXPECT_EQ(status("HcclAllGather", small, all, uint64_t{3}, int{kHcclBfloat}, self.group, self.stream), 0);
    const Values gathered = self.download(kBfloat, all, 3 * self.ranks);
    for (int r = 0; r < self.ranks; ++r) EXPECT_EQ(gathered[3 * r + 1], 2.0 * r);

    Values wide;
    for (int r = 0; r < self.ranks; ++r) wide.insert(wide.end(), {10.0 * r + self.rank, 1.0 * r});
    void *const parts = self.upload(kInt32, wide), *const part = self.allocate(8);
    EXPECT_EQ(
        status("HcclReduceScatter", parts, part, uint64_t{2}, int{kHcclInt32}, int{kMax}, self.group, self.stream), 0);
    EXPECT_EQ(self.download(kInt32, part, 2), (Values{10.0 * self.rank + self.ranks - 1, 1.0 * self.rank}));

    void* const shared = self.upload(kHalf, {self.rank * 1.0});
    EXPECT_EQ(status("HcclBroadcast", shared, uint64_t{1}, int{kHcclHalf}, static_cast<uint32_t>(self.ranks - 1),
                     self.group, self.stream),
              0);
    EXPECT_EQ(self.download(kHalf, shared, 1)[0], self.ranks - 1);
    EXPECT_EQ(status("HcclBarrier", self.group, self.stream), 0);
  });
}

TEST_P(Collectives, AllToAllWithCounts) {
  as_ranks([&](Rank& self) {
    // Rank i sends (i + j) % 3 elements to rank j, each of them 100 i + j.
    const auto amount = [](int from, int to) { return static_cast<uint64_t>((from + to) % 3); };
    std::vector<uint64_t> send_counts, send_begins, receive_counts, receive_begins, matrix;
    Values out, expected;
    for (int peer = 0; peer < self.ranks; ++peer) {
      send_counts.push_back(amount(self.rank, peer));
      send_begins.push_back(out.size());
      out.insert(out.end(), amount(self.rank, peer), 100.0 * self.rank + peer);
      receive_counts.push_back(amount(peer, self.rank));
      receive_begins.push_back(expected.size());
      expected.insert(expected.end(), amount(peer, self.rank), 100.0 * peer + self.rank);
      for (int to = 0; to < self.ranks; ++to) matrix.push_back(amount(peer, to));
    }
    out.push_back(-1);  // never empty
    void *const send = self.upload(kFloat, out), *const receive = self.allocate(4 * expected.size() + 4);
    for (const bool by_matrix : {false, true}) {
      if (by_matrix) {
        EXPECT_EQ(status("HcclAlltoAllVC", static_cast<const void*>(send), static_cast<const void*>(matrix.data()),
                         int{kHcclFloat}, static_cast<const void*>(receive), int{kHcclFloat}, self.group, self.stream),
                  0);
      } else {
        EXPECT_EQ(status("HcclAlltoAllV", static_cast<const void*>(send), static_cast<const void*>(send_counts.data()),
                         static_cast<const void*>(send_begins.data()), int{kHcclFloat},
                         static_cast<const void*>(receive), static_cast<const void*>(receive_counts.data()),
                         static_cast<const void*>(receive_begins.data()), int{kHcclFloat}, self.group, self.stream),
                  0);
      }
      EXPECT_EQ(status("aclrtSynchronizeStream", self.stream), 0) << recent_message();
      if (!expected.empty()) {
        EXPECT_EQ(self.download(kFloat, receive, static_cast<int64_t>(expected.size())), expected);
      }
    }
    Values equal;
    for (int peer = 0; peer < self.ranks; ++peer) equal.push_back(10.0 * self.rank + peer);
    void *const from = self.upload(kFloat, equal), *const to = self.allocate(4 * equal.size());
    EXPECT_EQ(status("HcclAlltoAll", static_cast<const void*>(from), uint64_t{1}, int{kHcclFloat},
                     static_cast<const void*>(to), uint64_t{1}, int{kHcclFloat}, self.group, self.stream),
              0);
    const Values turned = self.download(kFloat, to, self.ranks);
    for (int peer = 0; peer < self.ranks; ++peer) EXPECT_EQ(turned[peer], 10.0 * peer + self.rank);
  });
}

TEST_P(Collectives, DifferentCallsAreFound) {
  if (GetParam() == 1) return;  // one rank agrees with itself
  as_ranks([&](Rank& self) {
    void *const in = self.upload(kFloat, {1, 2, 3, 4}), *const out = self.allocate(16);
    EXPECT_EQ(status("HcclAllReduce", in, out, static_cast<uint64_t>(self.rank == 0 ? 4 : 2), int{kHcclFloat},
                     int{kSum}, self.group, self.stream),
              0);
    EXPECT_NE(status("aclrtSynchronizeStream", self.stream), 0);
  });
  EXPECT_EQ(violations("collective mismatch"), GetParam());
  expected_violations_ = GetParam();
}

TEST_P(Collectives, MissingRanksTimeOut) {
  if (GetParam() == 1) return;
  set("HCCL_TIMEOUT_MS", "100");
  as_ranks([&](Rank& self) {
    void *const in = self.upload(kFloat, {1}), *const out = self.allocate(4);
    if (self.rank == 0) return;
    EXPECT_EQ(status("HcclAllReduce", in, out, uint64_t{1}, int{kHcclFloat}, int{kSum}, self.group, self.stream), 0);
    EXPECT_EQ(status("aclrtSynchronizeStream", self.stream), 9);
  });
}

TEST_P(Collectives, Refusals) {
  as_ranks([&](Rank& self) {
    void* const memory = self.allocate(16);
    const auto all_reduce = [&](void* in, void* out, uint64_t count, int type, int reduction) {
      return status("HcclAllReduce", in, out, count, type, reduction, self.group, self.stream);
    };
    void* const none = nullptr;
    EXPECT_EQ(all_reduce(none, memory, 1, kHcclFloat, kSum), 2);
    EXPECT_EQ(all_reduce(memory, memory, 1, 14, kSum), 5);
    EXPECT_EQ(all_reduce(memory, memory, 1, kHcclFloat, 4), 1);
    uint32_t number = 9;
    EXPECT_EQ(status("HcclGetRankId", self.group, &number), 0);
    EXPECT_EQ(number, static_cast<uint32_t>(self.rank));
    EXPECT_EQ(status("HcclGetRankSize", self.group, &number), 0);
    EXPECT_EQ(number, static_cast<uint32_t>(self.ranks));
    char name[128];
    EXPECT_EQ(status("HcclGetCommName", self.group, static_cast<char*>(name)), 0);
    EXPECT_NE(std::string(name), "");
  });
  EXPECT_EQ(violations(), 0);
}

TEST_P(Collectives, ABufferTooSmall) {
  as_ranks([&](Rank& self) {
    void* const memory = self.allocate(16);
    EXPECT_EQ(status("HcclAllReduce", memory, memory, uint64_t{5}, int{kHcclFloat}, int{kSum}, self.group, self.stream),
              1);
  });
  EXPECT_EQ(violations("out of bounds"), GetParam());
  expected_violations_ = GetParam();
}

INSTANTIATE_TEST_SUITE_P(Ranks, Collectives, ::testing::Values(1, 2, 4));

class Processes : public DeviceTest {};

TEST_F(Processes, ReduceTogether) {
  RootInfo info;
  ASSERT_EQ(status("HcclGetRootInfo", static_cast<void*>(&info)), 0);
  char path[] = "/tmp/ascend_double_root_XXXXXX";
  const int file = mkstemp(path);
  ASSERT_GE(file, 0);
  ASSERT_EQ(write(file, info.internal, sizeof(info.internal)), static_cast<ssize_t>(sizeof(info.internal)));
  close(file);
  std::vector<pid_t> children;
  for (const char* rank : {"0", "1", "2"}) {
    const pid_t child = fork();
    if (child == 0) {
      execl(MOEKIT_ASCEND_DOUBLE_RANK, MOEKIT_ASCEND_DOUBLE_RANK, path, "3", rank, static_cast<char*>(nullptr));
      _exit(127);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int state = -1;
    ASSERT_EQ(waitpid(child, &state, 0), child);
    EXPECT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0) << state;
  }
  unlink(path);
}

}  // namespace
}  // namespace double_test
