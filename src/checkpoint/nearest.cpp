// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/nearest.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace moekit {
namespace {

constexpr std::size_t kMaxLength = 256;      // of a name that is compared
constexpr std::size_t kMaxCandidates = 512;  // on either side of the place in the sorted keys where the name would be

/// Levenshtein distance in O(a b).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string_view nearest_name(const std::map<std::string, TensorRef, std::less<>>& tensors, std::string_view name) {
  const std::string_view wanted = name.substr(0, kMaxLength);
  std::string_view best;
  std::size_t best_distance = static_cast<std::size_t>(-1);
  const auto consider = [&](const std::string& key) {
    const std::size_t distance = edit_distance(wanted, std::string_view(key).substr(0, kMaxLength));
    if (distance < best_distance) {
      best_distance = distance;
      best = key;
    }
  };
  const auto place = tensors.lower_bound(name);
  auto after = place;
  for (std::size_t i = 0; i < kMaxCandidates && after != tensors.end(); ++i, ++after) consider(after->first);
  auto before = place;
  for (std::size_t i = 0; i < kMaxCandidates && before != tensors.begin(); ++i) consider((--before)->first);
  return best;
}

}  // namespace moekit
