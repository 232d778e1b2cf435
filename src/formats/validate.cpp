// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "core/checks.h"
#include "formats/format.h"

namespace moekit {

void validate(const WeightFormat& format) {
  const WeightFormat& known = format_entry(format.name).format;
  const Checker check{"weight format"};
  const std::string name(format.name);
  if (format.code != known.code)
    check.fail(name + " code", std::to_string(static_cast<int>(format.code)), "the format's own");
  // Plain formats have nothing else; the sizes of super blocks are part of the format.
  if ((format.plain() || known.super != 0 || format.super != 0) && format != known)
    check.fail(name, describe(format), describe(known));
  if (format.plain() || format.super != 0) return;
  check.in_range("group", format.group, 0, std::int64_t{1} << 28);
  check.in_range("scale_rows", format.scale_rows, 1, std::int64_t{1} << 28);
  check.in_range("zero", format.zero, -128, 255);
  check.in_enum("offset", format.offset, Offset::kZeroPoint);  // minima come with super blocks
  check.in_enum("row_scale", format.row_scale, RowScale::kDivides);
  switch (format.scale) {
    case DType::kFloat32:
    case DType::kBFloat16:
    case DType::kFloat16:
    case DType::kFloat8E8M0:
    case DType::kFloat8E4M3: return;
    default: check.fail("scale", std::string(dtype_name(format.scale)), "float32, bfloat16, float16, e8m0 or e4m3");
  }
}

}  // namespace moekit
