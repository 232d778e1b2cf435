// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/packed.h"

#include <string>

#include "backends/cpu/bf16z_choice.h"
#include "backends/cpu/expert_cache.h"
#include "backends/cpu/group_layout.h"
#include "backends/cpu/import_group.h"
#include "backends/cpu/small_dense.h"
#include "formats/int8_activations.h"
#include "moekit/error.h"

namespace moekit::cpu {
namespace {

// bfloat16 projections by what they are held in.
void name_held(const ExpertGroup& group, ExpertFormats& formats) {
  const auto name = [](const Projection& p, WeightFormat& format) {
    if (format.code == Code::kBFloat16) format.name = p.bf16z ? "bf16z" : "bfloat16";
  };
  // A projection that the form lacks goes by the format of down (choose_formats.cpp).
  const bool linear = group.config.act == Activation::kLinear;
  name(is_gated(group.config.act) ? group.up : group.down, formats.gate);
  name(linear ? group.down : group.up, formats.up);
  name(group.down, formats.down);
}

bool splits(const ExpertGroup& group) { return group.up.split || group.down.split; }
// Whether it also has float32 projections that are not split.
bool has_narrow(const ExpertGroup& group) {
  const auto narrow = [](const Projection& p) { return p.panels != 0 && !p.quantised && !p.split; };
  return splits(group) && (narrow(group.up) || narrow(group.down));
}

}  // namespace

CpuBlock::CpuBlock(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats)
    : PackedBlock(config, formats), chosen(choose_kernels(formats.reproducible)) {
  const StepElements elements = step_elements(formats, chosen);
  BlockFormats held = formats;
  if (formats.may_compress) bf16z_choice_ = choose_bf16z(config, chosen.bf16_name, held);
  routed = pack_group(config.expert, tensors.experts, held.routed, elements, formats.nonfinite_scales);
  name_held(routed, held.routed);
  if (config.shared.count == 0) {
    held.shared = held.routed;
  } else {
    shared = pack_group(config.shared.expert, tensors.shared, held.shared, elements, formats.nonfinite_scales);
    name_held(shared, held.shared);
  }
  set_formats(held);
  pack_dense(tensors);
}

CpuBlock::CpuBlock(const BlockConfig& config, const BlockTensors& dense, const BlockFormats& formats,
                   const PackedParts& parts)
    : PackedBlock(config, formats), chosen(choose_kernels(formats.reproducible)) {
  if (parts.layout != kPanelLayout)
    throw UnsupportedError("[import] layout '" + parts.layout + "', expected '" + std::string(kPanelLayout) + "'");
  const StepElements elements = step_elements(formats, chosen);
  routed = import_group(config.expert, config.router.num_experts, formats.routed, elements, "routed.", parts);
  if (config.shared.count != 0)
    shared = import_group(config.shared.expert, config.shared.count, formats.shared, elements, "shared.", parts);
  if (routed.storage.data() == nullptr)
    cache = std::make_unique<ExpertCache>(routed, routed_panels(parts).source, expert_sizes(routed).bytes, parts.slots);
  pack_dense(dense);
}

CpuBlock::~CpuBlock() = default;

PackedParts CpuBlock::export_parts() const {
  if (cache != nullptr) throw UnsupportedError("[export] the experts are not all in memory");
  PackedParts parts = {std::string(kPanelLayout), {}};
  export_group(routed, "routed.", parts);
  if (config().shared.count != 0) export_group(shared, "shared.", parts);
  return parts;
}

void CpuBlock::pack_dense(const BlockTensors& tensors) {
  if (tensors.shared_gate) shared_gate = pack_matrix(tensors.shared_gate, DType::kFloat32);
  tables = read_router_tables(config().router, tensors.router);
  if (!tables.bias.empty() && config().router.all_experts) {
    softmax_bias = tables.bias;
    softmax_bias.resize(static_cast<std::size_t>(round_up(config().router.columns(), kPanelColumns)));
  }
  if (tensors.router.weight) {
    const MatrixRef gate = matrix_of(tensors.router.weight);
    router_f32 = pack_matrix(gate, DType::kFloat32);
    if (gate.tensor.dtype == DType::kBFloat16) router_bf16 = pack_matrix(gate, DType::kBFloat16);
  }
  if (is_small_dense(*this)) {
    routed.down.split = false;  // its experts are multiplied as the gate is
    small_dense = pack_small_dense(*this, tensors.router);
    small_dense_bias = cpu::small_dense_bias(*this);
  }
}

bool CpuBlock::plain_softmax(DType x) const noexcept {
  const RouterConfig& r = config().router;
  const bool exact = x == DType::kFloat32 || (r.matmul == Precision::kFloat32 && r.score_in == Precision::kFloat32 &&
                                              r.out == Precision::kFloat32);
  return r.all_experts && exact && r.logit_mult == 1.0 && r.softcap == 0.0 && r.renorm == Renorm::kOff &&
         (r.scale == 1.0 || r.scale_at != ScaleAt::kOnWeights) && tables.per_expert_scale.empty();
}

std::size_t CpuBlock::bytes() const noexcept {
  const auto panels = static_cast<std::size_t>(expert_sizes(routed).bytes * config().router.num_experts);
  return cache == nullptr ? resident_bytes() : resident_bytes() - cache->bytes() + panels;
}

std::size_t CpuBlock::resident_bytes() const noexcept {
  return (cache != nullptr ? cache->bytes() : 0) + routed.bytes() + shared.bytes() + shared_gate.storage.bytes() +
         router_f32.storage.bytes() + router_bf16.storage.bytes() + small_dense.storage.bytes();
}

CacheCounts CpuBlock::cache_counts() const { return cache != nullptr ? cache->counts() : CacheCounts{}; }

void CpuBlock::unpack(std::int64_t expert, bool of_shared, const ExpertViews& out) const {
  const ExpertGroup& group = of_shared ? shared : routed;
  if (cache == nullptr || of_shared)
    return unpack_expert(group, group.experts[static_cast<std::size_t>(expert)], *chosen.table, out);
  const auto lock = cache->lock();
  cache->begin(&expert, 1);
  cache->wave(&expert, 0, 1);
  unpack_expert(group, cache->expert(expert), *chosen.table, out);
}

std::string CpuBlock::explain() const {
  const std::string isa(chosen.table->name), from(routed.down.digits != 0 ? chosen.integer_name
                                                  : splits(routed)        ? chosen.table->name
                                                                          : chosen.name_of(routed.down.weight));
  std::string text = "cpu: instruction set " + isa + ", " + names(formats()) + " kernels of " + from;
  if (cache != nullptr) {
    const CacheCounts counts = cache->counts();
    text = "experts in memory: " + std::to_string(counts.slots) + " of " + std::to_string(config().router.num_experts) +
           " at a time, " + std::to_string(cache->bytes()) + " bytes; needed and there " + std::to_string(counts.hits) +
           " times, read " + std::to_string(counts.loads) + " times\n" + text;
  }
  const auto rows = [&](const ExpertGroup& group) -> std::string {
    const Projection& down = group.down;
    return down.digits == 1                               ? "x rounded to int8 with a scale a row"
           : down.digits != 0                             ? "x in fixed point of 23 bits with a scale a row"
           : splits(group)                                ? "x and weights in three bfloat16 parts"
           : kernels(down).activation == DType::kBFloat16 ? "x rounded to bfloat16"
                                                          : "x in float32";
  };
  text += ", " + rows(routed) + ", panels of 32 columns\n";
  if (!shared.experts.empty() && rows(shared) != rows(routed)) text += "shared experts: " + rows(shared) + "\n";
  if (splits(routed) || splits(shared))
    text += "bfloat16 parts: rows and panels that they cannot hold go through the float32 kernels of " +
            std::string(chosen.f32_name) + (has_narrow(routed) ? ", and so do projections of few columns\n" : "\n");
  for (const auto part : kProjectionFormats) {
    const WeightFormat& format = formats().routed.*part;
    if (format.plain() || (part != kProjectionFormats[0] && format == formats().routed.*kProjectionFormats[0]))
      continue;
    text += "weights: " + describe(format) + ", ";
    text += routed.down.digits != 0 ? "multiplied as integers\n"
            : routed.down.codes
                ? "codes multiplied as bfloat16, sums scaled\n"
                : "unpacked to " + std::string(dtype_name(routed.down.weight)) + " a few steps at a time\n";
  }
  if (!bf16z_choice_.empty()) text += "bf16z: " + bf16z_choice_ + "\n";
  for (const ExpertGroup* group : {&routed, &shared})
    if (!group->plain_instead.empty())
      text += std::string("bf16z: ") + (group == &shared ? "shared experts " : "") +
              "plain bfloat16 instead where it would be no smaller: " + group->plain_instead + "\n";
  text += "router: " + std::string(router_f32 ? "float32 kernels of " + std::string(chosen.f32_name) : "none");
  if (router_bf16) text += "; " + std::string(chosen.bf16_name) + " kernels where x is bfloat16";
  if (small_dense) text += "; gate and experts in one sweep";
  if (formats().reproducible) text += "\nreproducible: the same bits on every x86-64 and Arm64 processor";
  return text + "\n";
}

Support supports_formats(const BlockFormats& formats) {
  bool float32 = false, bfloat16 = false;
  if (formats.int8_activations)
    if (const std::string reason = int8_activations_reason(formats); !reason.empty()) return {reason};
  for (const ExpertFormats* each : {&formats.routed, &formats.shared}) {
    if (each->gate.plain() != each->up.plain())
      return {"gate is " + describe(each->gate) + ", up is " + describe(each->up)};
    for (const auto part : kProjectionFormats) {
      const WeightFormat& format = each->*part;
      float32 = float32 || format.code == Code::kFloat32;
      bfloat16 = bfloat16 || format.code == Code::kBFloat16;
      if (format.code == Code::kFloat16) return {"no kernels for float16 experts"};
      if (!format.plain() && format.group != 0 && format.group != 16 && format.group % kQuantStep != 0)
        return {"groups of " + std::to_string(format.group) + " weights, expected 16 or a multiple of 32"};
    }
  }
  if (float32 && bfloat16) return {"float32 and bfloat16 projections in one block"};
  return {};
}

}  // namespace moekit::cpu
