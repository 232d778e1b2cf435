// SPDX-License-Identifier: Apache-2.0
// The experts on sorted rows: grouped product, activation, grouped product.
#include "backends/ascend/call.h"
#include "backends/ascend/elementwise.h"

namespace moekit::ascend {
namespace {

// One stacked weight, one x, one out; groups along the rows, by counts.
void grouped_product(Queue& queue, const Projection& p, const Tensor& x, const Tensor& x_scales, const Tensor& counts,
                     const Tensor& out) {
  constexpr std::int64_t kOneOutput = 2, kRows = 0, kCounts = 1, kNoActivation = 0;
  const bool dynamic = p.product == Product::kA8W8,
             short_weight = p.product == Product::kA16W8 || p.product == Product::kA16W4;
  const Tensor none;
  const Tensor& scale = dynamic ? p.scale : none;
  const Tensor& per_token = dynamic ? x_scales : none;
  const Tensor& antiquant_scale = short_weight ? p.scale : none;
  const Tensor& antiquant_offset = short_weight ? p.offset : none;
  const Operators& op = api().op;
  if (op.grouped_matmul_v5)
    return queue.run(op.grouped_matmul_v5, x, p.weight, p.bias, scale, nullptr, antiquant_scale, antiquant_offset,
                     per_token, counts, nullptr, nullptr, nullptr, kOneOutput, kRows, kCounts, kNoActivation, nullptr,
                     out, nullptr, nullptr);
  queue.run(op.grouped_matmul_v4, x, p.weight, p.bias, scale, nullptr, antiquant_scale, antiquant_offset, per_token,
            counts, nullptr, nullptr, nullptr, kOneOutput, kRows, kCounts, kNoActivation, out, nullptr, nullptr);
}

Tensor project(Queue& queue, const Projection& p, AclDType dtype, const Tensor& x, const Tensor& scales,
               const Tensor& counts, Tail tail) {
  const std::int64_t rows = x.dims[0];
  const Tensor out = queue.make(dtype, {rows, p.weight.dims[2]});
  if (tail != Tail::kUndefined) queue.zero(tail == Tail::kZero ? out : out.slice(rows - 1, 1));
  if (p.product != Product::kA8W8 || x.dtype == kAclInt8) {
    grouped_product(queue, p, x, scales, counts, out);
    return out;
  }
  const Tensor codes = queue.make(kAclInt8, {rows, x.dims[1]}), row_scales = queue.make(kAclFloat, {rows});
  queue.run(api().op.dynamic_quant, x, nullptr, codes, row_scales);
  grouped_product(queue, p, codes, row_scales, counts, out);
  return out;
}

Projection expert_of(const Projection& all, std::int64_t index) {
  Projection one = all;
  for (Tensor* t : {&one.weight, &one.bias, &one.scale, &one.offset})
    if (*t) *t = t->slice(index, 1);
  return one;
}

}  // namespace

Mlp expert_of(const Mlp& mlp, std::int64_t index) {
  Mlp one = mlp;
  one.experts = 1;
  one.up = expert_of(mlp.up, index);
  one.down = expert_of(mlp.down, index);
  return one;
}

Tensor run_mlp(Queue& queue, const Mlp& mlp, const Tensor& rows, const Tensor& scales, const Tensor& counts,
               Tail tail) {
  if (mlp.config.act == Activation::kLinear) return project(queue, mlp.down, mlp.dtype, rows, scales, counts, tail);
  const Tensor hidden = project(queue, mlp.up, mlp.dtype, rows, scales, counts, Tail::kUndefined);
  return project(queue, mlp.down, mlp.dtype, activate(queue, mlp.config, hidden), {}, counts, tail);
}

}  // namespace moekit::ascend
