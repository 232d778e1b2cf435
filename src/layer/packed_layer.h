// SPDX-License-Identifier: Apache-2.0
// Files of one packed layer: the experts as a backend has them in memory, the router as the checkpoint had it, and the
// block's configuration and formats as JSON in the metadata.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "checkpoint/sealed_file.h"
#include "moekit/layer.h"

namespace moekit {

/// Which layer of which model a file holds.
struct LayerName {
  std::string family;
  std::int64_t layer = 0;
  std::string experts;  // name of the expert set, "" where the block has one
};

struct WrittenLayer {
  std::string file;      // its name in the folder, which has the checksum in it
  std::string checksum;  // of the header, and so of all
  std::uint64_t bytes = 0;
};
/// Packs nothing: `packed` is the block, `tensors` what it was packed from (the router and the gate of the shared
/// experts are read again). Throws CheckpointError, UnsupportedError.
WrittenLayer write_packed_layer(const LockedFolder& folder, const LayerName& name, const BlockTensors& tensors,
                                const PackedBlock& packed);

struct PackedLayer {
  std::shared_ptr<const SealedFile> file;
  LayerName name;
  std::string layout;
  BlockConfig config;
  BlockFormats formats;
  BlockTensors dense;  // router and gate of the shared experts, to be read from the file
};
/// Reads the header. Throws CheckpointError for a file that is damaged, of another version, byte order or layout than
/// this library reads, or says something that cannot be.
PackedLayer open_packed_layer(const std::string& path);

/// The experts, mapped or read into memory.
PackedParts packed_parts(const PackedLayer& layer, bool map);
/// The backend whose layout it is.
const Backend& layout_backend(const PackedLayer& layer);
/// Tensors for any backend: experts are unpacked when they are read, quantised ones to float32.
BlockTensors unpacked_tensors(const PackedLayer& layer);

}  // namespace moekit
