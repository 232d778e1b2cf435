// SPDX-License-Identifier: Apache-2.0
// JSON texts that carry their own checksum: sixteen hexadecimal digits right after a fixed beginning, which are those
// of the whole text with zeros in their place. Any change of any byte shows.
#pragma once

#include <string>
#include <string_view>

namespace moekit {

/// The checksum. Throws std::invalid_argument for a text that does not begin with `opening` and sixteen zeros, into
/// which the digits are written.
std::string seal(std::string& text, std::string_view opening);
/// The checksum of a sealed text; empty when it does not begin with `opening` or its digits are not those of the text.
std::string unseal(std::string_view text, std::string_view opening);

}  // namespace moekit
