// SPDX-License-Identifier: Apache-2.0
// The table of kernels that an ISA provides. One table a file kernels_<isa>.cpp; dispatch happens once, when a layer is
// packed. Every kernel sums an output element in one fixed order of k whatever the number of rows: that is what makes
// results independent of the batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "backends/cpu/bf16z_format.h"
#include "backends/cpu/float_state.h"
#include "backends/cpu/tile_format.h"
#include "moekit/layer.h"

namespace moekit::cpu {

/// Accumulators that a sweep of `rows` rows needs: 32 a row, and at least two blocks of 32 rows.
constexpr std::int64_t accumulator_floats(std::int64_t rows) { return rows > 64 ? rows * 32 : 64 * 32; }

struct ActivationParams {
  Activation act = Activation::kSilu;
  float limit = 0.0f, alpha = 0.0f, up_add = 0.0f;
};

/// Panels of quantised weights: two streams each, which are unpacked into plain steps piece by piece.
struct QuantPanels {
  const TileFormat* half = nullptr;                      // of the two streams
  const std::uint16_t* columns[2] = {nullptr, nullptr};  // group of every k, where the format goes by column
  int digits = 0;                                        // of the rows of integers that meet them; 0: rows are floats
  std::int64_t panel_bytes() const noexcept { return half[0].bytes() + half[1].bytes(); }
};

struct WeightKernels;

/// Beside rows of A in parts: what multiplies those rows and panels that parts cannot hold.
struct FloatRows {
  const std::byte* a = nullptr;  // the same rows as blocks of float32
  const WeightKernels* kernels = nullptr;
};

/// Steps of 32 k of one stream to plain tiles, kStepBytes apart.
struct UnpackArgs {
  const TileFormat* format = nullptr;
  const std::uint16_t* columns = nullptr;
  const std::byte* stream = nullptr;
  std::int64_t first = 0, steps = 0;
  void* tiles = nullptr;
  // The stream that is read after this one: what lies ahead is brought in up to and beyond the end. Null: it is not.
  const std::byte* following = nullptr;
};

/// Rows of x to blocks of A.
struct GatherArgs {
  const void* x = nullptr;              // [tokens, columns]
  std::int64_t row_stride = 0;          // elements
  const std::int32_t* token = nullptr;  // row i of A is row token[i] of x; null: row i
  const float* scale = nullptr;         // row i is multiplied by scale[i] and rounded to the dtype of x; null: not
  std::int64_t rows = 0, columns = 0;
  std::int64_t segments = 0;  // of A; columns beyond `columns` are zero
  bool nibble_order = false;  // of A, where that is bfloat16
  std::byte* a = nullptr;
};

/// Rows of x, or of hidden activations, to rows of integers (int_rows.h) for the panels of a format.
struct IntGatherArgs {
  const TileFormat* format = nullptr;
  int digits = 1;
  const void* x = nullptr;  // [tokens, columns] of dtype; as in GatherArgs
  DType dtype = DType::kFloat32;
  std::int64_t row_stride = 0;
  const std::int32_t* token = nullptr;
  const float* scale = nullptr;
  std::int64_t rows = 0, columns = 0;
  const std::byte* h = nullptr;  // instead of x: blocks of A of float32
  std::int64_t h_segments = 0;
  std::byte* a = nullptr;
};

/// Blocks of A of float32 to rows of parts (split_rows.h).
struct SplitArgs {
  const std::byte* floats = nullptr;
  std::int64_t rows = 0;
  std::int64_t steps = 0;  // of 16 k: segments of a row of `floats`
  std::byte* a = nullptr;
};

/// Blocks of A through panels [first, last) of an up-projection, and the activation, to blocks of A of the
/// down-projection.
struct UpArgs {
  const std::byte* a = nullptr;
  std::int64_t rows = 0;
  std::int64_t steps = 0;             // of a panel
  const std::byte* panels = nullptr;  // panel 0
  std::int64_t first = 0, last = 0;
  const float* bias = nullptr;  // [panels * 32] in panel order, or null
  std::byte* h = nullptr;
  std::int64_t h_segments = 0;
  bool h_nibble_order = false;
  ActivationParams activation;
  const std::byte* next = nullptr;     // what is read after the last panel, to prefetch
  const QuantPanels* quant = nullptr;  // null, and bf16z null: the panels are plain
  const Bf16zFormat* bf16z = nullptr;
  const FloatRows* floats = nullptr;  // where A is of parts
  // unpacked_bytes(kernels, steps), or kSplitBytes where A is of parts, 64-byte aligned; may be null for plain panels,
  // whose steps then never are widened.
  std::byte* unpacked = nullptr;
  float* scratch = nullptr;  // accumulator_floats(rows), of parts for whole groups of 32 rows; 64-byte aligned
};

/// Blocks of A through panels [first, last) of a down-projection: out[token[i]] += weight[i] * (row i + bias).
struct DownArgs {
  const std::byte* a = nullptr;
  std::int64_t rows = 0;
  std::int64_t steps = 0;
  const std::byte* panels = nullptr;
  std::int64_t first = 0, last = 0;
  const float* bias = nullptr;          // [panels * 32], or null
  const std::int32_t* token = nullptr;  // null: row i
  const float* weight = nullptr;        // null: 1
  // 32 columns of panel n for token t begin at out + t * out_stride + n * out_panel (both in floats). A panel's columns
  // lie together where many experts add to them: rows a page apart would cost a TLB miss each.
  float* out = nullptr;
  std::int64_t out_stride = 0, out_panel = 0;
  const std::byte* next = nullptr;
  const QuantPanels* quant = nullptr;
  const Bf16zFormat* bf16z = nullptr;
  const FloatRows* floats = nullptr;
  std::byte* unpacked = nullptr;
  float* scratch = nullptr;
};

/// Accumulator panels [first, last) of `rows` rows to y; columns from `columns` on do not exist in y.
struct FinishArgs {
  const float* out = nullptr;  // as in DownArgs, rows of 32 floats
  std::int64_t out_panel = 0;
  std::int64_t rows = 0, first = 0, last = 0, columns = 0;
  void* y = nullptr;
  DType dtype = DType::kFloat32;
  std::int64_t y_stride = 0;
};

/// weights = softmax(logits + bias), row by row.
struct SoftmaxArgs {
  const float* logits = nullptr;  // [rows, stride], stride a multiple of 32
  std::int64_t stride = 0;
  const float* bias = nullptr;  // [stride], or null
  std::int64_t rows = 0, columns = 0;
  float* weights = nullptr;  // [rows, columns]
};

/// Rows of logits [experts] and outputs [experts, output] to weights and weighted sums: y = factor * sum_e w_e (o_e +
/// b_e).
struct SmallDenseArgs {
  const float* columns = nullptr;  // [rows, stride], readable for 16 columns beyond the last output
  std::int64_t stride = 0;
  const float* bias = nullptr;  // in the same order, or null
  std::int64_t rows = 0, experts = 0, output = 0;
  float* weights = nullptr;  // [rows, experts]
  void* y = nullptr;
  DType dtype = DType::kFloat32;
  std::int64_t y_stride = 0;
  float factor = 1.0f;
};

/// Kernels for one dtype of weights.
struct WeightKernels {
  DType activation = DType::kFloat32;  // dtype of A
  void (*gather_f32)(const GatherArgs&) noexcept = nullptr;
  void (*gather_bf16)(const GatherArgs&) noexcept = nullptr;
  void (*up)(const UpArgs&) noexcept = nullptr;
  void (*down)(const DownArgs&) noexcept = nullptr;
  std::int64_t slice_steps = 0;  // steps of a panel that are worked on at a time; 0: all
  // Of bfloat16 weights: whether quantised ones are unpacked to them. Else they meet float32 rows, or integers.
  bool unpacks = false;
  // Of bfloat16 weights: panels of quantised ones whose codes they multiply as they are, before all other ways; null:
  // none.
  bool (*codes)(const TileFormat&, const TileFormat&) noexcept = nullptr;
};

/// Kernels for quantised panels and rows of integers. The hidden activations that `up` makes are blocks of float32.
struct IntKernels {
  void (*gather)(const IntGatherArgs&) noexcept = nullptr;
  void (*up)(const UpArgs&) noexcept = nullptr;
  void (*down)(const DownArgs&) noexcept = nullptr;
  // Formats for which rows of three digits are faster than the kernels that others meet; null: none.
  bool (*fixed_point)(const TileFormat&) noexcept = nullptr;
};

/// Kernels for float32 panels on a matrix unit of bfloat16: A is of parts, and so panels become as they are multiplied.
struct SplitKernels {
  void (*split)(const SplitArgs&) noexcept = nullptr;
  void (*up)(const UpArgs&) noexcept = nullptr;
  void (*down)(const DownArgs&) noexcept = nullptr;
};

/// Bytes of plain steps that a sweep over panels of `steps` steps that are not plain has at a time.
inline std::int64_t unpacked_bytes(const WeightKernels& kernels, std::int64_t steps) noexcept {
  return (kernels.slice_steps == 0 ? steps : kernels.slice_steps) * kStepBytes;
}

struct KernelTable {
  std::string_view name;
  std::uint32_t needs = 0;  // CpuFeature bits
  std::uint32_t wants = 0;  // likewise: without them the table is passed over unless it is asked for by its name
  // Whether its results have the bits that every other such table gives: multiply-adds are fused, rows stay float32.
  bool reproducible = false;
  const KernelTable* instead = nullptr;  // of one that is not: a table that is, for the same processors; null: none
  WeightKernels f32, bf16;               // without `up`: inherited from the next table of the list that the host runs
  IntKernels integer;                    // likewise
  SplitKernels split;                    // not inherited: its tiles are configured by `enter`
  void (*finish)(const FinishArgs&) noexcept = nullptr;
  void (*softmax)(const SoftmaxArgs&) noexcept = nullptr;
  void (*small_dense)(const SmallDenseArgs&) noexcept = nullptr;
  void (*unpack)(const UnpackArgs&) noexcept = nullptr;  // to float32
  void (*enter)() noexcept = nullptr;                    // per thread and job: tile configuration; null: nothing to do
  void (*leave)() noexcept = nullptr;
};

/// What a thread's floating-point and tile state must be while kernels run; the caller's own comes back.
class KernelScope {
 public:
  explicit KernelScope(const KernelTable& table) noexcept : table_(table) {
    if (table_.enter != nullptr) table_.enter();
  }
  ~KernelScope() {
    if (table_.leave != nullptr) table_.leave();
  }
  KernelScope(const KernelScope&) = delete;
  KernelScope& operator=(const KernelScope&) = delete;

 private:
  const FloatScope floats_;
  const KernelTable& table_;
};

/// All tables of this build, best first, generic last.
const KernelTable* const* kernel_tables(std::size_t* count);

}  // namespace moekit::cpu
