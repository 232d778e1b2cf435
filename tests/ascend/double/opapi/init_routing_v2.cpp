// SPDX-License-Identifier: Apache-2.0
// aclnnMoeInitRoutingV2: dropless, or experts of one capacity with zeros where they are not full.
#include "sorted_routing.h"

namespace ascend_double {
namespace {

struct V2Options {
  int64_t active, capacity, experts, count_flag;
  bool pad;
};

// Row of the output for each rank, -1 where it is dropped.
std::vector<int64_t> places(const SortedRouting& routing, const V2Options& options) {
  std::vector<int64_t> result, seen(routing.counts.size(), 0);
  for (size_t rank = 0; rank < routing.order.size(); ++rank) {
    const auto row = static_cast<int64_t>(rank);
    if (!options.pad) {
      result.push_back(row < options.active ? row : -1);
      continue;
    }
    const int64_t expert = routing.expert[static_cast<size_t>(routing.order[rank])];
    const int64_t within = seen[static_cast<size_t>(expert)]++;
    result.push_back(within < options.capacity ? expert * options.capacity + within : -1);
  }
  return result;
}

int init_routing_v2(Handle x_handle, Handle ids_handle, int64_t active, int64_t capacity, int64_t experts,
                    int64_t drop_mode, int64_t count_flag, bool before_capacity_flag, Handle expanded_handle,
                    Handle rows_handle, Handle counts_handle, Handle before_handle, uint64_t* workspace,
                    void** executor) {
  Call call("aclnnMoeInitRoutingV2", workspace, executor);
  const Argument x = call.input("x", x_handle).is(ASCEND_DOUBLE_FLOATS).has_rank(2, 2);
  const Argument ids = call.input("expertIdx", ids_handle).is({DataType::kInt32}).has_rank(2, 2);
  const Argument expanded = call.output("expandedXOut", expanded_handle).is({x.dtype()});
  const Argument rows = call.output("expandedRowIdxOut", rows_handle).is({DataType::kInt32});
  const Argument counts = call.optional_output("expertTokensCountOrCumsumOut", counts_handle).is({DataType::kInt32});
  const Argument before = call.optional_output("expertTokensBeforeCapacityOut", before_handle).is({DataType::kInt32});
  require(ids.dim(0) == x.dim(0), code::kParamInvalid, "expertIdx has ", ids.dim(0), " rows, x ", x.dim(0));
  require(experts > 0, code::kParamInvalid, "expertNum is ", experts);
  require(drop_mode == 0 || drop_mode == 1, code::kParamInvalid, "dropPadMode is ", drop_mode);
  require(count_flag >= 0 && count_flag <= 2, code::kParamInvalid, "expertTokensCountOrCumsumFlag is ", count_flag);
  const bool pad = drop_mode == 1;
  const int64_t pairs = ids.elements(), width = x.dim(1);
  require(active >= 0, code::kParamInvalid, "activeNum is ", active);
  require(!pad || (capacity > 0 && capacity <= x.dim(0)), code::kParamInvalid, "expertCapacity is ", capacity,
          ", must be 1..", x.dim(0));
  require(!pad || count_flag == 0, code::kParamInvalid, "counts go with dropPadMode 0");
  require(pad || !before_capacity_flag, code::kParamInvalid, "expertTokensBeforeCapacityFlag goes with dropPadMode 1");
  const int64_t kept = active == 0 ? pairs : std::min(active, pairs);
  if (pad) {
    expanded.has_shape({experts, capacity, width});
  } else {
    expanded.has_shape({kept, width});
  }
  rows.has_shape({pairs});
  require(counts.present() || count_flag == 0, code::kNullptr, "expertTokensCountOrCumsumOut is NULL");
  require(before.present() || !before_capacity_flag, code::kNullptr, "expertTokensBeforeCapacityOut is NULL");
  if (count_flag != 0) counts.has_shape({experts});
  if (before_capacity_flag) before.has_shape({experts});
  const V2Options options{kept, capacity, experts, count_flag, pad};
  return call.finish(odd_workspace(pairs), [=](const Arrays& arrays) {
    const SortedRouting routing = sort_by_expert(arrays[ids.index()], options.experts, 0, options.experts);
    const std::vector<int64_t> place = places(routing, options);
    const Array& out = arrays[expanded.index()];
    for (int64_t i = 0; options.pad && i < out.elements(); ++i) out.set_exact(i, 0.0);
    for (size_t rank = 0; rank < place.size(); ++rank) {
      const int64_t position = routing.order[rank];
      arrays[rows.index()].set_integer(position, place[rank]);
      if (place[rank] < 0) continue;
      out.copy(place[rank] * width, arrays[x.index()], position / ids.dim(1) * width, width);
    }
    int64_t sum = 0;
    for (int64_t e = 0; e < options.experts; ++e) {
      const int64_t count = routing.counts[static_cast<size_t>(e)];
      sum += count;
      if (options.count_flag != 0) arrays[counts.index()].set_integer(e, options.count_flag == 1 ? sum : count);
      if (before_capacity_flag) arrays[before.index()].set_integer(e, count);
    }
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnMoeInitRoutingV2, init_routing_v2)
