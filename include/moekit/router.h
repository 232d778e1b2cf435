// SPDX-License-Identifier: Apache-2.0
// Routing as data: one pipeline, set by this schema, covers the routers of the open MoE families.
//
//   z = f(x) Wg^T (+ bias)        f: optional RMSNorm and scale; then x logit_mult, optional soft cap
//   s = score(z)
//   c = s + selection_bias        (or z + selection_bias) used for selection only
//   groups outside the kept ones get mask_fill
//   ids = top_k(c)                ties: lowest expert id; NaN ranks below every number
//   w = s[ids], renormalised, x scale, x per_expert_scale
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "moekit/core.h"
#include "moekit/tensor.h"

namespace moekit {

enum class RouterSource : std::uint8_t {
  kComputed,   // from the hidden state
  kHashTable,  // ids = tid2eid[token_id]; weights still from the scores (DeepSeek-V4)
  kExternal,   // the caller gives ids and weights
};
enum class Score : std::uint8_t { kSoftmax, kSigmoid, kSqrtSoftplus, kSoftmaxTopk, kSparsemixer };
enum class SelectOn : std::uint8_t { kScore, kLogit };
enum class GroupRule : std::uint8_t { kNone, kMax, kTop2Sum, kArgmaxPerGroup };
enum class Renorm : std::uint8_t {
  kOff,
  kAddEps,    // w / (sum(w) + eps)
  kClampMin,  // w / max(sum(w), eps)
  kPnorm,     // w / (sum |w|^p)^(1/p)
};
enum class ScaleAt : std::uint8_t { kOnWeights, kOnRoutedSum };
enum class ApplyAt : std::uint8_t { kOutput, kInput };  // kInput: the expert sees w * x, its output is not weighted
enum class Precision : std::uint8_t { kNative, kFloat32 };  // kNative: rounded to the dtype of x

struct RouterConfig {
  RouterSource source = RouterSource::kComputed;
  std::int64_t num_experts = 0;   // experts with weights
  std::int64_t num_identity = 0;  // further columns of the router whose expert returns its input
  std::int64_t top_k = 0;
  bool all_experts = false;  // dense: top_k = num_experts, ids ascend, nothing is selected

  Precision matmul = Precision::kNative;    // rounding of z
  Precision score_in = Precision::kFloat32; // rounding of s
  Precision out = Precision::kFloat32;      // rounding of w

  bool in_rmsnorm = false;  // f(x) = x / rms(x) (* in_scale tensor); eps inside the root
  double in_eps = 1e-6;
  double in_mult = 1.0;     // gemma4: hidden^-1/2
  double logit_mult = 1.0;
  double softcap = 0.0;     // 0: off; z = softcap * tanh(z / softcap)

  Score score = Score::kSoftmax;
  double sparsemixer_eps = 0.01;
  SelectOn select_on = SelectOn::kScore;
  GroupRule group_rule = GroupRule::kNone;
  std::int64_t n_group = 1;
  std::int64_t topk_group = 1;
  double mask_fill = -std::numeric_limits<double>::infinity();

  Renorm renorm = Renorm::kOff;
  double eps = 0.0;
  double p = 1.0;
  double scale = 1.0;
  ScaleAt scale_at = ScaleAt::kOnWeights;
  ApplyAt apply_at = ApplyAt::kOutput;

  /// Columns of the router: experts and identity experts.
  std::int64_t columns() const noexcept { return num_experts + num_identity; }
};

/// Throws std::invalid_argument naming the field, its value and the limit.
void validate(const RouterConfig& config);

/// One sentence for `inspect` and `explain`: "softmax over 128, top 8, weights renormalised".
std::string describe(const RouterConfig& config);

/// Tensors of a router; absent ones are empty.
struct RouterTensors {
  TensorRef weight;            // [columns, hidden]
  TensorRef bias;              // [columns]
  TensorRef selection_bias;    // [columns]
  TensorRef in_scale;          // [hidden]
  TensorRef per_expert_scale;  // [columns]
  TensorRef tid2eid;           // [vocabulary, top_k] integers
};

/// What the caller may hand to a call besides x.
struct RouteInputs {
  const std::int64_t* token_ids = nullptr;   // [T], for kHashTable
  const std::int32_t* expert_ids = nullptr;  // [T, k], for kExternal; -1 skips the slot
  const float* weights = nullptr;            // [T, k], for kExternal
};

/// The result of routing T tokens: non-owning, row-major [T, k].
struct RoutingView {
  std::int64_t tokens = 0;
  std::int64_t top_k = 0;
  std::int32_t* expert_ids = nullptr;
  float* weights = nullptr;
};

/// The same, owned.
struct Routing {
  std::int64_t tokens = 0;
  std::int64_t top_k = 0;
  std::vector<std::int32_t> expert_ids;
  std::vector<float> weights;
};

}  // namespace moekit
