// SPDX-License-Identifier: Apache-2.0
#include <iterator>
#include <stdexcept>
#include <string>

#include "formats/format.h"

namespace moekit {

extern const WeightFormat kFloat32Format;
extern const WeightFormat kBFloat16Format;

namespace {

const WeightFormat* const kFormats[] = {
    &kFloat32Format,
    &kBFloat16Format,
};

}  // namespace

const WeightFormat* const* weight_formats(std::size_t* count) {
  *count = std::size(kFormats);
  return kFormats;
}

const WeightFormat& weight_format(std::string_view name) {
  std::string known;
  for (const WeightFormat* format : kFormats) {
    if (format->name == name) return *format;
    known += (known.empty() ? "" : ", ") + std::string(format->name);
  }
  throw std::invalid_argument("[dtype] weight format '" + std::string(name) + "' is not one of auto, " + known);
}

}  // namespace moekit
