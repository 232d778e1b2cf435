// SPDX-License-Identifier: Apache-2.0
// aclnnMoeComputeExpertTokens: end offsets of the experts in a sorted list of expert numbers.
#include "operator.h"

namespace ascend_double {
namespace {

int compute_expert_tokens(Handle sorted_handle, int64_t experts, Handle out_handle, uint64_t* workspace,
                          void** executor) {
  Call call("aclnnMoeComputeExpertTokens", workspace, executor);
  const Argument sorted = call.input("sortedExperts", sorted_handle).is({DataType::kInt32}).has_rank(1, 1);
  const Argument out = call.output("out", out_handle).is({DataType::kInt32});
  require(experts > 0 && experts <= 2048, code::kParamInvalid, "numExperts is ", experts, ", must be 1..2048");
  out.has_shape({experts});
  return call.finish(odd_workspace(experts), [=](const Arrays& arrays) {
    const Array& in = arrays[sorted.index()];
    std::vector<int64_t> ends(static_cast<size_t>(experts), 0);
    for (int64_t i = 0; i < in.elements(); ++i) {
      const int64_t expert = in.integer(i);
      if (expert < 0 || expert >= experts || (i > 0 && expert < in.integer(i - 1))) {
        violate("device range", code::kRtAicoreException, "entry ", i, " is ", expert, ": out of range or not sorted");
      }
      ++ends[static_cast<size_t>(expert)];
    }
    int64_t sum = 0;
    for (int64_t e = 0; e < experts; ++e) arrays[out.index()].set_integer(e, sum += ends[static_cast<size_t>(e)]);
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnMoeComputeExpertTokens, compute_expert_tokens)
