// SPDX-License-Identifier: Apache-2.0
// Texts of error messages. Names come from files, so they are cut and their control characters escaped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/shape_text.h"
#include "moekit/error.h"

namespace moekit {

/// `text` fit for a terminal: about 160 bytes at most, control characters and what is not UTF-8 as \xNN.
std::string printable(std::string_view text);
/// The same in single quotes.
std::string in_quotes(std::string_view text);
/// Throws CheckpointError "[operation] file: what". `file` is made printable, `what` is taken as it is.
[[noreturn]] void checkpoint_error(std::string_view operation, std::string_view file, const std::string& what);

}  // namespace moekit
