// SPDX-License-Identifier: Apache-2.0
// The device abstraction: what a backend answers and does. Pointers in views are memory of the backend's device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "moekit/device.h"
#include "moekit/layer.h"
#include "moekit/permutation.h"
#include "moekit/weight_format.h"

namespace moekit {

/// Yes, or the reason why not.
struct Support {
  std::string reason;  // empty: supported
  explicit operator bool() const noexcept { return reason.empty(); }
};

/// Bytes that stay in their file until they are asked for.
class PartSource {
 public:
  virtual ~PartSource() = default;
  /// Throws CheckpointError when the file is shorter than it was when opened. Thread-safe.
  virtual void read(std::uint64_t offset, std::size_t bytes, void* out) const = 0;
  /// A hint that they will be read soon.
  virtual void will_need(std::uint64_t offset, std::size_t bytes) const noexcept = 0;
};

/// A piece of a packed block as a file can keep it.
struct PackedPart {
  std::string name;
  DType dtype = DType::kUInt8;
  std::vector<std::int64_t> shape;        // contiguous, row-major
  std::shared_ptr<const std::byte> data;  // host memory at a multiple of 64 bytes, as long as dtype and shape say
  std::shared_ptr<const PartSource> source = nullptr;  // instead of data: panels under a memory budget
};
/// The experts of a packed block. Router and gate of the shared experts are not among them: they are small, and packed
/// again when a file is loaded.
struct PackedParts {
  std::string layout;  // the backend's name for its layout, with a version
  std::vector<PackedPart> parts;
  std::int64_t slots = 0;  // routed experts in memory at a time, where their panels have a source
};

/// A block's weights in a backend's own layout. Derived classes hold the rest.
class PackedBlock {
 public:
  virtual ~PackedBlock() = default;
  virtual std::size_t bytes() const noexcept = 0;
  /// Of these the bytes in memory.
  virtual std::size_t resident_bytes() const noexcept { return bytes(); }
  virtual CacheCounts cache_counts() const { return {}; }
  /// What was chosen for this block (kernels, ISA, layout), one line each.
  virtual std::string explain() const = 0;
  /// Writes one expert's weights: plain ones as they were packed, quantised ones dequantised to float32 or, into uint8,
  /// their codes. `out` has been checked. Throws UnsupportedError.
  virtual void unpack(std::int64_t expert, bool shared, const ExpertViews& out) const;
  /// What import_block makes the same block of, on any machine; parts of the block's own memory live as long as it.
  /// Throws UnsupportedError where the backend does not offer it.
  virtual PackedParts export_parts() const;
  const BlockConfig& config() const noexcept { return config_; }
  const BlockFormats& formats() const noexcept { return formats_; }

 protected:
  PackedBlock(const BlockConfig& config, const BlockFormats& formats) : config_(config), formats_(formats) {}
  /// For what packing decides: formats() are those that the weights are in.
  void set_formats(const BlockFormats& formats) { formats_ = formats; }

 private:
  BlockConfig config_;
  BlockFormats formats_;
};

/// Scratch of one call in flight. The layer keeps a pool of them, so that steady state allocates nothing: a backend
/// derives from it and grows its buffers to the largest call seen.
class Workspace {
 public:
  virtual ~Workspace() = default;
};

enum class CopyKind : std::uint8_t { kHostToDevice, kDeviceToHost, kDeviceToDevice };

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const noexcept = 0;
  virtual DeviceKind device() const noexcept = 0;
  /// Whether the backend can run here at all: libraries found, device present.
  virtual Support available() const = 0;
  /// Reads the same table as dispatch: what it promises runs.
  virtual Support supports(const BlockConfig& config, const BlockFormats& formats) const = 0;
  /// Whether rows x and y may be float16, beside float32 and bfloat16; dtype "auto" then keeps float16 weights.
  virtual bool takes_float16() const noexcept { return false; }
  /// Whether blocks of BlockFormats::reproducible give the same bits on every processor.
  virtual bool reproduces() const noexcept { return false; }

  virtual Buffer allocate(std::size_t bytes, const Device& device) const = 0;
  virtual void copy(void* target, const void* source, std::size_t bytes, CopyKind kind, Stream* stream) const = 0;
  virtual std::unique_ptr<Stream> new_stream(const Device& device) const = 0;

  /// Packs validated tensors into the formats, one expert matrix at a time and experts in parallel. A matrix that is in
  /// another format is dequantised or quantised (formats/read.h).
  virtual std::unique_ptr<PackedBlock> pack(const BlockConfig& config, const BlockTensors& tensors,
                                            const BlockFormats& formats, const Device& device) const = 0;

  /// The layout that export_parts of its blocks names and import_block takes; empty where they are not offered.
  virtual std::string_view layout() const noexcept { return {}; }
  /// The inverse of export_parts: uses the memory of the parts, which it keeps alive, where it lies. The bytes are not
  /// trusted: whatever they are, the block stays within its memory. `dense` has the router and the gate of the shared
  /// experts only. Throws UnsupportedError where the backend does not offer it or the layout is not its own;
  /// CheckpointError for parts that do not fit the configuration.
  virtual std::unique_ptr<PackedBlock> import_block(const BlockConfig& config, const BlockTensors& dense,
                                                    const BlockFormats& formats, const PackedParts& parts,
                                                    const Device& device) const;

  virtual std::size_t workspace_bytes(const PackedBlock& block, std::int64_t max_tokens) const = 0;
  virtual std::unique_ptr<Workspace> new_workspace(const PackedBlock& block) const = 0;

  /// x [T, hidden] to ids and weights. `inputs` has been checked by the layer.
  virtual void route(const PackedBlock& block, const MatrixView& x, const RouteInputs& inputs,
                     const RoutingView& routing, Workspace& workspace, Stream* stream) const = 0;

  /// The rest of the block: permutation, grouped experts, weighted sum, identity and shared experts. y [T, output].
  virtual void experts(const PackedBlock& block, const MatrixView& x, const RoutingView& routing,
                       const MutableMatrixView& y, Workspace& workspace, Stream* stream) const = 0;

  /// Whether forward() holds the routing in its workspace: the layer then passes null pointers when nobody asks for it.
  virtual bool keeps_routing() const noexcept { return false; }

  /// Both in turn; a backend that can do them in one sweep overrides it.
  virtual void forward(const PackedBlock& block, const MatrixView& x, const RouteInputs& inputs,
                       const RoutingView& routing, const MutableMatrixView& y, Workspace& workspace,
                       Stream* stream) const {
    route(block, x, inputs, routing, workspace, stream);
    experts(block, x, routing, y, workspace, stream);
  }

  /// Rows that are already sorted by expert, rows offsets[e] .. offsets[e + 1] of expert e, to one output row each
  /// (float32, unweighted): the middle of an expert-parallel layer between dispatch and combine.
  virtual void grouped_mlp(const PackedBlock& block, const MatrixView& rows, const std::int64_t* offsets,
                           const MutableMatrixView& out, Workspace& workspace, Stream* stream) const = 0;
};

/// Backends in order of preference, the reference last. src/backend/registry.cpp lists them.
const Backend* const* backends(std::size_t* count);
/// Throws std::invalid_argument listing the names that exist.
const Backend& backend_by_name(std::string_view name);

/// The first backend of the device that supports the block. `declined` receives "name: reason" lines of those passed
/// over. Throws UnsupportedError with all reasons when none is left.
const Backend& choose_backend(const BlockConfig& config, const BlockFormats& formats, const LayerOptions& options,
                              std::string* declined);

}  // namespace moekit
