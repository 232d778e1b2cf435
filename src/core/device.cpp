// SPDX-License-Identifier: Apache-2.0
#include "moekit/device.h"

#include <stdexcept>

namespace moekit {
namespace {

struct KindName {
  std::string_view name;
  DeviceKind kind;
};

// The first name of a kind is the one that to_string gives.
constexpr KindName kKinds[] = {
    {"cpu", DeviceKind::kCpu}, {"cuda", DeviceKind::kCuda}, {"ascend", DeviceKind::kAscend}, {"npu", DeviceKind::kAscend}};

}  // namespace

Device parse_device(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  for (const KindName& entry : kKinds) {
    if (entry.name != name) continue;
    if (colon == std::string_view::npos) return {entry.kind, 0};
    const std::string_view digits = text.substr(colon + 1);
    // Five digits hold every ordinal that a driver hands out and cannot overflow.
    if (digits.empty() || digits.size() > 5 || digits.find_first_not_of("0123456789") != std::string_view::npos) break;
    return {entry.kind, std::stoi(std::string(digits))};
  }
  throw std::invalid_argument("[device] '" + std::string(text) + "' is not cpu, cuda[:N], ascend[:N] or npu[:N]");
}

std::string to_string(const Device& device) {
  for (const KindName& entry : kKinds)
    if (entry.kind == device.kind)
      return std::string(entry.name) + (device.kind == DeviceKind::kCpu ? "" : ":" + std::to_string(device.index));
  return "unknown";
}

}  // namespace moekit
