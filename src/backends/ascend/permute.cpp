// SPDX-License-Identifier: Apache-2.0
// Sorting rows by expert: MoeInitRoutingV3, or V2 where it is missing.
#include "backends/ascend/call.h"
#include "backends/ascend/elementwise.h"

namespace moekit::ascend {
namespace {

constexpr std::int64_t kDropless = 0, kCounts = 1, kRowIndexByPosition = 0;

// V3 counts in int64 over a range of experts and gives -1 for rows outside of it.
Permuted permute_v3(Queue& queue, const Tensor& x, const Tensor& ids, ExpertSlice slice, std::int64_t id_limit,
                    bool skips, bool quantise) {
  const std::int64_t slots = ids.elements(), hidden = x.dims[1];
  Permuted p = {queue.make(quantise ? kAclInt8 : x.dtype, {slots, hidden}), queue.make(kAclFloat, {slots}),
                queue.make(kAclInt32, {slots}), queue.make(kAclInt64, {slice.count}), Tail::kUndefined};
  constexpr std::int64_t kNoCapacity = 0;
  queue.run(api().op.init_routing_v3, x, ids, nullptr, nullptr, slots, kNoCapacity, id_limit, kDropless, kCounts, true,
            quantise ? 1 : -1, Ints{{slice.first, slice.first + slice.count}}, kRowIndexByPosition, p.rows, p.row_index,
            p.counts, p.scales);
  if (skips) {  // the last row is one of no expert if any is
    fill_where(queue, p.row_index, below(queue, p.row_index, 0), static_cast<double>(slots - 1));
    p.tail = Tail::kZeroLast;
  }
  return p;
}

// V2 sorts rows of all ids, those >= experts last (it has no slices: experts are all), and counts in int32.
Permuted permute_v2(Queue& queue, const Tensor& x, const Tensor& ids, std::int64_t experts, std::int64_t id_limit,
                    bool skips) {
  const std::int64_t slots = ids.elements(), hidden = x.dims[1];
  constexpr std::int64_t kCount = 2;
  Permuted p = {queue.make(x.dtype, {slots, hidden}), {}, queue.make(kAclInt32, {slots}), {}, Tail::kUndefined};
  if (skips) p.tail = Tail::kZero;
  const Tensor counts = queue.make(kAclInt32, {id_limit});
  queue.run(api().op.init_routing_v2, x, ids, 0, 0, id_limit, kDropless, kCount, false, p.rows, p.row_index, counts,
            nullptr);
  p.counts = cast(queue, counts.slice(0, experts), kAclInt64);
  return p;
}

}  // namespace

Permuted permute_rows(Queue& queue, const Tensor& x, const Tensor& ids, ExpertSlice slice, std::int64_t id_limit,
                      bool skips, bool quantise) {
  if (api().op.init_routing_v3) return permute_v3(queue, x, ids, slice, id_limit, skips, quantise);
  Permuted p = permute_v2(queue, x, ids, slice.count, id_limit, skips);
  if (!quantise) return p;
  const Tensor codes = queue.make(kAclInt8, {p.rows.dims[0], p.rows.dims[1]});
  p.scales = queue.make(kAclFloat, {p.rows.dims[0]});
  queue.run(api().op.dynamic_quant, p.rows, nullptr, codes, p.scales);
  p.rows = codes;
  return p;
}

}  // namespace moekit::ascend
