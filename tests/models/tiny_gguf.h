// SPDX-License-Identifier: Apache-2.0
// A GGUF model of one MoE layer that can be spoilt before it is written.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/files.h"
#include "checkpoint/gguf_bytes.h"

namespace moekit::test {

/// deepseek2 with sigmoid scores: 4 experts in 2 groups, hidden 32, intermediate 32 in Q8_0, layer 0 dense.
struct TinyGguf {
  std::string architecture = "deepseek2";
  std::map<std::string, std::string> pairs;  // key without the architecture to the pair's bytes
  std::map<std::string, std::pair<std::uint32_t, std::vector<std::uint64_t>>> tensors;  // ggml type, extents

  TinyGguf() {
    count("block_count", 2);
    count("embedding_length", 32);
    count("feed_forward_length", 96);
    count("expert_feed_forward_length", 32);
    count("expert_count", 4);
    count("expert_used_count", 2);
    count("expert_shared_count", 1);
    count("expert_group_count", 2);
    count("expert_group_used_count", 1);
    count("expert_gating_func", 2);
    count("leading_dense_block_count", 1);
    pairs["expert_weights_scale"] = le(std::uint32_t{kF32}) + le(2.5f);
    pairs["expert_weights_norm"] = le(std::uint32_t{kBool}) + le(std::uint8_t{1});
    tensors["blk.0.ffn_gate.weight"] = {0, {32, 96}};
    tensors["blk.1.ffn_gate_inp.weight"] = {0, {32, 4}};
    tensors["blk.1.exp_probs_b.bias"] = {0, {4}};
    for (const char* part : {"ffn_gate", "ffn_up", "ffn_down"}) {
      tensors["blk.1." + std::string(part) + "_exps.weight"] = {8, {32, 32, 4}};
      tensors["blk.1." + std::string(part) + "_shexp.weight"] = {8, {32, 32}};
    }
  }
  void count(const std::string& key, std::uint32_t value) { pairs[key] = le(std::uint32_t{kU32}) + le(value); }

  Gguf file() const {
    Gguf gguf;
    gguf.pairs = {gguf_pair("general.architecture", architecture), gguf_pair("other.expert_count", kU32, 9u)};
    for (const auto& [key, value] : pairs) gguf.pairs.push_back(gguf_text(architecture + "." + key) + value);
    for (const auto& [name, tensor] : tensors) {
      const auto& [type, extents] = tensor;
      gguf.data.resize((gguf.data.size() + 31) / 32 * 32);
      gguf.tensors.push_back(gguf_tensor(name, extents, type, gguf.data.size()));
      std::uint64_t elements = 1;
      for (const std::uint64_t extent : extents) elements *= extent;
      const bool plain = type == 0 || type == 26;  // float32, int32
      gguf.data.append(plain ? elements * 4 : elements / 32 * (type == 8 ? 34 : 18), '\0');
    }
    return gguf;
  }
};

}  // namespace moekit::test
