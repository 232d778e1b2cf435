// SPDX-License-Identifier: Apache-2.0
// The stable sort of (token, choice) pairs by expert that the routing operators share.
#pragma once

#include "operator.h"

namespace ascend_double {

struct SortedRouting {
  std::vector<int64_t> order;   // rank -> flat position t * K + j; pairs outside the range come last
  std::vector<int64_t> expert;  // of each flat position
  std::vector<int64_t> counts;  // of each expert of the range
  int64_t active = 0;           // pairs inside the range
};

// ids: flat expert ids, checked against [0, experts) (a violation, 507015, outside); the range is [begin, end).
SortedRouting sort_by_expert(const Array& ids, int64_t experts, int64_t begin, int64_t end);

}  // namespace ascend_double
