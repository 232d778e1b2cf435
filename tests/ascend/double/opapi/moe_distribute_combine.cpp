// SPDX-License-Identifier: Apache-2.0
// aclnnMoeDistributeCombineV2: the experts' rows back to the ranks and tokens that they came from, weighted and added
// up in the order of each token's choices.
#include <cstring>

#include "moe_distribute.h"

namespace ascend_double {
namespace {

struct Combine {
  Distribution d;
  Argument rows, ids, assist, recv_counts, weights, expanded_weights, out;
};

// The origins of the rows that this rank computed, then the rows.
std::vector<std::byte> own_message(const Combine& c, const Arrays& arrays, int64_t* count) {
  int64_t total = 0;
  for (int64_t i = 0; i < c.d.ranks * c.d.local; ++i) total += arrays[c.recv_counts.index()].integer(i);
  if (total < 0 || total > c.rows.dim(0)) {
    violate("device range", code::kRtAicoreException, "epSendCounts adds up to ", total, ", rows are ", c.rows.dim(0));
  }
  std::vector<std::byte> message(static_cast<size_t>(total * 16 + bytes_of(c.rows.dtype(), total * c.d.hidden)));
  for (int64_t row = 0; row < total; ++row) {
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t value = arrays[c.assist.index()].integer(row * kAssistWidth + i);
      if (i == kMark && value != kAssistMark) {
        violate("device range", code::kRtAicoreException, "row ", row,
                " of assistInfoForCombine is not what dispatch wrote");
      }
      store_integer(DataType::kInt32, message.data(), row * 4 + i, value);
    }
    for (int64_t i = 0; i < c.d.hidden; ++i) {
      store_number(c.rows.dtype(), message.data() + total * 16, row * c.d.hidden + i,
                   arrays[c.rows.index()][row * c.d.hidden + i]);
    }
  }
  *count = total;
  return message;
}

void run(const Combine& c, const Arrays& arrays) {
  const Distribution& d = c.d;
  int64_t own_rows = 0;
  const std::vector<std::byte> message = own_message(c, arrays, &own_rows);
  Signature signature = d.signature(Collective::kCombine, c.rows.dtype());
  signature.bytes = message.size();
  signature.counts[0] = static_cast<uint64_t>(own_rows);
  const Exchange all = exchange(d.group.get(), signature, message.data());
  // Where the row of each slot of this rank lies: which rank, which row of its message.
  std::vector<std::pair<int64_t, int64_t>> places(static_cast<size_t>(d.tokens * d.choices), {-1, 0});
  for (int64_t r = 0; r < d.ranks; ++r) {
    const std::byte* const data = all.data[static_cast<size_t>(r)].data();
    for (int64_t row = 0; row < static_cast<int64_t>(all.signatures[static_cast<size_t>(r)].counts[0]); ++row) {
      if (load_integer(DataType::kInt32, data, row * 4 + kOrigin) != d.rank) continue;
      const int64_t slot = load_integer(DataType::kInt32, data, row * 4 + kToken) * d.choices +
                           load_integer(DataType::kInt32, data, row * 4 + kChoice);
      places.at(static_cast<size_t>(slot)) = {r, row};
    }
  }
  std::vector<float> sum(static_cast<size_t>(d.hidden));
  for (int64_t t = 0; t < d.tokens; ++t) {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (int64_t k = 0; k < d.choices; ++k) {
      const auto [r, row] = places[static_cast<size_t>(t * d.choices + k)];
      if (r < 0) violate("device range", code::kRtAicoreException, "no row for token ", t, ", choice ", k);
      const auto weight = static_cast<float>(arrays[c.weights.index()][t * d.choices + k]);
      const std::byte* const rows =
          all.data[static_cast<size_t>(r)].data() + 16 * all.signatures[static_cast<size_t>(r)].counts[0];
      for (size_t i = 0; i < sum.size(); ++i) {
        sum[i] +=
            weight * static_cast<float>(load_number(c.rows.dtype(), rows, row * d.hidden + static_cast<int64_t>(i)));
      }
    }
    for (int64_t i = 0; i < d.hidden; ++i) arrays[c.out.index()].set(t * d.hidden + i, sum[static_cast<size_t>(i)]);
  }
}

int combine(Handle rows, Handle ids, Handle assist, Handle recv_counts, Handle weights, Handle tp_counts, Handle mask,
            Handle activation_scale, Handle weight_scale, Handle group_list, Handle expanded_weights, Handle shared,
            const char* group_ep, int64_t ranks, int64_t rank, int64_t experts, const char* group_tp, int64_t tp_ranks,
            int64_t tp_rank, int64_t shard_type, int64_t shared_experts, int64_t shared_ranks, int64_t global_tokens,
            int64_t out_dtype, int64_t quant, int64_t list_type, const char* algorithm, Handle out, uint64_t* workspace,
            void** executor) {
  Call call("aclnnMoeDistributeCombineV2", workspace, executor);
  Combine c;
  c.rows = call.input("expandX", rows).is({DataType::kFloat16, DataType::kBFloat16}).has_rank(2, 2, code::kTiling);
  c.ids = call.input("expertIds", ids).is({DataType::kInt32}).has_rank(2, 2, code::kTiling);
  c.assist = call.input("assistInfoForCombine", assist).is({DataType::kInt32});
  c.recv_counts = call.input("epSendCounts", recv_counts).is({DataType::kInt32});
  c.weights = call.input("expertScales", weights).is({DataType::kFloat});
  call.must_be_null("tpSendCountsOptional", tp_counts);
  call.must_be_null("xActiveMaskOptional", mask);
  call.must_be_null("activationScaleOptional", activation_scale);
  call.must_be_null("weightScaleOptional", weight_scale);
  call.must_be_null("groupListOptional", group_list);
  c.expanded_weights = call.optional_input("expandScalesOptional", expanded_weights).is({DataType::kFloat});
  call.must_be_null("sharedExpertXOptional", shared);
  c.out = call.output("xOut", out).is({c.rows.dtype()}).has_rank(2, 2, code::kTiling);
  c.d = check_distribution({group_ep, ranks, rank, experts, group_tp, tp_ranks, tp_rank, shard_type, shared_experts,
                            shared_ranks, global_tokens, algorithm},
                           c.out.dim(0), c.out.dim(1), c.ids.dim(1));
  require(out_dtype == 0 && quant == 0 && list_type == 0, code::kTiling, "outDtype ", out_dtype, ", commQuantMode ",
          quant, ", groupListType ", list_type, ", the double plays 0");
  const int64_t count = c.rows.dim(0);
  c.rows.has_shape({count, c.d.hidden}, code::kTiling);
  require(count >= c.d.least_rows(), code::kTiling, "expandX has ", count, " rows, at least ", c.d.least_rows(),
          " are needed");
  c.ids.has_shape({c.d.tokens, c.d.choices}, code::kTiling);
  c.assist.has_shape({count * kAssistWidth}, code::kTiling);
  c.recv_counts.has_shape({c.d.recv_counts()}, code::kTiling);
  c.weights.has_shape({c.d.tokens, c.d.choices}, code::kTiling);
  require(c.expanded_weights.present() == c.d.first_generation, c.d.first_generation ? code::kNullptr : code::kTiling,
          "expandScalesOptional goes with an A2 and with no other");
  c.expanded_weights.has_shape({count}, code::kTiling);
  return call.finish(odd_workspace(count), [c](const Arrays& arrays) { run(c, arrays); });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnMoeDistributeCombineV2, combine)
