// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "models/tiny_model.h"
#include "moekit/model.h"

namespace moekit::test {

/// Layer 1 of the model.
inline LoadedBlock load(const TinyModel& model) {
  const TempFolder folder;
  model.write(folder);
  return load_block(folder.path(), 1);
}
/// That it cannot be loaded, and why.
inline void expect_error(const TinyModel& model, const std::string& part) {
  const std::string error = checkpoint_error_of([&] { load(model); });
  EXPECT_NE(error.find(part), std::string::npos) << error << "\nlacks: " << part;
}

}  // namespace moekit::test
