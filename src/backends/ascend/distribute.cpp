// SPDX-License-Identifier: Apache-2.0
// Limits as the vendor documents them for the two operators (MoeDistributeDispatchV2 and CombineV2).
#include "backends/ascend/distribute.h"

#include <algorithm>
#include <cstdlib>

#include "backends/ascend/elementwise.h"
#include "core/environment.h"

namespace moekit::ascend {
namespace {

constexpr std::int64_t kMegabyte = std::int64_t{1} << 20;
constexpr std::int64_t kMaxTopK = 16, kMaxExperts = 1024;
constexpr std::int64_t kAssist = 128;  // int32 a row that dispatch hands to combine

constexpr std::int64_t round_up(std::int64_t value, std::int64_t step) { return (value + step - 1) / step * step; }

bool starts_with(const char* text, const char* prefix) {
  return text != nullptr && std::string(text).rfind(prefix, 0) == 0;
}

// Of the algorithm "fullmesh".
bool ranks_of_a2(std::int64_t ranks) {
  constexpr std::int64_t kLarge[] = {16, 32, 64, 128, 192, 256, 384};
  return (ranks >= 2 && ranks <= 8) || std::find(std::begin(kLarge), std::end(kLarge), ranks) != std::end(kLarge);
}

// Bytes of the group's buffer, which HCCL makes 200 MB large unless told otherwise.
std::int64_t buffer_bytes() {
  const std::string text = environment("HCCL_BUFFSIZE");
  const std::int64_t megabytes = text.empty() ? 200 : std::atoll(text.c_str());
  return megabytes > 0 && megabytes < (std::int64_t{1} << 30) ? megabytes * kMegabyte : 0;
}

struct Sizes {
  std::int64_t hidden, k, local, ranks;
};

// A2: 2 (tokens * ranks * min(local, k) * hidden * 2 bytes + 2 MB) fit into the buffer.
// A3: 2 (local * tokens * ranks * align512(align32(2 hidden) + 64) + k * tokens * align512(2 hidden)) do,
//     and it has at least 2 MB.
std::int64_t tokens_of_buffer(const Sizes& s, bool atlas_a2) {
  const std::int64_t half = buffer_bytes() / 2;
  if (atlas_a2) return (half - 2 * kMegabyte) / (s.ranks * std::min(s.local, s.k) * s.hidden * 2);
  if (buffer_bytes() < 2 * kMegabyte) return 0;
  const std::int64_t sent = s.local * s.ranks * round_up(round_up(2 * s.hidden, 32) + 64, 512);
  return half / (sent + s.k * round_up(2 * s.hidden, 512));
}

bool quantises(const AscendBlock& block) { return block.routed.down.product == Product::kA8W8; }

}  // namespace

FusedPlan plan_fused(const AscendBlock& block, const Communicator& group) {
  FusedPlan plan;
  const auto refuse = [&plan](std::string reason) {
    plan.reason = std::move(reason);
    return plan;
  };
  const RouterConfig& router = block.config().router;
  const ExpertConfig& expert = block.config().expert;
  const Sizes s = {expert.input, router.top_k, block.routed.experts, group.ranks()};
  if (!api().op.dispatch) return refuse("MoeDistributeDispatchV2 is missing");
  if (!api().op.combine) return refuse("MoeDistributeCombineV2 is missing");
  if (group.name().empty()) return refuse("HcclGetCommName is missing");
  const char* chip = api().rt.aclrtGetSocName != nullptr ? api().rt.aclrtGetSocName() : nullptr;
  plan.atlas_a2 = starts_with(chip, "Ascend910B");
  if (!plan.atlas_a2 && !starts_with(chip, "Ascend910_93"))
    return refuse("not known for the chip " + std::string(chip != nullptr ? chip : "without a name"));
  if (plan.atlas_a2 ? !ranks_of_a2(s.ranks) : s.ranks < 2 || s.ranks > 768)
    return refuse("not for " + std::to_string(s.ranks) + " ranks of this chip");
  if (block.routed.dtype == kAclFloat) return refuse("rows are float32");
  if (router.num_identity > 0) return refuse("identity experts are on no rank");
  if (router.apply_at == ApplyAt::kInput) return refuse("weights are on the experts' inputs");
  if (s.k > kMaxTopK) return refuse("top_k " + std::to_string(s.k) + " passes " + std::to_string(kMaxTopK));
  if (router.num_experts > kMaxExperts)
    return refuse(std::to_string(router.num_experts) + " experts pass " + std::to_string(kMaxExperts));
  if (expert.input != expert.output) return refuse("experts' inputs and outputs differ in size");
  if (plan.atlas_a2 ? s.hidden % 32 != 0 || s.hidden > 10240 : s.hidden < 1024 || s.hidden > 8192)
    return refuse("rows of " + std::to_string(s.hidden) + ", expected " +
                  (plan.atlas_a2 ? "a multiple of 32 up to 10240" : "1024 .. 8192"));
  plan.max_tokens = std::min<std::int64_t>(plan.atlas_a2 ? 256 : 512, tokens_of_buffer(s, plan.atlas_a2));
  if (plan.max_tokens < 1) return refuse("the group's buffer (HCCL_BUFFSIZE) is too small for one token");
  return plan;
}

Tensor fused_sum(Queue& queue, const AscendBlock& block, const Communicator& group, const FusedPlan& plan,
                 const Tensor& x, const Routed& routed, double factor) {
  const Mlp& mlp = block.routed;
  const std::int64_t tokens = x.dims[0], hidden = x.dims[1], k = block.config().router.top_k, ranks = group.ranks(),
                     experts = block.config().router.num_experts, all = tokens * ranks,
                     room = all * std::min(mlp.experts, k);
  const bool quantise = quantises(block), a2 = plan.atlas_a2;
  const Tensor none, input = cast(queue, x, mlp.dtype);
  const Tensor weights = factor != 1.0 ? scaled(queue, routed.weights, factor) : routed.weights;
  const Tensor rows = queue.make(quantise ? kAclInt8 : mlp.dtype, {room, hidden}),
               scales = quantise ? queue.make(kAclFloat, {room}) : none,
               assist = queue.make(kAclInt32, {room * kAssist}), counts = queue.make(kAclInt64, {mlp.experts}),
               row_weights = a2 ? queue.make(kAclFloat, {room}) : none;
  // Beside the counts, what servers of eight ranks sum up before they send.
  const Tensor received = queue.make(kAclInt32, {experts + (a2 ? 2 * all * k * (ranks / 8) : 0)});
  const char *const name = group.name().c_str(), *const algorithm = a2 ? "fullmesh" : nullptr;
  constexpr std::int64_t kNo = 0, kDynamicInt8 = 2, kCounts = 1;
  queue.run(api().op.dispatch, input, routed.ids, nullptr, nullptr, a2 ? weights : none, name, ranks, group.rank(),
            experts, "", kNo, kNo, kNo, kNo, kNo, quantise ? kDynamicInt8 : kNo, all, kCounts, algorithm, rows, scales,
            assist, counts, received, nullptr, row_weights);
  const Tensor results = run_mlp(queue, mlp, rows, scales, counts, Tail::kUndefined);
  const Tensor sum = queue.make(mlp.dtype, {tokens, mlp.config.output});
  queue.run(api().op.combine, results, routed.ids, assist, received, weights, nullptr, nullptr, nullptr, nullptr,
            nullptr, row_weights, nullptr, name, ranks, group.rank(), experts, "", kNo, kNo, kNo, kNo, kNo, all, kNo,
            kNo, kNo, algorithm, sum);
  return sum;
}

}  // namespace moekit::ascend
