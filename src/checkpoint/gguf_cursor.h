// SPDX-License-Identifier: Apache-2.0
// Reads a GGUF header from the front to the back through a window, so that a file of any size costs a fixed buffer.
// Every length is compared with the bytes that remain before anything is done with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "moekit/tensor.h"

namespace moekit {

class GgufCursor {
 public:
  /// `size`: bytes in `storage`. `file` names it in messages.
  GgufCursor(const Storage& storage, std::uint64_t size, std::string_view file)
      : storage_(storage), size_(size), file_(file) {}

  std::uint64_t position() const noexcept { return position_; }
  std::uint64_t remaining() const noexcept { return size_ - position_; }

  /// The next number, little endian. `what` is what it stands for, for the message when the file ends before.
  template <class T>
  T number(const std::string& what) {
    T value;
    std::memcpy(&value, bytes(sizeof value, what), sizeof value);
    return value;
  }
  /// A string behind its uint64 length. Throws when it is longer than `limit`, which is at most kLongest.
  std::string text(const std::string& what, std::uint64_t limit);
  /// The same, but a longer one is passed over and gives nothing.
  std::optional<std::string> short_text(const std::string& what, std::uint64_t limit);
  void skip_text(const std::string& what) { skip(number<std::uint64_t>(what), what); }
  void skip(std::uint64_t bytes, const std::string& what);

  /// Throws CheckpointError "[gguf] file: what".
  [[noreturn]] void fail(const std::string& what) const;

  static constexpr std::uint64_t kLongest = 65535;  // of a key, the longest string that is kept

 private:
  /// The next `count` bytes, at most kLongest.
  const std::byte* bytes(std::size_t count, const std::string& what);
  std::string string(std::uint64_t length, const std::string& what);
  [[noreturn]] void fail_short(std::uint64_t needed, const std::string& what) const;

  const Storage& storage_;
  std::uint64_t size_;
  std::string file_;
  std::uint64_t position_ = 0;
  ByteScratch scratch_;
  const std::byte* window_ = nullptr;  // the bytes [window_begin_, window_end_)
  std::uint64_t window_begin_ = 0, window_end_ = 0;
};

}  // namespace moekit
