// SPDX-License-Identifier: Apache-2.0
// The tensors of one layer's block: each is taken once with the shape it must have, and what is left is an error.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "models/family.h"
#include "moekit/checkpoint.h"

namespace moekit {

class Accounting {
 public:
  /// Finds the block among the prefixes of the family. Throws CheckpointError when there is none or more than one.
  Accounting(const Checkpoint& checkpoint, const Family& family, std::int64_t layer);

  const std::string& prefix() const noexcept { return prefix_; }
  /// Looks for all names below this folder of the block from now on; "" for the block itself.
  void enter(const std::string& folder) { prefix_ = block_ + folder; }
  /// Whether any tensor lies in this folder of the block.
  bool has_folder(const std::string& folder) const;
  /// The first of `names` (below the prefix) that exists, empty when none does.
  std::string find(const std::vector<std::string>& names) const;
  /// Shape of a tensor below the prefix, empty when there is none.
  std::vector<std::int64_t> shape(const std::string& name) const;
  /// The tensor below the prefix, null pointer when there is none.
  const TensorRef* peek(const std::string& name) const;
  /// Takes the first of `names` that exists, whatever its shape and dtype: a part of a quantised matrix, which is
  /// checked with its other parts. Throws CheckpointError naming the tensor and the nearest key; `why` says what it is.
  const TensorRef& take_any(const std::vector<std::string>& names, std::string_view why);
  /// Counts a tensor that peek answered as taken.
  void mark(const TensorRef& tensor) { taken_.insert(tensor.name); }
  /// Takes a tensor, if it exists, that inference does not use; `what` it is goes into unused().
  void leave(const std::string& name, std::string_view what);
  /// "48 activation scales (input_scale)" for what was left.
  std::vector<std::string> unused() const;
  /// Takes the first of `names` that exists. Its shape must be `shape` and its dtype a floating one. `why` says where
  /// the shape comes from. Throws CheckpointError naming the tensor, the nearest key and the expected shape.
  const TensorRef& take(const std::vector<std::string>& names, const std::vector<std::int64_t>& shape,
                        std::string_view why);
  const TensorRef& take(const std::string& name, const std::vector<std::int64_t>& shape, std::string_view why) {
    return take(std::vector<std::string>{name}, shape, why);
  }
  /// The same for a tensor of integers.
  const TensorRef& take_integers(const std::vector<std::string>& names, const std::vector<std::int64_t>& shape,
                                 std::string_view why);
  /// Throws CheckpointError for a tensor of the block that was not taken. `experts`: their number in config.json;
  /// those from there to `columns` are identity experts, for which some files hold weights that nothing reads.
  void finish(std::int64_t experts, std::int64_t columns) const;

  [[noreturn]] void fail(const std::string& what) const;

 private:
  const TensorRef& take_shape(const std::vector<std::string>& names, const std::vector<std::int64_t>& shape,
                              std::string_view why);
  void finish_part(const std::string& part, std::int64_t experts, std::int64_t columns) const;

  const Checkpoint& checkpoint_;
  std::string block_, prefix_;      // of the block, and of the folder that was entered
  std::vector<std::string> parts_;  // of the block; "" for all of it
  std::set<std::string, std::less<>> taken_;
  std::map<std::string, std::int64_t> unused_;  // number by description
};

}  // namespace moekit
