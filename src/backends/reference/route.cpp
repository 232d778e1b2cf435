// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "backends/reference/reference.h"
#include "core/float_convert.h"

namespace moekit::reference {

void load_row(const MatrixView& x, std::int64_t row, float* out) noexcept {
  load_as_float(x.data, x.dtype, row * x.row_stride, x.col_stride, x.cols, out);
}

// Logits are summed in float64 and rounded once to float32; select() does the rest and its roundings.
void route(const Packed& block, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing,
           Scratch& scratch) {
  const RouterConfig& config = block.config().router;
  const std::int64_t k = config.top_k, columns = config.columns(), hidden = x.cols;
  if (config.source == RouterSource::kExternal) {
    // The caller may hand in the very arrays that it wants filled.
    if (inputs.expert_ids != routing.expert_ids) std::copy_n(inputs.expert_ids, routing.tokens * k, routing.expert_ids);
    if (inputs.weights != routing.weights) std::copy_n(inputs.weights, routing.tokens * k, routing.weights);
    return;
  }
  scratch.route.reserve(config);
  const auto width = static_cast<std::size_t>(hidden);
  std::vector<float> row(width), filtered(width), logits(static_cast<std::size_t>(columns));
  for (std::int64_t t = 0; t < x.rows; ++t) {
    load_row(x, t, row.data());
    const bool changed = router_input(config, block.tables, row.data(), hidden, x.dtype, filtered.data());
    const Eigen::VectorXd input =
        Eigen::Map<const Eigen::VectorXf>(changed ? filtered.data() : row.data(), hidden).cast<double>();
    for (std::int64_t c = 0; c < columns; ++c) {
      const Eigen::Map<const Eigen::VectorXf> weight(block.router_weight.data() + c * hidden, hidden);
      logits[static_cast<std::size_t>(c)] = static_cast<float>(weight.cast<double>().dot(input));
    }
    const std::int32_t* forced =
        config.source == RouterSource::kHashTable ? block.tables.tid2eid.data() + inputs.token_ids[t] * k : nullptr;
    select(config, block.tables, logits.data(), x.dtype, forced, scratch.route, routing.expert_ids + t * k,
           routing.weights + t * k);
  }
}

}  // namespace moekit::reference
