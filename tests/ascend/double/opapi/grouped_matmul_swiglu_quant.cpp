// SPDX-License-Identifier: Apache-2.0
// aclnnGroupedMatmulSwigluQuant: A8W8 product, SwiGLU, int8 with one scale a row, in one. Rows beyond the group list
// are not written.
#include "operator.h"

namespace ascend_double {
namespace {

int grouped_matmul_swiglu_quant(Handle x_handle, Handle weight_handle, Handle bias_handle, Handle offset_handle,
                                Handle weight_scale_handle, Handle x_scale_handle, Handle group_handle,
                                Handle out_handle, Handle out_scale_handle, Handle out_offset_handle,
                                uint64_t* workspace, void** executor) {
  Call call("aclnnGroupedMatmulSwigluQuant", workspace, executor);
  const Argument x = call.input("x", x_handle).is({DataType::kInt8}).has_rank(2, 2);
  const Argument weight = call.input("weight", weight_handle).is({DataType::kInt8}).has_rank(3, 3);
  call.must_be_null("bias", bias_handle);
  call.must_be_null("offset", offset_handle);
  const Argument weight_scale =
      call.input("weightScale", weight_scale_handle).is({DataType::kFloat, DataType::kFloat16, DataType::kBFloat16});
  const Argument x_scale = call.input("xScale", x_scale_handle).is({DataType::kFloat});
  const Argument list = call.input("groupList", group_handle).is({DataType::kInt64});
  const Argument out = call.output("output", out_handle).is({DataType::kInt8});
  const Argument out_scale = call.output("outputScale", out_scale_handle).is({DataType::kFloat});
  call.must_be_null("outputOffset", out_offset_handle, true);
  const int64_t rows = x.dim(0), inner = x.dim(1), experts = weight.dim(0), width = weight.dim(2), half = width / 2;
  require(weight.dim(1) == inner, code::kParamInvalid, "x has ", inner, " columns, weight ", weight.dim(1), " rows");
  require(weight.contiguous(), code::kParamInvalid, "weight must be contiguous");
  require(width % 2 == 0, code::kParamInvalid, "weight has ", width, " columns, must be even");
  require(inner < 65536 && width <= 10240, code::kParamInvalid, "inner dimensions are ", inner, " and ", width,
          ", limits 65535 and 10240");
  weight_scale.has_shape({experts, width});
  x_scale.has_shape({rows});
  list.has_shape({experts});
  out.has_shape({rows, half});
  out_scale.has_shape({rows});
  return call.finish(odd_workspace(out.elements()), [=](const Arrays& arrays) {
    const Array &in = arrays[x.index()], &w = arrays[weight.index()], &scales = arrays[weight_scale.index()];
    std::vector<float> line(static_cast<size_t>(half));
    for (const Group& group : read_groups(arrays[list.index()], 0, experts, rows)) {
      for (int64_t row = group.begin; row < group.end; ++row) {
        const auto token = static_cast<float>(arrays[x_scale.index()][row]);
        const auto column = [&](int64_t n) {
          int64_t sum = 0;
          for (int64_t k = 0; k < inner; ++k) {
            sum += in.integer(row * inner + k) * w.integer((group.index * inner + k) * width + n);
          }
          return static_cast<float>(sum) * static_cast<float>(scales[group.index * width + n]) * token;
        };
        for (int64_t n = 0; n < half; ++n) line[static_cast<size_t>(n)] = silu(column(n)) * column(half + n);
        arrays[out_scale.index()].set(row, quantise_row(line, arrays[out.index()], row));
      }
    }
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnGroupedMatmulSwigluQuant, grouped_matmul_swiglu_quant)
