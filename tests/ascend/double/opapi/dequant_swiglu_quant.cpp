// SPDX-License-Identifier: Apache-2.0
// aclnnDequantSwigluQuant: int32 sums to floats, SwiGLU, int8 with one scale a row. The group index holds counts of
// rows; rows beyond their sum are not written.
#include <cstring>

#include "operator.h"

namespace ascend_double {
namespace {

// One row of [H] for all groups, or a row each of [G, H].
void check_by_group(const Argument& argument, int64_t groups, int64_t width) {
  if (!argument.present()) return;
  if (argument.rank() == 1) {
    argument.has_shape({width});
  } else {
    argument.has_shape({groups, width});
  }
}

double by_group(const Arrays& arrays, const Argument& argument, int64_t group, int64_t width, int64_t at) {
  return arrays[argument.index()][(argument.rank() == 2 ? group * width : 0) + at];
}

int dequant_swiglu_quant(Handle x_handle, Handle weight_scale_handle, Handle activation_scale_handle,
                         Handle bias_handle, Handle quant_scale_handle, Handle quant_offset_handle, Handle group_handle,
                         bool activate_left, char* mode, Handle y_handle, Handle scale_handle, uint64_t* workspace,
                         void** executor) {
  Call call("aclnnDequantSwigluQuant", workspace, executor);
  const Argument x =
      call.input("x", x_handle).is({DataType::kInt32, DataType::kFloat16, DataType::kBFloat16}).has_rank(2, 2);
  const Argument weight_scale = call.optional_input("weightScaleOptional", weight_scale_handle).is({DataType::kFloat});
  const Argument activation_scale =
      call.optional_input("activationScaleOptional", activation_scale_handle).is({DataType::kFloat});
  const Argument bias = call.optional_input("biasOptional", bias_handle)
                            .is({DataType::kInt32, DataType::kFloat, DataType::kFloat16, DataType::kBFloat16});
  const Argument quant_scale = call.optional_input("quantScaleOptional", quant_scale_handle).is({DataType::kFloat});
  const Argument quant_offset = call.optional_input("quantOffsetOptional", quant_offset_handle).is({DataType::kFloat});
  const Argument group = call.optional_input("groupIndexOptional", group_handle).is({DataType::kInt64}).has_rank(1, 1);
  const Argument y = call.output("yOut", y_handle).is({DataType::kInt8});
  const Argument scale = call.output("scaleOut", scale_handle).is({DataType::kFloat});
  const int64_t rows = x.dim(0), width = x.dim(1), half = width / 2;
  const bool dynamic = mode == nullptr || std::strcmp(mode, "dynamic") == 0;
  require(dynamic || std::strcmp(mode, "static") == 0, code::kParamInvalid, "quantModeOptional is ", mode);
  require(width % 2 == 0, code::kParamInvalid, "x has ", width, " columns, must be even");
  require(x.dtype() != DataType::kInt32 || weight_scale.present(), code::kParamInvalid,
          "weightScaleOptional is needed for an INT32 x");
  require(x.dtype() == DataType::kInt32 || (!weight_scale.present() && !activation_scale.present() && !bias.present()),
          code::kParamInvalid, "scales and bias go with an INT32 x");
  require(dynamic || (quant_scale.present() && quant_offset.present()), code::kParamInvalid,
          "static quantisation needs quantScale and quantOffset");
  require(!dynamic || !quant_offset.present(), code::kParamInvalid,
          "quantOffsetOptional goes with static quantisation");
  const int64_t groups = group.present() ? group.dim(0) : 1;
  check_by_group(weight_scale, groups, width);
  check_by_group(bias, groups, width);
  check_by_group(quant_scale, groups, half);
  check_by_group(quant_offset, groups, half);
  require(!activation_scale.present() || activation_scale.elements() == rows, code::kParamInvalid,
          "activationScaleOptional has not ", rows, " elements");
  y.has_shape({rows, half});
  scale.has_shape({rows});
  return call.finish(odd_workspace(x.elements()), [=](const Arrays& arrays) {
    const Array& in = arrays[x.index()];
    const auto value = [&](int64_t g, int64_t row, int64_t at) {
      float v = static_cast<float>(in[row * width + at]);
      const double shift = bias.present() ? by_group(arrays, bias, g, width, at) : 0.0;
      if (bias.present() && bias.dtype() == DataType::kInt32) v += static_cast<float>(shift);
      if (weight_scale.present()) v *= static_cast<float>(by_group(arrays, weight_scale, g, width, at));
      if (activation_scale.present()) v *= static_cast<float>(arrays[activation_scale.index()][row]);
      if (bias.present() && bias.dtype() != DataType::kInt32) v += static_cast<float>(shift);
      return v;
    };
    std::vector<Group> parts{{0, 0, rows}};
    if (group.present()) parts = read_groups(arrays[group.index()], 1, groups, rows);
    std::vector<float> result(static_cast<size_t>(half));
    for (const Group& part : parts) {
      for (int64_t row = part.begin; row < part.end; ++row) {
        for (int64_t i = 0; i < half; ++i) {
          const float left = value(part.index, row, i), right = value(part.index, row, half + i);
          float v = activate_left ? silu(left) * right : left * silu(right);
          if (quant_scale.present()) v *= static_cast<float>(by_group(arrays, quant_scale, part.index, half, i));
          if (!dynamic) v += static_cast<float>(by_group(arrays, quant_offset, part.index, half, i));
          result[static_cast<size_t>(i)] = v;
        }
        if (dynamic) {
          arrays[scale.index()].set(row, quantise_row(result, arrays[y.index()], row));
        } else {
          for (int64_t i = 0; i < half; ++i)
            arrays[y.index()].set_exact(row * half + i, result[static_cast<size_t>(i)]);
        }
      }
    }
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnDequantSwigluQuant, dequant_swiglu_quant)
