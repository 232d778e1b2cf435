// SPDX-License-Identifier: Apache-2.0
#include "models/accounting.h"

#include <algorithm>
#include <cstdlib>

#include "checkpoint/nearest.h"
#include "checkpoint/text.h"
#include "formats/ggml/blocks.h"

namespace moekit {
namespace {

bool starts_with(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

bool has_prefix(const Checkpoint& checkpoint, const std::string& prefix) {
  const auto first = checkpoint.tensors().lower_bound(prefix);
  return first != checkpoint.tensors().end() && starts_with(first->first, prefix);
}

bool is_floating(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16 || dtype == DType::kFloat64;
}

/// The E of "experts.E.something", -1 when the name has no such part.
std::int64_t expert_index(std::string_view name) {
  constexpr std::string_view kExperts = "experts.";
  const std::size_t at = name.find(kExperts);
  if (at == std::string_view::npos || (at > 0 && name[at - 1] != '.')) return -1;
  name.remove_prefix(at + kExperts.size());
  const std::size_t digits = name.find_first_not_of("0123456789");
  if (digits == 0 || digits == std::string_view::npos || digits > 9 || name[digits] != '.') return -1;
  return std::atoll(std::string(name.substr(0, digits)).c_str());
}

}  // namespace

Accounting::Accounting(const Checkpoint& checkpoint, const Family& family, std::int64_t layer)
    : checkpoint_(checkpoint) {
  for (const std::string& layers : family.layer_prefixes)
    for (const std::string& block : family.block_prefixes) {
      const std::string candidate = layers + std::to_string(layer) + "." + block;
      const std::vector<std::string> parts = block.empty() ? family.parts : std::vector<std::string>{""};
      if (std::none_of(parts.begin(), parts.end(),
                       [&](const std::string& part) { return has_prefix(checkpoint, candidate + part); }))
        continue;
      parts_ = parts;
      if (!block_.empty()) fail("tensors under " + in_quotes(block_) + " and under " + in_quotes(candidate));
      block_ = prefix_ = candidate;
    }
  if (!block_.empty()) return;
  const std::string wanted = family.layer_prefixes.front() + std::to_string(layer) + "." +
                             family.block_prefixes.front() + family.router_weight.front();
  checkpoint.tensor(wanted);  // throws, with the nearest name
}

bool Accounting::has_folder(const std::string& folder) const { return has_prefix(checkpoint_, block_ + folder); }

std::string Accounting::find(const std::vector<std::string>& names) const {
  for (const std::string& name : names)
    if (checkpoint_.contains(prefix_ + name)) return name;
  return {};
}

std::vector<std::int64_t> Accounting::shape(const std::string& name) const {
  return checkpoint_.contains(prefix_ + name) ? checkpoint_.tensor(prefix_ + name).shape : std::vector<std::int64_t>{};
}

const TensorRef* Accounting::peek(const std::string& name) const {
  const auto found = checkpoint_.tensors().find(prefix_ + name);
  return found == checkpoint_.tensors().end() ? nullptr : &found->second;
}

const TensorRef& Accounting::take_any(const std::vector<std::string>& names, std::string_view why) {
  const std::string found = find(names);
  const std::string name = prefix_ + (found.empty() ? names.front() : found);
  if (found.empty())
    fail("no tensor " + in_quotes(name) + " (" + std::string(why) + "); the nearest name is " +
         in_quotes(nearest_name(checkpoint_.tensors(), name)));
  taken_.insert(name);
  return checkpoint_.tensor(name);
}

void Accounting::leave(const std::string& name, std::string_view what) {
  if (peek(name) == nullptr || !taken_.insert(prefix_ + name).second) return;
  ++unused_[std::string(what)];
}

std::vector<std::string> Accounting::unused() const {
  std::vector<std::string> list;
  for (const auto& [what, count] : unused_) list.push_back(std::to_string(count) + " " + what);
  return list;
}

const TensorRef& Accounting::take(const std::vector<std::string>& names, const std::vector<std::int64_t>& shape,
                                  std::string_view why) {
  const TensorRef& tensor = take_shape(names, shape, why);
  if (tensor.encoding != Encoding::kPlain && ggml_rule(tensor.encoding) == nullptr)
    fail("tensor " + in_quotes(tensor.name) + " is in blocks of " + std::string(tensor.type_name()) +
         ", those that are read are " + ggml_encodings());
  if (!is_floating(tensor.dtype))
    fail("tensor " + in_quotes(tensor.name) + " has dtype " + std::string(dtype_name(tensor.dtype)) +
         ", expected float32, bfloat16, float16 or float64");
  return tensor;
}

const TensorRef& Accounting::take_integers(const std::vector<std::string>& names,
                                           const std::vector<std::int64_t>& shape, std::string_view why) {
  const TensorRef& tensor = take_shape(names, shape, why);
  if (tensor.dtype != DType::kInt64 && tensor.dtype != DType::kInt32)
    fail("tensor " + in_quotes(tensor.name) + " has dtype " + std::string(dtype_name(tensor.dtype)) +
         ", expected int64 or int32");
  return tensor;
}

const TensorRef& Accounting::take_shape(const std::vector<std::string>& names, const std::vector<std::int64_t>& shape,
                                        std::string_view why) {
  const std::string found = find(names);
  const std::string name = prefix_ + (found.empty() ? names.front() : found);
  if (found.empty()) {
    const std::string_view nearest = nearest_name(checkpoint_.tensors(), name);
    fail("no tensor " + in_quotes(name) + " " + shape_text(shape) + " (" + std::string(why) +
         "); the nearest name is " + in_quotes(nearest));
  }
  const TensorRef& tensor = checkpoint_.tensor(name);
  if (tensor.shape != shape)
    fail("tensor " + in_quotes(name) + " has shape " + shape_text(tensor.shape) + ", expected " + shape_text(shape) +
         " (" + std::string(why) + ")");
  taken_.insert(name);
  return tensor;
}

void Accounting::finish(std::int64_t experts, std::int64_t columns) const {
  for (const std::string& part : parts_) finish_part(block_ + part, experts, columns);
}

void Accounting::finish_part(const std::string& part, std::int64_t experts, std::int64_t columns) const {
  for (auto it = checkpoint_.tensors().lower_bound(part);
       it != checkpoint_.tensors().end() && starts_with(it->first, part); ++it) {
    if (taken_.count(it->first) != 0) continue;
    const std::int64_t index = expert_index(std::string_view(it->first).substr(block_.size()));
    if (index >= experts && index < columns) continue;
    if (index >= experts)
      fail("tensor " + in_quotes(it->first) + " is of expert " + std::to_string(index) + ", config.json says " +
           std::to_string(experts) + " experts (0.." + std::to_string(experts - 1) + ")");
    // The taken name that the stray one resembles is what was expected there.
    std::map<std::string, TensorRef, std::less<>> expected;
    for (const std::string& name : taken_) expected.emplace(name, TensorRef{});
    const std::string_view nearest = nearest_name(expected, it->first);
    fail("unexpected tensor " + in_quotes(it->first) + " " + shape_text(it->second.shape) +
         ", the nearest expected name is " + in_quotes(nearest));
  }
}

void Accounting::fail(const std::string& what) const { checkpoint_error("load layer", checkpoint_.path(), what); }

}  // namespace moekit
