// SPDX-License-Identifier: Apache-2.0
// Converted models: every mixture-of-experts layer packed once, and mapped from then on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "moekit/layer.h"
#include "moekit/model.h"

namespace moekit {

/// One layer of a converted model.
struct ConvertedLayer {
  std::int64_t layer = 0;
  std::string experts;      // name of the expert set, "" where the block has one
  std::string file;         // name in the folder
  std::uint64_t bytes = 0;  // of the file
  std::string checksum;     // XXH64 of the file's header, which has those of the data
  std::string format;       // names of the weight formats
};
/// What moekit.json of a converted model says.
struct ConvertedModel {
  std::string family;
  std::int64_t num_layers = 0;
  std::vector<ConvertedLayer> layers;  // by rising layer; the sets of one in their order, the first is the default
};

struct ConvertOptions {
  /// As in LayerOptions.
  std::string dtype = "auto";
  bool nonfinite_scales = false;
  /// Replaces a converted model that the folder holds. Nothing else is ever replaced.
  bool force = false;
  /// Called after each layer with the number of layers done and in all; what it throws ends the conversion.
  std::function<void(std::int64_t done, std::int64_t total)> progress;
};

/// Writes the packed layers of the checkpoint `path` into the folder `out`: one file a layer, then moekit.json, whose
/// renaming into place is the moment of change. Where blocks keep several expert sets apart, each has a file, with the
/// shared experts in all of them. Whoever dies before the renaming leaves the folder as it was (and files that the
/// next conversion removes); a folder has one writer at a time. Holds one packed layer at a time.
/// Throws CheckpointError: for the checkpoint as load_layer does; when `out` is the checkpoint, holds other files,
/// holds a converted model and `force` is false, or is being written by another process; and when writing fails.
ConvertedModel convert_model(const std::string& path, const std::string& out, const ConvertOptions& options = {});

/// Whether a path is a folder with moekit.json, or a file of a converted layer. Layers of both load with load_layer.
bool is_converted(const std::string& path);
/// Reads and checks moekit.json. Throws CheckpointError.
ConvertedModel converted_model(const std::string& folder);
/// As inspect_weights, of the weights as they are packed. `experts`: as in model.h.
WeightsInfo inspect_converted_weights(const std::string& path, std::int64_t layer, const std::string& experts = {});
/// What a memory budget (LayerOptions) for a layer is spent on, from the header of its file: to divide one over layers.
/// Throws CheckpointError.
MemoryNeeds memory_needs(const std::string& path, std::int64_t layer, const std::string& experts = {});
/// Reads all data of a layer and compares checksums. Throws CheckpointError naming file and tensor.
void verify_converted(const std::string& path, std::int64_t layer, const std::string& experts = {});

}  // namespace moekit
