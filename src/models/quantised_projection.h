// SPDX-License-Identifier: Apache-2.0
// The tensors of one projection in a checkpoint: a plain one, or the codes, scales and what else a quantised one has.
// Names, dtypes and shapes decide which.
#pragma once

#include <memory>
#include <string>

#include "models/accounting.h"
#include "models/quantisation.h"
#include "moekit/quantised.h"

namespace moekit {

struct Projection {
  std::string weight;      // name of a plain tensor: "experts.3.gate_proj.weight", "experts.gate_up_proj"
  std::int64_t count = 0;  // matrices in a stack; 0: a single one, without a leading extent
  std::int64_t rows = 0, cols = 0;
  std::int64_t halves = 1;  // matrices that were put below each other to make the rows: 2 for gate and up
  const char* why = "";     // where the sizes come from
  TensorRef scales = {};    // where they do not lie beside the weight

  /// Beginning of the names of tensors beside it: "experts.3.gate_proj.", "experts.gate_up_proj_".
  std::string beside() const;
};

/// Whether the checkpoint has the projection's weights or codes under any of their names.
bool has_projection(const std::string& weight, const Accounting& tensors);

/// Takes the projection's tensors when they are quantised, and those beside them that inference does not need; null
/// pointer when the weights are plain, or missing. The result has count * halves matrices of rows / halves rows where
/// the halves have scales of their own, count (at least 1) matrices otherwise.
/// Throws CheckpointError naming the tensor that is missing, or has a dtype or shape that does not fit the others.
std::shared_ptr<const QuantTensors> take_quantised(const Quantisation& published, const Projection& projection,
                                                   Accounting& tensors);

// One function a way of storing codes: quantised_{bytes,fp4,words}.cpp. `codes` is the name of the codes' tensor.
QuantTensors take_bytes(const Quantisation& published, const Projection& projection, const std::string& codes,
                        Accounting& tensors);
QuantTensors take_fp4(const Quantisation& published, const Projection& projection, const std::string& codes,
                      Accounting& tensors);
QuantTensors take_packed_words(const Quantisation& published, const Projection& projection, const std::string& codes,
                               Accounting& tensors);
QuantTensors take_gptq_or_awq(const Quantisation& published, const Projection& projection, const std::string& codes,
                              Accounting& tensors);

/// "12 x 64 weights (experts and sizes of the configuration)", for messages.
std::string sizes_text(const Projection& projection);

}  // namespace moekit
