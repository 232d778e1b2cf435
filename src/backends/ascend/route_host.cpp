// SPDX-License-Identifier: Apache-2.0
// Routing by the rules that the device lacks: its logits, the host's select().
#include <algorithm>

#include "backends/ascend/call.h"
#include "backends/ascend/elementwise.h"
#include "core/float_convert.h"
#include "core/thread_pool.h"
#include "moekit/error.h"

namespace moekit::ascend {
namespace {

void finish(AclStream stream) { check(api().rt.aclrtSynchronizeStream(stream), "aclrtSynchronizeStream"); }

// f(x) of the router on the host, back in `target` [tokens, hidden] float32 of the device.
void filter_input(const AscendBlock& block, const Tensor& x, const Tensor& target) {
  const std::int64_t tokens = x.dims[0], hidden = x.dims[1];
  const DType native = host_dtype(x.dtype);
  std::vector<std::byte> rows(x.bytes());
  copy_now(rows.data(), x.data, rows.size(), kAclDeviceToHost);
  std::vector<float> row(static_cast<std::size_t>(hidden)), filtered(static_cast<std::size_t>(tokens * hidden));
  for (std::int64_t t = 0; t < tokens; ++t) {
    load_as_float(rows.data(), native, t * hidden, 1, hidden, row.data());
    float* out = filtered.data() + t * hidden;
    if (!router_input(block.config().router, block.tables, row.data(), hidden, native, out))
      std::copy(row.begin(), row.end(), out);
  }
  copy_now(target.data, filtered.data(), target.bytes(), kAclHostToDevice);
}

}  // namespace

Routed route_on_host(Queue& queue, const AscendBlock& block, const RoutePlan& plan, const Tensor& x,
                     const std::int64_t* token_ids, AscendWorkspace& workspace) {
  const RouterConfig& config = block.config().router;
  const std::int64_t tokens = x.dims[0], hidden = x.dims[1], k = config.top_k, columns = config.columns();
  const DType native = host_dtype(x.dtype);
  queue.forget();
  if (!queue.counting() && is_capturing(queue.stream()))
    throw DeviceError("[ascend] this layer routes on the host (" + plan.reason + "), which a graph cannot hold");

  Tensor input = x;
  if (config.in_rmsnorm || config.in_mult != 1.0 || !block.tables.in_scale.empty()) {
    input = queue.make(kAclFloat, {tokens, hidden});
    if (!queue.counting()) {
      finish(queue.stream());
      filter_input(block, x, input);
    }
  }
  const Tensor z = product(queue, cast(queue, input, kAclFloat), block.router_weight);
  const Routed out = {queue.make(kAclInt32, {tokens, k}), queue.make(kAclFloat, {tokens, k})};
  if (queue.counting()) return out;

  workspace.host_logits.resize(static_cast<std::size_t>(tokens * columns));
  workspace.host_ids.resize(static_cast<std::size_t>(tokens * k));
  workspace.host_weights.resize(static_cast<std::size_t>(tokens * k));
  finish(queue.stream());
  copy_now(workspace.host_logits.data(), z.data, z.bytes(), kAclDeviceToHost);
  const bool by_table = config.source == RouterSource::kHashTable;
  if (by_table) {
    workspace.host_tokens.resize(static_cast<std::size_t>(tokens));
    copy_now(workspace.host_tokens.data(), token_ids, workspace.host_tokens.size() * sizeof(std::int64_t),
             kAclDeviceToHost);
    validate(config, block.tables, {workspace.host_tokens.data(), nullptr, nullptr}, tokens);
  }
  constexpr std::int64_t kGrain = 16;  // rows: some microseconds of work
  parallel_for(num_threads(), tokens, kGrain, [&](std::int64_t first, std::int64_t last) {
    thread_local RouteScratch scratch;
    scratch.reserve(config);
    for (std::int64_t t = first; t < last; ++t)
      select(config, block.tables, workspace.host_logits.data() + t * columns, native,
             by_table ? block.tables.tid2eid.data() + workspace.host_tokens[static_cast<std::size_t>(t)] * k : nullptr,
             scratch, workspace.host_ids.data() + t * k, workspace.host_weights.data() + t * k);
  });
  copy_now(out.ids.data, workspace.host_ids.data(), out.ids.bytes(), kAclHostToDevice);
  copy_now(out.weights.data, workspace.host_weights.data(), out.weights.bytes(), kAclHostToDevice);
  return out;
}

}  // namespace moekit::ascend
