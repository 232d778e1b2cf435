// SPDX-License-Identifier: Apache-2.0
#include "moekit/weight_format.h"

namespace moekit {

bool operator==(const WeightFormat& a, const WeightFormat& b) noexcept {
  return a.name == b.name && a.code == b.code && a.group == b.group && a.scale == b.scale && a.offset == b.offset &&
         a.zero == b.zero && a.row_scale == b.row_scale && a.super == b.super && a.scale_rows == b.scale_rows;
}

double bits_per_weight(const WeightFormat& format, std::int64_t cols) {
  // Codes, signs and mantissas, and 4 bytes for every 512 of them; exceptions come on top.
  if (format.compressed()) return 12.0 + 32.0 / 512.0;
  double bits = code_bits(format.code);
  if (format.plain() || cols == 0) return bits;
  const auto groups = static_cast<double>(format.groups(cols)), width = static_cast<double>(cols);
  double scale = 8.0 * static_cast<double>(dtype_size(format.scale)) / static_cast<double>(format.scale_rows);
  if (format.offset == Offset::kZeroPoint) scale += code_bits(format.code);
  if (format.offset == Offset::kMin) scale += 8.0;
  if (format.super != 0) bits += (format.offset == Offset::kMin ? 32.0 : 16.0) / static_cast<double>(format.super);
  return bits + groups * scale / width;
}

std::string describe(const WeightFormat& format) {
  std::string text(format.name);
  if (format.plain()) return text;
  if (format.super != 0)
    text += ", super blocks of " + std::to_string(format.super);
  else if (format.scale_rows > 1)
    text += ", blocks of " + std::to_string(format.scale_rows) + " x " + std::to_string(format.group);
  else
    text += format.group == 0 ? ", a scale a row" : ", groups of " + std::to_string(format.group);
  if (format.super == 0) text += ", " + std::string(dtype_name(format.scale)) + " scales";
  if (format.offset == Offset::kZeroPoint) text += ", zero points";
  return text;
}

bool all_plain(const BlockFormats& formats, DType element) noexcept {
  for (const ExpertFormats* each : {&formats.routed, &formats.shared})
    for (const auto part : kProjectionFormats)
      if (!(each->*part).plain() || (each->*part).element() != element) return false;
  return true;
}

BlockFormats uniform_formats(const WeightFormat& format) {
  const ExpertFormats each = {format, format, format};
  return {each, each};
}

std::string names(const BlockFormats& formats) {
  std::string text;
  for (const ExpertFormats* each : {&formats.routed, &formats.shared})
    for (const auto part : kProjectionFormats) {
      const std::string name((each->*part).name);
      if ((", " + text + ", ").find(", " + name + ", ") == std::string::npos) text += (text.empty() ? "" : ", ") + name;
    }
  return text;
}

}  // namespace moekit
