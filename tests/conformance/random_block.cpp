// SPDX-License-Identifier: Apache-2.0
#include "conformance/random_block.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/float_convert.h"

namespace moekit::conformance {
namespace {

TensorRef random_tensor(Rng& rng, const char* name, DType dtype, std::vector<std::int64_t> shape, float scale) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  auto owner = std::make_shared<Matrix>(1, count, dtype);
  for (std::int64_t i = 0; i < count; ++i) owner->set(0, i, normal(rng, scale));
  return memory_tensor(name, owner->view().data, dtype, std::move(shape), owner);
}

MatrixRef random_matrix(Rng& rng, const char* name, DType dtype, std::int64_t rows, std::int64_t cols, float scale) {
  return matrix_of(random_tensor(rng, name, dtype, {rows, cols}, scale));
}

// Weights a little above the scale that keeps the variance, so that clamps and bends of activations are reached.
ExpertTensors random_expert(Rng& rng, const ExpertConfig& e, DType dtype) {
  const bool linear = e.act == Activation::kLinear;
  const float up_scale = 1.5f / std::sqrt(static_cast<float>(e.input));
  const float down_scale = 1.5f / std::sqrt(static_cast<float>(linear ? e.input : e.intermediate));
  ExpertTensors t;
  if (is_gated(e.act)) t.gate = random_matrix(rng, "gate", dtype, e.intermediate, e.input, up_scale);
  if (!linear) t.up = random_matrix(rng, "up", dtype, e.intermediate, e.input, up_scale);
  t.down = random_matrix(rng, "down", dtype, e.output, linear ? e.input : e.intermediate, down_scale);
  if (e.up_bias && is_gated(e.act)) t.gate_bias = random_matrix(rng, "gate_bias", dtype, 1, e.intermediate, 0.5f);
  if (e.up_bias) t.up_bias = random_matrix(rng, "up_bias", dtype, 1, e.intermediate, 0.5f);
  if (e.down_bias) t.down_bias = random_matrix(rng, "down_bias", dtype, 1, e.output, 0.5f);
  return t;
}

TensorRef random_table(Rng& rng, const RouterConfig& config) {
  auto table = std::make_shared<std::vector<std::int64_t>>();
  std::vector<std::int64_t> ids(static_cast<std::size_t>(config.columns()));
  std::iota(ids.begin(), ids.end(), 0);
  for (std::int64_t row = 0; row < kVocabulary; ++row) {
    for (std::int64_t i = 0; i < config.top_k; ++i)
      std::swap(ids[static_cast<std::size_t>(i)], ids[static_cast<std::size_t>(i + pick(rng, config.columns() - i))]);
    table->insert(table->end(), ids.begin(), ids.begin() + config.top_k);
  }
  return memory_tensor("tid2eid", table->data(), DType::kInt64, {kVocabulary, config.top_k}, table);
}

}  // namespace

std::int64_t pick(Rng& rng, std::int64_t count) {
  return static_cast<std::int64_t>(rng() % static_cast<std::uint64_t>(count));
}

float uniform(Rng& rng) { return static_cast<float>(rng() >> 40) * 0x1p-24f; }

// The portable one: the sum of twelve uniform numbers of 16 bits less its mean, variance 1, exact until it is scaled.
float normal(Rng& rng, float scale) {
  if (!rng.portable) return round_to_bf16(std::normal_distribution<float>(0.0f, scale)(rng));
  std::int32_t sum = 0;
  for (int draw = 0; draw < 3; ++draw) {
    const std::uint64_t bits = rng();
    for (int piece = 0; piece < 4; ++piece) sum += static_cast<std::int32_t>(bits >> (piece * 16) & 0xffffu);
  }
  return round_to_bf16(scale * (static_cast<float>(2 * sum - 12 * 65535) * 0x1p-17f));
}

Matrix::Matrix(std::int64_t rows, std::int64_t cols, DType dtype)
    : rows_(rows), cols_(cols), dtype_(dtype), bytes_(static_cast<std::size_t>(rows * cols) * dtype_size(dtype)) {}

Matrix Matrix::random(Rng& rng, std::int64_t rows, std::int64_t cols, DType dtype) {
  Matrix matrix(rows, cols, dtype);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c) matrix.set(r, c, normal(rng));
  return matrix;
}

float Matrix::at(std::int64_t r, std::int64_t c) const { return load_as_float(bytes_.data(), dtype_, r * cols_ + c); }

void Matrix::set(std::int64_t r, std::int64_t c, float value) {
  store_float(bytes_.data(), dtype_, r * cols_ + c, value);
}

Matrix Matrix::take(const std::vector<std::int64_t>& rows) const {
  Matrix taken(static_cast<std::int64_t>(rows.size()), cols_, dtype_);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::vector<std::byte> row = row_bytes(rows[i]);
    if (!row.empty()) std::memcpy(taken.bytes_.data() + i * row.size(), row.data(), row.size());
  }
  return taken;
}

std::vector<std::byte> Matrix::row_bytes(std::int64_t row) const {
  const auto size = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(cols_) * dtype_size(dtype_));
  const auto begin = bytes_.begin() + row * size;
  return {begin, begin + size};
}

BlockTensors random_tensors(Rng& rng, const BlockConfig& config, DType dtype, const RouterParts& parts) {
  const std::int64_t columns = config.router.columns(), hidden = config.expert.input;
  BlockTensors t;
  if (config.router.source != RouterSource::kExternal) {
    const float scale = 1.5f / std::sqrt(static_cast<float>(hidden));
    t.router.weight = random_tensor(rng, "router", dtype, {columns, hidden}, scale);
    if (parts.bias) t.router.bias = random_tensor(rng, "bias", DType::kFloat32, {columns}, 0.5f);
    if (parts.selection_bias) t.router.selection_bias = random_tensor(rng, "b", DType::kFloat32, {columns}, 0.2f);
    if (parts.in_scale) t.router.in_scale = random_tensor(rng, "in_scale", DType::kFloat32, {hidden}, 1.0f);
    if (parts.per_expert_scale)
      t.router.per_expert_scale = random_tensor(rng, "per_expert", DType::kFloat32, {columns}, 1.0f);
    if (config.router.source == RouterSource::kHashTable) t.router.tid2eid = random_table(rng, config.router);
  }
  for (std::int64_t e = 0; e < config.router.num_experts; ++e)
    t.experts.push_back(random_expert(rng, config.expert, dtype));
  for (std::int64_t e = 0; e < config.shared.count; ++e)
    t.shared.push_back(random_expert(rng, config.shared.expert, dtype));
  if (config.shared.count > 0 && config.shared.gate == SharedGate::kSigmoid)
    t.shared_gate = random_matrix(rng, "shared_gate", dtype, 1, hidden, 0.3f);
  return t;
}

}  // namespace moekit::conformance
