// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/seal.h"

#include <stdexcept>

#include "core/xxh64.h"

namespace moekit {
namespace {

constexpr std::string_view kZeros = "0000000000000000";

bool begins_with(std::string_view text, std::string_view opening) {
  return text.size() >= opening.size() + kZeros.size() && text.substr(0, opening.size()) == opening;
}

}  // namespace

std::string seal(std::string& text, std::string_view opening) {
  if (!begins_with(text, opening) || std::string_view(text).substr(opening.size(), kZeros.size()) != kZeros)
    throw std::invalid_argument("[seal] the text does not begin with '" + std::string(opening) + "' and sixteen zeros");
  std::string digits = hex64(xxh64(text.data(), text.size()));
  text.replace(opening.size(), digits.size(), digits);
  return digits;
}

std::string unseal(std::string_view text, std::string_view opening) {
  if (!begins_with(text, opening)) return {};
  std::string zeroed(text), digits(text.substr(opening.size(), kZeros.size()));
  zeroed.replace(opening.size(), kZeros.size(), kZeros);
  return hex64(xxh64(zeroed.data(), zeroed.size())) == digits ? digits : std::string();
}

}  // namespace moekit
