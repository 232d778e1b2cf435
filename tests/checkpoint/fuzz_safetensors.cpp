// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: whatever the bytes, a typed error or entries that lie in the file.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "checkpoint/index.h"
#include "checkpoint/json_value.h"
#include "checkpoint/safetensors_header.h"
#include "moekit/error.h"

namespace {

void read_as_file(std::string_view bytes) {
  using namespace moekit;
  const std::uint64_t length = safetensors_header_length(bytes.substr(0, 8), bytes.size(), "fuzz");
  std::uint64_t at = 8 + length;
  for (const SafetensorsEntry& entry : parse_safetensors_header(bytes.substr(8, length), bytes.size(), "fuzz")) {
    if (entry.begin != at || entry.end < at || entry.end > bytes.size()) std::abort();
    at = entry.end;
  }
}

template <class Call>
void expect_typed(Call&& call) {
  try {
    call();
  } catch (const moekit::CheckpointError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  expect_typed([&] { read_as_file(bytes); });
  // The same bytes as the text of a header, so that the fuzzer need not find a length first, and as the other two
  // files.
  expect_typed([&] { moekit::parse_safetensors_header(bytes, 8 + bytes.size() + 64, "fuzz"); });
  expect_typed([&] { moekit::parse_index(bytes, "fuzz"); });
  expect_typed([&] { moekit::parse_json(bytes, "fuzz", "fuzz"); });
  return 0;
}
