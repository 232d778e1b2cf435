// SPDX-License-Identifier: Apache-2.0
#include "formats/format.h"

#include <iterator>
#include <stdexcept>
#include <string>

namespace moekit {

void quantise_int8(const float* rows, QuantRows& out);
void quantise_int4(const float* rows, QuantRows& out);
void quantise_fp8(const float* rows, QuantRows& out);
void quantise_mxfp4(const float* rows, QuantRows& out);

namespace {

// name, code, group, scale dtype, offset, zero, row scale, super block, rows that share scales
constexpr Offset kNone = Offset::kNone;
constexpr FormatEntry kFormats[] = {
    {{"float32", Code::kFloat32}},
    {{"bfloat16", Code::kBFloat16}},
    {{"float16", Code::kFloat16}},
    {{"bf16z", Code::kBFloat16}},
    {{"int8", Code::kInt8, 0, DType::kFloat32}, quantise_int8},
    {{"int4", Code::kUInt4, 32, DType::kBFloat16, kNone, 8}, quantise_int4},
    {{"fp8", Code::kE4M3, 128, DType::kFloat32, kNone, 0, RowScale::kNone, 0, 128}, quantise_fp8},
    {{"mxfp8", Code::kE4M3, 32, DType::kFloat8E8M0}},
    {{"mxfp4", Code::kE2M1, 32, DType::kFloat8E8M0}, quantise_mxfp4},
    {{"nvfp4", Code::kE2M1, 16, DType::kFloat8E4M3, kNone, 0, RowScale::kMultiplies}},
    {{"q4_k", Code::kUInt4, 32, DType::kUInt8, Offset::kMin, 0, RowScale::kNone, 256}},
    {{"q5_k", Code::kUInt5, 32, DType::kUInt8, Offset::kMin, 0, RowScale::kNone, 256}},
    {{"q6_k", Code::kUInt6, 16, DType::kInt8, kNone, 32, RowScale::kNone, 256}},
};

}  // namespace

std::string compressed_reason(const BlockFormats& formats) {
  for (const ExpertFormats* each : {&formats.routed, &formats.shared})
    for (const auto part : kProjectionFormats)
      if ((each->*part).compressed())
        return std::string((each->*part).name) + " is held by the cpu backend only; bfloat16 has the same weights";
  return {};
}

BlockFormats uncompressed(const BlockFormats& formats) {
  BlockFormats plain = formats;
  for (ExpertFormats* each : {&plain.routed, &plain.shared})
    for (const auto part : kProjectionFormats)
      if ((each->*part).compressed()) each->*part = weight_format("bfloat16");
  return plain;
}

const FormatEntry* weight_formats(std::size_t* count) {
  *count = std::size(kFormats);
  return kFormats;
}

const FormatEntry& format_entry(std::string_view name) {
  std::string known;
  for (const FormatEntry& entry : kFormats) {
    if (entry.format.name == name) return entry;
    known += (known.empty() ? "" : ", ") + std::string(entry.format.name);
  }
  throw std::invalid_argument("[dtype] weight format '" + std::string(name) + "' is not one of auto, " + known);
}

}  // namespace moekit
