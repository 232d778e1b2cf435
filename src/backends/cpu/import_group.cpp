// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/import_group.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/shape_text.h"
#include "moekit/error.h"

namespace moekit::cpu {
namespace {

using Shape = std::vector<std::int64_t>;
constexpr std::int64_t kFlags = 7;

[[noreturn]] void fail(const std::string& name, const std::string& what) {
  throw CheckpointError("[packed experts] " + name + ": " + what);
}

// Dtype and shape are what was asked for; the bytes are those of the shape by the contract of PackedParts.
const PackedPart& part(const PackedParts& parts, const std::string& name, DType dtype, const Shape& shape) {
  for (const PackedPart& each : parts.parts) {
    if (each.name != name) continue;
    if (each.dtype != dtype || each.shape != shape)
      fail(name, std::string(dtype_name(each.dtype)) + " " + shape_text(each.shape) + ", expected " +
                     std::string(dtype_name(dtype)) + " " + shape_text(shape));
    if (each.data == nullptr && each.source == nullptr) fail(name, "has no data");
    if (reinterpret_cast<std::uintptr_t>(each.data.get()) % kLineBytes != 0)
      fail(name, "does not begin at a multiple of 64 bytes");
    return each;
  }
  fail(name, "missing, expected " + std::string(dtype_name(dtype)) + " " + shape_text(shape));
}

std::size_t bytes_of(const PackedPart& each) {
  auto bytes = static_cast<std::int64_t>(dtype_size(each.dtype));
  for (const std::int64_t extent : each.shape) bytes = checked_mul(bytes, extent, each.name);
  return static_cast<std::size_t>(bytes);
}

GroupChoice read_choice(const PackedPart& streams) {
  const auto* flags = reinterpret_cast<const std::uint8_t*>(streams.data.get());
  for (int i = 0; i < kFlags; ++i)
    if (flags[i] > 1) fail(streams.name, "holds " + std::to_string(flags[i]) + ", expected 0 or 1");
  const auto choice = [&](int i) { return StreamChoice{flags[2 * i] == 1, flags[2 * i + 1] == 1}; };
  return {choice(0), choice(1), choice(2), flags[6] == 1};
}

void read_exceptions(const ExpertConfig& config, const ExpertFormats& formats, const PackedPart& exceptions,
                     GroupChoice& choice) {
  const bool bf16z[2] = {formats.up.compressed() && config.act != Activation::kLinear, formats.down.compressed()};
  for (int i = 0; i < 2; ++i) {
    const std::int32_t room = reinterpret_cast<const std::int32_t*>(exceptions.data.get())[i];
    if (bf16z[i] ? room < 0 || room > kMaxBf16zExceptions : room != -1)
      fail(exceptions.name, "holds " + std::to_string(room) + ", expected " +
                                (bf16z[i] ? "0 .. " + std::to_string(kMaxBf16zExceptions) : "-1"));
    choice.exceptions[i] = room;
  }
}

// A copy of its own: kernels take the groups for indices, and a file may change after it was checked.
PanelStorage checked_columns(const PackedPart& columns, const ExpertGroup& group, std::int64_t count,
                             std::int64_t stride) {
  PanelStorage own(bytes_of(columns));
  std::memcpy(own.writable(), columns.data.get(), own.bytes());
  const auto* groups = reinterpret_cast<const std::uint16_t*>(own.data());
  const TileFormat* formats[3] = {&group.up.half[0], &group.up.half[1], &group.down.half[0]};
  for (std::int64_t row = 0; row < 3 * count; ++row) {
    // Streams that do not go by column have no use for theirs, which are zero then.
    const TileFormat& format = *formats[row % 3];
    const std::int64_t limit = format.by_column ? format.groups : 1;
    const std::uint16_t largest = *std::max_element(groups + row * stride, groups + (row + 1) * stride);
    if (largest >= limit)
      fail(columns.name, "group " + std::to_string(largest) + " in row " + std::to_string(row) + ", expected 0 .. " +
                             std::to_string(limit - 1));
  }
  return own;
}

}  // namespace

void export_group(const ExpertGroup& group, const std::string& prefix, PackedParts& out) {
  const ExpertSizes sizes = expert_sizes(group);
  const auto count = static_cast<std::int64_t>(group.experts.size());
  const auto add = [&](const char* name, DType dtype, Shape shape, std::shared_ptr<const std::byte> data) {
    out.parts.push_back({prefix + name, dtype, std::move(shape), std::move(data)});
  };
  // Aliases without an owner: they live as long as the block.
  const auto view = [](const PanelStorage& storage) {
    return std::shared_ptr<const std::byte>(std::shared_ptr<void>(), storage.data());
  };
  add("panels", DType::kUInt8, {count, sizes.bytes}, view(group.storage));
  if (sizes.bias_floats != 0) add("biases", DType::kFloat32, {count, sizes.bias_floats}, view(group.biases));
  if (sizes.columns != 0) add("columns", DType::kUInt16, {count, 3, sizes.columns}, view(group.columns));
  auto flags = std::make_shared<std::vector<std::byte>>();
  for (const TileFormat* half : {&group.up.half[0], &group.up.half[1], &group.down.half[0]}) {
    flags->push_back(static_cast<std::byte>(half->uniform));
    flags->push_back(static_cast<std::byte>(half->by_column));
  }
  flags->push_back(static_cast<std::byte>(group.down.half[0].exact));
  add("streams", DType::kUInt8, {kFlags}, {flags, flags->data()});
  if (!group.up.bf16z && !group.down.bf16z) return;
  auto exceptions = std::make_shared<std::vector<std::int32_t>>();
  for (const Projection* p : {&group.up, &group.down})
    exceptions->push_back(p->bf16z ? static_cast<std::int32_t>(p->compressed.exceptions) : -1);
  add("exceptions", DType::kInt32, {2}, {exceptions, reinterpret_cast<const std::byte*>(exceptions->data())});
}

ExpertGroup import_group(const ExpertConfig& config, std::int64_t count, const ExpertFormats& formats,
                         const StepElements& elements, const std::string& prefix, const PackedParts& parts) {
  GroupChoice choice = read_choice(part(parts, prefix + "streams", DType::kUInt8, {kFlags}));
  if (formats.up.compressed() || formats.down.compressed())
    read_exceptions(config, formats, part(parts, prefix + "exceptions", DType::kInt32, {2}), choice);
  ExpertGroup group = group_layout(config, formats, choice, elements);
  const ExpertSizes sizes = expert_sizes(group);
  const PackedPart& panels = part(parts, prefix + "panels", DType::kUInt8, {count, sizes.bytes});
  if (panels.data != nullptr) group.storage = PanelStorage(panels.data, bytes_of(panels));
  if (sizes.bias_floats != 0) {
    const PackedPart& biases = part(parts, prefix + "biases", DType::kFloat32, {count, sizes.bias_floats});
    group.biases = PanelStorage(biases.data, bytes_of(biases));
  }
  if (sizes.columns != 0) {
    const PackedPart& columns = part(parts, prefix + "columns", DType::kUInt16, {count, 3, sizes.columns});
    group.columns = checked_columns(columns, group, count, sizes.columns);
  }
  place_experts(group, count);
  return group;
}

const PackedPart& routed_panels(const PackedParts& parts) {
  for (const PackedPart& each : parts.parts)
    if (each.name == "routed.panels") return each;
  fail("routed.panels", "missing");
}

}  // namespace moekit::cpu
