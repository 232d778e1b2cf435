// SPDX-License-Identifier: Apache-2.0
// From router logits to ids and weights, one warp a token: the steps of src/routing/select.cpp, which is the reference.
// No block-wide barrier: warps whose token does not exist leave early.
#include "backends/cuda/select_row.h"

namespace moekit::cuda {
namespace {

// in and out may be the same; both belong to lanes by index % 32.
MOEKIT_DEVICE void softmax(const Row& r, const float* in, int n, float* out) {
  float top = negative_infinity();
  for (int i = r.lane; i < n; i += kWarpSize) top = in[i] > top ? in[i] : top;
  top = warp_max(top);
  float sum = 0.0f;
  for (int i = r.lane; i < n; i += kWarpSize) {
    out[i] = expf(in[i] - top);
    sum += out[i];
  }
  sum = warp_sum(sum);
  for (int i = r.lane; i < n; i += kWarpSize) out[i] = rounded(out[i] / sum, r.p.scores_in);
}

// Scores that see one logit each.
MOEKIT_DEVICE float element_score(Score score, float z, Element precision) {
  if (score == Score::kSigmoid) return rounded(1.0f / (1.0f + expf(-z)), precision);
  const float softplus = z > 20.0f ? z : log1pf(expf(z));  // 20: see src/routing/sqrt_softplus.cpp
  return rounded(sqrtf(rounded(softplus, precision)), precision);
}

MOEKIT_DEVICE void score_values(const Row& r, const float* in, int n, float* out) {
  if (r.p.score == Score::kSoftmax || r.p.score == Score::kSoftmaxTopk) return softmax(r, in, n, out);
  for (int i = r.lane; i < n; i += kWarpSize) out[i] = element_score(r.p.score, in[i], r.p.scores_in);
}

MOEKIT_DEVICE float group_score(const Row& r, const float* values, int n, Element precision) {
  float first = negative_infinity(), second = negative_infinity();
  for (int i = 0; i < n; ++i) {
    const float value = values[i];
    if (value > first) {
      second = first;
      first = value;
    } else if (value > second) {
      second = value;
    }
  }
  return r.p.group_rule == GroupRule::kMax ? first : rounded(first + second, precision);
}

// Columns of groups that are not kept become mask_fill. A lane scores whole groups.
MOEKIT_DEVICE void mask_groups(const Row& r, Element precision) {
  const SelectParams& p = r.p;
  const int size = p.columns / p.n_group;
  for (int g = r.lane; g < p.n_group; g += kWarpSize)
    r.keys[g] = order_key(group_score(r, r.s + g * size, size, precision));
  __syncwarp();
  for (int i = 0; i < p.topk_group; ++i) take_best(r, r.keys, p.n_group);
  __syncwarp();
  for (int c = r.lane; c < p.columns; c += kWarpSize)
    if (r.keys[c / size] != 0) r.s[c] = p.mask_fill;
  __syncwarp();
}

// The best column of each group, then these by their values.
MOEKIT_DEVICE void argmax_per_group(const Row& r) {
  const int groups = r.p.n_group, size = r.p.columns / groups;
  for (int g = r.lane; g < groups; g += kWarpSize) {
    Best best = {0u, 0};
    for (int c = g * size; c < (g + 1) * size; ++c)
      if (const unsigned key = order_key(r.s[c]); key > best.key) best = {key, c};
    r.keys[g] = best.key;
    r.weights[g] = __uint_as_float(static_cast<unsigned>(best.column));  // its place until the weights are known
  }
  __syncwarp();
  for (int j = 0; j < groups; ++j) {
    const int group = take_best(r, r.keys, groups);
    if (r.lane == 0) r.ids[j] = static_cast<int>(__float_as_uint(r.weights[group]));
  }
  __syncwarp();
}

// ids of the top_k largest of r.s.
MOEKIT_DEVICE void choose_columns(const Row& r, Element precision) {
  const SelectParams& p = r.p;
  if (p.group_rule == GroupRule::kArgmaxPerGroup) return argmax_per_group(r);
  if (p.group_rule != GroupRule::kNone && p.topk_group != p.n_group) mask_groups(r, precision);
  for (int c = r.lane; c < p.columns; c += kWarpSize) r.keys[c] = order_key(r.s[c]);
  for (int j = 0; j < p.top_k; ++j) {
    const int column = take_best(r, r.keys, p.columns);
    if (r.lane == 0) r.ids[j] = column;
  }
  __syncwarp();
}

// Ids of a row that does not choose: all columns, or those of the token id.
MOEKIT_DEVICE bool given_ids(const Row& r) {
  const SelectParams& p = r.p;
  if (!p.all_experts && p.tid2eid == nullptr) return false;
  long long token_id = p.tid2eid != nullptr ? p.token_ids[r.token] : 0;
  if (p.tid2eid != nullptr && (token_id < 0 || token_id >= p.vocabulary)) {
    // Reported, and computed as token 0: memory outside the table is not touched.
    if (r.lane == 0) *p.bad_input = 1 + r.token;
    token_id = 0;
  }
  for (int j = r.lane; j < p.top_k; j += kWarpSize) r.ids[j] = p.all_experts ? j : p.tid2eid[token_id * p.top_k + j];
  __syncwarp();
  return true;
}

MOEKIT_DEVICE void choose(const Row& r) {
  const SelectParams& p = r.p;
  const bool given = given_ids(r);
  const bool on_logits = p.select_on_logit || p.score == Score::kSoftmaxTopk;
  // A softmax sees the whole row; scores of single elements are computed for all only where they are chosen by.
  const bool whole_row = p.score == Score::kSoftmax || (p.score != Score::kSoftmaxTopk && !on_logits && !given);
  if (whole_row) score_values(r, r.z, p.columns, r.s);
  // The weights read r.s and r.z by id; the choice overwrites r.s, so that scores move to r.z when it reads those.
  if (!given) {
    for (int c = r.lane; c < p.columns; c += kWarpSize) {
      const float score = whole_row ? r.s[c] : 0.0f, z = r.z[c];
      const float base = on_logits ? z : score;
      r.s[c] = p.selection_bias != nullptr ? base + p.selection_bias[c] : base;
      if (whole_row) r.z[c] = score;
    }
    __syncwarp();
    // A float32 selection bias promotes the sum to float32.
    const Element own = on_logits ? p.logits_in : p.scores_in;
    choose_columns(r, p.selection_bias == nullptr ? own : Element::kFloat32);
  } else if (whole_row) {
    for (int c = r.lane; c < p.columns; c += kWarpSize) r.z[c] = r.s[c];
    __syncwarp();
  }
  for (int j = r.lane; j < p.top_k; j += kWarpSize) r.weights[j] = r.z[r.ids[j]];
  if (!whole_row) score_values(r, r.weights, p.top_k, r.weights);
}

}  // namespace

MOEKIT_CUDA_KERNEL(moekit_select, SelectParams, kSelectThreads) {
  SharedMemory shared;
  const Row row = row_of_warp(p, shared);
  if (row.token >= p.tokens) return;
  const bool nan = finish_logits(row);
  choose(row);
  __syncwarp();
  finish_weights(row, nan);
}

}  // namespace moekit::cuda
