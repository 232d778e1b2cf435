// SPDX-License-Identifier: Apache-2.0
// Validation of a block's configuration.
#include <string>

#include "core/checks.h"
#include "moekit/layer.h"

namespace moekit {
namespace {

// Far above any model (the widest published is below 2^17) and low enough that 2 * intermediate * input * 8 bytes
// stays inside 64 bits.
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 28;
constexpr std::int64_t kMaxShared = 1024;

void check_expert(const Checker& check, const ExpertConfig& e) {
  check.in_enum("act", e.act, Activation::kRelu2);
  check.in_range("input", e.input, 1, kMaxExtent);
  check.in_range("output", e.output, 1, kMaxExtent);
  if (e.act == Activation::kLinear) {
    check.in_range("intermediate", e.intermediate, 0, 0);
    if (e.up_bias) check.fail("up_bias", "true", "false: linear experts have no up projection");
    return;
  }
  check.in_range("intermediate", e.intermediate, 1, kMaxExtent);
  if (e.act == Activation::kSiluClamp || e.act == Activation::kSwigluOai || e.act == Activation::kSwigluStep)
    check.positive("limit", e.limit);
  if (e.act == Activation::kSwigluOai) {
    check.finite("alpha", e.alpha);
    check.finite("up_add", e.up_add);
  }
}

}  // namespace

void validate(const BlockConfig& config) {
  validate(config.router);
  check_expert({"expert config"}, config.expert);
  const Checker check{"block config"};
  if (config.router.num_identity > 0 && config.expert.input != config.expert.output)
    check.fail("num_identity", std::to_string(config.router.num_identity),
               "0: identity experts return their input, but input " + std::to_string(config.expert.input) +
                   " differs from output " + std::to_string(config.expert.output));
  check.finite("out_scale", config.out_scale);
  check.in_enum("shared.gate", config.shared.gate, SharedGate::kAverage);
  check.in_range("shared.count", config.shared.count, 0, kMaxShared);
  if (config.shared.count == 0) return;
  check_expert({"shared expert config"}, config.shared.expert);
  check.in_range("shared.expert.input", config.shared.expert.input, config.expert.input, config.expert.input);
  check.in_range("shared.expert.output", config.shared.expert.output, config.expert.output, config.expert.output);
}

}  // namespace moekit
