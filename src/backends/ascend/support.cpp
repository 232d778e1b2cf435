// SPDX-License-Identifier: Apache-2.0
// What the device takes, and what a packed block says about itself.
#include <string>

#include "backends/ascend/packed.h"
#include "core/float_convert.h"
#include "formats/format.h"

namespace moekit::ascend {
namespace {

constexpr std::int64_t kMaxExtent = 65535;   // of a grouped product's last dimensions
constexpr std::int64_t kMaxExperts = 1024;   // of a grouped product over one stacked weight
constexpr std::int64_t kMaxTopK = 512;       // of MoeTokenUnpermute
constexpr std::int64_t kMaxColumns = 10239;  // of MoeInitRoutingV3, one less for slots that are skipped
constexpr std::int64_t kInt4GroupStep = 32;  // groups are whole runs of the kernel's blocks

std::string check_extents(const char* what, const ExpertConfig& e) {
  const std::int64_t up = (is_gated(e.act) ? 2 : 1) * e.intermediate;
  for (const std::int64_t extent : {e.input, up, e.output})
    if (extent > kMaxExtent)
      return std::string(what) + " have a dimension of " + std::to_string(extent) + ", grouped products end at " +
             std::to_string(kMaxExtent);
  return {};
}

std::string check_formats(const char* what, const ExpertConfig& e, const ExpertFormats& formats, bool dynamic) {
  const bool linear = e.act == Activation::kLinear;
  if (is_gated(e.act) && formats.gate != formats.up)
    return std::string(what) + " have gates in " + describe(formats.gate) + " and ups in " + describe(formats.up) +
           ", one product does both";
  struct {
    const WeightFormat& format;
    std::int64_t rows, cols;
    bool bias;
  } const parts[] = {{formats.up, (is_gated(e.act) ? 2 : 1) * e.intermediate, e.input, e.up_bias},
                     {formats.down, e.output, linear ? e.input : e.intermediate, e.down_bias}};
  const AclDType dtype = row_dtype(e, formats);
  for (const auto& part : parts) {
    if (linear && &part == &parts[0]) continue;
    Product product = Product::kFloat;
    std::string reason;
    if (!product_of(part.format, &product, &reason)) return reason;
    if (product == Product::kFloat && acl_dtype(part.format.element()) != dtype)
      return std::string(what) + " have projections in " + std::string(formats.up.name) + " and in " +
             std::string(formats.down.name);
    if (product != Product::kFloat && dtype == kAclFloat)
      return std::string(what) + " mix quantised and float32 projections";
    if (product == Product::kA16W4 && (part.rows % 2 != 0 || part.cols % part.format.group != 0))
      return std::string(what) + " of " + std::to_string(part.rows) + " x " + std::to_string(part.cols) +
             " in int4: even rows and whole groups of " + std::to_string(part.format.group) + " are needed";
    if (dynamic && product == Product::kFloat) return std::string(what) + " are not int8, so x stays as it is";
    if (dynamic && (product != Product::kA16W8 || part.bias))
      return "activations in int8 need experts in int8 without biases";
  }
  return {};
}

// Operators that a block needs of an installation; those with a substitute are not among them.
std::string missing_operators(const BlockConfig& c, bool dense, bool dynamic) {
  const Operators& op = api().op;
  std::string missing;
  const auto need = [&](bool there, const char* name) {
    if (!there) missing += (missing.empty() ? "" : ", ") + std::string(name);
  };
  need(bool(op.cast), "Cast");
  need(bool(op.token_unpermute), "MoeTokenUnpermute");
  if (c.router.source != RouterSource::kExternal || dense) need(bool(op.mm), "Mm");
  if (!dense) {
    need(op.grouped_matmul_v5 || op.grouped_matmul_v4, "GroupedMatmulV4");
    need(op.init_routing_v3 || op.init_routing_v2, "MoeInitRoutingV2");
  }
  if (dynamic) need(bool(op.dynamic_quant), "DynamicQuant");
  const bool shared = c.shared.count > 0,
             masks = c.router.num_identity > 0 || c.router.source == RouterSource::kExternal;
  for (const ExpertConfig* e : {&c.expert, shared ? &c.shared.expert : &c.expert}) {
    if (e->act == Activation::kLinear) continue;
    if (e->act == Activation::kSilu && op.swiglu) continue;
    need(op.mul && op.muls && op.adds && op.sigmoid, "Mul, Muls, Adds, Sigmoid");
    if (e->act == Activation::kGelu) need(bool(op.erf), "Erf");
    if (e->act == Activation::kRelu || e->act == Activation::kRelu2) need(bool(op.relu), "Relu");
    if (e->limit > 0.0) need(bool(op.clamp), "Clamp");
  }
  if (masks) need(op.masked_fill && op.ge_scalar && op.lt_scalar, "InplaceMaskedFillScalar, GeScalar, LtScalar");
  if (c.router.num_identity > 0) need(op.reduce_sum && op.mul && op.add, "ReduceSum, Mul, Add");
  if (shared) need(bool(op.add), "Add");
  if (shared && c.shared.gate == SharedGate::kSigmoid) need(op.sigmoid && op.mul && op.mm, "Sigmoid, Mul, Mm");
  return missing.empty() ? "" : "this CANN installation lacks " + missing;
}

const char* product_name(Product product) noexcept {
  switch (product) {
    case Product::kFloat: return "weights and rows";
    case Product::kA16W8: return "A16W8, scales and rows";
    case Product::kA16W4: return "A16W4, scales and rows";
    case Product::kA8W8: return "A8W8 (x quantised row by row), outputs";
  }
  return "";
}

// "A16W8, scales and rows in bfloat16"
std::string describe(const Mlp& mlp) {
  return std::string(product_name(mlp.down.product)) + " in " + std::string(dtype_name(host_dtype(mlp.dtype)));
}

}  // namespace

AclDType row_dtype(const ExpertConfig& config, const ExpertFormats& formats) noexcept {
  const bool linear = config.act == Activation::kLinear;
  for (const WeightFormat* format : {linear ? &formats.down : &formats.up, &formats.down})
    if (format->plain()) return acl_dtype(format->element());
  return formats.down.scale == DType::kFloat16 ? kAclFloat16 : kAclBFloat16;
}

bool product_of(const WeightFormat& format, Product* product, std::string* reason) {
  const bool simple = format.offset == Offset::kNone && format.row_scale == RowScale::kNone && format.super == 0 &&
                      format.scale_rows == 1;
  if (format.plain()) {
    *product = Product::kFloat;
  } else if (simple && format.code == Code::kInt8 && format.group == 0 && format.zero == 0) {
    *product = Product::kA16W8;
  } else if (simple && format.code == Code::kUInt4 && format.zero == 8 && format.group > 0 &&
             format.group % kInt4GroupStep == 0) {
    *product = Product::kA16W4;
  } else {
    *reason = "no grouped product for " + describe(format);
    return false;
  }
  return true;
}

std::string why_not(const BlockConfig& config, const BlockFormats& formats) {
  const RouterConfig& router = config.router;
  const bool shared = config.shared.count > 0, dynamic = formats.int8_activations;
  const bool dense = router.all_experts && router.num_identity == 0 && config.expert.act == Activation::kLinear &&
                     formats.routed.down.plain();
  if (router.top_k > kMaxTopK)
    return "top_k " + std::to_string(router.top_k) + ", MoeTokenUnpermute sums " + std::to_string(kMaxTopK);
  if (!dense && router.num_experts > kMaxExperts)
    return std::to_string(router.num_experts) + " experts, a grouped product takes " + std::to_string(kMaxExperts);
  if (router.columns() > kMaxColumns)
    return std::to_string(router.columns()) + " columns, MoeInitRouting takes " + std::to_string(kMaxColumns);
  std::string reason = compressed_reason(formats);
  if (reason.empty()) reason = check_extents("experts", config.expert);
  if (reason.empty() && shared) reason = check_extents("shared experts", config.shared.expert);
  if (reason.empty()) reason = check_formats("experts", config.expert, formats.routed, dynamic);
  if (reason.empty() && shared) reason = check_formats("shared experts", config.shared.expert, formats.shared, dynamic);
  // Asked on a machine without CANN (a table of what is supported): for a complete installation.
  if (reason.empty() && api().reason.empty()) reason = missing_operators(config, dense, dynamic);
  return reason;
}

std::string AscendBlock::explain() const {
  const Operators& op = api().op;
  // Plans of the two short dtypes differ in what they round to, and in nothing else.
  const bool one = f32_plan.reason == bf16_plan.reason && f32_plan.gate == bf16_plan.gate;
  std::string text = "ascend: " + (api().version.empty() ? "CANN" : api().version) + "\n";
  if (one) {
    text += "ascend: routes " + describe(f32_plan) + "\n";
  } else {
    text += "ascend: routes float32 x " + describe(f32_plan) + "\n";
    text += "ascend: routes bfloat16 and float16 x " + describe(bf16_plan) + "\n";
  }
  if (dense) {
    text += "ascend: every expert takes every token: one aclnnMm, summed by aclnnMoeTokenUnpermute\n";
  } else {
    text += std::string("ascend: permutes by ") +
            (op.init_routing_v3 ? "aclnnMoeInitRoutingV3" : "aclnnMoeInitRoutingV2") +
            (op.init_routing_v3 ? "" : " (V3 is missing)") + ", multiplies by " +
            (op.grouped_matmul_v5 ? "aclnnGroupedMatmulV5" : "aclnnGroupedMatmulV4") +
            (op.grouped_matmul_v5 ? "" : " (V5 is missing)") + ", " + describe(routed) +
            ", sums by aclnnMoeTokenUnpermute\n";
    const bool silu = config().expert.act == Activation::kSilu;
    if (config().expert.act != Activation::kLinear)
      text += std::string("ascend: activation by ") +
              (silu && op.swiglu ? "aclnnSwiGlu" : "elementwise operators in float32") + "\n";
  }
  if (!api().absent.empty()) text += "ascend: not in this installation: " + api().absent + "\n";
  return text;
}

}  // namespace moekit::ascend
