// SPDX-License-Identifier: Apache-2.0
#include "moekit/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "checkpoint/file.h"
#include "checkpoint/gguf_file.h"
#include "checkpoint/index.h"
#include "checkpoint/nearest.h"
#include "checkpoint/safetensors_header.h"
#include "checkpoint/text.h"

namespace moekit {
namespace {

namespace fs = std::filesystem;
using TensorMap = std::map<std::string, TensorRef, std::less<>>;
constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

/// The tensors of one file by rising offset.
std::vector<TensorRef> read_file(const std::string& path) {
  const auto file = FileStorage::open(path);
  std::string prefix(static_cast<std::size_t>(std::min<std::uint64_t>(8, file->size())), '\0');
  file->read_into(0, prefix.size(), prefix.data());
  const std::uint64_t length = safetensors_header_length(prefix, file->size(), path);
  std::string json(static_cast<std::size_t>(length), '\0');
  file->read_into(8, json.size(), json.data());
  std::vector<TensorRef> tensors;
  for (SafetensorsEntry& entry : parse_safetensors_header(json, file->size(), path))
    tensors.push_back({std::move(entry.name), entry.dtype, std::move(entry.shape), file,
                       static_cast<std::size_t>(entry.begin), Encoding::kPlain});
  return tensors;
}

void add(TensorRef tensor, TensorMap& out) {
  std::string name = tensor.name;
  out.emplace(std::move(name), std::move(tensor));
}

/// Every tensor of the index lies in its shard, and the shards hold nothing else.
TensorMap read_shards(const std::string& folder, const std::string& index_path) {
  const ShardedIndex index = parse_index(read_text(index_path, kMaxIndexBytes), index_path);
  // All paths before any shard: an index with one bad name opens nothing.
  std::vector<std::string> paths;
  for (const std::string& shard : index.shards) paths.push_back(file_in_folder(folder, shard));
  TensorMap tensors;
  for (std::size_t shard = 0; shard < paths.size(); ++shard) {
    for (TensorRef& tensor : read_file(paths[shard])) {
      const auto entry = std::lower_bound(index.entries.begin(), index.entries.end(), tensor.name,
                                          [](const auto& e, const std::string& name) { return e.tensor < name; });
      if (entry == index.entries.end() || entry->tensor != tensor.name)
        checkpoint_error("safetensors index", index_path,
                         "tensor " + in_quotes(tensor.name) + " of shard " + in_quotes(index.shards[shard]) +
                             " is not in weight_map");
      if (entry->shard != shard)
        checkpoint_error("safetensors index", index_path,
                         "tensor " + in_quotes(tensor.name) + " is in shard " + in_quotes(index.shards[shard]) +
                             ", weight_map names " + in_quotes(index.shards[entry->shard]));
      add(std::move(tensor), tensors);
    }
  }
  for (const ShardedIndex::Entry& entry : index.entries)
    if (tensors.find(entry.tensor) == tensors.end())
      checkpoint_error(
          "safetensors index", index_path,
          "tensor " + in_quotes(entry.tensor) + " is not in its shard " + in_quotes(index.shards[entry.shard]));
  return tensors;
}

bool is_there(const fs::path& path) {
  std::error_code error;  // symlink_status: a dangling link is there and is then refused by name
  return fs::symlink_status(path, error).type() > fs::file_type::not_found;
}

}  // namespace

Checkpoint Checkpoint::open(const std::string& path) {
  Checkpoint checkpoint;
  checkpoint.path_ = path;
  checkpoint.folder_ = checkpoint_folder(path);
  std::error_code error;
  if (is_gguf(path)) {
    for (TensorRef& tensor : open_gguf(path).tensors) add(std::move(tensor), checkpoint.tensors_);
    return checkpoint;
  }
  if (!fs::is_directory(path, error)) {
    for (TensorRef& tensor : read_file(path)) add(std::move(tensor), checkpoint.tensors_);
    return checkpoint;
  }
  if (is_there(fs::path(path) / kSingle)) {
    for (TensorRef& tensor : read_file(file_in_folder(path, kSingle))) add(std::move(tensor), checkpoint.tensors_);
  } else if (is_there(fs::path(path) / kIndex)) {
    checkpoint.tensors_ = read_shards(path, file_in_folder(path, kIndex));
  } else {
    checkpoint_error("open checkpoint", path, std::string("folder has neither ") + kSingle + " nor " + kIndex);
  }
  return checkpoint;
}

bool Checkpoint::contains(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }

const TensorRef& Checkpoint::tensor(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return found->second;
  const std::string_view nearest = nearest_name(tensors_, name);
  checkpoint_error("checkpoint", path_,
                   "no tensor " + in_quotes(name) +
                       (nearest.empty() ? ", it holds no tensors" : ", the nearest name is " + in_quotes(nearest)));
}

std::shared_ptr<const std::byte> map_tensor(const TensorRef& tensor) {
  auto file = std::dynamic_pointer_cast<const FileStorage>(tensor.storage);
  if (!file) throw std::invalid_argument("[map tensor] " + in_quotes(tensor.name) + " does not lie in a file");
  const std::byte* data = file->map() + tensor.offset;
  return {std::move(file), data};
}

}  // namespace moekit
