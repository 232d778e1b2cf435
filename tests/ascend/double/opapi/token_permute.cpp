// SPDX-License-Identifier: Apache-2.0
// aclnnMoeTokenPermute and its V2 (without quantisation): rows sorted by their expert.
#include "sorted_routing.h"

namespace ascend_double {
namespace {

int permute(const char* operation, Handle tokens_handle, Handle indices_handle, int64_t kept, bool padded,
            Handle out_handle, Handle sorted_handle, uint64_t* workspace, void** executor) {
  Call call(operation, workspace, executor);
  const Argument tokens = call.input("tokens", tokens_handle).is(ASCEND_DOUBLE_FLOATS).has_rank(2, 2);
  const Argument indices =
      call.input("indices", indices_handle).is({DataType::kInt32, DataType::kInt64}).has_rank(1, 2);
  const Argument out = call.output("permuteTokensOut", out_handle).is({tokens.dtype()});
  const Argument sorted = call.output("sortedIndicesOut", sorted_handle).is({DataType::kInt32});
  require(!padded, code::kParamInvalid, "paddedMode must be false");
  require(indices.dim(0) == tokens.dim(0), code::kParamInvalid, "indices has ", indices.dim(0), " rows, tokens ",
          tokens.dim(0));
  const int64_t pairs = indices.elements(), width = tokens.dim(1);
  const int64_t choices = indices.rank() == 2 ? indices.dim(1) : 1;
  require(choices <= 512, code::kParamInvalid, "choices of a token: ", choices, ", limit 512");
  const int64_t rows = kept > 0 ? std::min(kept, pairs) : std::max<int64_t>(0, pairs + kept);
  out.has_shape({rows, width});
  sorted.has_shape({pairs});
  return call.finish(odd_workspace(pairs), [=](const Arrays& arrays) {
    const SortedRouting routing = sort_by_expert(arrays[indices.index()], INT32_MAX, 0, 0);
    std::vector<int64_t> order = routing.order;  // sort_by_expert saw an empty range: still in flat order
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return routing.expert[static_cast<size_t>(a)] < routing.expert[static_cast<size_t>(b)];
    });
    for (int64_t rank = 0; rank < pairs; ++rank) {
      const int64_t position = order[static_cast<size_t>(rank)];
      arrays[sorted.index()].set_integer(position, rank);
      if (rank < rows) {
        arrays[out.index()].copy(rank * width, arrays[tokens.index()], position / choices * width, width);
      }
    }
  });
}

int v1(Handle tokens, Handle indices, int64_t kept, bool padded, Handle out, Handle sorted, uint64_t* workspace,
       void** executor) {
  return permute("aclnnMoeTokenPermute", tokens, indices, kept, padded, out, sorted, workspace, executor);
}

int v2(Handle tokens, Handle indices, int64_t kept, bool padded, int64_t quant_mode, Handle out, Handle sorted,
       Handle expanded_scale, uint64_t* workspace, void** executor) {
  require(quant_mode == -1, code::kParamInvalid, "quantMode is ", quant_mode, ", the double plays -1");
  require(expanded_scale == nullptr, code::kParamInvalid, "expandedScaleOut must be NULL without quantisation");
  return permute("aclnnMoeTokenPermuteV2", tokens, indices, kept, padded, out, sorted, workspace, executor);
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnMoeTokenPermute, v1)
ASCEND_DOUBLE_OPERATOR(aclnnMoeTokenPermuteV2, v2)
