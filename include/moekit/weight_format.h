// SPDX-License-Identifier: Apache-2.0
// How weights are held: plain elements, or short codes with scales. A format is data; what differs between checkpoints
// (group size, dtype of the scales, zero points) are fields of it, not formats of their own.
//
//   s = scale                          or round(scale * row_scale), or round(scale / row_scale)
//   w = round((value(code) - zero) * s)                                                       Offset::kNone, kZeroPoint
//   w = round(value(code) * (super_scale * scale) - super_min * min)                          Offset::kMin
//
// All of it in float32, round to nearest even: what the published dequantisers compute.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "moekit/core.h"

namespace moekit {

/// What one stored code is.
enum class Code : std::uint8_t {
  kFloat32,  // plain elements: no scales
  kBFloat16,
  kFloat16,
  kInt8,  // two's complement
  kUInt4,
  kUInt5,
  kUInt6,
  kE4M3,  // OCP FP8
  kE2M1,  // OCP FP4: 0, .5, 1, 1.5, 2, 3, 4, 6; bit 3 is the sign
};

enum class Offset : std::uint8_t {
  kNone,       // `zero` of the format is subtracted from every code
  kZeroPoint,  // an integer a group is subtracted from the code
  kMin,        // a multiple of the super block's minimum a group is subtracted from the product
};

/// A scale that a whole row (in files: a whole tensor) has beside those of its groups.
enum class RowScale : std::uint8_t { kNone, kMultiplies, kDivides };

struct WeightFormat {
  std::string_view name = "float32";  // as the user names it; static storage
  Code code = Code::kFloat32;
  std::int64_t group = 0;  // weights of a row that share a scale; 0: the whole row
  // In which scales are kept: float32, bfloat16, float16, e8m0, e4m3; u8 and i8 of super blocks.
  DType scale = DType::kFloat32;
  Offset offset = Offset::kNone;
  std::int32_t zero = 0;  // subtracted from every code for Offset::kNone: 8 of symmetric 4 bit codes
  RowScale row_scale = RowScale::kNone;
  std::int64_t super = 0;       // weights that share a float16 super scale (and super minimum); 0: none
  std::int64_t scale_rows = 1;  // rows that share their scales: 128 of block FP8

  bool plain() const noexcept { return code <= Code::kFloat16; }
  /// "bf16z": bfloat16 that is held in fewer bits without loss; all else about it is bfloat16.
  bool compressed() const noexcept { return name == "bf16z"; }
  /// Element of plain formats.
  DType element() const noexcept {
    return code == Code::kBFloat16 ? DType::kBFloat16 : code == Code::kFloat16 ? DType::kFloat16 : DType::kFloat32;
  }
  /// Groups of a row of `cols` weights, the last of which may be partial.
  std::int64_t groups(std::int64_t cols) const noexcept {
    return plain() ? 0 : group == 0 ? 1 : (cols + group - 1) / group;
  }
  std::int64_t supers(std::int64_t cols) const noexcept { return super == 0 ? 0 : (cols + super - 1) / super; }
};
bool operator==(const WeightFormat& a, const WeightFormat& b) noexcept;
inline bool operator!=(const WeightFormat& a, const WeightFormat& b) noexcept { return !(a == b); }

/// Bits of one code.
int code_bits(Code code) noexcept;
/// The number that a code stands for. Plain codes have no table: 0.
float code_value(Code code, std::uint8_t bits) noexcept;
/// Bits a weight with all scales: 4.5 for groups of 32 with 16 bit scales.
double bits_per_weight(const WeightFormat& format, std::int64_t cols);
/// "int4, groups of 32, bfloat16 scales".
std::string describe(const WeightFormat& format);

/// Formats of an expert's projections, and of a block's experts.
struct ExpertFormats {
  WeightFormat gate, up, down;
};
/// They in turn, for loops over projections.
inline constexpr WeightFormat ExpertFormats::*kProjectionFormats[] = {&ExpertFormats::gate, &ExpertFormats::up,
                                                                      &ExpertFormats::down};

struct BlockFormats {
  ExpertFormats routed, shared;
  bool nonfinite_scales = false;  // accepts scales that are NaN or infinite, which are an error otherwise
  bool int8_activations = false;  // experts' inputs are quantised row by row to int8 (LayerOptions)
  bool may_compress = false;      // "bfloat16" may be held as "bf16z" where that is faster
  bool reproducible = false;      // the same bits on every processor (LayerOptions)
  bool bf16_split = false;        // float32 is multiplied as bfloat16 parts where it can be (LayerOptions)
};
/// Whether all are this plain format.
bool all_plain(const BlockFormats& formats, DType element) noexcept;
/// Every projection in one format.
BlockFormats uniform_formats(const WeightFormat& format);
/// Names of the formats in use, "q4_k, q6_k".
std::string names(const BlockFormats& formats);

}  // namespace moekit
