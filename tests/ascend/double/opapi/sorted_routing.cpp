// SPDX-License-Identifier: Apache-2.0
#include "sorted_routing.h"

#include <algorithm>
#include <numeric>

namespace ascend_double {

SortedRouting sort_by_expert(const Array& ids, int64_t experts, int64_t begin, int64_t end) {
  SortedRouting routing;
  routing.counts.assign(static_cast<size_t>(end - begin), 0);
  for (int64_t p = 0; p < ids.elements(); ++p) {
    const int64_t id = ids.integer(p);
    if (id < 0 || id >= experts) {
      violate("device range", code::kRtAicoreException, "expert index ", id, " at position ", p, " of ", experts,
              " experts");
    }
    routing.expert.push_back(id);
    if (id >= begin && id < end) {
      ++routing.counts[static_cast<size_t>(id - begin)];
      ++routing.active;
    }
  }
  const auto key = [&](int64_t p) {
    const int64_t id = routing.expert[static_cast<size_t>(p)];
    return id >= begin && id < end ? id : experts;
  };
  routing.order.resize(routing.expert.size());
  std::iota(routing.order.begin(), routing.order.end(), 0);
  std::stable_sort(routing.order.begin(), routing.order.end(), [&](int64_t a, int64_t b) { return key(a) < key(b); });
  return routing;
}

}  // namespace ascend_double
