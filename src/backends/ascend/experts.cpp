// SPDX-License-Identifier: Apache-2.0
// Everything after routing: permutation, experts, weighted sum, identity and shared experts.
#include "backends/ascend/call.h"
#include "backends/ascend/elementwise.h"

namespace moekit::ascend {
namespace {

// What is added up: routed + sum of factor_i * term_i.
struct Sum {
  Tensor routed;
  Tensor terms[2];
  double factors[2] = {};
  int count = 0;
  void add(const Tensor& term, double factor) {
    terms[count] = term;
    factors[count++] = factor;
  }
};

// The factors of the block's formula (backends/reference/reference.h), pulled out of the sum.
double shared_factor(const BlockConfig& config) noexcept {
  const double half = config.shared.count > 0 && config.shared.gate == SharedGate::kAverage ? 0.5 : 1.0;
  return config.out_scale * half;
}

// out [tokens, output] = sum over the k of a token of weight * rows[row_index].
void unpermute(Queue& queue, const Tensor& rows, const Tensor& row_index, const Tensor& weights, const Tensor& out) {
  queue.run(api().op.token_unpermute, rows, row_index, weights, false, nullptr, out);
}

// A slot's id and weight as the experts need them.
struct Slots {
  Tensor ids;       // skipped slots have the id `columns`
  Tensor weights;   // 0 for slots without an expert
  Tensor identity;  // [tokens, 1] float32: sum of the weights of identity experts; empty: none
};

Slots slots_of(Queue& queue, const RouterConfig& config, const Routed& routed) {
  Slots s = {routed.ids, routed.weights, {}};
  const std::int64_t columns = config.columns();
  if (config.source == RouterSource::kExternal) {
    // Ids from outside are not looked at on the host: those out of range count as skipped.
    s.ids = copied(queue, routed.ids);
    fill_where(queue, s.ids, below(queue, s.ids, 0), static_cast<double>(columns));
    fill_where(queue, s.ids, at_least(queue, s.ids, columns), static_cast<double>(columns));
    s.weights = copied(queue, routed.weights);
    fill_where(queue, s.weights, at_least(queue, s.ids, columns), 0.0);
  }
  if (config.num_identity == 0) return s;
  const Tensor all = s.weights;
  s.weights = copied(queue, all);
  fill_where(queue, s.weights, at_least(queue, s.ids, config.num_experts), 0.0);
  s.identity = row_sums(queue, add(queue, all, s.weights, -1.0));
  return s;
}

// w * x as a tensor of x's dtype holds it, [tokens * k, hidden].
Tensor weighted_input(Queue& queue, const Tensor& x, const Tensor& weights) {
  const std::int64_t tokens = x.dims[0], hidden = x.dims[1], k = weights.dims[1];
  const Tensor out = queue.make(kAclFloat, {tokens, k, hidden});
  queue.run(api().op.mul, cast(queue, x, kAclFloat).reshaped({tokens, 1, hidden}), weights.reshaped({tokens, k, 1}),
            out);
  return cast(queue, out, x.dtype).reshaped({tokens * k, hidden});
}

// All experts on all tokens: x W^T + b as one product, whose rows then lie in order.
void dense_sum(Queue& queue, const AscendBlock& block, const Tensor& x, const Tensor& weights,
               const Constants& constants, const Tensor& out) {
  const Projection& p = block.routed.down;
  const std::int64_t tokens = x.dims[0], experts = block.routed.experts, output = p.weight.dims[2];
  const Tensor all = p.weight.transposed().reshaped({experts * output, x.dims[1]});
  Tensor rows = product(queue, cast(queue, x, block.routed.dtype), all);
  if (p.bias) rows = add(queue, rows, cast(queue, p.bias.reshaped({1, experts * output}), rows.dtype));
  rows = cast(queue, rows.reshaped({tokens * experts, output}), out.dtype);
  const Tensor order = tensor_over(constants.iota.data(), kAclInt32, {tokens * experts});
  unpermute(queue, rows, order, weights, out);
}

void sparse_sum(Queue& queue, const AscendBlock& block, const Tensor& x, const Routed& routed, const Slots& slots,
                double factor, const Tensor& out) {
  const RouterConfig& config = block.config().router;
  const Mlp& mlp = block.routed;
  const bool at_input = config.apply_at == ApplyAt::kInput;
  const std::int64_t tokens = x.dims[0], k = config.top_k, end = block.first_expert + mlp.experts;
  Tensor input = x, ids = slots.ids, weights = slots.weights;
  if (at_input) {
    input = weighted_input(queue, x, routed.weights);
    ids = slots.ids.reshaped({tokens * k, 1});
    weights = cast(queue, below(queue, slots.ids, end), kAclFloat);  // 1 for experts, 0 for others
  }
  if (mlp.experts != config.num_experts) {  // the others are on other devices
    if (!at_input) weights = copied(queue, weights);
    fill_where(queue, weights, below(queue, slots.ids, block.first_expert), 0.0);
    fill_where(queue, weights, at_least(queue, slots.ids, end), 0.0);
  }
  if (factor != 1.0) weights = scaled(queue, weights, factor);
  const Permuted p = permute_rows(queue, cast(queue, input, mlp.dtype), ids, {block.first_expert, mlp.experts},
                                  config.columns() + 1, block.skips(), mlp.down.product == Product::kA8W8);
  const Tensor rows = run_mlp(queue, mlp, p.rows, p.scales, p.counts, p.tail);
  unpermute(queue, cast(queue, rows, out.dtype), p.row_index, weights, out);
}

Tensor shared_sum(Queue& queue, const AscendBlock& block, const Tensor& x, AclDType dtype, const Constants& constants) {
  const Mlp& mlp = block.shared;
  const Tensor input = cast(queue, x, mlp.dtype), counts = row_count(constants, x.dims[0]);
  Tensor sum;
  for (std::int64_t e = 0; e < mlp.experts; ++e) {
    const Tensor one = cast(queue, run_mlp(queue, expert_of(mlp, e), input, {}, counts, Tail::kUndefined), dtype);
    sum = e == 0 ? one : add(queue, sum, one);
  }
  if (block.config().shared.gate != SharedGate::kSigmoid) return sum;
  const Tensor logits = product(queue, cast(queue, x, kAclFloat), block.shared_gate);  // [tokens, 1]
  const Tensor gate = queue.make(kAclFloat, {x.dims[0], 1});
  queue.run(api().op.sigmoid, logits, gate);
  const Tensor gated = queue.make(dtype, {sum.dims[0], sum.dims[1]});
  queue.run(api().op.mul, sum, cast(queue, gate, dtype), gated);
  return gated;
}

// Adds up and writes y, the last step straight into it.
void finish(Queue& queue, const Sum& sum, const Tensor& y) {
  Tensor total = sum.routed;
  for (int i = 0; i < sum.count; ++i) {
    const bool last = i + 1 == sum.count && y.dtype == total.dtype;
    const Tensor out = last ? y : queue.make(total.dtype, {total.dims[0], total.dims[1]});
    queue.run(api().op.add, total, sum.terms[i], Scalar{sum.factors[i]}, out);
    total = out;
  }
  if (y.dtype != total.dtype) cast_to(queue, total, y);
}

// Sums are rounded to a short dtype only where x, weights and y all are of it.
AclDType sum_dtype(const AscendBlock& block, const Tensor& y) {
  return block.routed.dtype == y.dtype ? y.dtype : kAclFloat;
}

bool has_others(const BlockConfig& config) { return config.shared.count > 0 || config.router.num_identity > 0; }

void sum_of_slots(Queue& queue, const AscendBlock& block, const Tensor& x, const Routed& routed, const Slots& slots,
                  const Tensor& sum, const Constants& constants) {
  const double factor = routed_factor(block.config());
  if (!block.dense) return sparse_sum(queue, block, x, routed, slots, factor, sum);
  dense_sum(queue, block, x, factor != 1.0 ? scaled(queue, slots.weights, factor) : slots.weights, constants, sum);
}

void others_of_slots(Queue& queue, const AscendBlock& block, const Tensor& x, const Slots& slots, const Tensor& routed,
                     const Tensor& y, const Constants& constants) {
  const BlockConfig& config = block.config();
  Sum sum;
  sum.routed = routed;
  if (slots.identity) {
    const Tensor own = queue.make(routed.dtype, {x.dims[0], x.dims[1]});
    queue.run(api().op.mul, cast(queue, x, routed.dtype), cast(queue, slots.identity, routed.dtype), own);
    sum.add(own, routed_factor(config));
  }
  if (config.shared.count > 0) sum.add(shared_sum(queue, block, x, routed.dtype, constants), shared_factor(config));
  finish(queue, sum, y);
}

}  // namespace

double routed_factor(const BlockConfig& config) noexcept {
  const double common = shared_factor(config);
  return config.router.scale_at == ScaleAt::kOnRoutedSum ? common * config.router.scale : common;
}

void sum_experts(Queue& queue, const AscendBlock& block, const Tensor& x, const Routed& routed, const Tensor& sum,
                 const Constants& constants) {
  sum_of_slots(queue, block, x, routed, slots_of(queue, block.config().router, routed), sum, constants);
}

void add_others(Queue& queue, const AscendBlock& block, const Tensor& x, const Routed& routed, const Tensor& sum,
                const Tensor& y, const Constants& constants) {
  const RouterConfig& router = block.config().router;
  const Slots slots = router.num_identity > 0 ? slots_of(queue, router, routed) : Slots{};
  if (has_others(block.config()) || sum.dtype != y.dtype)
    return others_of_slots(queue, block, x, slots, sum, y, constants);
  copy_elements(queue, sum, y);
}

void run_experts(Queue& queue, const AscendBlock& block, const Tensor& x, const Routed& routed, const Tensor& y,
                 const Constants& constants) {
  const AclDType dtype = sum_dtype(block, y);
  const Slots slots = slots_of(queue, block.config().router, routed);
  const bool alone = !has_others(block.config()) && y.dtype == dtype;  // the sum is y
  const Tensor sum = alone ? y : queue.make(dtype, {y.dims[0], y.dims[1]});
  sum_of_slots(queue, block, x, routed, slots, sum, constants);
  if (!alone) others_of_slots(queue, block, x, slots, sum, y, constants);
}

}  // namespace moekit::ascend
