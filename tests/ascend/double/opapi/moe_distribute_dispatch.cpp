// SPDX-License-Identifier: Apache-2.0
// aclnnMoeDistributeDispatchV2: the rows of all ranks that chose an expert of this one, sorted by expert, then by rank
// and token.
#include <cstring>

#include "moe_distribute.h"

namespace ascend_double {
namespace {

struct Dispatch {
  Distribution d;
  Argument x, ids, weights, expanded, scales, assist, counts, recv_counts, expanded_weights;
  int64_t quant = 0, count_type = 0;
};

// What a rank tells the others: ids and weights of its tokens, then their rows.
std::vector<std::byte> own_message(const Dispatch& c, const Arrays& arrays) {
  const Distribution& d = c.d;
  const auto slots = static_cast<size_t>(d.tokens * d.choices);
  const auto row_bytes = static_cast<size_t>(bytes_of(c.x.dtype(), d.tokens * d.hidden));
  std::vector<std::byte> message(slots * 8 + row_bytes);
  for (size_t i = 0; i < slots; ++i) {
    const auto id = static_cast<int32_t>(arrays[c.ids.index()].integer(static_cast<int64_t>(i)));
    if (id < 0 || id >= d.experts) {
      violate("device range", code::kRtAicoreException, "expertIds holds ", id, ", experts are ", d.experts);
    }
    const float weight =
        c.weights.present() ? static_cast<float>(arrays[c.weights.index()][static_cast<int64_t>(i)]) : 0.0f;
    std::memcpy(message.data() + 4 * i, &id, 4);
    std::memcpy(message.data() + 4 * (slots + i), &weight, 4);
  }
  for (int64_t i = 0; i < d.tokens * d.hidden; ++i) {
    store_number(c.x.dtype(), message.data() + slots * 8, i, arrays[c.x.index()][i]);
  }
  return message;
}

void write_row(const Dispatch& c, const Arrays& arrays, const std::byte* rows, int64_t token, int64_t at) {
  std::vector<float> row(static_cast<size_t>(c.d.hidden));
  for (size_t i = 0; i < row.size(); ++i) {
    row[i] = static_cast<float>(load_number(c.x.dtype(), rows, token * c.d.hidden + static_cast<int64_t>(i)));
  }
  if (c.quant == 2) return arrays[c.scales.index()].set(at, quantise_row(row, arrays[c.expanded.index()], at));
  for (size_t i = 0; i < row.size(); ++i) {
    arrays[c.expanded.index()].set_exact(at * c.d.hidden + static_cast<int64_t>(i), row[i]);
  }
}

void run(const Dispatch& c, const Arrays& arrays) {
  const Distribution& d = c.d;
  const std::vector<std::byte> message = own_message(c, arrays);
  Signature signature = d.signature(Collective::kDispatch, c.x.dtype());
  signature.bytes = message.size();
  const Exchange all = exchange(d.group.get(), signature, message.data());
  const int64_t slots = d.tokens * d.choices;
  int64_t at = 0;
  for (int64_t i = 0; i < d.recv_counts(); ++i) arrays[c.recv_counts.index()].set_integer(i, 0);
  for (int64_t e = 0; e < d.local; ++e) {
    const int64_t before = at;
    for (int64_t r = 0; r < d.ranks; ++r) {
      const std::byte* const data = all.data[static_cast<size_t>(r)].data();
      const int64_t first = at;
      for (int64_t slot = 0; slot < slots; ++slot) {
        if (load_integer(DataType::kInt32, data, slot) != d.rank * d.local + e) continue;
        write_row(c, arrays, data + 8 * slots, slot / d.choices, at);
        const int64_t origin[] = {kAssistMark, r, slot / d.choices, slot % d.choices};
        for (int64_t i = 0; i < kAssistWidth; ++i) {
          arrays[c.assist.index()].set_integer(at * kAssistWidth + i, i < 4 ? origin[i] : 0);
        }
        if (c.weights.present()) {
          arrays[c.expanded_weights.index()].set_exact(at, load_number(DataType::kFloat, data + 4 * slots, slot));
        }
        ++at;
      }
      arrays[c.recv_counts.index()].set_integer(e * d.ranks + r, at - first);
    }
    arrays[c.counts.index()].set_integer(e, c.count_type == 0 ? at : at - before);
  }
}

int dispatch(Handle x, Handle ids, Handle smooth, Handle mask, Handle weights, const char* group_ep, int64_t ranks,
             int64_t rank, int64_t experts, const char* group_tp, int64_t tp_ranks, int64_t tp_rank, int64_t shard_type,
             int64_t shared_experts, int64_t shared_ranks, int64_t quant, int64_t global_tokens, int64_t count_type,
             const char* algorithm, Handle expanded, Handle scales, Handle assist, Handle counts, Handle recv_counts,
             Handle tp_recv_counts, Handle expanded_weights, uint64_t* workspace, void** executor) {
  Call call("aclnnMoeDistributeDispatchV2", workspace, executor);
  Dispatch c;
  c.x = call.input("x", x).is({DataType::kFloat16, DataType::kBFloat16}).has_rank(2, 2, code::kTiling);
  c.ids = call.input("expertIds", ids).is({DataType::kInt32}).has_rank(2, 2, code::kTiling);
  call.must_be_null("scalesOptional", smooth);
  call.must_be_null("xActiveMaskOptional", mask);
  c.weights = call.optional_input("expertScalesOptional", weights).is({DataType::kFloat});
  c.expanded = call.output("expandXOut", expanded);
  c.scales = call.optional_output("dynamicScalesOut", scales);
  c.assist = call.output("assistInfoForCombineOut", assist).is({DataType::kInt32});
  c.counts = call.output("expertTokenNumsOut", counts).is({DataType::kInt64});
  c.recv_counts = call.output("epRecvCountsOut", recv_counts).is({DataType::kInt32});
  call.must_be_null("tpRecvCountsOut", tp_recv_counts, true);
  c.expanded_weights = call.optional_output("expandScalesOut", expanded_weights).is({DataType::kFloat});
  c.d = check_distribution({group_ep, ranks, rank, experts, group_tp, tp_ranks, tp_rank, shard_type, shared_experts,
                            shared_ranks, global_tokens, algorithm},
                           c.x.dim(0), c.x.dim(1), c.ids.dim(1));
  require(count_type == 0 || count_type == 1, code::kTiling, "expertTokenNumsType is ", count_type);
  require(quant == 0 || quant == 2, code::kTiling, "quantMode is ", quant, ", this chip has 0 and 2");
  c.quant = quant;
  c.count_type = count_type;
  const int64_t rows = c.expanded.dim(0);
  c.ids.has_shape({c.d.tokens, c.d.choices}, code::kTiling);
  c.weights.has_shape({c.d.tokens, c.d.choices}, code::kTiling);
  require(c.weights.present() || !c.d.first_generation, code::kNullptr, "expertScalesOptional is needed on an A2");
  c.expanded.is({quant == 2 ? DataType::kInt8 : c.x.dtype()}).has_shape({rows, c.d.hidden}, code::kTiling);
  require(rows >= c.d.least_rows(), code::kTiling, "expandXOut has ", rows, " rows, at least ", c.d.least_rows(),
          " are needed");
  require(quant != 2 || c.scales.present(), code::kNullptr, "dynamicScalesOut is NULL");
  c.scales.is({DataType::kFloat}).has_shape({rows}, code::kTiling);
  c.assist.has_shape({rows * kAssistWidth}, code::kTiling);
  c.counts.has_shape({c.d.local}, code::kTiling);
  c.recv_counts.has_shape({c.d.recv_counts()}, code::kTiling);
  require(!c.weights.present() || c.expanded_weights.present(), code::kNullptr, "expandScalesOut is NULL");
  c.expanded_weights.has_shape({rows}, code::kTiling);
  return call.finish(odd_workspace(rows), [c](const Arrays& arrays) { run(c, arrays); });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnMoeDistributeDispatchV2, dispatch)
