// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/gguf_cursor.h"

#include <algorithm>

#include "checkpoint/text.h"

namespace moekit {

const std::byte* GgufCursor::bytes(std::size_t count, const std::string& what) {
  constexpr std::uint64_t kWindow = std::uint64_t{1} << 18;
  static_assert(kLongest <= kWindow, "a string that is kept fits the window");
  if (count > remaining()) fail_short(count, what);
  if (position_ < window_begin_ || position_ + count > window_end_) {
    const std::uint64_t size = std::min(kWindow, remaining());
    window_ = storage_.read(static_cast<std::size_t>(position_), static_cast<std::size_t>(size), scratch_);
    window_begin_ = position_;
    window_end_ = position_ + size;
  }
  const std::byte* found = window_ + (position_ - window_begin_);
  position_ += count;
  return found;
}

std::string GgufCursor::string(std::uint64_t length, const std::string& what) {
  const std::byte* data = bytes(static_cast<std::size_t>(length), what);
  return {reinterpret_cast<const char*>(data), static_cast<std::size_t>(length)};
}

std::string GgufCursor::text(const std::string& what, std::uint64_t limit) {
  const auto length = number<std::uint64_t>("the length of " + what);
  if (length > remaining()) fail_short(length, what);
  if (length > limit) fail(what + " of " + std::to_string(length) + " bytes, the limit is " + std::to_string(limit));
  return string(length, what);
}

std::optional<std::string> GgufCursor::short_text(const std::string& what, std::uint64_t limit) {
  const auto length = number<std::uint64_t>("the length of " + what);
  if (length <= limit) return string(length, what);
  skip(length, what);
  return std::nullopt;
}

void GgufCursor::skip(std::uint64_t count, const std::string& what) {
  if (count > remaining()) fail_short(count, what);
  position_ += count;
}

void GgufCursor::fail(const std::string& what) const { checkpoint_error("gguf", file_, what); }

void GgufCursor::fail_short(std::uint64_t needed, const std::string& what) const {
  fail(what + " needs " + std::to_string(needed) + " bytes from byte " + std::to_string(position_) +
       " on, the file has " + std::to_string(remaining()));
}

}  // namespace moekit
