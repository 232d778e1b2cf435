// SPDX-License-Identifier: Apache-2.0
// Rows of ggml's blocks, which have their scales inside.
#include "formats/ggml/blocks.h"
#include "formats/packings/packing.h"
#include "moekit/error.h"

namespace moekit {

void decode_ggml(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out) {
  const GgmlRule& rule = *ggml_rule(tensors.codes.encoding);  // the tensors have been checked
  const EncodingInfo& info = encoding_info(rule.encoding);
  const std::int64_t blocks = out.cols / info.block, bytes = blocks * static_cast<std::int64_t>(info.bytes);
  const std::int64_t first = rows.index * tensors.rows + rows.first;
  const std::byte* data =
      tensors.codes.storage->read(tensors.codes.offset + static_cast<std::size_t>(first * bytes),
                                  static_cast<std::size_t>((rows.last() - rows.first + 1) * bytes), scratch.bytes);
  const bool nibbles = code_bits(rule.format.code) == 4;
  const std::int64_t row_bytes = nibbles ? out.cols / 2 : out.cols;
  if (nibbles) {
    scratch.words.resize(static_cast<std::size_t>(checked_mul(out.rows, row_bytes, tensors.codes.name)));
    out.words = {scratch.words.data(), row_bytes};
  } else {
    resize_codes(out);
  }
  std::uint8_t* codes = nibbles ? reinterpret_cast<std::uint8_t*>(scratch.words.data()) : out.codes.data();
  const std::int64_t groups = out.groups(), supers = out.format.supers(out.cols);
  const auto part = [](std::vector<float>& values, std::int64_t at) {
    return values.empty() ? nullptr : values.data() + at;
  };
  for (std::int64_t i = 0; i < rows.count; ++i)
    rule.decode(data + i * rows.step * bytes, blocks,
                {codes + i * row_bytes, part(out.scales, i * groups), part(out.zeros, i * groups),
                 part(out.super_scales, i * supers), part(out.super_mins, i * supers)});
}

std::shared_ptr<const QuantTensors> ggml_tensors(const TensorRef& tensor) {
  const GgmlRule* rule = ggml_rule(tensor.encoding);
  if (rule == nullptr)
    throw CheckpointError("[ggml] " + tensor.name + ": blocks of " + std::string(tensor.type_name()) +
                          ", those that are read are " + ggml_encodings());
  if (tensor.shape.size() != 2 && tensor.shape.size() != 3)
    throw CheckpointError("[ggml] " + tensor.name + ": " + std::to_string(tensor.shape.size()) +
                          " dimensions, expected a matrix or a stack of them");
  auto tensors = std::make_shared<QuantTensors>();
  tensors->format = rule->format;
  tensors->packing = Packing::kGgml;
  tensors->cols = tensor.shape.back();
  tensors->rows = tensor.shape[tensor.shape.size() - 2];
  tensors->count = tensor.shape.size() == 3 ? tensor.shape.front() : 1;
  tensors->codes = tensor;
  return tensors;
}

}  // namespace moekit
