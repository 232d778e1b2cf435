// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/gguf_file.h"

#include <cstdio>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "checkpoint/file.h"
#include "checkpoint/gguf_header.h"
#include "checkpoint/text.h"

namespace moekit {
namespace {

namespace fs = std::filesystem;
constexpr const char* kOperation = "gguf";
constexpr std::uint64_t kMaxParts = 1000;  // each stays open while its tensors live; published sets have below 50
constexpr std::size_t kMaxTensors = std::size_t{1} << 20;

struct Part {
  GgufMetadata metadata;
  std::uint64_t number = 0, count = 0;  // split.no from 0 on; 0 parts: not a set
};

/// Appends the tensors of one file.
Part read_part(const std::string& path, std::vector<TensorRef>& tensors) {
  const auto file = FileStorage::open(path);
  GgufHeader header = parse_gguf_header(*file, file->size(), path);
  for (GgufTensor& tensor : header.tensors)
    tensors.push_back({std::move(tensor.name), tensor.dtype, std::move(tensor.shape), file,
                       static_cast<std::size_t>(tensor.begin), tensor.encoding});
  Part part;
  part.number = gguf_unsigned(header.metadata, "split.no", 0, path);
  part.count = gguf_unsigned(header.metadata, "split.count", 0, path);
  part.metadata = std::move(header.metadata);
  if (part.count > kMaxParts)
    checkpoint_error(kOperation, path,
                     "split.count is " + std::to_string(part.count) + ", the limit is " + std::to_string(kMaxParts));
  return part;
}

/// "-00001-of-00003.gguf"
std::string part_suffix(std::uint64_t number, std::uint64_t count) {
  char text[64];
  std::snprintf(text, sizeof text, "-%05llu-of-%05llu.gguf", static_cast<unsigned long long>(number + 1),
                static_cast<unsigned long long>(count));
  return text;
}

void check_names(const std::string& path, const std::vector<TensorRef>& tensors) {
  std::set<std::string_view> names;
  for (const TensorRef& tensor : tensors)
    if (!names.insert(tensor.name).second)
      checkpoint_error(kOperation, path, "tensor " + in_quotes(tensor.name) + " is in two parts of the set");
}

void read_other_parts(const std::string& path, const Part& first, std::vector<TensorRef>& tensors) {
  const std::string suffix = part_suffix(0, first.count);
  const std::string file = fs::path(path).filename().string();
  if (first.number != 0)
    checkpoint_error(kOperation, path,
                     "part " + std::to_string(first.number + 1) + " of " + std::to_string(first.count) +
                         ", open the first, whose name ends in " + in_quotes(suffix));
  if (file.size() <= suffix.size() || file.substr(file.size() - suffix.size()) != suffix)
    checkpoint_error(kOperation, path,
                     "the first of " + std::to_string(first.count) + " parts, whose name should end in " +
                         in_quotes(suffix) + " for the others to be found");
  const std::string stem = file.substr(0, file.size() - suffix.size());
  for (std::uint64_t number = 1; number < first.count; ++number) {
    const std::string name = file_in_folder(checkpoint_folder(path), stem + part_suffix(number, first.count));
    const Part part = read_part(name, tensors);
    if (part.number != number || part.count != first.count)
      checkpoint_error(kOperation, name,
                       "is part " + std::to_string(part.number + 1) + " of " + std::to_string(part.count) +
                           ", its name says " + std::to_string(number + 1) + " of " + std::to_string(first.count));
    if (tensors.size() > kMaxTensors)
      checkpoint_error(
          kOperation, name,
          std::to_string(tensors.size()) + " tensors up to this part, the limit is " + std::to_string(kMaxTensors));
  }
  check_names(path, tensors);
  const auto total = first.metadata.find("split.tensors.count");
  if (total != first.metadata.end() && !(total->second == static_cast<std::int64_t>(tensors.size())))
    checkpoint_error(kOperation, path,
                     "split.tensors.count is " + total->second.text() + ", the parts hold " +
                         std::to_string(tensors.size()) + " tensors");
}

}  // namespace

bool is_gguf(const std::string& path) {
  std::error_code error;
  // A NUL byte in the path is left to the opening of the file.
  if (path.find('\0') != std::string::npos || fs::is_directory(path, error)) return false;
  if (fs::path(path).extension() == ".gguf") return true;
  if (!fs::is_regular_file(path, error)) return false;
  const auto file = FileStorage::open(path);
  char magic[4] = {};
  if (file->size() < sizeof magic) return false;
  file->read_into(0, sizeof magic, magic);
  return std::string_view(magic, sizeof magic) == "GGUF";
}

GgufModel open_gguf(const std::string& path) {
  GgufModel model;
  Part first = read_part(path, model.tensors);
  if (first.count > 1 || first.number > 0) read_other_parts(path, first, model.tensors);
  model.metadata = std::move(first.metadata);
  return model;
}

}  // namespace moekit
