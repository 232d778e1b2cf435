// SPDX-License-Identifier: Apache-2.0
#include "formats/int8_activations.h"

namespace moekit {
namespace {

bool has_integers(Code code) { return code == Code::kInt8 || code == Code::kUInt4 || code == Code::kE2M1; }

}  // namespace

std::string int8_activations_reason(const BlockFormats& formats) {
  const auto reason = [](const ExpertFormats& each) -> std::string {
    for (const auto part : kProjectionFormats)
      if (const WeightFormat& format = each.*part; !has_integers(format.code))
        return "int8 activations meet int8, 4 bit integer and fp4 weights, not " + describe(format);
    if (each.gate != each.up)
      return "int8 activations, and gate is " + describe(each.gate) + ", up is " + describe(each.up);
    return {};
  };
  const ExpertFormats& shared = formats.shared;
  if (const std::string routed = reason(formats.routed); !routed.empty()) return routed;
  const bool plain = shared.gate.plain() && shared.up.plain() && shared.down.plain();
  return plain ? std::string() : reason(shared);
}

}  // namespace moekit
