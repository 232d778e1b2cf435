// SPDX-License-Identifier: Apache-2.0
// What a checkpoint says of its quantised weights. Names, dtypes and shapes of the tensors decide what each matrix is;
// this is what they cannot tell: block and group sizes, the version of GPTQ, and whether the scheme is understood.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/config.h"

namespace moekit {

struct ScaleBlock {
  std::int64_t rows = 1, cols = 0;  // weights that share a scale; 0 columns: the whole row
};

struct Quantisation {
  std::string method;                         // "fp8", "gptq", ...; empty: no file speaks of quantised weights
  std::vector<ScaleBlock> blocks;             // published block sizes; a checkpoint may have several schemes
  std::vector<std::int64_t> groups;           // published group sizes along a row, at least 1
  bool sizes_vary = false;                    // parts of the model may have sizes that are not listed
  std::optional<std::int32_t> gptq_zero_add;  // of GPTQ: 1 for its first version
  std::vector<std::string> notes;             // for people: the scheme, and what of it is not done here
};

/// Reads quantization_config of config.json, or the files that tools write beside it (hf_quant_config.json,
/// quantize_config.json, quant_config.json). Throws CheckpointError for a method, format or field whose meaning is not
/// known, listing what is.
Quantisation read_quantisation(const Config& config);

}  // namespace moekit
