// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/text.h"

namespace moekit {

namespace {

/// Bytes of the printable UTF-8 sequence that `text` begins with, 0 when it begins with anything else.
std::size_t printable_sequence(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return byte(0) >= 0x20 && byte(0) != 0x7f ? 1 : 0;
  const std::size_t length = byte(0) >= 0xc2 && byte(0) <= 0xdf   ? 2
                             : byte(0) >= 0xe0 && byte(0) <= 0xef ? 3
                             : byte(0) >= 0xf0 && byte(0) <= 0xf4 ? 4
                                                                  : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  // C1 controls, overlong forms, surrogates and code points past U+10FFFF.
  const bool refused = (byte(0) == 0xc2 && byte(1) < 0xa0) || (byte(0) == 0xe0 && byte(1) < 0xa0) ||
                       (byte(0) == 0xed && byte(1) > 0x9f) || (byte(0) == 0xf0 && byte(1) < 0x90) ||
                       (byte(0) == 0xf4 && byte(1) > 0x8f);
  return refused ? 0 : length;
}

}  // namespace

std::string printable(std::string_view text) {
  constexpr std::size_t kLimit = 160;
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  std::size_t i = 0;
  while (i < text.size() && i < kLimit) {
    const std::size_t length = printable_sequence(text.substr(i));
    if (length != 0) {
      out += text.substr(i, length);
      i += length;
      continue;
    }
    const auto byte = static_cast<unsigned char>(text[i++]);
    out += "\\x";
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return i < text.size() ? out + "..." : out;
}

std::string in_quotes(std::string_view text) { return "'" + printable(text) + "'"; }

void checkpoint_error(std::string_view operation, std::string_view file, const std::string& what) {
  throw CheckpointError("[" + std::string(operation) + "] " + printable(file) + ": " + what);
}

}  // namespace moekit
