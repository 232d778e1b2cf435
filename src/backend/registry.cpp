// SPDX-License-Identifier: Apache-2.0
// The list of backends, generated from the moekit_add_backend calls: order of preference, the reference last.
#include <iterator>
#include <stdexcept>
#include <string>

#include "backend/backend.h"
#include "moekit/error.h"

namespace moekit {

void PackedBlock::unpack(std::int64_t, bool, const ExpertViews&) const {
  throw UnsupportedError("[unpack] " + names(formats_) + " weights do not come back from this backend");
}

PackedParts PackedBlock::export_parts() const {
  throw UnsupportedError("[export] this backend does not offer files of packed weights");
}

std::unique_ptr<PackedBlock> Backend::import_block(const BlockConfig&, const BlockTensors&, const BlockFormats&,
                                                   const PackedParts& parts, const Device&) const {
  throw UnsupportedError("[import] the backend " + std::string(name()) + " does not offer to load '" + parts.layout +
                         "'");
}

#define X(name) const Backend& name##_backend();
#include "moekit_backends.inc"
#undef X

const Backend* const* backends(std::size_t* count) {
  static const Backend* const list[] = {
#define X(name) &name##_backend(),
#include "moekit_backends.inc"
#undef X
  };
  *count = std::size(list);
  return list;
}

const Backend& backend_by_name(std::string_view name) {
  std::size_t count = 0;
  const Backend* const* list = backends(&count);
  std::string known;
  for (std::size_t i = 0; i < count; ++i) {
    if (list[i]->name() == name) return *list[i];
    known += (known.empty() ? "" : ", ") + std::string(list[i]->name());
  }
  throw std::invalid_argument("[backend] '" + std::string(name) + "' is not one of auto, " + known);
}

const Backend& choose_backend(const BlockConfig& config, const BlockFormats& formats, const LayerOptions& options,
                              std::string* declined) {
  std::size_t count = 0;
  const Backend* const* list = backends(&count);
  std::string reasons;
  const bool forced = options.backend != "auto";
  if (forced) backend_by_name(options.backend);
  for (std::size_t i = 0; i < count; ++i) {
    const Backend& backend = *list[i];
    if (forced ? backend.name() != options.backend : backend.device() != options.device.kind) continue;
    Support support = backend.device() != options.device.kind
                          ? Support{"runs on another device than " + to_string(options.device)}
                          : backend.available();
    if (support && formats.reproducible && !backend.reproduces())
      support = {"its results depend on the device and its libraries: reproducible layers run on the cpu backend"};
    if (support) support = backend.supports(config, formats);
    if (support) {
      if (declined != nullptr) *declined = reasons;
      return backend;
    }
    reasons += std::string(backend.name()) + ": " + support.reason + "\n";
  }
  if (reasons.empty()) reasons = to_string(options.device) + ": not built into this library\n";
  throw UnsupportedError("[backend] no backend runs this layer on " + to_string(options.device) + ":\n" + reasons);
}

}  // namespace moekit
