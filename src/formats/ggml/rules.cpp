// SPDX-License-Identifier: Apache-2.0
// The list of ggml's blocks that are read.
#include <string>

#include "formats/ggml/blocks.h"

namespace moekit {
namespace {

// name, code, group, scale dtype, offset, zero, row scale, super block
constexpr GgmlRule kRules[] = {
    {Encoding::kQ4_0, {"int4", Code::kUInt4, 32, DType::kFloat16, Offset::kNone, 8}, decode_q4_0},
    {Encoding::kQ4K, {"q4_k", Code::kUInt4, 32, DType::kUInt8, Offset::kMin, 0, RowScale::kNone, 256}, decode_q4_k},
    {Encoding::kQ5K, {"q5_k", Code::kUInt5, 32, DType::kUInt8, Offset::kMin, 0, RowScale::kNone, 256}, decode_q5_k},
    {Encoding::kQ6K, {"q6_k", Code::kUInt6, 16, DType::kInt8, Offset::kNone, 32, RowScale::kNone, 256}, decode_q6_k},
    {Encoding::kQ8_0, {"int8", Code::kInt8, 32, DType::kFloat16}, decode_q8_0},
    {Encoding::kMXFP4, {"mxfp4", Code::kE2M1, 32, DType::kFloat8E8M0}, decode_mxfp4},
};

}  // namespace

const GgmlRule* ggml_rule(Encoding encoding) noexcept {
  for (const GgmlRule& rule : kRules)
    if (rule.encoding == encoding) return &rule;
  return nullptr;
}

std::string ggml_encodings() {
  std::string text;
  for (const GgmlRule& rule : kRules)
    text += (text.empty() ? "" : ", ") + std::string(encoding_info(rule.encoding).name);
  return text;
}

}  // namespace moekit
