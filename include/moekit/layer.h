// SPDX-License-Identifier: Apache-2.0
// A mixture-of-experts block: its configuration, its tensors, and the layer that runs it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "moekit/core.h"
#include "moekit/device.h"
#include "moekit/router.h"
#include "moekit/tensor.h"

namespace moekit {

enum class Activation : std::uint8_t {
  kLinear,      // ungated: W x + b, one projection (`down`), no `up`
  kSilu,        // silu(g) * u
  kGeluTanh,    // gelu_tanh(g) * u
  kGelu,        // gelu(g) * u, exact (erf)
  kSiluClamp,   // silu(min(g, L)) * clamp(u, -L, L)
  kSwigluOai,   // g = min(g, L), u = clamp(u, -L, L): (u + up_add) * g * sigmoid(alpha g)
  kSwigluStep,  // min(silu(g), L) * clamp(u, -L, L)
  kRelu,        // ungated: relu(u)
  kRelu2,       // ungated: relu(u)^2
};
/// Whether the form has a gate projection beside the up projection.
bool is_gated(Activation act) noexcept;
std::string_view activation_name(Activation act) noexcept;

struct ExpertConfig {
  std::int64_t input = 0;         // columns of gate and up (of down for kLinear): the hidden size
  std::int64_t intermediate = 0;  // rows of gate and up, columns of down; 0 for kLinear
  std::int64_t output = 0;        // rows of down; the hidden size, or output_dim of the dense softmax module
  Activation act = Activation::kSilu;
  double limit = 0.0;  // L
  double alpha = 1.702;
  double up_add = 1.0;
  bool up_bias = false;  // biases of gate and up
  bool down_bias = false;
};

enum class SharedGate : std::uint8_t {
  kAdd,      // y = routed + shared
  kSigmoid,  // y = routed + sigmoid(x . w) shared
  kAverage,  // y = (routed + shared) / 2
};

struct SharedConfig {
  std::int64_t count = 0;  // 0: none; several are one expert of count * intermediate in every published checkpoint
  SharedGate gate = SharedGate::kAdd;
  ExpertConfig expert;
};

struct BlockConfig {
  RouterConfig router;
  ExpertConfig expert;
  SharedConfig shared;
  double out_scale = 1.0;  // multiplies the whole output
};

/// Throws std::invalid_argument naming the field, its value and the limit.
void validate(const BlockConfig& config);

/// One expert's matrices. Ungated forms leave `gate` empty, kLinear leaves `gate` and `up` empty.
struct ExpertTensors {
  MatrixRef gate, up;            // [intermediate, input]
  MatrixRef down;                // [output, intermediate], [output, input] for kLinear
  MatrixRef gate_bias, up_bias;  // [1, intermediate]
  MatrixRef down_bias;           // [1, output]
};

struct BlockTensors {
  RouterTensors router;
  std::vector<ExpertTensors> experts;  // num_experts of them
  std::vector<ExpertTensors> shared;   // count of them
  MatrixRef shared_gate;               // [1, hidden] for SharedGate::kSigmoid
  std::vector<std::string> notes;      // what the source says of its weights: lines of MoeLayer::explain()
};

/// Checks every tensor of a block against its config. Throws CheckpointError naming the tensor, its shape and the
/// expected one.
void validate(const BlockConfig& config, const BlockTensors& tensors);

struct LayerOptions {
  /// "auto" keeps every projection as the checkpoint has it (float16 becomes float32 where the device's backend has no
  /// float16; the cpu backend holds bfloat16 as bf16z, which has the same bits, where that is faster); or the name of a
  /// weight format: matrices that are not in it are quantised, or dequantised.
  std::string dtype = "auto";
  Device device;
  /// "auto", or the name of a backend to force ("reference").
  std::string backend = "auto";
  /// Accepts quantised weights whose scales are NaN or infinite, which are an error otherwise.
  bool nonfinite_scales = false;
  /// Files of converted layers are mapped and their pages shared with other processes; the environment variable
  /// MOEKIT_MAP_FILES=0, or false here, reads them into memory instead. A mapped file that is cut short while a layer
  /// uses it ends the process with SIGBUS, as mappings do; one that is replaced or deleted does no harm.
  bool map_files = true;
  /// With int8 experts: their inputs are quantised too, row by row with scale max |x| / 127 (A8W8). Faster where the
  /// device multiplies int8, and less accurate; backends that do not decline.
  bool int8_activations = false;
  /// Bytes of packed experts that may be in memory; 0: no limit. For layers of converted files (convert.h) on the CPU:
  /// where the experts exceed it they are read from the file when a call needs them, ahead of their use, and those that
  /// calls need again stay. Results have the bits that they have without it. Calls take turns then. Scratch of calls is
  /// not counted, nor what the system keeps of the file beside the process.
  std::size_t memory_budget = 0;
  /// The same bits on every x86-64 and Arm64 processor, outputs and routing, with and without vector units, for weights
  /// of every format: kernels that round or sum in an order of their own (AMX, AVX512-BF16, fixed point) are not used,
  /// and processors without fused multiply-adds compute them in software. The CPU backend only: others decline.
  bool reproducible = false;
  /// Float32 experts are multiplied as three bfloat16 parts, where the processor has a matrix unit for bfloat16 (AMX):
  /// as accurate as float32 products, in other bits. For long prompts: weights are split at every call, which costs
  /// more than the unit saves where an expert meets few tokens. MoeLayer::explain() says whether they are. Of no effect
  /// with `reproducible` and on other backends than the CPU's.
  bool bf16_split = false;
};

/// What became of a memory budget.
struct CacheCounts {
  std::int64_t slots = 0;   // experts that fit; 0: all are in memory or mapped, nothing is counted
  std::uint64_t hits = 0;   // experts that calls needed and found
  std::uint64_t loads = 0;  // and those that were read
};

/// What a memory budget for a layer is spent on, in bytes of packed experts. All 0 where the backend's layout cannot be
/// in a file.
struct MemoryNeeds {
  std::int64_t experts = 0;  // routed
  std::size_t expert = 0;    // one of them in memory
  std::size_t always = 0;    // what stays in memory beside them: shared experts, biases
  std::size_t all = 0;       // a budget from here on does not bind
  /// The smallest budget.
  std::size_t least() const noexcept { return always + expert; }
};

/// Where one expert's weights go: null data: not asked for. Plain matrices are of the packed dtype; quantised ones come
/// back dequantised into float32, or as their codes, one a byte, into uint8; biases [1, n] of float32.
struct ExpertViews {
  MutableMatrixView gate = {}, up = {}, down = {};
  MutableMatrixView gate_bias = {}, up_bias = {}, down_bias = {};
};

/// A mixture-of-experts block, packed for one backend. Immutable after construction: any number of threads may call
/// forward at the same time, and every call gives the bits that a serial call gives. A row's result depends neither on
/// the other rows of the batch nor on the number of threads.
class MoeLayer {
 public:
  /// Packs the tensors; `tensors` may be released afterwards. Throws CheckpointError, UnsupportedError, DeviceError,
  /// std::invalid_argument.
  MoeLayer(const BlockConfig& config, const BlockTensors& tensors, const LayerOptions& options = {});
  /// A layer of a file that convert_model wrote (convert.h): nothing is packed, and weights are read when they are
  /// first used. options.dtype is "auto" or what the file holds; a backend that has another layout is given unpacked
  /// weights, and so is "bfloat16" of a file that holds bf16z, and the other way round. Throws CheckpointError for a
  /// file that is damaged or of another version, layout or dtype.
  static MoeLayer from_file(const std::string& path, const LayerOptions& options = {});
  ~MoeLayer();
  MoeLayer(MoeLayer&&) noexcept;
  MoeLayer& operator=(MoeLayer&&) noexcept;

  const BlockConfig& config() const noexcept;
  const Device& device() const noexcept;
  /// Name of the backend that runs the layer.
  std::string_view backend() const noexcept;
  /// Name of the packed weight format; several, separated by ", ", where projections differ.
  std::string_view format() const noexcept;
  /// Whether x and y may be of a dtype: float32 and bfloat16, and float16 where the backend has it.
  bool takes(DType x) const noexcept;
  /// Bytes of the packed weights.
  std::size_t packed_bytes() const noexcept;
  /// Of these the bytes that are the process's own memory, or mapped: less than all under a memory budget.
  std::size_t resident_bytes() const noexcept;
  CacheCounts cache_counts() const;
  MemoryNeeds memory_needs() const noexcept;

  /// x [T, input] and y [T, output], of one dtype that takes() knows, unit column stride. bfloat16 weights compute with
  /// x rounded to bfloat16 and accumulate in float32, and float16 ones alike. When `routing` is given it receives the
  /// ids and weights used. All pointers are memory of the layer's device (see forward_host). `stream` is a stream of
  /// that device; null runs synchronously. Throws std::invalid_argument for wrong shapes, dtypes or inputs; the layer
  /// stays usable.
  void forward(const MatrixView& x, const MutableMatrixView& y, const RouteInputs& inputs = {},
               const RoutingView* routing = nullptr, Stream* stream = nullptr) const;

  /// forward() with all pointers in host memory, whatever the layer's device: x is copied there and the results back,
  /// and the call returns when they have arrived. On the CPU it is forward() itself.
  void forward_host(const MatrixView& x, const MutableMatrixView& y, const RouteInputs& inputs = {},
                    const RoutingView* routing = nullptr) const;

  /// Writes the weights of routed (or shared) expert `expert` as matrices: the bits that were packed.
  /// Throws std::invalid_argument for an index, shape or dtype that does not fit and for a part that the form lacks,
  /// UnsupportedError when the backend cannot give them back.
  void unpack(std::int64_t expert, const ExpertViews& out, bool shared = false) const;

  /// What was chosen and why better candidates declined.
  std::string explain() const;

 private:
  struct Impl;
  explicit MoeLayer(std::unique_ptr<Impl> impl);
  void finish();  // what follows once the weights are there
  std::unique_ptr<Impl> impl_;
};

}  // namespace moekit
