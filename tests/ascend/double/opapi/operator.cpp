// SPDX-License-Identifier: Apache-2.0
#include "operator.h"

#include <algorithm>
#include <numeric>

namespace ascend_double {

std::vector<int64_t> top_k(const std::vector<float>& values, int64_t k) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return values[static_cast<size_t>(a)] > values[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(k));
  return order;
}

std::vector<Group> read_groups(const Array& list, int64_t type, int64_t groups, int64_t rows) {
  std::vector<Group> result;
  int64_t begin = 0;
  for (int64_t i = 0; i < groups; ++i) {
    const int64_t group = type == 2 ? list.integer(2 * i) : i;
    const int64_t value = list.integer(type == 2 ? 2 * i + 1 : i);
    const int64_t end = type == 0 ? value : begin + value;
    if (value < 0 || end < begin || end > rows) {
      violate("group list", code::kRtAicoreException, "entry ", i, " is ", value, ": groups end at row ", end, " of ",
              rows, ", the one before at ", begin);
    }
    if (group < 0 || group >= groups) {
      violate("group list", code::kRtAicoreException, "entry ", i, " names group ", group, " of ", groups);
    }
    result.push_back({group, begin, end});
    begin = end;
  }
  return result;
}

float quantise_row(const std::vector<float>& row, const Array& out, int64_t out_row) {
  float largest = 0;
  for (const float value : row) largest = std::fmax(largest, std::fabs(value));
  const float scale = largest / 127.0f;
  for (size_t i = 0; i < row.size(); ++i) {
    const double value = scale == 0 ? 0 : jittered(DataType::kFloat, row[i] / scale);
    out.set_exact(out_row * static_cast<int64_t>(row.size()) + static_cast<int64_t>(i), value);
  }
  return scale;
}

}  // namespace ascend_double
