// SPDX-License-Identifier: Apache-2.0
// What aclnnGroupedMatmul takes on an Atlas A2.
#include "grouped_matmul.h"

namespace ascend_double {

namespace {

using Arguments = std::vector<Argument>;

constexpr int64_t kMaxLast = 65536;    // the last dimension stays below
constexpr int64_t kMaxExperts = 1024;  // in one weight tensor
constexpr int64_t kMaxTensors = 128;   // in a list of weights

void check_weight(const Argument& weight) {
  const Tensor& tensor = weight.tensor();
  const int64_t rank = weight.rank(), rows = weight.dim(-2), columns = weight.dim(-1);
  Tensor transposed = tensor;
  std::swap(transposed.dims[static_cast<size_t>(rank - 2)], transposed.dims[static_cast<size_t>(rank - 1)]);
  std::swap(transposed.strides[static_cast<size_t>(rank - 2)], transposed.strides[static_cast<size_t>(rank - 1)]);
  require(tensor.contiguous() || transposed.contiguous(), code::kParamInvalid, weight.name(),
          " is neither contiguous nor a transposed view of a contiguous tensor");
  require(rows < kMaxLast && columns < kMaxLast, code::kParamInvalid, weight.name(), ": shape ", text_of(weight.dims()),
          ", inner dimensions must be below ", kMaxLast);
  require(weight.dtype() != DataType::kInt4 || (tensor.contiguous() ? columns : rows) % 2 == 0, code::kParamInvalid,
          weight.name(), ": INT4 needs an even inner dimension");
}

// One tensor of `per_expert` for each weight: with a leading expert dimension where the weight has one.
void check_per_expert(const GroupedMatmul& call, const Arguments& list, const char* name,
                      std::initializer_list<DataType> dtypes, bool grouped_rows) {
  require(list.size() == call.weight.size(), code::kParamInvalid, name, " has ", list.size(), " tensors, weight ",
          call.weight.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const Argument &weight = call.weight[i], &one = list[i];
    one.is(dtypes);
    std::vector<int64_t> shape;
    if (weight.rank() == 3) shape.push_back(weight.dim(0));
    if (grouped_rows && one.rank() == static_cast<int64_t>(shape.size()) + 2) {
      const int64_t groups = one.dim(-2);
      require(groups > 0 && weight.dim(-2) % groups == 0, code::kParamInvalid, name, ": ", groups, " groups of ",
              weight.dim(-2), " rows");
      shape.push_back(groups);
    }
    shape.push_back(weight.dim(-1));
    one.has_shape(shape);
    require(one.contiguous(), code::kParamInvalid, name, " must be contiguous");
  }
}

void check_bias(const GroupedMatmul& call) {
  if (call.bias.empty()) return;
  const DataType x = call.x[0].dtype();
  const DataType wanted = x == DataType::kInt8      ? DataType::kInt32
                          : x == DataType::kFloat16 ? DataType::kFloat16
                                                    : DataType::kFloat;
  check_per_expert(call, call.bias, "biasOptional", {wanted}, false);
}

void check_quantised(const GroupedMatmul& call, int64_t rows) {
  const Argument& out = call.out[0];
  for (const Argument& weight : call.weight) weight.is({DataType::kInt8});
  require(call.antiquant_scale.empty() && call.antiquant_offset.empty(), code::kParamInvalid,
          "antiquant arguments go with a floating x");
  out.is({DataType::kInt32, DataType::kFloat16, DataType::kBFloat16});
  if (out.dtype() == DataType::kInt32) {
    require(call.scale.empty() && call.per_token_scale.empty(), code::kParamInvalid, "INT32 output takes no scales");
    require(call.activation == 0, code::kParamInvalid, "INT32 output takes no activation");
    return;
  }
  require(!call.scale.empty(), code::kNullptr, "scaleOptional is NULL");
  if (out.dtype() == DataType::kBFloat16) {
    check_per_expert(call, call.scale, "scaleOptional", {DataType::kBFloat16, DataType::kFloat}, false);
  } else {
    check_per_expert(call, call.scale, "scaleOptional", {DataType::kFloat}, false);
    require(!call.per_token_scale.empty(), code::kNullptr, "perTokenScaleOptional is NULL, FLOAT16 output needs it");
  }
  if (call.per_token_scale.empty()) return;
  require(call.per_token_scale.size() == 1, code::kParamInvalid, "perTokenScaleOptional must be one tensor");
  call.per_token_scale[0].is({DataType::kFloat}).has_shape({rows});
}

void check_weight_only(const GroupedMatmul& call) {
  const DataType x = call.x[0].dtype();
  call.x[0].is({DataType::kFloat16, DataType::kBFloat16});
  for (const Argument& weight : call.weight) weight.is({DataType::kInt8, DataType::kInt4});
  require(!call.antiquant_scale.empty(), code::kNullptr, "antiquantScaleOptional is NULL");
  require(!call.antiquant_offset.empty(), code::kNullptr, "antiquantOffsetOptional is NULL");
  const bool in_groups = call.weight[0].dtype() == DataType::kInt4;
  check_per_expert(call, call.antiquant_scale, "antiquantScaleOptional", {x}, in_groups);
  check_per_expert(call, call.antiquant_offset, "antiquantOffsetOptional", {x}, in_groups);
  for (size_t i = 0; i < call.antiquant_scale.size(); ++i) {
    call.antiquant_offset[i].has_shape(call.antiquant_scale[i].dims());
  }
}

void check_shapes(const GroupedMatmul& call) {
  for (size_t i = 0; i < call.weight.size(); ++i) {
    const Argument &x = call.x[call.grouped() ? 0 : i], &weight = call.weight[i],
                   &out = call.out[call.grouped() ? 0 : i];
    x.is({call.x[0].dtype()}).has_rank(2, 2);
    weight.is({call.weight[0].dtype()});
    if (call.grouped()) {
      weight.has_rank(call.weight.size() == 1 ? 3 : 2, call.weight.size() == 1 ? 3 : 2);
    } else {
      weight.has_rank(2, 2);
    }
    require(x.contiguous(), code::kParamInvalid, "x must not be transposed");
    require(x.dim(1) < kMaxLast, code::kParamInvalid, "x: the last dimension is ", x.dim(1), ", must be below ",
            kMaxLast);
    require(x.dim(1) == weight.dim(-2), code::kParamInvalid, "x has ", x.dim(1), " columns, weight ", weight.dim(-2),
            " rows");
    check_weight(weight);
    out.is({call.out[0].dtype()}).has_shape({x.dim(0), weight.dim(-1)});
  }
}

}  // namespace

void check(const GroupedMatmul& call) {
  require(call.group_type == 0 || call.group_type == -1, code::kParamInvalid, "groupType is ", call.group_type,
          ", the double plays -1 and 0");
  require(call.group_list_type >= 0 && call.group_list_type <= 2, code::kParamInvalid, "groupListType is ",
          call.group_list_type);
  require(call.activation >= 0 && call.activation <= 5, code::kParamInvalid, "actType is ", call.activation);
  require(static_cast<int64_t>(call.weight.size()) <= kMaxTensors, code::kParamInvalid, "weight has ",
          call.weight.size(), " tensors, limit ", kMaxTensors);
  if (call.grouped()) {
    require(call.split_item == 2 || call.split_item == 3, code::kParamInvalid, "splitItem is ", call.split_item,
            ", groupType 0 is played with 2 and 3");
    require(call.x.size() == 1 && call.out.size() == 1, code::kParamInvalid, "x has ", call.x.size(), " tensors, out ",
            call.out.size(), "; one each is needed");
  } else {
    require(call.split_item == 0 || call.split_item == 1, code::kParamInvalid, "splitItem is ", call.split_item,
            ", groupType -1 goes with 0 and 1");
    require(call.x.size() == call.weight.size() && call.out.size() == call.weight.size(), code::kParamInvalid, "x has ",
            call.x.size(), " tensors, weight ", call.weight.size(), ", out ", call.out.size());
    require(!call.group_list.present(), code::kParamInvalid, "groupListOptional must be NULL without groups");
  }
  check_shapes(call);
  if (call.grouped()) {
    require(call.groups() <= kMaxExperts, code::kParamInvalid, call.groups(), " experts, limit ", kMaxExperts);
    require(call.group_list.present(), code::kNullptr, "groupListOptional is NULL");
    call.group_list.is({DataType::kInt64});
    if (call.group_list_type == 2) {
      call.group_list.has_shape({call.groups(), 2});
    } else {
      call.group_list.has_shape({call.groups()});
    }
  }
  if (call.quantised()) {
    check_quantised(call, call.x[0].dim(0));
  } else {
    call.x[0].is(ASCEND_DOUBLE_FLOATS);
    require(call.scale.empty() && call.per_token_scale.empty(), code::kParamInvalid, "scales go with an INT8 x");
    require(call.activation == 0, code::kParamInvalid, "actType must be 0 for a floating x, is ", call.activation);
    call.out[0].is({call.x[0].dtype()});
    if (call.weight_only()) {
      check_weight_only(call);
    } else {
      require(call.antiquant_scale.empty() && call.antiquant_offset.empty(), code::kParamInvalid,
              "antiquant arguments go with an integer weight");
    }
  }
  check_bias(call);
}

}  // namespace ascend_double
