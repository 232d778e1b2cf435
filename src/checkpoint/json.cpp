// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/json.h"

#include "checkpoint/text.h"

namespace moekit {
namespace {

// The lexer below keeps two copies of the token at hand, so tokens are bounded before it runs. Long strings are
// training notes in __metadata__; a number of 400 characters is DBL_MIN written out in full.
constexpr std::size_t kMaxString = std::size_t{16} << 20;
constexpr std::size_t kMaxNumber = 400;

/// What is wrong with the token lengths of `text`, or null.
const char* oversized_token(std::string_view text) {
  std::size_t begin = 0;  // of the current token
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
        begin = i + 1;
      }
      if (in_string && i - begin > kMaxString) return "a string of more than 16 MiB";
    } else if (c == '"') {
      in_string = true;
      begin = i + 1;
    } else if (c == ',' || c == ':' || c == '[' || c == ']' || c == '{' || c == '}' || c == ' ' || c == '\n' ||
               c == '\r' || c == '\t') {
      begin = i + 1;
    } else if (i - begin >= kMaxNumber) {
      return "a token of more than 400 characters";
    }
  }
  return nullptr;
}

}  // namespace

void StrictSax::parse(std::string_view text) {
  if (text.empty() || text.front() != '{')
    fail(text.empty() ? "empty, expected a JSON object"
                      : "begins with " + in_quotes(text.substr(0, 1)) + ", expected '{'");
  // The lexer takes a NUL byte for the end of its input and would believe what came before.
  const std::size_t nul = text.find('\0');
  if (nul != std::string_view::npos) fail("NUL byte at " + std::to_string(nul) + " of the JSON text");
  if (const char* what = oversized_token(text)) fail(what);
  nlohmann::json::sax_parse(text.begin(), text.end(), this);
}

bool StrictSax::binary(binary_t&) { fail("binary value in JSON"); }

bool StrictSax::parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) {
  fail("not valid JSON at byte " + std::to_string(position) + " (" + printable(error.what()) + ")");
}

void StrictSax::fail(const std::string& what) const { checkpoint_error(operation_, file_, what); }

void StrictSax::enter() {
  if (++depth_ > kMaxJsonDepth) fail("JSON nested deeper than " + std::to_string(kMaxJsonDepth) + " levels");
}

}  // namespace moekit
