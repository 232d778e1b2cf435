// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/expert_parallel.h"

#include <stdexcept>
#include <string>

#include "backends/ascend/call.h"
#include "backends/ascend/elementwise.h"
#include "moekit/error.h"

namespace moekit::ascend {
namespace {

ExpertSlice slice_of(const BlockConfig& config, const BlockFormats& formats, const Communicator& group) {
  const auto fail = [](const std::string& what) { throw UnsupportedError("[expert parallel] " + what); };
  const std::int64_t experts = config.router.num_experts, ranks = group.ranks();
  if (const std::string reason = why_not(config, formats); !reason.empty()) fail(reason);
  if (config.router.source != RouterSource::kComputed) fail("tokens must be routed by the layer itself");
  if (experts % ranks != 0)
    fail(std::to_string(experts) + " experts on " + std::to_string(ranks) + " ranks, expected a multiple of them");
  if (ranks > 1 && !api().op.init_routing_v3) fail("MoeInitRoutingV3 is missing: V2 knows no range of experts");
  if (ranks > 1 && !(api().op.masked_fill && api().op.ge_scalar && api().op.lt_scalar))
    fail("InplaceMaskedFillScalar, GeScalar or LtScalar is missing");
  return {group.rank() * (experts / ranks), experts / ranks};
}

void check_rows(const char* name, DType dtype, std::int64_t cols, std::int64_t stride, std::int64_t rows,
                std::int64_t expected) {
  if (dtype != DType::kFloat32 && dtype != DType::kBFloat16 && dtype != DType::kFloat16)
    throw std::invalid_argument("[expert parallel] " + std::string(name) + " has dtype " +
                                std::string(dtype_name(dtype)) + ", expected float32, bfloat16 or float16");
  if (cols != expected || (rows > 1 && stride != cols))
    throw std::invalid_argument("[expert parallel] " + std::string(name) + " has " + std::to_string(cols) +
                                " columns in rows of " + std::to_string(stride) + ", expected " +
                                std::to_string(expected) + " in both");
}

}  // namespace

ExpertParallelBlock::ExpertParallelBlock(const BlockConfig& config, const BlockTensors& tensors,
                                         const BlockFormats& formats, const Communicator& group)
    : group_(group),
      block_(config, tensors, formats, group.device(), slice_of(config, formats, group)),
      fused_(plan_fused(block_, group)),
      workspace_(group.device()) {}

void ExpertParallelBlock::describe(Queue& queue, const MatrixView& x, const MutableMatrixView& y) {
  const Constants& constants = workspace_.memory().constants;
  const RoutePlan& plan = block_.plan(x.dtype);
  const std::int64_t tokens = x.rows, all = tokens * group_.ranks();
  const Tensor own_x = tensor_over(x.data, acl_dtype(x.dtype), {tokens, x.cols});
  const Tensor own_y = tensor_over(y.data, acl_dtype(y.dtype), {tokens, y.cols});
  const auto route = [&](const Tensor& rows) {
    return plan.on_device() ? route_on_device(queue, block_, plan, rows, constants)
                            : route_on_host(queue, block_, plan, rows, nullptr, workspace_);
  };
  if (fused_.reason.empty() && tokens <= fused_.max_tokens) {
    const Routed routed = route(own_x);
    const Tensor sum = fused_sum(queue, block_, group_, fused_, own_x, routed, routed_factor(block_.config()));
    return add_others(queue, block_, own_x, routed, own_y.dtype == sum.dtype ? sum : cast(queue, sum, kAclFloat), own_y,
                      constants);
  }
  const Tensor all_x = queue.make(own_x.dtype, {all, x.cols});
  const Tensor partial = queue.make(kAclFloat, {all, y.cols}), sum = queue.make(kAclFloat, {tokens, y.cols});
  if (!queue.counting()) group_.all_gather(own_x, all_x, queue.stream());
  const Routed routed = route(all_x);
  sum_experts(queue, block_, all_x, routed, partial, constants);
  if (!queue.counting()) group_.reduce_scatter(partial, sum, queue.stream());
  const std::int64_t first = group_.rank() * tokens;
  const Routed own = {routed.ids.slice(first, tokens), routed.weights.slice(first, tokens)};
  add_others(queue, block_, own_x, own, sum, own_y, constants);
}

void ExpertParallelBlock::forward(const MatrixView& x, const MutableMatrixView& y, Stream* stream) {
  const BlockConfig& config = block_.config();
  check_rows("x", x.dtype, x.cols, x.row_stride, x.rows, config.expert.input);
  check_rows("y", y.dtype, y.cols, y.row_stride, y.rows, config.expert.output);
  if (y.rows != x.rows || y.dtype != x.dtype)
    throw std::invalid_argument("[expert parallel] y has " + std::to_string(y.rows) + " rows or another dtype, x has " +
                                std::to_string(x.rows));
  if (x.rows == 0) return;
  const DeviceScope scope(block_.device());
  const AclStream native = stream != nullptr ? stream->native() : workspace_.own_stream();
  CallMemory& memory = workspace_.memory();
  const std::int64_t all = checked_mul(x.rows, group_.ranks(), "tokens of all ranks");

  workspace_.begin(native, false);
  try {
    grow_constants(memory.constants, block_, all, native);
    memory.arena.begin(true);
    Queue counting(memory.arena, memory.operators, native, Queue::Mode::kCount);
    describe(counting, x, y);
    if (memory.arena.bytes() < memory.arena.used()) {
      const std::size_t bytes = memory.arena.used();
      check(api().rt.aclrtSynchronizeStream(native), "aclrtSynchronizeStream");
      memory.arena.reserve(bytes);
    }
    memory.arena.begin(false);
    Queue queue(memory.arena, memory.operators, native, Queue::Mode::kRun);
    describe(queue, x, y);
    workspace_.end(native);
    if (stream == nullptr) check(api().rt.aclrtSynchronizeStream(native), "aclrtSynchronizeStream");
  } catch (...) {
    api().rt.aclrtSynchronizeStream(native);  // what was enqueued still uses the workspace
    throw;
  }
}

std::string ExpertParallelBlock::explain() const {
  const std::int64_t count = block_.routed.experts;
  return "ascend: experts " + std::to_string(block_.first_expert) + " .. " +
         std::to_string(block_.first_expert + count - 1) + " of " + std::to_string(block_.config().router.num_experts) +
         " on rank " + std::to_string(group_.rank()) + " of " + std::to_string(group_.ranks()) + "\n" +
         "ascend: rows travel by " +
         (fused_.reason.empty()
              ? "aclnnMoeDistributeDispatchV2 and CombineV2 in calls of up to " + std::to_string(fused_.max_tokens) +
                    " tokens a rank, otherwise by HcclAllGather and HcclReduceScatter\n"
              : "HcclAllGather and HcclReduceScatter (fused operators: " + fused_.reason + ")\n") +
         block_.explain();
}

}  // namespace moekit::ascend
