// SPDX-License-Identifier: Apache-2.0
// What host and device share: the kernels' names, their parameters, limits. Plain C++ for both compilers.
#pragma once

#include "moekit/layer.h"
#include "moekit/router.h"

namespace moekit::cuda {

// A routing has T * k slots; slot = token * k + j. Sorted by expert they are rows. Counts are int: T * k < 2^31 is
// checked before anything is launched.

constexpr int kSelectThreads = 128;  // at most: fewer where a row of the router is wide
constexpr int kMaxColumns = 4096;    // of a router: three words a column in shared memory, 48 KB for one warp
constexpr int kChunkSlots = 1024;    // slots that one warp counts and ranks
constexpr int kScanThreads = 1024;
constexpr int kSmallSlots = 2048;       // one warp walks so many in one kernel
constexpr int kScanWords = 2 * 32 + 2;  // of shared memory, in the scan
constexpr int kRowThreads = 128;        // of kernels that treat a row of values at a time

enum class Element : int { kFloat32, kBFloat16, kFloat16 };

/// Copies rows of x into rows of `padded` elements (zeros behind `cols`), converted, for kernels that read 16 bytes at
/// a time. One block a row.
struct PrepareParams {
  const void* x;
  long long row_stride;  // elements
  Element from, to;
  int cols, padded;
  void* out;
  long long out_stride;  // elements
  // Rows of expert inputs (ApplyAt::kInput): row r is round(weight * x[token]); null: row r of x as it is.
  const int* slot_of_row;
  const int* row_count;  // rows there are; further blocks do nothing
  const float* weights;  // [slots]
  int top_k;
};

/// f(x) of the router: RMS norm, scale, multiplier; out [T, padded] float32. One warp a row.
struct RouterInputParams {
  const void* x;
  long long row_stride;
  Element from;
  int tokens, cols, padded;
  float* out;
  const float* in_scale;  // [cols] or null
  float in_eps, in_mult;
  bool rms_norm;
  Element precision;  // every operation rounds to it
};

struct SelectParams {
  const float* logits;  // [T, logits_stride]
  int logits_stride;
  int tokens, columns, top_k;
  const float *bias, *selection_bias, *per_expert_scale;  // [columns] or null
  const int* tid2eid;                                     // [vocabulary, top_k], hash layers
  const long long* token_ids;                             // [T], hash layers
  long long vocabulary;
  int* ids;        // [T, top_k]
  float* weights;  // [T, top_k]
  int* bad_input;  // set to 1 + row where a token id is out of range
  Score score;
  GroupRule group_rule;
  Renorm renorm;
  int n_group, topk_group;
  float logit_mult, softcap, mask_fill, eps, p, inverse_p, scale, sparsemixer_limit;
  bool all_experts, select_on_logit;
  Element logits_in, scores_in, weights_in;  // every operation on them rounds to it
};

/// Ids and weights of the caller: ids outside -1 .. columns - 1 become -1 and are reported.
struct ExternalParams {
  const int* from_ids;
  const float* from_weights;
  int* ids;
  float* weights;
  int* bad_input;
  int slots, columns;
};

struct Tile {
  int expert, row, rows;  // rows row .. row + rows of the sorted order
};

/// The stable sort of slots by expert. Slots of other ids (identity experts, -1) have no row.
struct PermuteParams {
  const int* ids;  // [slots]
  int slots, top_k, experts, chunks;
  int tile_rows;  // rows of a tile of the grouped product
  int* counts;    // [chunks, experts]: after the scan, rows of earlier chunks
  int* offsets;   // [experts + 1]
  int* slot_of_row;
  int* token_of_row;
  int* row_of_slot;  // [slots], -1: none
  Tile* tiles;
  int* tile_count;
};

/// activation(gate, up) as numbers (activation.h): one formula for all gated forms.
struct ActivationParams {
  Activation act;
  float cut;           // gate = min(gate, cut)
  float slope, cubic;  // gate * sigmoid(gate * (slope + cubic * gate^2))
  float ceiling;       // of that product
  float clamp;         // up = clamp(up, -clamp, clamp)
  float up_add;
};

/// One grouped product: rows of the sorted order, each through its expert's matrix. gemm.h and gemm_f32.cu.
struct GemmParams {
  const void* input;       // rows of the kernel's element, 16-byte aligned, zeros behind the columns
  long long input_stride;  // elements
  const int* input_row;    // of a sorted row; null: the row itself
  const Tile* tiles;
  const int* tile_count;
  // Shared experts and routers: `experts` matrices, each with `uniform_rows` rows; 0: tiles decide.
  int uniform_rows, experts;
  bool same_input;                   // row r of every expert reads input row r; otherwise each has rows of its own
  const void *gate, *up;             // packed (pack.h); ungated forms: `up` alone
  long long expert_bytes;            // from one expert's packed matrix to the next
  const float *gate_bias, *up_bias;  // [experts, bias_stride] or null
  int bias_stride;
  int k_steps;    // packed columns / 32
  int row_tiles;  // packed rows / 16, even
  int columns;    // output columns: rows of the matrix
  Element to;
  void* out;
  long long out_stride;  // elements, 16 * row_tiles; columns .. out_stride become 0
  ActivationParams activation;
  // Quantised weights: [experts, groups, 16 * row_tiles] of each matrix, w = (value - zero) * scale; with `minimum`
  // w = value * scale - zero. `zero` null: constant_zero for all.
  const float *gate_scale, *up_scale, *gate_zero, *up_zero;
  long long scale_stride;  // from one expert's scales to the next
  int group_halves;        // 16 columns each; beyond all of them where a row has one scale
  bool minimum;
  float constant_zero;
};

/// Rows of the sorted order, gathered: out [rows, columns] of `element`.
struct GatherParams {
  GemmParams rows;   // input and the fields that tell rows and experts
  int tile_rows;     // of its tiles
  const int* order;  // [experts, columns]: which column of the input, -1: zeros; null: as they are
  int columns;       // padded
  Element element;
  void* out;
};

/// Sums of products through biases and activation: element (r, c) of gate and up [rows, rows.out_stride] to rows.out.
struct ActivateParams {
  GemmParams rows;  // tiles, biases, columns, activation, out, out_stride, to
  int tile_rows;
  const void *gate, *up;  // ungated: `up` alone
  Element from;
};

// Rows of the sorted order that one block takes. The sums are the same for all: the small tile reads each weight once
// for up to 8 rows (decode), the large one 64 (prefill).
constexpr int kSmallTile = 8;
constexpr int kLargeTile = 64;
constexpr int kLargeQuantTile = 32;  // sums of a group beside the totals take twice the registers
constexpr int kGemmWarps = 4;
constexpr int kGemmThreads = 32 * kGemmWarps;
constexpr int kMaxGridY = 65535;

// Shared memory of a block of the tensor-core kernels: a ring of stages, each of `steps` steps of 32 columns (64 bytes)
// of every token. Few tokens take more columns at once, so that there is a barrier for every 8 KB of weights a warp.
constexpr int stage_steps(int tokens) { return tokens <= kSmallTile ? 4 : 2; }
constexpr int ring_stages(int tokens) { return tokens <= kSmallTile ? 4 : 3; }
constexpr int ring_bytes(int tokens) { return ring_stages(tokens) * tokens * stage_steps(tokens) * 64; }

struct SharedGateParams {
  const void* x;
  long long row_stride;
  Element from;
  int tokens, cols;
  const float* weight;  // [cols]
  float* out;           // [T]: sigmoid(x . weight)
};

/// y = out_scale * (routed_scale * sum_j w_j y_j + shared). One block a token.
struct FinalizeParams {
  const float* routed;  // [rows, routed_stride] outputs of experts
  long long routed_stride;
  const int* ids;
  const float* weights;
  const int* row_of_slot;
  const void* x;  // for identity experts
  long long x_stride;
  Element x_element;
  int tokens, top_k, experts, columns;  // columns: of the router
  const float* shared;                  // [shared_count * T, routed_stride], or null
  const float* shared_gate;             // [T] or null
  int shared_count;
  float routed_scale, shared_scale, out_scale;
  bool weighted_input;
  void* y;
  long long y_stride;
  Element y_element;
  int output;
};

// X(name, parameters)
#define MOEKIT_CUDA_KERNELS(X)               \
  X(moekit_prepare_rows, PrepareParams)      \
  X(moekit_router_input, RouterInputParams)  \
  X(moekit_select, SelectParams)             \
  X(moekit_sparsemixer, SelectParams)        \
  X(moekit_external_routing, ExternalParams) \
  X(moekit_count_slots, PermuteParams)       \
  X(moekit_scan_experts, PermuteParams)      \
  X(moekit_place_slots, PermuteParams)       \
  X(moekit_permute_small, PermuteParams)     \
  X(moekit_gemm_f32_gated, GemmParams)       \
  X(moekit_gemm_f32_plain, GemmParams)       \
  X(moekit_gemm_bf16_gated_8, GemmParams)    \
  X(moekit_gemm_bf16_gated_64, GemmParams)   \
  X(moekit_gemm_bf16_plain_8, GemmParams)    \
  X(moekit_gemm_bf16_plain_64, GemmParams)   \
  X(moekit_gemm_f16_gated_8, GemmParams)     \
  X(moekit_gemm_f16_gated_64, GemmParams)    \
  X(moekit_gemm_f16_plain_8, GemmParams)     \
  X(moekit_gemm_f16_plain_64, GemmParams)    \
  X(moekit_gemm_u4_gated_8, GemmParams)      \
  X(moekit_gemm_u4_gated_32, GemmParams)     \
  X(moekit_gemm_u4_plain_8, GemmParams)      \
  X(moekit_gemm_u4_plain_32, GemmParams)     \
  X(moekit_gemm_u8_gated_8, GemmParams)      \
  X(moekit_gemm_u8_gated_32, GemmParams)     \
  X(moekit_gemm_u8_plain_8, GemmParams)      \
  X(moekit_gemm_u8_plain_32, GemmParams)     \
  X(moekit_gemm_e2m1_gated_8, GemmParams)    \
  X(moekit_gemm_e2m1_gated_32, GemmParams)   \
  X(moekit_gemm_e2m1_plain_8, GemmParams)    \
  X(moekit_gemm_e2m1_plain_32, GemmParams)   \
  X(moekit_gemm_e4m3_gated_8, GemmParams)    \
  X(moekit_gemm_e4m3_gated_32, GemmParams)   \
  X(moekit_gemm_e4m3_plain_8, GemmParams)    \
  X(moekit_gemm_e4m3_plain_32, GemmParams)   \
  X(moekit_gather_rows, GatherParams)        \
  X(moekit_activate_rows, ActivateParams)    \
  X(moekit_shared_gate, SharedGateParams)    \
  X(moekit_finalize, FinalizeParams)

}  // namespace moekit::cuda
