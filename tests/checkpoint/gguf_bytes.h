// SPDX-License-Identifier: Apache-2.0
// GGUF files written byte by byte, well-formed or not.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "moekit/tensor.h"

namespace moekit::test {

template <class T>
std::string le(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
inline std::string gguf_text(std::string_view text) { return le(std::uint64_t{text.size()}).append(text); }

// Value types of the specification.
enum GgufType : std::uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kStr, kArr, kU64, kI64, kF64 };

template <class T>
std::string gguf_pair(std::string_view key, std::uint32_t type, T value) {
  return gguf_text(key) + le(type) + le(value);
}
inline std::string gguf_pair(std::string_view key, std::string_view text) {
  return gguf_text(key) + le(std::uint32_t{kStr}) + gguf_text(text);
}
template <class T>
std::string gguf_array(std::string_view key, std::uint32_t type, const std::vector<T>& items) {
  std::string bytes = gguf_text(key) + le(std::uint32_t{kArr}) + le(type) + le(std::uint64_t{items.size()});
  for (const T& item : items) bytes += le(item);
  return bytes;
}

/// A tensor info; `extents` in ggml's order, columns first.
inline std::string gguf_tensor(std::string_view name, const std::vector<std::uint64_t>& extents, std::uint32_t type,
                               std::uint64_t offset) {
  std::string bytes = gguf_text(name) + le(static_cast<std::uint32_t>(extents.size()));
  for (const std::uint64_t extent : extents) bytes += le(extent);
  return bytes + le(type) + le(offset);
}

/// Parts of a file that can be spoilt before they are put together.
struct Gguf {
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::vector<std::string> pairs;
  std::vector<std::string> tensors;
  std::uint64_t extra_pairs = 0, extra_tensors = 0;  // counted but not there
  std::string data;
  std::uint64_t alignment = 32;

  std::string header() const {
    std::string bytes = magic + le(version) + le(tensors.size() + extra_tensors) + le(pairs.size() + extra_pairs);
    for (const std::string& pair : pairs) bytes += pair;
    for (const std::string& tensor : tensors) bytes += tensor;
    return bytes;
  }
  std::string bytes() const {
    std::string bytes = header();
    if (!data.empty()) bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
    return bytes + data;
  }
};

/// The bytes of a file in memory. A read outside of them is a failure of the reader, not of the file.
class BytesStorage final : public Storage {
 public:
  explicit BytesStorage(std::string_view bytes) : bytes_(bytes) {}
  const std::byte* read(std::size_t offset, std::size_t bytes, ByteScratch& scratch) const override {
    if (offset > bytes_.size() || bytes > bytes_.size() - offset) throw std::out_of_range("read past the file");
    // A copy of its own size, so that AddressSanitizer sees a step past it.
    scratch = ByteScratch(bytes);
    if (bytes > 0) std::memcpy(scratch.data(), bytes_.data() + offset, bytes);
    return scratch.data();
  }

 private:
  std::string_view bytes_;
};

}  // namespace moekit::test
