// SPDX-License-Identifier: Apache-2.0
#include "layer/memory_budget.h"

#include <algorithm>
#include <stdexcept>

#include "checkpoint/text.h"
#include "core/aligned_buffer.h"
#include "moekit/error.h"

namespace moekit {
namespace {

constexpr std::string_view kRoutedPanels = "routed.panels";
// Experts begin at multiples of it in memory, as parts do (PackedPart).
constexpr std::size_t kAlignment = 64;

bool is_experts(const std::string& name) {
  return name.compare(0, 7, "routed.") == 0 || name.compare(0, 7, "shared.") == 0;
}

/// Adds up what the parts of a block take, one after the other.
class Sum {
 public:
  void add(const std::string& name, const std::vector<std::int64_t>& shape, std::size_t bytes) {
    if (!is_experts(name)) return;
    needs_.all += bytes;
    if (name != kRoutedPanels || shape.empty() || shape[0] <= 0) {
      needs_.always += bytes;
      return;
    }
    needs_.experts = shape[0];
    const std::size_t each = bytes / static_cast<std::size_t>(shape[0]);
    needs_.expert = (each + kAlignment - 1) / kAlignment * kAlignment;
  }
  const MemoryNeeds& needs() const noexcept { return needs_; }

 private:
  MemoryNeeds needs_;
};

/// A tensor of the file.
class TensorSource final : public PartSource {
 public:
  TensorSource(std::shared_ptr<const FileStorage> file, std::uint64_t begin) : file_(std::move(file)), begin_(begin) {}
  void read(std::uint64_t offset, std::size_t bytes, void* out) const override {
    file_->read_into(begin_ + offset, bytes, out);
  }
  void will_need(std::uint64_t offset, std::size_t bytes) const noexcept override {
    file_->will_need(begin_ + offset, bytes);
  }

 private:
  std::shared_ptr<const FileStorage> file_;
  std::uint64_t begin_;
};

/// Experts that a budget leaves room for beside what is always in memory.
std::int64_t slots_of(const PackedLayer& layer, std::size_t budget) {
  if (layer.config.router.all_experts)
    throw UnsupportedError("[load] memory_budget is " + std::to_string(budget) +
                           " bytes, but every call needs all experts of a dense softmax module");
  const MemoryNeeds needs = memory_needs(layer);
  if (budget < needs.least())
    throw std::invalid_argument("[load] memory_budget is " + std::to_string(budget) +
                                " bytes, the layer needs at least " + std::to_string(needs.least()) + " (" +
                                std::to_string(needs.expert) + " for one expert)");
  return std::min(needs.experts, static_cast<std::int64_t>((budget - needs.always) / needs.expert));
}

}  // namespace

MemoryNeeds memory_needs(const PackedLayer& layer) {
  Sum sum;
  for (const SafetensorsEntry& entry : layer.file->tensors())
    sum.add(entry.name, entry.shape, static_cast<std::size_t>(entry.end - entry.begin));
  if (sum.needs().expert == 0)
    checkpoint_error("packed layer", layer.file->path(),
                     std::string(kRoutedPanels) + " is missing or empty, expected the panels of " +
                         std::to_string(layer.config.router.num_experts) + " experts");
  return sum.needs();
}

MemoryNeeds memory_needs(const PackedParts& parts) {
  Sum sum;
  for (const PackedPart& part : parts.parts) {
    std::size_t bytes = dtype_size(part.dtype);
    for (const std::int64_t extent : part.shape) bytes *= static_cast<std::size_t>(extent);
    sum.add(part.name, part.shape, bytes);
  }
  return sum.needs();
}

PackedParts budgeted_parts(const PackedLayer& layer, std::size_t memory_budget) {
  PackedParts parts = {layer.layout, {}, slots_of(layer, memory_budget)};
  for (const SafetensorsEntry& entry : layer.file->tensors()) {
    if (!is_experts(entry.name)) continue;
    if (entry.name == kRoutedPanels) {
      parts.parts.push_back({entry.name, entry.dtype, entry.shape, nullptr,
                             std::make_shared<TensorSource>(layer.file->storage(), entry.begin)});
      continue;
    }
    const auto memory = std::make_shared<AlignedBuffer>(static_cast<std::size_t>(entry.end - entry.begin));
    layer.file->storage()->read_into(entry.begin, memory->bytes(), memory->data());
    parts.parts.push_back({entry.name, entry.dtype, entry.shape, {memory, memory->data()}});
  }
  return parts;
}

}  // namespace moekit
