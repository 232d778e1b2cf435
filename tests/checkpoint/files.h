// SPDX-License-Identifier: Apache-2.0
// Small checkpoints written byte by byte, well-formed or not.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "moekit/error.h"

namespace moekit::test {

/// A folder of its own that goes with the object.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "moekit-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::string path(const std::string& name = "") const { return name.empty() ? path_ : path_ + "/" + name; }
  std::string write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path(name), std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path(name);
  }

 private:
  std::string path_;
};

/// Length, JSON and data as a file has them.
inline std::string safetensors_bytes(std::string_view json, std::string_view data = "") {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(static_cast<std::uint64_t>(json.size()) >> (8 * i));
  return bytes.append(json).append(data);
}

/// How many of the first `header` bytes' bits, each flipped by itself, make `loads` refuse the file.
template <class Loads>
std::size_t refused_bit_flips(const std::string& bytes, std::size_t header, Loads&& loads) {
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < 8 * header; ++bit) {
    std::string mutated = bytes;
    mutated[bit / 8] = static_cast<char>(mutated[bit / 8] ^ (1 << (bit % 8)));
    refused += loads(mutated) ? 0 : 1;
  }
  return refused;
}

/// The message of the CheckpointError that `call` throws, or a text that no test expects.
template <class Call>
std::string checkpoint_error_of(Call&& call) {
  try {
    call();
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "<no error>";
}

}  // namespace moekit::test
