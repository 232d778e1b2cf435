// SPDX-License-Identifier: Apache-2.0
// The writing side of sealed_file.h.
#include <array>
#include <nlohmann/json.hpp>

#include "checkpoint/seal.h"
#include "checkpoint/sealed_file.h"
#include "core/xxh64.h"

namespace moekit {
namespace {

constexpr std::string_view kOpening = R"({"__metadata__":{"checksum":")";
constexpr std::array<std::byte, kSealedAlignment> kZeros{};

std::uint64_t bytes_of(const SealedTensor& tensor) {
  auto bytes = static_cast<std::int64_t>(dtype_size(tensor.dtype));
  for (const std::int64_t extent : tensor.shape) bytes = checked_mul(bytes, extent, tensor.name);
  return static_cast<std::uint64_t>(bytes);
}

std::uint64_t padding_after(std::uint64_t bytes) {
  return (kSealedAlignment - bytes % kSealedAlignment) % kSealedAlignment;
}

}  // namespace

SealedHeader seal_tensors(const std::vector<SealedTensor>& tensors,
                          const std::vector<std::pair<std::string, std::string>>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  auto& texts = header["__metadata__"];
  texts["checksum"] = std::string(16, '0');
  for (const auto& [key, value] : metadata) texts[key] = value;
  std::uint64_t at = 0;
  const auto add = [&](const std::string& name, DType dtype, const std::vector<std::int64_t>& shape,
                       const std::byte* data, std::uint64_t bytes) {
    header["__metadata__"]["xxh64." + name] = hex64(xxh64(data, static_cast<std::size_t>(bytes)));
    header[name] = {{"dtype", safetensors_dtype(dtype)}, {"shape", shape}, {"data_offsets", {at, at + bytes}}};
    at += bytes;
  };
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const SealedTensor& tensor = tensors[i];
    const std::uint64_t bytes = bytes_of(tensor), padding = padding_after(bytes);
    add(tensor.name, tensor.dtype, tensor.shape, tensor.data, bytes);
    if (padding != 0)
      add(std::string(kPaddingPrefix) + std::to_string(i), DType::kUInt8, {static_cast<std::int64_t>(padding)},
          kZeros.data(), padding);
  }
  std::string json = header.dump();
  json.append(padding_after(8 + json.size()), ' ');
  SealedHeader sealed;
  sealed.checksum = seal(json, kOpening);
  for (int byte = 0; byte < 8; ++byte) sealed.text += static_cast<char>(json.size() >> (8 * byte) & 0xff);
  sealed.text += json;
  sealed.file_bytes = sealed.text.size() + at;
  return sealed;
}

void write_sealed(const LockedFolder& folder, const std::string& name, const SealedHeader& header,
                  const std::vector<SealedTensor>& tensors) {
  AtomicFile file(folder, name, header.file_bytes);
  file.write(header.text.data(), header.text.size());
  for (const SealedTensor& tensor : tensors) {
    const std::uint64_t bytes = bytes_of(tensor);
    file.write(tensor.data, static_cast<std::size_t>(bytes));
    file.write(kZeros.data(), static_cast<std::size_t>(padding_after(bytes)));
  }
  file.commit();
}

}  // namespace moekit
