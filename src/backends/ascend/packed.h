// SPDX-License-Identifier: Apache-2.0
// A block's weights in device memory.
#pragma once

#include <string>
#include <vector>

#include "backend/backend.h"
#include "backends/ascend/device.h"
#include "backends/ascend/route_plan.h"
#include "backends/ascend/tensor.h"
#include "routing/routing.h"

namespace moekit::ascend {

/// How a grouped product runs.
enum class Product : std::uint8_t {
  kFloat,  // x and weights in one dtype
  kA16W8,  // int8 weights, a scale a row; x in bfloat16 or float16
  kA16W4,  // int4 weights, a scale a group; x in bfloat16 or float16
  kA8W8,   // int8 weights, a scale a row; x quantised row by row to int8
};

/// The product that a format takes; throws nothing. `reason` tells why there is none.
bool product_of(const WeightFormat& format, Product* product, std::string* reason);

/// One projection of all experts: [E, K, N] as operators see it.
struct Projection {
  Product product = Product::kFloat;
  Tensor weight;  // float and int8: a transposed view of [E, N, K]; int4: [E, K, N]
  Tensor bias;    // [E, N], empty: none; float16 beside float16 rows, float32 otherwise
  Tensor scale;   // [E, N], [E, G, N] for groups; float32 for kA8W8, the dtype of x otherwise
  Tensor offset;  // zeros of scale's shape for kA16W8 and kA16W4
};

/// All experts of a kind (routed, shared).
struct Mlp {
  ExpertConfig config;
  std::int64_t experts = 0;
  AclDType dtype = kAclFloat;  // of the rows between operators
  Projection up;               // gate rows first where there is a gate; empty for linear experts
  Projection down;
};

/// Routed experts first .. first + count of a block; count 0: all.
struct ExpertSlice {
  std::int64_t first = 0, count = 0;
};

class AscendBlock final : public PackedBlock {
 public:
  /// `slice`: the experts that this device holds, of an expert-parallel layer.
  AscendBlock(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats, int device,
              ExpertSlice slice = {});
  std::size_t bytes() const noexcept override { return bytes_; }
  std::string explain() const override;
  void unpack(std::int64_t expert, bool shared, const ExpertViews& out) const override;

  int device() const noexcept { return device_; }
  /// How x of a dtype is routed.
  const RoutePlan& plan(DType native) const noexcept {
    return native == DType::kFloat32 ? f32_plan : native == DType::kBFloat16 ? bf16_plan : f16_plan;
  }

  RouterTables tables;            // for routing on the host
  Tensor router_weight;           // [columns, hidden] float32
  Tensor router_bias;             // [1, columns] float32
  Tensor selection_bias;          // [columns] float32
  Tensor shared_gate;             // [1, hidden] float32
  std::int64_t first_expert = 0;  // of `routed` among the block's experts
  Mlp routed, shared;
  /// Whether slots may have no expert here: identity experts, ids from outside, experts of other devices.
  bool skips() const noexcept {
    return config().router.source == RouterSource::kExternal || config().router.num_identity > 0 ||
           routed.experts != config().router.num_experts;
  }
  bool dense = false;  // every expert is linear and takes every token: one plain product
  RoutePlan f32_plan, bf16_plan, f16_plan;

 private:
  friend class Packer;
  int device_;
  std::size_t bytes_ = 0;
  std::vector<Buffer> memory_;
};

/// In what experts of these formats take and give rows: float32, bfloat16 or float16.
AclDType row_dtype(const ExpertConfig& config, const ExpertFormats& formats) noexcept;

/// Why a block cannot run on the device; empty: it can.
std::string why_not(const BlockConfig& config, const BlockFormats& formats);

}  // namespace moekit::ascend
