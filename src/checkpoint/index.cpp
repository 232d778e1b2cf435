// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/index.h"

#include <algorithm>
#include <map>
#include <utility>

#include "checkpoint/json.h"
#include "checkpoint/text.h"

namespace moekit {
namespace {

constexpr const char* kOperation = "safetensors index";

class IndexSax final : public StrictSax {
 public:
  explicit IndexSax(std::string_view file) : StrictSax(kOperation, file) {}
  ShardedIndex take();

  bool null() override { return value("null"); }
  bool boolean(bool) override { return value("a boolean"); }
  bool number_integer(number_integer_t) override { return value("a number"); }
  bool number_unsigned(number_unsigned_t) override { return value("a number"); }
  bool number_float(number_float_t, const string_t&) override { return value("a number"); }
  bool string(string_t& text) override {
    if (!in_map_ || depth() != 2) return value("a string");
    const auto next = static_cast<std::uint32_t>(shards_.size());
    index_.entries.back().shard = shards_.emplace(std::move(text), next).first->second;
    return true;
  }
  bool start_object(std::size_t) override { return open(depth() == 1, "an object"); }
  bool start_array(std::size_t) override { return open(false, "an array"); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (depth() == 1) {
      in_map_ = name == "weight_map";
      if (in_map_ && has_map_) fail("duplicate key 'weight_map'");
      has_map_ = has_map_ || in_map_;
    } else if (in_map_) {
      index_.entries.push_back({std::move(name), 0});
    }
    return true;
  }

 private:
  bool value(const char* kind) const {
    if (in_map_ && depth() == 1) fail(std::string("weight_map is ") + kind + ", expected an object");
    if (in_map_) fail("tensor " + in_quotes(index_.entries.back().tensor) + " is " + kind + ", expected a file name");
    return true;
  }
  bool open(bool map_itself, const char* kind) {
    if (!map_itself && depth() != 0) value(kind);
    enter();
    return true;
  }
  bool close() {
    leave();
    if (depth() == 1) in_map_ = false;
    return true;
  }

  ShardedIndex index_;
  std::map<std::string, std::uint32_t> shards_;  // in order of appearance
  bool in_map_ = false, has_map_ = false;
};

ShardedIndex IndexSax::take() {
  if (!has_map_) fail("no weight_map");
  std::vector<std::uint32_t> order(shards_.size());
  for (const auto& [name, appeared] : shards_) {
    order[appeared] = static_cast<std::uint32_t>(index_.shards.size());
    index_.shards.push_back(name);
  }
  for (ShardedIndex::Entry& entry : index_.entries) entry.shard = order[entry.shard];
  std::sort(index_.entries.begin(), index_.entries.end(),
            [](const auto& a, const auto& b) { return a.tensor < b.tensor; });
  const auto same = std::adjacent_find(index_.entries.begin(), index_.entries.end(),
                                       [](const auto& a, const auto& b) { return a.tensor == b.tensor; });
  if (same != index_.entries.end()) fail("duplicate key " + in_quotes(same->tensor) + " in weight_map");
  return std::move(index_);
}

}  // namespace

ShardedIndex parse_index(std::string_view text, std::string_view file) {
  IndexSax sax(file);
  sax.parse(text);
  return sax.take();
}

}  // namespace moekit
