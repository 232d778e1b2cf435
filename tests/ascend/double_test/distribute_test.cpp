// SPDX-License-Identifier: Apache-2.0
// The fused operators of expert parallelism: rows to the ranks of their experts and back, against plain loops over what
// all ranks have.
#include <algorithm>

#include "ranks.h"

namespace double_test {
namespace {

using Values = std::vector<double>;
constexpr const void* kNone = nullptr;
constexpr int64_t kTokens = 5, kHidden = 32, kChoices = 3, kExperts = 8;

// What rank r has, known to every thread.
struct Shares {
  explicit Shares(int ranks, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    for (int r = 0; r < ranks; ++r) {
      Values own_x, own_ids, own_weights;
      for (int64_t i = 0; i < kTokens * kHidden; ++i) own_x.push_back(rounded(kBfloat, normal(random)));
      for (int64_t t = 0; t < kTokens; ++t) {
        std::vector<int> order(kExperts);
        for (size_t e = 0; e < order.size(); ++e) order[e] = static_cast<int>(e);
        std::shuffle(order.begin(), order.end(), random);
        for (int64_t k = 0; k < kChoices; ++k) own_ids.push_back(order[static_cast<size_t>(k)]);
      }
      for (int64_t i = 0; i < kTokens * kChoices; ++i) own_weights.push_back(rounded(kFloat, normal(random)));
      x.push_back(own_x), ids.push_back(own_ids), weights.push_back(own_weights);
    }
  }
  std::vector<Values> x, ids, weights;
};

class Distribute : public RanksTest {
 protected:
  struct Call {  // of one rank; tensors that a test may change before it calls
    int64_t ranks, rank, local, room;
    std::unique_ptr<TestTensor> x, ids, weights, rows, scales, assist, counts, received, row_weights, out;
    std::string group;
    int64_t quant = 0, tokens_of_all = 0, count_type = 1;
    const char* algorithm = "fullmesh";
  };
  static std::unique_ptr<TestTensor> make(int dtype, std::vector<int64_t> dims, const Values* values = nullptr) {
    return std::make_unique<TestTensor>(dtype, std::move(dims), values);
  }
  static Call make_call(const Rank& self, const Shares& shares, int64_t quant) {
    Call c{self.ranks, self.rank, kExperts / self.ranks, 0, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}};
    const auto r = static_cast<size_t>(self.rank);
    c.room = kTokens * c.ranks * std::min(c.local, kChoices);
    c.quant = quant;
    c.x = make(kBfloat, {kTokens, kHidden}, &shares.x[r]);
    c.ids = make(kInt32, {kTokens, kChoices}, &shares.ids[r]);
    c.weights = make(kFloat, {kTokens, kChoices}, &shares.weights[r]);
    c.rows = make(quant == 2 ? kInt8 : kBfloat, {c.room, kHidden});
    c.scales = make(kFloat, {c.room});
    c.assist = make(kInt32, {c.room * 128});
    c.counts = make(kInt64, {c.local});
    c.received = make(kInt32, {kExperts});
    c.row_weights = make(kFloat, {c.room});
    c.out = make(kBfloat, {kTokens, kHidden});
    char name[128];
    EXPECT_EQ(status("HcclGetCommName", self.group, static_cast<char*>(name)), 0);
    c.group = name;
    return c;
  }
  static int launch(const Rank& self, const std::string& operation, int planned, uint64_t bytes, void* executor) {
    if (planned != 0) return planned;
    void* workspace = nullptr;
    if (bytes > 0) {
      EXPECT_EQ(status("aclrtMalloc", &workspace, size_t{bytes}, 0), 0);
    }
    const int ran = status(operation.c_str(), workspace, bytes, executor, self.stream);
    const int done = status("aclrtSynchronizeStream", self.stream);
    if (workspace != nullptr) {
      EXPECT_EQ(status("aclrtFree", workspace), 0);
    }
    return ran != 0 ? ran : done;
  }
  static int dispatch(const Rank& self, const Call& c) {
    uint64_t bytes = 0;
    void* executor = nullptr;
    const int planned =
        status("aclnnMoeDistributeDispatchV2GetWorkspaceSize", c.x->handle, c.ids->handle, kNone, kNone,
               c.weights ? c.weights->handle : kNone, c.group.c_str(), c.ranks, c.rank, int64_t{kExperts}, "",
               int64_t{0}, int64_t{0}, int64_t{0}, int64_t{0}, int64_t{0}, c.quant, c.tokens_of_all, c.count_type,
               c.algorithm, c.rows->handle, c.quant == 2 ? c.scales->handle : kNone, c.assist->handle, c.counts->handle,
               c.received->handle, kNone, c.row_weights->handle, static_cast<uint64_t*>(&bytes), &executor);
    return launch(self, "aclnnMoeDistributeDispatchV2", planned, bytes, executor);
  }
  static int combine(const Rank& self, const Call& c, const void* rows) {
    uint64_t bytes = 0;
    void* executor = nullptr;
    const int planned = status(
        "aclnnMoeDistributeCombineV2GetWorkspaceSize", rows, c.ids->handle, c.assist->handle, c.received->handle,
        c.weights->handle, kNone, kNone, kNone, kNone, kNone, c.row_weights->handle, kNone, c.group.c_str(), c.ranks,
        c.rank, int64_t{kExperts}, "", int64_t{0}, int64_t{0}, int64_t{0}, int64_t{0}, int64_t{0}, c.tokens_of_all,
        int64_t{0}, int64_t{0}, int64_t{0}, c.algorithm, c.out->handle, static_cast<uint64_t*>(&bytes), &executor);
    return launch(self, "aclnnMoeDistributeCombineV2", planned, bytes, executor);
  }
};

TEST_P(Distribute, RowsGoToTheirExpertsAndComeBack) {
  const Shares shares(GetParam(), 11);
  as_ranks([&](Rank& self) {
    const Call c = make_call(self, shares, 0);
    ASSERT_EQ(dispatch(self, c), 0) << recent_message();
    const Values rows = c.rows->read(), counts = c.counts->read();
    size_t at = 0;
    for (int64_t e = 0; e < c.local; ++e) {
      const size_t before = at;
      for (int64_t r = 0; r < c.ranks; ++r)
        for (int64_t slot = 0; slot < kTokens * kChoices; ++slot) {
          if (shares.ids[static_cast<size_t>(r)][static_cast<size_t>(slot)] != self.rank * c.local + e) continue;
          for (int64_t i = 0; i < kHidden; ++i)
            ASSERT_EQ(rows[at * kHidden + static_cast<size_t>(i)],
                      shares.x[static_cast<size_t>(r)][static_cast<size_t>(slot / kChoices * kHidden + i)]);
          ++at;
        }
      EXPECT_EQ(counts[static_cast<size_t>(e)], static_cast<double>(at - before));
    }
    ASSERT_EQ(combine(self, c, c.rows->handle), 0) << recent_message();
    const Values out = c.out->read();
    const auto own = static_cast<size_t>(self.rank);
    for (int64_t t = 0; t < kTokens; ++t) {
      double weight = 0;
      for (int64_t k = 0; k < kChoices; ++k) weight += shares.weights[own][static_cast<size_t>(t * kChoices + k)];
      for (int64_t i = 0; i < kHidden; ++i) {
        const double value = weight * shares.x[own][static_cast<size_t>(t * kHidden + i)];
        EXPECT_NEAR(out[static_cast<size_t>(t * kHidden + i)], value, 0.02 * (1 + std::fabs(value)));
      }
    }
  });
}

TEST_P(Distribute, RowsAreQuantisedOnTheWay) {
  const Shares shares(GetParam(), 12);
  as_ranks([&](Rank& self) {
    Call c = make_call(self, shares, 2);
    c.count_type = 0;
    ASSERT_EQ(dispatch(self, c), 0) << recent_message();
    const Values codes = c.rows->read(), scales = c.scales->read(), ends = c.counts->read();
    const auto total = static_cast<size_t>(ends.back());
    for (size_t row = 0; row < total; ++row) {
      double most = 0;
      for (int64_t i = 0; i < kHidden; ++i)
        most = std::max(most, std::fabs(codes[row * kHidden + static_cast<size_t>(i)]));
      EXPECT_EQ(most, 127);
      EXPECT_GT(scales[row], 0);
    }
  });
}

TEST_P(Distribute, Refusals) {
  const Shares shares(GetParam(), 13);
  as_ranks([&](Rank& self) {
    const auto refused = [&](int code, const std::function<void(Call&)>& damage) {
      Call c = make_call(self, shares, 0);
      damage(c);
      EXPECT_EQ(dispatch(self, c), code) << recent_message();
    };
    refused(561002, [](Call& c) { c.group = "another"; });
    refused(161001, [](Call& c) { c.group = ""; });
    refused(561002, [](Call& c) { ++c.ranks; });
    refused(561002, [](Call& c) { c.algorithm = "hierarchy"; });
    refused(561002, [](Call& c) { c.tokens_of_all = kTokens; });
    refused(561002, [](Call& c) { c.count_type = 2; });
    refused(161001, [](Call& c) { c.weights.reset(); });
    refused(561002, [](Call& c) { c.rows = make(kBfloat, {c.room - 1, kHidden}); });
    refused(161002, [](Call& c) { c.rows = make(kFloat, {c.room, kHidden}); });
    refused(161002, [](Call& c) { c.x = make(kFloat, {kTokens, kHidden}); });
    refused(561002, [](Call& c) { c.assist = make(kInt32, {c.room}); });
    refused(561002, [](Call& c) { c.received = make(kInt32, {kExperts + 1}); });
    refused(561002, [](Call& c) {
      c.x = make(kBfloat, {kTokens, kHidden + 1});
      c.rows = make(kBfloat, {c.room, kHidden + 1});
    });
  });
}

TEST_P(Distribute, CombineFindsWhatDispatchDidNotWrite) {
  const Shares shares(GetParam(), 14);
  as_ranks([&](Rank& self) {
    Call c = make_call(self, shares, 0);
    ASSERT_EQ(dispatch(self, c), 0) << recent_message();
    if (self.rank == 0) {
      const Values wrong(static_cast<size_t>(c.room * 128), 1.0);
      c.assist = make(kInt32, {c.room * 128}, &wrong);
      EXPECT_EQ(combine(self, c, c.rows->handle), 507015);
    }
  });
  expect_violation("device range");
}

INSTANTIATE_TEST_SUITE_P(Ranks, Distribute, ::testing::Values(2, 4));

}  // namespace
}  // namespace double_test
