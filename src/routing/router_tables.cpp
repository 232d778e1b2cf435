// SPDX-License-Identifier: Apache-2.0
// Router tensors: checks, and reading them into plain arrays.
#include <string>
#include <vector>

#include "core/shape_text.h"
#include "moekit/error.h"
#include "routing/routing.h"

namespace moekit {
namespace {

bool is_float(DType dtype) {
  return dtype == DType::kFloat64 || dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16;
}

bool is_integer(DType dtype) { return dtype >= DType::kInt64 && dtype <= DType::kUInt8; }

[[noreturn]] void fail(const char* role, const TensorRef& tensor, const std::string& seen,
                       const std::string& expected) {
  throw CheckpointError("[router] " + (tensor.name.empty() ? std::string(role) : tensor.name + " (" + role + ")") +
                        ": " + seen + ", expected " + expected);
}

// A vector may come as [1, n] or [n, 1] too.
void check_vector(const char* role, const TensorRef& tensor, std::int64_t length) {
  if (!tensor) return;
  std::int64_t extent = 1;
  for (const std::int64_t dim : tensor.shape) extent = dim == 1 ? extent : (extent == 1 ? dim : -1);
  if (extent != length) fail(role, tensor, "shape " + shape_text(tensor.shape), "[" + std::to_string(length) + "]");
  if (!is_float(tensor.dtype)) fail(role, tensor, "dtype " + std::string(dtype_name(tensor.dtype)), "a float dtype");
}

void check_vectors(const RouterConfig& config, const RouterTensors& tensors) {
  check_vector("router bias", tensors.bias, config.columns());
  check_vector("selection bias", tensors.selection_bias, config.columns());
  check_vector("per-expert scale", tensors.per_expert_scale, config.columns());
  if (config.score == Score::kSparsemixer && tensors.selection_bias)
    fail("selection bias", tensors.selection_bias, "present", "none: sparsemixer chooses by itself");
}

// [vocabulary, top_k]; answers the vocabulary.
std::int64_t check_table(const RouterConfig& config, const TensorRef& table) {
  if (config.source != RouterSource::kHashTable) return 0;
  if (!table) throw CheckpointError("[router] tid2eid is missing: a hash layer needs it");
  if (table.shape.size() != 2 || table.shape[1] != config.top_k || table.shape[0] < 1)
    fail("tid2eid", table, "shape " + shape_text(table.shape), "[vocabulary, " + std::to_string(config.top_k) + "]");
  if (!is_integer(table.dtype)) fail("tid2eid", table, "dtype " + std::string(dtype_name(table.dtype)), "an integer");
  return table.shape[0];
}

std::vector<float> read_vector(const TensorRef& tensor) { return tensor ? read_float32(tensor) : std::vector<float>(); }

}  // namespace

void validate(const RouterConfig& config, const RouterTensors& tensors, std::int64_t hidden) {
  if (config.source == RouterSource::kExternal) return;
  const TensorRef& weight = tensors.weight;
  const std::string expected = "[" + std::to_string(config.columns()) + ", " + std::to_string(hidden) + "]";
  if (!weight) throw CheckpointError("[router] the router weight is missing, expected " + expected);
  if (weight.shape != std::vector<std::int64_t>{config.columns(), hidden})
    fail("router weight", weight, "shape " + shape_text(weight.shape), expected);
  if (!is_float(weight.dtype))
    fail("router weight", weight, "dtype " + std::string(dtype_name(weight.dtype)), "a float dtype");
  check_vector("router input scale", tensors.in_scale, hidden);
  check_vectors(config, tensors);
  check_table(config, tensors.tid2eid);
}

RouterTables read_router_tables(const RouterConfig& config, const RouterTensors& tensors) {
  RouterTables tables;
  if (config.source == RouterSource::kExternal) return tables;
  check_vectors(config, tensors);
  tables.vocabulary = check_table(config, tensors.tid2eid);
  tables.bias = read_vector(tensors.bias);
  tables.selection_bias = read_vector(tensors.selection_bias);
  tables.per_expert_scale = read_vector(tensors.per_expert_scale);
  tables.in_scale = read_vector(tensors.in_scale);
  if (config.source != RouterSource::kHashTable) return tables;

  const std::vector<std::int64_t> ids = read_int64(tensors.tid2eid);
  tables.tid2eid.reserve(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= config.columns()) {
      const auto k = static_cast<std::size_t>(config.top_k);
      fail("tid2eid", tensors.tid2eid,
           "expert id " + std::to_string(ids[i]) + " at row " + std::to_string(i / k) + ", column " +
               std::to_string(i % k),
           "0 .. " + std::to_string(config.columns() - 1));
    }
    tables.tid2eid.push_back(static_cast<std::int32_t>(ids[i]));
  }
  return tables;
}

}  // namespace moekit
