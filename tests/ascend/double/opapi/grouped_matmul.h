// SPDX-License-Identifier: Apache-2.0
// The grouped matrix product behind aclnnGroupedMatmulV3, V4 and V5: arguments by name, checked in one place, computed
// in another.
#pragma once

#include <memory>
#include <optional>

#include "operator.h"

namespace ascend_double {

struct GroupedMatmul {
  std::vector<Argument> x, weight, bias, scale, antiquant_scale, antiquant_offset, per_token_scale, out;
  Argument group_list;
  int64_t split_item = 0, group_type = 0, group_list_type = 0, activation = 0;

  bool grouped() const { return group_type == 0; }
  bool quantised() const { return x[0].dtype() == DataType::kInt8; }                      // A8W8
  bool weight_only() const { return !quantised() && weight[0].dtype() != x[0].dtype(); }  // A16W8, A16W4
  // Experts: of the one weight of three dimensions, or one a tensor.
  int64_t groups() const { return weight[0].rank() == 3 ? weight[0].dim(0) : static_cast<int64_t>(weight.size()); }
};

// 161001 for what is missing, 161002 for dtypes, shapes, lengths.
void check(const GroupedMatmul& call);
// Rows beyond the group list are not written.
void compute(const GroupedMatmul& call, const Arrays& arrays);

}  // namespace ascend_double
