// SPDX-License-Identifier: Apache-2.0
// aclnnMoeTokenUnpermute: rows brought back to their tokens and added up with their probabilities.
#include "operator.h"

namespace ascend_double {
namespace {

int unpermute(Handle tokens_handle, Handle indices_handle, Handle probs_handle, bool padded, Handle restore_handle,
              Handle out_handle, uint64_t* workspace, void** executor) {
  Call call("aclnnMoeTokenUnpermute", workspace, executor);
  const Argument tokens = call.input("permutedTokens", tokens_handle).is(ASCEND_DOUBLE_FLOATS).has_rank(2, 2);
  const Argument indices = call.input("sortedIndices", indices_handle).is({DataType::kInt32}).has_rank(1, 1);
  const Argument probs = call.optional_input("probsOptional", probs_handle).is(ASCEND_DOUBLE_FLOATS).has_rank(2, 2);
  const Argument out = call.output("out", out_handle).is({tokens.dtype()});
  require(!padded, code::kParamInvalid, "paddedMode must be false");
  require(restore_handle == nullptr, code::kParamInvalid, "restoreShapeOptional must be NULL");
  const int64_t choices = probs.present() ? probs.dim(1) : 1;
  require(choices >= 1 && choices <= 512, code::kParamInvalid, "choices of a token: ", choices, ", must be 1..512");
  const int64_t count = indices.elements() / choices, width = tokens.dim(1);
  require(indices.elements() % choices == 0, code::kParamInvalid, "sortedIndices has ", indices.elements(),
          " entries, probs ", choices, " columns");
  probs.has_shape({count, choices});
  out.has_shape({count, width});
  return call.finish(odd_workspace(out.elements()), [=](const Arrays& arrays) {
    const Array& rows = arrays[tokens.index()];
    std::vector<float> sum(static_cast<size_t>(width));
    for (int64_t t = 0; t < count; ++t) {
      std::fill(sum.begin(), sum.end(), 0.0f);
      for (int64_t j = 0; j < choices; ++j) {
        const int64_t row = arrays[indices.index()].integer(t * choices + j);
        if (row < 0 || row >= tokens.dim(0)) {
          violate("device range", code::kRtAicoreException, "sortedIndices holds ", row, ", rows are ", tokens.dim(0));
        }
        const float weight = probs.present() ? static_cast<float>(arrays[probs.index()][t * choices + j]) : 1.0f;
        const std::vector<float> values = rows.row(row);
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += weight * values[i];
      }
      for (int64_t i = 0; i < width; ++i) arrays[out.index()].set(t * width + i, sum[static_cast<size_t>(i)]);
    }
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnMoeTokenUnpermute, unpermute)
