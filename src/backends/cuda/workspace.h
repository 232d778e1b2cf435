// SPDX-License-Identifier: Apache-2.0
// Device scratch of one call in flight: one allocation, cut into arrays.
#pragma once

#include "backends/cuda/blas_api.h"
#include "backends/cuda/packed.h"
#include "backends/cuda/stream.h"

namespace moekit::cuda {

/// The arrays of a call with T tokens, R = T * top_k slots, as addresses.
struct Arrays {
  int* bad_input;                                 // [1]
  int* ids;                                       // [R]
  float* weights;                                 // [R]
  float* router_input;                            // [T, padded hidden]
  float* logits;                                  // [T, padded columns]
  float* input_f32;                               // [T or R, padded hidden], for float32 products
  unsigned short* input_short;                    // the same for the tensor cores
  int* counts;                                    // [chunks, experts]
  int* offsets;                                   // [experts + 1]
  int *slot_of_row, *token_of_row, *row_of_slot;  // [R]
  Tile* tiles;                                    // [R / 8 + experts]
  int* tile_count;                                // [1]
  std::byte* hidden;                              // [R, padded intermediate]
  std::byte* reordered;                           // [R or shared * T, padded columns], for matrices with an order
  std::byte *gate_sums, *up_sums;                 // [R or shared * T, padded columns], for products in parts
  const void** pointers;                          // [9 * experts], for cuBLAS
  float* routed;                                  // [R, padded output]
  std::byte* shared_hidden;                       // [shared * T, padded intermediate]
  float* shared;                                  // [shared * T, padded output]
  float* shared_gate;                             // [T]
};

/// Bytes that `tokens` tokens need; `arrays` (or null) receives addresses from `base` on. Throws std::invalid_argument
/// where a count passes what kernels take.
std::size_t lay_out(const Packed& block, std::int64_t tokens, std::byte* base, Arrays* arrays);

/// Memory that grows to the largest call seen, and the order of calls on different streams.
///
/// The host does not wait for a call, so the next one may find the memory in use: its stream waits for the event at the
/// end of the last one. On the same stream that costs nothing; that it is the same cannot be told by the handle, which
/// a new stream may have of one that is gone. A graph has the addresses baked in: memory that a captured call used goes
/// to the block, which keeps it, and the workspace takes other memory for later calls. Graphs of one block that were
/// captured one directly after the other share memory: do not replay them at the same time on different streams.
class Scratch final : public Workspace {
 public:
  explicit Scratch(const Packed& block) : block_(block) {}
  ~Scratch() override;

  /// Makes room, behind earlier calls. Throws DeviceError when memory would have to grow during a capture.
  Arrays begin(const CallScope& call, std::int64_t tokens);
  /// Marks the end of the call's work on its stream.
  void end(const CallScope& call);
  /// The same for a call that failed with some of its work queued.
  void abandon(const CallScope& call) noexcept;
  /// cuBLAS on the call's stream. Throws DeviceError.
  BlasHandle blas(const CallScope& call, const BlasApi& api);

 private:
  const Packed& block_;
  DeviceMemory memory_;
  Event done_ = nullptr;
  const BlasApi* blas_api_ = nullptr;
  BlasHandle blas_ = nullptr;
  bool used_ = false, captured_ = false;
};

}  // namespace moekit::cuda
