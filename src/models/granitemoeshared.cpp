// SPDX-License-Identifier: Apache-2.0
// Granite-MoE with a shared expert, which lies beside the block in the layer; gate and up of it are one tensor.
#include "models/family.h"

namespace moekit {

Family granitemoe();

Family granitemoeshared() {
  Family family = granitemoe();
  family.name = "granitemoeshared";
  family.shared_intermediate = {{"shared_intermediate_size"}, 0.0};
  family.block_prefixes = {""};
  family.parts = {"block_sparse_moe.", "shared_mlp."};
  family.router_weight = {"block_sparse_moe.router.layer.weight", "block_sparse_moe.router.weight"};
  family.experts_prefixes = {"block_sparse_moe.experts."};
  family.stacked_names = {{"block_sparse_moe.input_linear.weight", "block_sparse_moe.output_linear.weight"},
                          {"block_sparse_moe.experts.gate_up_proj", "block_sparse_moe.experts.down_proj"}};
  family.shared_prefixes = {"shared_mlp."};
  family.shared_stacked_names = {{"input_linear.weight", "output_linear.weight"}};
  return family;
}

}  // namespace moekit
