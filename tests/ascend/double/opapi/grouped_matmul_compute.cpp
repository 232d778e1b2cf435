// SPDX-License-Identifier: Apache-2.0
// The sums: fp32 in the order of k, int32 for A8W8 (127 * 128 * 65536 < 2^31), one rounding into the output.
#include "grouped_matmul.h"

namespace ascend_double {

namespace {

struct Expert {  // one group's matrix and what belongs to it
  const Array* weight;
  int64_t offset;  // of the expert in a weight of three dimensions, in elements
  size_t tensor;   // in the lists
  int64_t index;   // inside the tensor
  int64_t rows, columns, row_stride, column_stride;
};

Expert expert_of(const GroupedMatmul& call, const Arrays& arrays, int64_t group) {
  const bool stacked = call.weight[0].rank() == 3;
  const size_t tensor = stacked ? 0 : static_cast<size_t>(group);
  const Array& weight = arrays[call.weight[tensor].index()];
  const size_t row_axis = stacked ? 1 : 0;
  return {&weight,
          stacked ? group * weight.stride(0) : 0,
          tensor,
          stacked ? group : 0,
          weight.dim(row_axis),
          weight.dim(row_axis + 1),
          weight.stride(row_axis),
          weight.stride(row_axis + 1)};
}

// Element (group, column) of a per-expert vector, or of the row group `part` of `parts`.
double per_expert(const Array& array, const Expert& expert, int64_t column, int64_t part = 0, int64_t parts = 1) {
  return array[(expert.index * parts + part) * expert.columns + column];
}

template <class T>
std::vector<T> load_weight(const GroupedMatmul& call, const Arrays& arrays, const Expert& expert) {
  std::vector<T> values(static_cast<size_t>(expert.rows * expert.columns));
  const bool dequantise = call.weight_only();
  const Array* scale = dequantise ? &arrays[call.antiquant_scale[expert.tensor].index()] : nullptr;
  const Array* shift = dequantise ? &arrays[call.antiquant_offset[expert.tensor].index()] : nullptr;
  const bool in_parts = dequantise && scale->rank() == call.weight[0].rank();
  const int64_t parts = in_parts ? scale->dim(static_cast<size_t>(scale->rank() - 2)) : 1;
  for (int64_t k = 0; k < expert.rows; ++k) {
    for (int64_t n = 0; n < expert.columns; ++n) {
      double value = expert.weight->at(expert.offset + k * expert.row_stride + n * expert.column_stride);
      if (dequantise) {
        const int64_t part = k / (expert.rows / parts);
        value = (value + per_expert(*shift, expert, n, part, parts)) * per_expert(*scale, expert, n, part, parts);
      }
      values[static_cast<size_t>(k * expert.columns + n)] = static_cast<T>(value);
    }
  }
  return values;
}

float activated(int64_t activation, float x) {
  switch (activation) {
    case 1: return std::fmax(x, 0.0f);
    case 2: return static_cast<float>(gelu_tanh(x));
    case 3: return static_cast<float>(gelu_erf(x));
    case 4: return x * sigmoid(1.702f * x);  // the fast form: Hendrycks and Gimpel 2016
    case 5: return silu(x);
    default: return x;
  }
}

template <class T>
void multiply(const GroupedMatmul& call, const Arrays& arrays, const Expert& expert, const Array& x, const Array& out,
              int64_t begin, int64_t end) {
  if (begin == end) return;
  const std::vector<T> weight = load_weight<T>(call, arrays, expert);
  const Array* bias = call.bias.empty() ? nullptr : &arrays[call.bias[expert.tensor].index()];
  const Array* scale = call.scale.empty() ? nullptr : &arrays[call.scale[expert.tensor].index()];
  const Array* per_token = call.per_token_scale.empty() ? nullptr : &arrays[call.per_token_scale[0].index()];
  std::vector<T> sums(static_cast<size_t>(expert.columns));
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t n = 0; n < expert.columns; ++n) {
      sums[static_cast<size_t>(n)] = bias ? static_cast<T>(per_expert(*bias, expert, n)) : T{0};
    }
    for (int64_t k = 0; k < expert.rows; ++k) {
      const T value = static_cast<T>(x[row * expert.rows + k]);
      const T* const line = weight.data() + k * expert.columns;
      for (size_t n = 0; n < sums.size(); ++n) sums[n] += value * line[n];
    }
    for (int64_t n = 0; n < expert.columns; ++n) {
      const T sum = sums[static_cast<size_t>(n)];
      if (out.dtype() == DataType::kInt32) {
        out.set_integer(row * expert.columns + n, static_cast<int64_t>(sum));
        continue;
      }
      float value = static_cast<float>(sum);
      if (scale) value *= static_cast<float>(per_expert(*scale, expert, n));
      if (per_token) value *= static_cast<float>((*per_token)[row]);
      out.set(row * expert.columns + n, activated(call.activation, value));
    }
  }
}

}  // namespace

void compute(const GroupedMatmul& call, const Arrays& arrays) {
  std::vector<Group> groups;
  if (call.grouped()) {
    groups = read_groups(arrays[call.group_list.index()], call.group_list_type, call.groups(), call.x[0].dim(0));
  } else {
    for (size_t i = 0; i < call.x.size(); ++i) groups.push_back({static_cast<int64_t>(i), 0, call.x[i].dim(0)});
  }
  for (const Group& group : groups) {
    const size_t list = call.grouped() ? 0 : static_cast<size_t>(group.index);
    const Array &x = arrays[call.x[list].index()], &out = arrays[call.out[list].index()];
    const Expert expert = expert_of(call, arrays, group.index);
    if (call.quantised()) {
      multiply<int32_t>(call, arrays, expert, x, out, group.begin, group.end);
    } else {
      multiply<float>(call, arrays, expert, x, out, group.begin, group.end);
    }
  }
}

}  // namespace ascend_double
