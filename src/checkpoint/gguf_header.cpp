// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/gguf_header.h"

#include <algorithm>
#include <limits>

#include "checkpoint/text.h"

namespace moekit {
namespace {

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint64_t kMaxAlignment = 1 << 20;  // beyond any page size but a huge one's
constexpr std::uint64_t kMaxName = 64;            // of a tensor, as the specification has it
constexpr std::uint32_t kMaxDims = 4;

struct GgmlType {
  std::uint32_t number;
  DType dtype;
  Encoding encoding;
};
constexpr DType kDecoded = DType::kFloat32;
// ggml's type numbers. The gaps are types that it has given up.
constexpr GgmlType kTypes[] = {
    {0, DType::kFloat32, Encoding::kPlain},   {1, DType::kFloat16, Encoding::kPlain},
    {2, kDecoded, Encoding::kQ4_0},           {3, kDecoded, Encoding::kQ4_1},
    {6, kDecoded, Encoding::kQ5_0},           {7, kDecoded, Encoding::kQ5_1},
    {8, kDecoded, Encoding::kQ8_0},           {9, kDecoded, Encoding::kQ8_1},
    {10, kDecoded, Encoding::kQ2K},           {11, kDecoded, Encoding::kQ3K},
    {12, kDecoded, Encoding::kQ4K},           {13, kDecoded, Encoding::kQ5K},
    {14, kDecoded, Encoding::kQ6K},           {15, kDecoded, Encoding::kQ8K},
    {16, kDecoded, Encoding::kIQ2XXS},        {17, kDecoded, Encoding::kIQ2XS},
    {18, kDecoded, Encoding::kIQ3XXS},        {19, kDecoded, Encoding::kIQ1S},
    {20, kDecoded, Encoding::kIQ4NL},         {21, kDecoded, Encoding::kIQ3S},
    {22, kDecoded, Encoding::kIQ2S},          {23, kDecoded, Encoding::kIQ4XS},
    {24, DType::kInt8, Encoding::kPlain},     {25, DType::kInt16, Encoding::kPlain},
    {26, DType::kInt32, Encoding::kPlain},    {27, DType::kInt64, Encoding::kPlain},
    {28, DType::kFloat64, Encoding::kPlain},  {29, kDecoded, Encoding::kIQ1M},
    {30, DType::kBFloat16, Encoding::kPlain}, {34, kDecoded, Encoding::kTQ1_0},
    {35, kDecoded, Encoding::kTQ2_0},         {39, kDecoded, Encoding::kMXFP4},
    {40, kDecoded, Encoding::kNVFP4},         {41, kDecoded, Encoding::kQ1_0},
};

struct Counts {
  std::uint64_t tensors, pairs;
};

Counts read_counts(GgufCursor& cursor) {
  if (cursor.number<std::uint32_t>("the magic") != kMagic) cursor.fail("does not begin with the magic 'GGUF'");
  const auto version = cursor.number<std::uint32_t>("the version");
  if (version != 0 && (version & 0xffff) == 0)
    cursor.fail("version " + std::to_string(version) + ": a big-endian file, little-endian ones are read");
  if (version != 2 && version != 3) cursor.fail("version " + std::to_string(version) + ", known are 2 and 3");
  Counts counts{};
  counts.tensors = cursor.number<std::uint64_t>("the number of tensors");
  counts.pairs = cursor.number<std::uint64_t>("the number of key-value pairs");
  constexpr std::uint64_t kLeast = 24;  // lengths of name and shape, type, offset
  if (counts.tensors > kMaxGgufTensors || counts.tensors > cursor.remaining() / kLeast)
    cursor.fail(std::to_string(counts.tensors) + " tensors, the limit is " + std::to_string(kMaxGgufTensors) +
                " and the file has room for " + std::to_string(cursor.remaining() / kLeast));
  return counts;
}

std::uint64_t read_alignment(const GgufMetadata& metadata, const GgufCursor& cursor, std::string_view file) {
  const std::uint64_t alignment = gguf_unsigned(metadata, "general.alignment", kDefaultAlignment, file);
  if (alignment < 8 || alignment > kMaxAlignment || (alignment & (alignment - 1)) != 0)
    cursor.fail("general.alignment is " + std::to_string(alignment) + ", expected a power of two from 8 to " +
                std::to_string(kMaxAlignment));
  return alignment;
}

void read_shape(GgufCursor& cursor, const std::string& who, GgufTensor& tensor) {
  const auto dims = cursor.number<std::uint32_t>(who);
  if (dims > kMaxDims)
    cursor.fail(who + ": " + std::to_string(dims) + " dimensions, the limit is " + std::to_string(kMaxDims));
  for (std::uint32_t d = 0; d < dims; ++d) {
    const auto extent = cursor.number<std::uint64_t>(who);
    if (extent > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      cursor.fail(who + ": an extent of " + std::to_string(extent) + ", the limit is 2^63 - 1");
    tensor.shape.push_back(static_cast<std::int64_t>(extent));
  }
  std::reverse(tensor.shape.begin(), tensor.shape.end());
}

const GgmlType& read_type(GgufCursor& cursor, const std::string& who) {
  const auto number = cursor.number<std::uint32_t>(who);
  for (const GgmlType& type : kTypes)
    if (type.number == number) return type;
  cursor.fail(who + ": ggml type " + std::to_string(number) +
              ", known are 0 to 41 without 4, 5, 31 to 33 and 36 to 38");
}

/// Bytes of the tensor's data; every product is checked.
std::uint64_t data_bytes(const GgufCursor& cursor, const std::string& who, const GgufTensor& tensor) {
  const EncodingInfo& info = encoding_info(tensor.encoding);
  const bool plain = tensor.encoding == Encoding::kPlain;
  const std::int64_t cols = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (cols % info.block != 0)
    cursor.fail(who + ": rows of " + std::to_string(cols) + " elements, expected a multiple of the " +
                std::to_string(info.block) + " in a block of " + std::string(info.name));
  std::int64_t elements = 1, bytes = 0;
  bool wraps = false;
  for (const std::int64_t extent : tensor.shape) wraps = wraps || __builtin_mul_overflow(elements, extent, &elements);
  const auto unit = static_cast<std::int64_t>(plain ? dtype_size(tensor.dtype) : info.bytes);
  wraps = wraps || __builtin_mul_overflow(elements / info.block, unit, &bytes);
  if (wraps) cursor.fail(who + ": shape " + shape_text(tensor.shape) + " passes 2^63 - 1 elements or bytes");
  return static_cast<std::uint64_t>(bytes);
}

/// A tensor info; begin and end count from the start of the data.
GgufTensor read_tensor(GgufCursor& cursor, std::uint64_t alignment) {
  GgufTensor tensor;
  tensor.name = cursor.text("the name of a tensor", kMaxName);
  const std::string who = "tensor " + in_quotes(tensor.name);
  if (tensor.name.empty()) cursor.fail("a tensor without a name");
  read_shape(cursor, who, tensor);
  const GgmlType& type = read_type(cursor, who);
  tensor.dtype = type.dtype;
  tensor.encoding = type.encoding;
  tensor.begin = cursor.number<std::uint64_t>(who);
  if (tensor.begin % alignment != 0)
    cursor.fail(who + ": offset " + std::to_string(tensor.begin) + ", expected a multiple of the alignment " +
                std::to_string(alignment));
  const std::uint64_t bytes = data_bytes(cursor, who, tensor);
  if (__builtin_add_overflow(tensor.begin, bytes, &tensor.end))
    cursor.fail(who + ": offset " + std::to_string(tensor.begin) + " and " + std::to_string(bytes) +
                " bytes pass 2^64 - 1");
  return tensor;
}

void check_names(const GgufCursor& cursor, const std::vector<GgufTensor>& tensors) {
  std::vector<std::string_view> names;
  for (const GgufTensor& tensor : tensors) names.emplace_back(tensor.name);
  std::sort(names.begin(), names.end());
  const auto same = std::adjacent_find(names.begin(), names.end());
  if (same != names.end()) cursor.fail("tensor " + in_quotes(*same) + ": duplicate name");
}

/// Sorts by offset and checks that the tensors fill the data.
void check_layout(const GgufCursor& cursor, std::uint64_t bytes, std::uint64_t alignment,
                  std::vector<GgufTensor>& tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const GgufTensor& a, const GgufTensor& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  // Ends are below 2^63 once they are known to lie in the file, so that rounding up does not wrap.
  const auto padded = [&](std::uint64_t end) { return (end + alignment - 1) / alignment * alignment; };
  std::uint64_t end = 0;
  for (const GgufTensor& tensor : tensors) {
    const std::string range = std::to_string(tensor.begin) + ".." + std::to_string(tensor.end);
    const std::string who = "tensor " + in_quotes(tensor.name) + ": bytes " + range;
    if (tensor.end > bytes)
      cursor.fail(who + " pass the end of the file, which holds " + std::to_string(bytes) + " bytes of data");
    if (tensor.begin != padded(end))
      cursor.fail(who + (tensor.begin < end ? " overlap the tensor before" : " leave a hole") +
                  ", expected to begin at " + std::to_string(padded(end)));
    end = tensor.end;
  }
  if (padded(end) < bytes)
    cursor.fail("tensors end at byte " + std::to_string(end) + " of the data, the file holds " + std::to_string(bytes));
}

}  // namespace

GgufHeader parse_gguf_header(const Storage& storage, std::uint64_t size, std::string_view file) {
  GgufCursor cursor(storage, size, file);
  const Counts counts = read_counts(cursor);
  GgufHeader header;
  header.metadata = read_gguf_metadata(cursor, counts.pairs);
  const std::uint64_t alignment = read_alignment(header.metadata, cursor, file);
  for (std::uint64_t i = 0; i < counts.tensors; ++i) header.tensors.push_back(read_tensor(cursor, alignment));
  check_names(cursor, header.tensors);
  // A file of metadata alone may end without padding.
  const std::uint64_t at = cursor.position();
  const std::uint64_t data = std::min(size, (at + alignment - 1) / alignment * alignment);
  check_layout(cursor, size - data, alignment, header.tensors);
  for (GgufTensor& tensor : header.tensors) {
    tensor.begin += data;
    tensor.end += data;
  }
  return header;
}

}  // namespace moekit
