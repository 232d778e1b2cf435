// SPDX-License-Identifier: Apache-2.0
// aclnnMoeInitRoutingV3. Played: dropPadMode 0; quantMode -1, 0, 1; count, running sum, key-value; both row index
// types.
#include "sorted_routing.h"

namespace ascend_double {
namespace {

struct V3Options {
  int64_t active, experts, begin, end, count_type, quant, row_type;
};

void write_counts(const SortedRouting& routing, const V3Options& options, const Array& out) {
  int64_t sum = 0, pair = 0;
  if (options.count_type == 2) {
    for (int64_t i = 0; i < out.elements(); ++i) out.set_integer(i, 0);
  }
  for (int64_t e = 0; e < options.end - options.begin; ++e) {
    const int64_t count = routing.counts[static_cast<size_t>(e)];
    sum += count;
    if (options.count_type == 0) out.set_integer(e, sum);
    if (options.count_type == 1) out.set_integer(e, count);
    if (options.count_type == 2 && count > 0) {
      out.set_integer(pair++, options.begin + e);
      out.set_integer(pair++, count);
    }
  }
}

void write_rows(const SortedRouting& routing, const V3Options& options, int64_t copied, const Array& out) {
  const auto pairs = static_cast<int64_t>(routing.order.size());
  for (int64_t rank = 0; rank < pairs; ++rank) {
    const int64_t position = routing.order[static_cast<size_t>(rank)];
    if (options.row_type == 0) out.set_integer(position, rank < copied ? rank : -1);
    if (options.row_type == 1 && rank < copied) out.set_integer(rank, position);  // the tail is not written
  }
}

// Row `rank` of the expanded input: copied, or quantised to int8.
void expand_row(const Array& x, int64_t token, int64_t rank, int64_t expert, const V3Options& options, const Array& scale,
                const Array& offset, const Array& out, const Array& out_scale) {
  const int64_t width = x.dim(1);
  if (options.quant == -1) {
    out.copy(rank * width, x, token * width, width);
    if (scale.present() && out_scale.present()) out_scale.set_exact(rank, scale[token]);
    return;
  }
  std::vector<float> row = x.row(token);
  if (options.quant == 0) {
    for (int64_t i = 0; i < width; ++i) {
      const double value = row[static_cast<size_t>(i)] * scale[0] + offset[0];
      out.set_exact(rank * width + i, jittered(DataType::kFloat, value));
    }
    return;
  }
  if (scale.present()) {  // smooth scales: one row for all experts, or one each of the range
    const int64_t smooth = scale.dim(0) == 1 ? 0 : expert - options.begin;
    for (int64_t i = 0; i < width; ++i) row[static_cast<size_t>(i)] *= static_cast<float>(scale[smooth * width + i]);
  }
  out_scale.set(rank, quantise_row(row, out, rank));
}

void check_quantisation(const Argument& x, const Argument& scale, const Argument& offset, const Argument& expanded,
                        const Argument& expanded_scale, const V3Options& options, int64_t rows) {
  const int64_t slice = options.end - options.begin;
  if (options.quant == -1) {
    x.is({DataType::kFloat, DataType::kFloat16, DataType::kBFloat16, DataType::kInt8});
    expanded.is({x.dtype()});
    scale.is({DataType::kFloat}).has_shape({x.dim(0)});
    require(!offset.present(), code::kParamInvalid, "offsetOptional must be NULL without quantisation");
  } else if (options.quant == 0) {
    x.is(ASCEND_DOUBLE_FLOATS);
    expanded.is({DataType::kInt8});
    require(scale.present() && offset.present(), code::kParamInvalid, "quantMode 0 needs scale and offset");
    scale.is({DataType::kFloat}).has_shape({1});
    offset.is({DataType::kFloat}).has_shape({1});
  } else {
    x.is(ASCEND_DOUBLE_FLOATS);
    expanded.is({DataType::kInt8});
    if (scale.present()) {
      scale.is({DataType::kFloat});
      scale.has_shape({scale.rank() == 2 && scale.dim(0) == 1 ? 1 : slice, x.dim(1)});
    }
    require(!offset.present(), code::kParamInvalid, "offsetOptional must be NULL in quantMode 1");
    require(expanded_scale.present(), code::kNullptr, "expandedScaleOut is NULL");
  }
  expanded_scale.is({DataType::kFloat}).has_shape({rows});
}

int init_routing_v3(Handle x_handle, Handle ids_handle, Handle scale_handle, Handle offset_handle, int64_t active,
                    int64_t capacity, int64_t experts, int64_t drop_mode, int64_t count_type, bool count_flag,
                    int64_t quant, Handle range_handle, int64_t row_type, Handle expanded_handle, Handle rows_handle,
                    Handle counts_handle, Handle expanded_scale_handle, uint64_t* workspace, void** executor) {
  Call call("aclnnMoeInitRoutingV3", workspace, executor);
  const Argument x = call.input("x", x_handle).has_rank(2, 2), ids = call.input("expertIdx", ids_handle);
  const Argument scale = call.optional_input("scaleOptional", scale_handle);
  const Argument offset = call.optional_input("offsetOptional", offset_handle);
  const Argument expanded = call.output("expandedXOut", expanded_handle),
                 rows = call.output("expandedRowIdxOut", rows_handle);
  const Argument counts = call.output("expertTokensCountOrCumsumOut", counts_handle);
  const Argument expanded_scale = call.optional_output("expandedScaleOut", expanded_scale_handle);
  ids.is({DataType::kInt32}).has_rank(2, 2);
  require(ids.dim(0) == x.dim(0), code::kParamInvalid, "expertIdx has ", ids.dim(0), " rows, x ", x.dim(0));
  require(experts > 0 && experts <= 10240, code::kParamInvalid, "expertNum is ", experts, ", must be 1..10240");
  require(capacity >= 0, code::kParamInvalid, "expertCapacity is ", capacity);
  require(drop_mode == 0, code::kParamInvalid, "dropPadMode is ", drop_mode, ", the double plays 0");
  require(count_type >= 0 && count_type <= 2, code::kParamInvalid, "expertTokensNumType is ", count_type);
  require(count_type != 2 || experts <= 5120, code::kParamInvalid, "expertNum is ", experts, ", key-value allows 5120");
  require(count_flag, code::kParamInvalid, "expertTokensNumFlag must be true");
  require(quant >= -1 && quant <= 1, code::kParamInvalid, "quantMode is ", quant, ", this chip has -1, 0, 1");
  require(row_type == 0 || row_type == 1, code::kParamInvalid, "rowIdxType is ", row_type);
  int64_t begin = 0, end = experts;
  if (range_handle != nullptr) {
    const auto range = int_arrays().get(range_handle, code::kNullptr, code::kParamInvalid);
    require(range->values.size() == 2, code::kParamInvalid, "activeExpertRange has ", range->values.size(), " numbers");
    begin = range->values[0];
    end = range->values[1];
    require(begin >= 0 && begin < end && end <= experts, code::kParamInvalid, "activeExpertRange is ", begin, "..", end,
            " of ", experts);
  }
  const int64_t pairs = ids.elements();
  require(active >= -1 && active <= pairs, code::kParamInvalid, "activeNum is ", active, ", pairs are ", pairs);
  const int64_t kept = active <= 0 ? pairs : active;
  const V3Options options{kept, experts, begin, end, count_type, quant, row_type};
  expanded.has_shape({kept, x.dim(1)});
  rows.is({DataType::kInt32}).has_shape({pairs});
  counts.is({DataType::kInt64});
  if (count_type == 2) {
    counts.has_shape({experts, 2});
  } else {
    counts.has_shape({end - begin});
  }
  check_quantisation(x, scale, offset, expanded, expanded_scale, options, kept);
  return call.finish(odd_workspace(pairs), [=](const Arrays& arrays) {
    const SortedRouting routing = sort_by_expert(arrays[ids.index()], options.experts, options.begin, options.end);
    const int64_t copied = std::min(routing.active, options.active);
    const int64_t choices = ids.dim(1);
    for (int64_t rank = 0; rank < copied; ++rank) {
      const int64_t position = routing.order[static_cast<size_t>(rank)];
      expand_row(arrays[x.index()], position / choices, rank, routing.expert[static_cast<size_t>(position)], options,
                 arrays[scale.index()], arrays[offset.index()], arrays[expanded.index()],
                 arrays[expanded_scale.index()]);
    }
    write_rows(routing, options, copied, arrays[rows.index()]);
    write_counts(routing, options, arrays[counts.index()]);
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnMoeInitRoutingV3, init_routing_v3)
