// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/sealed_file.h"

#include <algorithm>

#include "checkpoint/seal.h"
#include "checkpoint/text.h"
#include "core/aligned_buffer.h"
#include "core/thread_pool.h"
#include "core/xxh64.h"

namespace moekit {
namespace {

constexpr const char* kOperation = "converted file";
constexpr std::string_view kOpening = R"({"__metadata__":{"checksum":")";
constexpr std::string_view kChecksumKey = "xxh64.";  // then the tensor's name

std::string checksum_key(const std::string& tensor) { return std::string(kChecksumKey) + tensor; }

bool is_padding(const std::string& name) { return name.compare(0, kPaddingPrefix.size(), kPaddingPrefix) == 0; }

}  // namespace

std::shared_ptr<const SealedFile> SealedFile::open(const std::string& path) {
  auto sealed = std::make_shared<SealedFile>();
  sealed->file_ = FileStorage::open(path);
  const FileStorage& file = *sealed->file_;
  std::string prefix(static_cast<std::size_t>(std::min<std::uint64_t>(8, file.size())), '\0');
  file.read_into(0, prefix.size(), prefix.data());
  std::string json(static_cast<std::size_t>(safetensors_header_length(prefix, file.size(), path)), '\0');
  file.read_into(8, json.size(), json.data());
  sealed->checksum_ = unseal(json, kOpening);
  if (sealed->checksum_.empty())
    checkpoint_error(kOperation, path,
                     "the header does not have the checksum that it names: damaged, or not a file of moekit convert");
  sealed->tensors_ = parse_safetensors_header(json, file.size(), path, &sealed->metadata_);
  std::size_t checksums = 0;
  for (const auto& [key, value] : sealed->metadata_)
    checksums += key.compare(0, kChecksumKey.size(), kChecksumKey) == 0;
  if (checksums != sealed->tensors_.size())
    checkpoint_error(
        kOperation, path,
        std::to_string(checksums) + " checksums of " + std::to_string(sealed->tensors_.size()) + " tensors");
  for (const SafetensorsEntry& entry : sealed->tensors_) {
    sealed->metadata(checksum_key(entry.name));
    if (!is_padding(entry.name) && entry.begin % kSealedAlignment != 0)
      checkpoint_error(kOperation, path,
                       "tensor " + in_quotes(entry.name) + " begins at byte " + std::to_string(entry.begin) +
                           ", expected a multiple of " + std::to_string(kSealedAlignment));
  }
  return sealed;
}

bool SealedFile::begins_sealed(const std::string& path) {
  const auto file = FileStorage::open(path);
  std::string start(8 + kOpening.size(), '\0');
  if (file->size() < start.size()) return false;
  file->read_into(0, start.size(), start.data());
  return start.compare(8, kOpening.size(), kOpening) == 0;
}

const std::string& SealedFile::metadata(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) checkpoint_error(kOperation, path(), "__metadata__ has no " + in_quotes(key));
  return found->second;
}

const SafetensorsEntry* SealedFile::find(std::string_view name) const {
  for (const SafetensorsEntry& entry : tensors_)
    if (entry.name == name) return &entry;
  return nullptr;
}

TensorRef SealedFile::tensor(const SafetensorsEntry& entry) const {
  return {entry.name, entry.dtype, entry.shape, file_, static_cast<std::size_t>(entry.begin)};
}

std::shared_ptr<const std::byte> SealedFile::map() const { return {file_, file_->map()}; }

std::shared_ptr<const std::byte> SealedFile::read() const {
  const auto size = static_cast<std::size_t>(file_->size());
  auto memory = std::make_shared<AlignedBuffer>(size);
  constexpr std::int64_t kPiece = std::int64_t{16} << 20;
  const auto pieces = static_cast<std::int64_t>((size + kPiece - 1) / kPiece);
  parallel_for(num_threads(), pieces, 1, [&](std::int64_t piece, std::int64_t) {
    const auto begin = static_cast<std::size_t>(piece * kPiece);
    file_->read_into(begin, std::min<std::size_t>(kPiece, size - begin), memory->data() + begin);
  });
  return {memory, memory->data()};
}

void SealedFile::verify() const {
  // By pread, a piece at a time: little memory, and a file that is cut short is an error and never a signal.
  constexpr std::uint64_t kPiece = std::uint64_t{4} << 20;
  std::vector<std::byte> piece;
  for (const SafetensorsEntry& entry : tensors_) {
    Xxh64 hash;
    for (std::uint64_t at = entry.begin; at < entry.end; at += piece.size()) {
      piece.resize(static_cast<std::size_t>(std::min(kPiece, entry.end - at)));
      file_->read_into(at, piece.size(), piece.data());
      hash.update(piece.data(), piece.size());
    }
    const std::string& expected = metadata(checksum_key(entry.name));
    const std::string seen = hex64(hash.digest());
    if (seen != expected)
      checkpoint_error(kOperation, path(),
                       "tensor " + in_quotes(entry.name) + " has checksum " + seen + ", expected " +
                           printable(expected) + ": its data is damaged");
  }
}

}  // namespace moekit
