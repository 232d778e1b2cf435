// SPDX-License-Identifier: Apache-2.0
// GGUF files to families: the key-value pairs stand in for config.json, and a family's fields and tensors get the names
// that llama.cpp's converters write.
#pragma once

#include <string>

#include "models/config.h"
#include "models/family.h"

namespace moekit {

/// A value of general.architecture and the family that computes its block.
struct GgufArchitecture {
  const char* name;
  const char* family;
  double renorm = 0.0;        // expert_weights_norm when the pair is absent
  bool dense_length = false;  // experts may have the size feed_forward_length
  enum class Shared : std::uint8_t { kFamily, kCount, kLength } shared = Shared::kFamily;
  bool optional_bias = false;  // exp_probs_b may be absent
};

/// The entry of an architecture's name; null when it is not known. `sigmoid`: whether the scores are, which tells the
/// models of one architecture apart.
const GgufArchitecture* find_gguf_architecture(const std::string& name, bool sigmoid);
/// "afmoe, bailingmoe2, ...".
std::string gguf_architectures();

/// A model as its GGUF file describes it. The configuration's fields are the architecture's keys without their prefix.
struct GgufFamily {
  Config config;
  Family family;
};
/// Throws CheckpointError for an architecture that is not known, listing those that are, and for pairs that contradict
/// the tensors.
GgufFamily read_gguf_family(const std::string& path);

}  // namespace moekit
