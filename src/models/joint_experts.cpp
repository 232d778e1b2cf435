// SPDX-License-Identifier: Apache-2.0
// Shared experts that the router weighs together with the routed ones.
#include "models/expert_tensors.h"
#include "models/quantised_projection.h"

namespace moekit {

std::vector<ExpertTensors> take_joint_experts(const Family& family, const BlockConfig& config, std::int64_t joint,
                                              const Quantisation& quantisation, Accounting& tensors) {
  BlockConfig part = config;
  part.router.num_experts = config.router.num_experts - joint;
  std::vector<ExpertTensors> experts = take_experts(family, part, quantisation, tensors);
  part.router.num_experts = joint;
  Family shared = family;
  shared.stacked_names = family.joint_stacked_names;
  shared.separate_names = family.joint_separate_names;
  shared.experts_prefixes.clear();  // always stacked
  for (ExpertTensors& expert : take_experts(shared, part, quantisation, tensors)) experts.push_back(std::move(expert));
  return experts;
}

}  // namespace moekit
