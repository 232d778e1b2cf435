// SPDX-License-Identifier: Apache-2.0
#include "conformance/harness.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/environment.h"
#include "core/float_convert.h"
#include "routing/rules.h"

namespace moekit::conformance {
namespace {

BlockTensors seeded_tensors(const BlockConfig& config, const Mode& mode, const RouterParts& parts, std::uint64_t seed) {
  Rng rng(seed);
  return random_tensors(rng, config, mode.weights, parts);
}

// Weights that went through the same formula with other roundings of the logits.
bool close(const std::int32_t* ids, const float* weights, const std::int32_t* want_ids, const float* want_weights,
           std::int64_t k) {
  for (std::int64_t j = 0; j < k; ++j)
    if (ids[j] != want_ids[j] || !(std::fabs(weights[j] - want_weights[j]) <= 5e-5f * std::fabs(want_weights[j])))
      return false;
  return true;
}

std::vector<float> router_logits(const Block& block, const RouterTables& tables, const Matrix& x, std::int64_t row) {
  const std::vector<float> weight = read_float32(block.tensors.router.weight);
  const std::int64_t hidden = x.cols();
  std::vector<float> input(static_cast<std::size_t>(hidden)), filtered(input.size());
  for (std::int64_t i = 0; i < hidden; ++i) input[static_cast<std::size_t>(i)] = x.at(row, i);
  if (router_input(block.config.router, tables, input.data(), hidden, x.dtype(), filtered.data())) input = filtered;
  std::vector<float> logits(static_cast<std::size_t>(block.config.router.columns()));
  for (std::size_t c = 0; c < logits.size(); ++c) {
    double sum = 0.0;
    for (std::size_t i = 0; i < input.size(); ++i)
      sum += static_cast<double>(weight[c * input.size() + i]) * static_cast<double>(input[i]);
    logits[c] = static_cast<float>(sum);
  }
  return logits;
}

// Whether the row's choice is the oracle's for logits within 1e-5 of its own: float32 sums of 130 products differ by
// less. Random signs: a pair that must move apart does so in every fourth try. Logits that are rounded to the dtype of
// x are moved before that in one half of the tries, after it in the other: there a softmax whose sum was taken in
// another order ends beside an edge of its own rounding.
bool within_reach(const Block& block, const Matrix& x, const Inputs& inputs, std::int64_t row, const Result& got) {
  const float reach = 1e-5f * static_cast<float>(slack());
  const RouterConfig& config = block.config.router;
  if (config.source == RouterSource::kExternal) return false;
  const RouterTables tables = read_router_tables(config, block.tensors.router);
  const std::vector<float> logits = router_logits(block, tables, x, row);
  const auto k = static_cast<std::size_t>(config.top_k);
  const std::int32_t* forced = nullptr;
  if (config.source == RouterSource::kHashTable)
    forced = tables.tid2eid.data() + inputs.token_ids[static_cast<std::size_t>(row)] * config.top_k;
  RouteScratch scratch;
  std::vector<std::int32_t> ids(k);
  std::vector<float> weights(k), moved(logits.size());
  Rng rng(1);
  const DType rounded_to = rounding(config.matmul, x.dtype());
  RouterConfig rounded_before = config;
  rounded_before.matmul = Precision::kFloat32;
  for (int attempt = 0; attempt < 256; ++attempt) {
    const bool after = rounded_to != DType::kFloat32 && attempt % 2 == 1;
    for (std::size_t c = 0; c < logits.size(); ++c)
      moved[c] = (after ? rounded(logits[c], rounded_to) : logits[c]) +
                 std::uniform_real_distribution<float>(-reach, reach)(rng);
    select(after ? rounded_before : config, tables, moved.data(), x.dtype(), forced, scratch, ids.data(),
           weights.data());
    const std::size_t at = static_cast<std::size_t>(row) * k;
    if (close(&got.ids[at], &got.weights[at], ids.data(), weights.data(), config.top_k)) return true;
  }
  return false;
}

std::string slots_text(const Result& result, std::int64_t row, std::int64_t k) {
  std::string text;
  for (std::int64_t slot = row * k; slot < (row + 1) * k; ++slot)
    text += " " + std::to_string(result.ids[static_cast<std::size_t>(slot)]) + " (" +
            std::to_string(result.weights[static_cast<std::size_t>(slot)]) + ")";
  return text;
}

}  // namespace

bool reduced() {
  static const bool value = !environment("MOEKIT_TEST_REDUCED").empty();
  return value;
}

Block::Block(const Target& target, const BlockConfig& block_config, const Mode& block_mode, const RouterParts& parts,
             std::uint64_t seed)
    : config(block_config),
      mode(block_mode),
      tensors(seeded_tensors(block_config, block_mode, parts, seed)),
      layer(make_layer(target, config, tensors, std::string(dtype_name(mode.weights)))) {}

Inputs Inputs::random(Rng& rng, const RouterConfig& config, std::int64_t tokens) {
  Inputs inputs;
  for (std::int64_t t = 0; t < tokens; ++t) {
    if (config.source == RouterSource::kHashTable) inputs.token_ids.push_back(pick(rng, kVocabulary));
    for (std::int64_t j = 0; j < config.top_k && config.source == RouterSource::kExternal; ++j) {
      inputs.expert_ids.push_back(static_cast<std::int32_t>(pick(rng, config.columns() + 1) - 1));
      inputs.weights.push_back(normal(rng));
    }
  }
  return inputs;
}

Inputs Inputs::take(const std::vector<std::int64_t>& rows, std::int64_t top_k) const {
  Inputs taken;
  for (const std::int64_t row : rows) {
    if (!token_ids.empty()) taken.token_ids.push_back(token_ids[static_cast<std::size_t>(row)]);
    for (std::int64_t j = 0; j < top_k && !expert_ids.empty(); ++j) {
      taken.expert_ids.push_back(expert_ids[static_cast<std::size_t>(row * top_k + j)]);
      taken.weights.push_back(weights[static_cast<std::size_t>(row * top_k + j)]);
    }
  }
  return taken;
}

RouteInputs Inputs::view() const {
  return {token_ids.empty() ? nullptr : token_ids.data(), expert_ids.empty() ? nullptr : expert_ids.data(),
          weights.empty() ? nullptr : weights.data()};
}

Result run(const MoeLayer& layer, const Matrix& x, const Inputs& inputs) {
  const std::int64_t k = layer.config().router.top_k;
  const auto slots = static_cast<std::size_t>(x.rows() * k);
  Result result{Matrix(x.rows(), layer.config().expert.output, x.dtype()), std::vector<std::int32_t>(slots, -7),
                std::vector<float>(slots)};
  const RoutingView routing{x.rows(), k, result.ids.data(), result.weights.data()};
  despite_faults([&] { layer.forward_host(x.view(), result.y.out(), inputs.view(), &routing); });
  return result;
}

std::vector<std::byte> unpacked(const MoeLayer& layer, std::int64_t expert, bool shared, DType dtype) {
  const ExpertConfig& e = shared ? layer.config().shared.expert : layer.config().expert;
  const bool linear = e.act == Activation::kLinear;
  Matrix gate(e.intermediate, e.input, dtype), up = gate, down(e.output, linear ? e.input : e.intermediate, dtype);
  ExpertViews views;
  if (is_gated(e.act)) views.gate = gate.out();
  if (!linear) views.up = up.out();
  views.down = down.out();
  layer.unpack(expert, views, shared);
  std::vector<std::byte> bytes = gate.bytes();
  bytes.insert(bytes.end(), up.bytes().begin(), up.bytes().end());
  bytes.insert(bytes.end(), down.bytes().begin(), down.bytes().end());
  return bytes;
}

std::vector<std::byte> row_bits(const Result& result, std::int64_t row) {
  std::vector<std::byte> bits = result.y.row_bytes(row);
  const std::size_t k = result.ids.size() / static_cast<std::size_t>(result.y.rows());
  const auto append = [&](const void* data, std::size_t bytes) {
    const auto* first = static_cast<const std::byte*>(data);
    bits.insert(bits.end(), first, first + bytes);
  };
  append(&result.ids[static_cast<std::size_t>(row) * k], k * sizeof(std::int32_t));
  append(&result.weights[static_cast<std::size_t>(row) * k], k * sizeof(float));
  return bits;
}

std::vector<std::int64_t> agreeing_rows(const Block& block, const Matrix& x, const Inputs& inputs, const Result& got,
                                        const Result& want) {
  const std::int64_t k = block.config.router.top_k;
  std::vector<std::int64_t> rows;
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    const auto at = static_cast<std::size_t>(t * k);
    if (close(&got.ids[at], &got.weights[at], &want.ids[at], &want.weights[at], k)) {
      rows.push_back(t);
    } else {
      EXPECT_TRUE(within_reach(block, x, inputs, t, got))
          << "row " << t << " is routed otherwise than by the reference:" << slots_text(got, t, k) << ", expected"
          << slots_text(want, t, k);
    }
  }
  return rows;
}

Result run_oracle(const Block& block, const Matrix& x, const Inputs& inputs) {
  const Backend& reference = backend_by_name("reference");
  const std::unique_ptr<PackedBlock> packed =
      pack_block({"reference", ""}, block.config, block.tensors, std::string(dtype_name(block.mode.weights)));
  const std::unique_ptr<Workspace> workspace = reference.new_workspace(*packed);
  const std::int64_t k = block.config.router.top_k;
  const auto slots = static_cast<std::size_t>(x.rows() * k);
  Result result{Matrix(x.rows(), block.config.expert.output, DType::kFloat32), std::vector<std::int32_t>(slots),
                std::vector<float>(slots)};
  const RoutingView routing{x.rows(), k, result.ids.data(), result.weights.data()};
  reference.route(*packed, x.view(), inputs.view(), routing, *workspace, nullptr);
  reference.experts(*packed, x.view(), routing, result.y.out(), *workspace, nullptr);
  return result;
}

void Nmse::add(const Matrix& got, const Matrix& want, const std::vector<std::int64_t>& rows) {
  for (const std::int64_t r : rows) {
    for (std::int64_t c = 0; c < want.cols(); ++c) {
      const double a = got.at(r, c), b = want.at(r, c);
      error_ += (a - b) * (a - b);
      power_ += b * b;
    }
  }
}

double nmse(const Matrix& got, const Matrix& want, const std::vector<std::int64_t>& rows) {
  Nmse sums;
  sums.add(got, want, rows);
  return sums.value();
}

std::vector<std::int64_t> all_rows(const Matrix& x) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(x.rows()));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

}  // namespace moekit::conformance
