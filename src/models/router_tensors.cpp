// SPDX-License-Identifier: Apache-2.0
#include "models/router_tensors.h"

#include <memory>

#include "checkpoint/text.h"
#include "formats/read.h"

namespace moekit {
namespace {

TensorRef take_in_scale(const Family& family, std::int64_t hidden, Accounting& tensors) {
  const char* why = "hidden size of the configuration";
  const TensorRef scale = tensors.take(family.in_scale, {hidden}, why);
  if (family.in_scale_divisor == nullptr) return scale;
  const TensorRef divisor = tensors.take(family.in_scale_divisor, {hidden}, why);
  auto quotient = std::make_shared<std::vector<float>>(read_float32(scale));
  const std::vector<float> below = read_float32(divisor);
  for (std::size_t i = 0; i < quotient->size(); ++i) {
    if (below[i] == 0.0f)
      tensors.fail("element " + std::to_string(i) + " of tensor " + in_quotes(divisor.name) +
                   " is 0, and the router's input is divided by it");
    (*quotient)[i] /= below[i];
  }
  return memory_tensor(scale.name, quotient->data(), DType::kFloat32, {hidden}, quotient);
}

/// A bias that chooses the last `joint` columns before all others: 2^100 is beyond what any score and bias add up to.
TensorRef with_joint_columns(const TensorRef& bias, std::int64_t joint) {
  auto values = std::make_shared<std::vector<float>>(read_float32(bias));
  values->insert(values->end(), static_cast<std::size_t>(joint), 0x1p100f);
  const auto columns = static_cast<std::int64_t>(values->size());
  return memory_tensor(bias.name, values->data(), DType::kFloat32, {columns}, values);
}

/// One factor of all weights as that of each column.
TensorRef for_columns(const TensorRef& factor, std::int64_t columns) {
  auto values = std::make_shared<std::vector<float>>(static_cast<std::size_t>(columns), read_float32(factor).front());
  return memory_tensor(factor.name, values->data(), DType::kFloat32, {columns}, values);
}

/// A [rows, cols] tensor of the values of one stored as [cols, rows].
TensorRef transposed(const TensorRef& tensor) {
  const std::vector<float> values = read_float32(tensor);
  const std::int64_t rows = tensor.shape[1], cols = tensor.shape[0];
  auto turned = std::make_shared<std::vector<float>>(values.size());
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c)
      (*turned)[static_cast<std::size_t>(r * cols + c)] = values[static_cast<std::size_t>(c * rows + r)];
  return memory_tensor(tensor.name, turned->data(), DType::kFloat32, {rows, cols}, turned);
}

TensorRef take_router_weight(const Family& family, std::int64_t columns, std::int64_t hidden, Accounting& tensors) {
  if (family.place.router_transposed)
    return transposed(
        tensors.take(family.router_weight, {hidden, columns}, "hidden size, experts of the configuration"));
  return decoded(tensors.take(family.router_weight, {columns, hidden}, "experts and hidden size of the configuration"));
}

/// [E], or the set's row of [sets, E] (ERNIE has [1, E] where there is one).
TensorRef take_selection_bias(const Family& family, std::int64_t routed, Accounting& tensors) {
  const SetPlace& place = family.place;
  const bool rows = place.rows > 1 || tensors.shape(tensors.find(family.selection_bias)).size() == 2;
  TensorRef bias = tensors.take(
      family.selection_bias, rows ? std::vector<std::int64_t>{place.rows, routed} : std::vector<std::int64_t>{routed},
      "experts of the configuration");
  if (rows) bias.offset += static_cast<std::size_t>(place.row * routed) * dtype_size(bias.dtype);
  bias.shape = {routed};
  return bias;
}

}  // namespace

std::int64_t joint_columns(const Family& family, const Config& config) {
  return family.joint_shared ? config.integer(family.shared_count, 0) : 0;
}

RouterTensors take_router(const Family& family, const Config& config, const BlockConfig& block, Accounting& tensors) {
  const std::int64_t columns = block.router.columns();
  RouterTensors router;
  router.weight = take_router_weight(family, columns, block.expert.input, tensors);
  if (!family.router_bias.empty())
    router.bias = tensors.take(family.router_bias, {columns}, "experts of the configuration");
  if (!family.in_scale.empty()) router.in_scale = take_in_scale(family, block.expert.input, tensors);
  if (!family.per_expert_scale.empty())
    router.per_expert_scale = tensors.take(family.per_expert_scale, {columns}, "experts of the configuration");
  if (!family.weight_scale.empty())
    router.per_expert_scale = for_columns(tensors.take(family.weight_scale, {1}, "one factor of all weights"), columns);
  if (block.router.source == RouterSource::kHashTable) {  // the table chooses: no bias for selection
    const std::int64_t vocabulary = config.integer(family.vocabulary, 1);
    router.tid2eid = tensors.take_integers(family.hash_table, {vocabulary, block.router.top_k}, "vocabulary, top_k");
    return router;
  }
  if (!family.selection_bias.empty() && config.boolean(family.has_selection_bias)) {
    const std::int64_t joint = joint_columns(family, config);
    router.selection_bias = take_selection_bias(family, columns - joint, tensors);
    if (joint > 0) router.selection_bias = with_joint_columns(router.selection_bias, joint);
  }
  return router;
}

}  // namespace moekit
