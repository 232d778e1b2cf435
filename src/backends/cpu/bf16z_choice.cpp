// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/bf16z_choice.h"

#include <algorithm>

#include "core/checks.h"
#include "moekit/error.h"

namespace moekit::cpu {
namespace {

// Kernels for which bf16z was measured on weights that come from memory: a Qwen3-30B-A3B layer against plain bfloat16
// in the same run, two cores of an Intel Xeon with AVX-512; avx512bf16: of an AMD EPYC (docs/cpu.md).
struct Measured {
  std::string_view isa, result;
  bool faster;
};
constexpr Measured kMeasured[] = {
    {"avx512", "1.3 times as fast up to 16 tokens, 1.05 to 1.2 times beyond", true},
    {"avx2", "1.2 times as fast up to 16 tokens, 1.05 to 1.1 times beyond", true},
    {"avx512bf16", "1.2 to 1.6 times as fast up to 16 tokens, 0.9 times from 256 on", false},
    {"generic", "0.8 to 0.9 times as fast", false},
};

// What second-level caches may hold together (2 MiB of 32 cores): weights that stay there from call to call were not
// faster in bf16z.
constexpr std::int64_t kFromMemory = std::int64_t{64} << 20;

// Bytes of a group's bfloat16 projections.
std::int64_t bfloat16_bytes(const ExpertConfig& config, std::int64_t experts, const ExpertFormats& formats) {
  const auto is_plain = [](const WeightFormat& format) { return format.name == "bfloat16"; };
  if (config.act == Activation::kLinear) return is_plain(formats.down) ? 2 * experts * config.output * config.input : 0;
  std::int64_t weights = 0;
  if (is_plain(formats.up)) weights += config.intermediate * config.input * (is_gated(config.act) ? 2 : 1);
  if (is_plain(formats.down)) weights += config.intermediate * config.output;
  return 2 * experts * weights;
}

}  // namespace

std::string choose_bf16z(const BlockConfig& config, std::string_view isa, BlockFormats& formats) {
  const std::int64_t bytes = bfloat16_bytes(config.expert, config.router.num_experts, formats.routed) +
                             bfloat16_bytes(config.shared.expert, config.shared.count, formats.shared);
  if (bytes == 0) return {};
  if (bytes < kFromMemory)
    return "not chosen, " + std::to_string(bytes) + " bytes of bfloat16 weights may stay in a cache";
  const auto* measured =
      std::find_if(std::begin(kMeasured), std::end(kMeasured), [&](const Measured& each) { return each.isa == isa; });
  if (measured == std::end(kMeasured)) return "not chosen, not measured with " + std::string(isa) + " kernels";
  if (!measured->faster) return "not chosen, " + std::string(measured->result);
  for (ExpertFormats* each : {&formats.routed, &formats.shared})
    for (const auto part : kProjectionFormats)
      if ((each->*part).name == "bfloat16") (each->*part).name = "bf16z";
  return "chosen, " + std::string(measured->result);
}

// Weights of trained and of normally distributed random models have fewer than one in a tile of 512.
std::int64_t bf16z_first_room(std::int64_t columns) noexcept {
  return std::min(round_up(8 + ceil_div(columns, 32) / 2, 16), kMaxBf16zExceptions);
}

bool bf16z_is_smaller(const Bf16zFormat& format) noexcept {
  return format.exceptions <= kMaxBf16zExceptions && format.bytes() * 16 <= format.steps * kStepBytes * 15;
}

}  // namespace moekit::cpu
