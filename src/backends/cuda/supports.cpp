// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/supports.h"

#include <string>

#include "backends/cuda/kernels.h"
#include "backends/cuda/pack.h"
#include "formats/format.h"

namespace moekit::cuda {
namespace {

std::string of_experts(const ExpertConfig& config, const ExpertFormats& formats) {
  for (const std::int64_t size : {config.input, config.intermediate, config.output})
    if (size > kMaxSize)
      return "an expert dimension is " + std::to_string(size) + ", at most " + std::to_string(kMaxSize);
  if (is_gated(config.act) && formats.gate != formats.up) return "gate and up in different formats";
  for (const WeightFormat* format : {&formats.up, &formats.down})
    if (format->group % 16 != 0)
      return "groups of " + std::to_string(format->group) + " weights, a multiple of 16 is needed";
  return "";
}

}  // namespace

Support supports_block(const BlockConfig& config, const BlockFormats& formats) {
  if (formats.int8_activations) return {"activations stay as they are here"};
  if (std::string reason = compressed_reason(formats); !reason.empty()) return {reason};
  const std::int64_t columns = config.router.columns();
  if (columns > kMaxColumns)
    return {"the router has " + std::to_string(columns) + " columns, at most " + std::to_string(kMaxColumns)};
  if (std::string reason = of_experts(config.expert, formats.routed); !reason.empty()) return {reason};
  if (config.shared.count == 0) return {};
  return {of_experts(config.shared.expert, formats.shared)};
}

}  // namespace moekit::cuda
