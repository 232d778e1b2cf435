// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <string>

namespace moekit::test {

/// That an error's text names what it must.
inline void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks: " << part;
}

/// Of a file that the tests call x.gguf.
inline void expect_gguf_part(const std::string& text, const std::string& part) {
  expect_part(text, "x.gguf");
  expect_part(text, part);
}

}  // namespace moekit::test
