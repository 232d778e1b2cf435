// SPDX-License-Identifier: Apache-2.0
// The three prototypes.
#include "grouped_matmul.h"

namespace ascend_double {
namespace {

int finish(Call* call, const std::shared_ptr<GroupedMatmul>& matmul) {
  check(*matmul);
  return call->finish(odd_workspace(matmul->out[0].elements()),
                      [matmul](const Arrays& arrays) { compute(*matmul, arrays); });
}

struct Quantisation {
  Handle scale, offset, antiquant_scale, antiquant_offset, per_token_scale;
};

struct Rest {
  Handle group_list, activation_input, activation_scale, activation_offset;
  int64_t split_item, group_type, group_list_type, activation;
  Handle out, feature_out, scale_out;
};

int newer(const char* operation, Handle x, Handle weight, Handle bias, const Quantisation& quantisation,
          const Rest& rest, uint64_t* workspace, void** executor) {
  Call call(operation, workspace, executor);
  auto matmul = std::make_shared<GroupedMatmul>();
  matmul->x = call.input_list("x", x);
  matmul->weight = call.input_list("weight", weight);
  matmul->bias = call.optional_input_list("biasOptional", bias);
  matmul->scale = call.optional_input_list("scaleOptional", quantisation.scale);
  call.must_be_null("offsetOptional", quantisation.offset);
  matmul->antiquant_scale = call.optional_input_list("antiquantScaleOptional", quantisation.antiquant_scale);
  matmul->antiquant_offset = call.optional_input_list("antiquantOffsetOptional", quantisation.antiquant_offset);
  matmul->per_token_scale = call.optional_input_list("perTokenScaleOptional", quantisation.per_token_scale);
  matmul->group_list = call.optional_input("groupListOptional", rest.group_list);
  call.must_be_null("activationInputOptional", rest.activation_input);
  call.must_be_null("activationQuantScaleOptional", rest.activation_scale);
  call.must_be_null("activationQuantOffsetOptional", rest.activation_offset);
  matmul->split_item = rest.split_item;
  matmul->group_type = rest.group_type;
  matmul->group_list_type = rest.group_list_type;
  matmul->activation = rest.activation;
  matmul->out = call.output_list("out", rest.out);
  call.must_be_null("activationFeatureOutOptional", rest.feature_out, true);
  call.must_be_null("dynQuantScaleOutOptional", rest.scale_out, true);
  return finish(&call, matmul);
}

int v4(Handle x, Handle weight, Handle bias, Handle scale, Handle offset, Handle antiquant_scale,
       Handle antiquant_offset, Handle per_token_scale, Handle group_list, Handle activation_input,
       Handle activation_scale, Handle activation_offset, int64_t split_item, int64_t group_type,
       int64_t group_list_type, int64_t activation, Handle out, Handle feature_out, Handle scale_out,
       uint64_t* workspace, void** executor) {
  return newer("aclnnGroupedMatmulV4", x, weight, bias,
               {scale, offset, antiquant_scale, antiquant_offset, per_token_scale},
               {group_list, activation_input, activation_scale, activation_offset, split_item, group_type,
                group_list_type, activation, out, feature_out, scale_out},
               workspace, executor);
}

int v5(Handle x, Handle weight, Handle bias, Handle scale, Handle offset, Handle antiquant_scale,
       Handle antiquant_offset, Handle per_token_scale, Handle group_list, Handle activation_input,
       Handle activation_scale, Handle activation_offset, int64_t split_item, int64_t group_type,
       int64_t group_list_type, int64_t activation, Handle tuning, Handle out, Handle feature_out, Handle scale_out,
       uint64_t* workspace, void** executor) {
  if (tuning != nullptr) int_arrays().get(tuning, code::kNullptr, code::kParamInvalid);
  return newer("aclnnGroupedMatmulV5", x, weight, bias,
               {scale, offset, antiquant_scale, antiquant_offset, per_token_scale},
               {group_list, activation_input, activation_scale, activation_offset, split_item, group_type,
                group_list_type, activation, out, feature_out, scale_out},
               workspace, executor);
}

int v3(Handle x, Handle weight, Handle bias, Handle scale, Handle offset, Handle antiquant_scale,
       Handle antiquant_offset, Handle group_list, int64_t split_item, int64_t group_type, Handle y,
       uint64_t* workspace, void** executor) {
  Call call("aclnnGroupedMatmulV3", workspace, executor);
  auto matmul = std::make_shared<GroupedMatmul>();
  matmul->x = call.input_list("x", x);
  matmul->weight = call.input_list("weight", weight);
  matmul->bias = call.optional_input_list("biasOptional", bias);
  matmul->scale = call.optional_input_list("scaleOptional", scale);
  call.must_be_null("offsetOptional", offset);
  matmul->antiquant_scale = call.optional_input_list("antiquantScaleOptional", antiquant_scale);
  matmul->antiquant_offset = call.optional_input_list("antiquantOffsetOptional", antiquant_offset);
  matmul->group_list = call.optional_input("groupListOptional", group_list);
  matmul->split_item = split_item;
  matmul->group_type = group_type;
  matmul->out = call.output_list("y", y);
  return finish(&call, matmul);
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnGroupedMatmulV3, v3)
ASCEND_DOUBLE_OPERATOR(aclnnGroupedMatmulV4, v4)
ASCEND_DOUBLE_OPERATOR(aclnnGroupedMatmulV5, v5)
