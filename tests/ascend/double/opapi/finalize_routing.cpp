// SPDX-License-Identifier: Apache-2.0
// aclnnMoeFinalizeRoutingV2: rows of the experts added up for each token, with bias, scales and two more summands.
#include "operator.h"

namespace ascend_double {
namespace {

int finalize_routing(Handle expanded_handle, Handle rows_handle, Handle x1_handle, Handle x2_handle, Handle bias_handle,
                     Handle scales_handle, Handle ids_handle, int64_t mode, Handle out_handle, uint64_t* workspace,
                     void** executor) {
  Call call("aclnnMoeFinalizeRoutingV2", workspace, executor);
  constexpr int kBadShape = code::kFindKernel;  // what the device answers here
  const Argument expanded = call.input("expandedX", expanded_handle).is(ASCEND_DOUBLE_FLOATS);
  const Argument rows = call.input("expandedRowIdx", rows_handle).is({DataType::kInt32}).has_rank(1, 1, kBadShape);
  const Argument x1 = call.optional_input("x1Optional", x1_handle).is({expanded.dtype()});
  const Argument x2 = call.optional_input("x2Optional", x2_handle).is({expanded.dtype()});
  const Argument bias = call.optional_input("biasOptional", bias_handle).is({expanded.dtype()});
  const Argument scales = call.optional_input("scalesOptional", scales_handle).is({expanded.dtype(), DataType::kFloat});
  const Argument ids = call.optional_input("expertIdxOptional", ids_handle).is({DataType::kInt32});
  const Argument out = call.output("out", out_handle).is({expanded.dtype()}).has_rank(2, 2, kBadShape);
  require(mode >= 0 && mode <= 3, code::kParamInvalid, "dropPadMode is ", mode, ", must be 0..3");
  require(!x2.present() || x1.present(), code::kParamInvalid, "x2Optional goes with x1Optional");
  require(!bias.present() || ids.present(), code::kParamInvalid, "biasOptional goes with expertIdxOptional");
  const bool padded = mode % 2 == 1, by_column = mode < 2;
  expanded.has_rank(padded ? 3 : 2, padded ? 3 : 2, kBadShape);
  const int64_t tokens = out.dim(0), width = out.dim(1);
  require(expanded.dim(-1) == width, kBadShape, "expandedX has ", expanded.dim(-1), " columns, out ", width);
  const int64_t choices = scales.present() && scales.rank() == 2 ? scales.dim(1) : 1;
  scales.has_shape({tokens, choices}, kBadShape);
  rows.has_shape({tokens * choices}, kBadShape);
  ids.has_shape({tokens, choices}, kBadShape);
  x1.has_shape({tokens, width}, kBadShape);
  x2.has_shape({tokens, width}, kBadShape);
  bias.has_rank(2, 2, kBadShape);
  const int64_t available = width == 0 ? 0 : expanded.elements() / width;
  return call.finish(odd_workspace(out.elements()), [=](const Arrays& arrays) {
    const auto optional = [&](const Argument& argument, int64_t at) {
      return argument.present() ? static_cast<float>(arrays[argument.index()][at]) : 0.0f;
    };
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t i = 0; i < width; ++i) {
        float sum = optional(x1, t * width + i) + optional(x2, t * width + i);
        for (int64_t j = 0; j < choices; ++j) {
          const int64_t row = arrays[rows.index()].integer(by_column ? j * tokens + t : t * choices + j);
          if (row >= available || row < (padded ? -1 : 0)) {
            violate("device range", code::kRtAicoreException, "expandedRowIdx holds ", row, ", rows are ", available);
          }
          if (row < 0) continue;
          float value = static_cast<float>(arrays[expanded.index()][row * width + i]);
          if (bias.present()) value += optional(bias, arrays[ids.index()].integer(t * choices + j) * width + i);
          sum += (scales.present() ? optional(scales, t * choices + j) : 1.0f) * value;
        }
        arrays[out.index()].set(t * width + i, sum);
      }
    }
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnMoeFinalizeRoutingV2, finalize_routing)
