// SPDX-License-Identifier: Apache-2.0
#include "models/stacked_scales.h"

#include "checkpoint/text.h"

namespace moekit {
namespace {

const TensorRef* take_stack(const std::string& weight, std::int64_t experts, std::int64_t halves, Accounting& tensors) {
  tensors.leave(weight + "_activation_scale", "activation scales (activation_scale)");
  const std::string name = weight + "_scale_inv";
  const TensorRef* found = tensors.peek(name);
  if (found == nullptr) return nullptr;
  const TensorRef& stack = *found;
  const bool fits = stack.shape.size() == 3 && stack.shape[0] == experts && stack.shape[1] % halves == 0;
  if (!fits)
    tensors.fail("tensor " + in_quotes(stack.name) + " has shape " + shape_text(stack.shape) + ", expected [" +
                 std::to_string(experts) + ", " + (halves > 1 ? "twice the rows" : "rows") + ", columns] of scales");
  return found;
}

}  // namespace

StackedScales::StackedScales(const Family& family, std::int64_t experts, std::int64_t halves, Accounting& tensors)
    : halves_(halves) {
  for (const StackedNames& names : family.stacked_names) {
    if (up_ == nullptr) up_ = take_stack(names.gate_up, experts, halves, tensors);
    if (down_ == nullptr) down_ = take_stack(names.down, experts, 1, tensors);
  }
}

TensorRef StackedScales::part(const TensorRef* stack, std::int64_t expert, std::int64_t half, std::int64_t halves) {
  if (stack == nullptr) return {};
  TensorRef part = *stack;
  part.shape = {stack->shape[1] / halves, stack->shape[2]};
  const std::int64_t elements = part.shape[0] * part.shape[1];  // fits: a share of a tensor that was checked
  part.offset += static_cast<std::size_t>((expert * halves + half) * elements) * dtype_size(part.dtype);
  return part;
}

}  // namespace moekit
