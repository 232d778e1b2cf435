// SPDX-License-Identifier: Apache-2.0
#include "conformance/quantised.h"

#include <cmath>
#include <cstring>
#include <memory>

#include "core/float_convert.h"

namespace moekit::conformance {
namespace {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

using Bytes = std::vector<std::uint8_t>;

TensorRef owned(const char* name, DType dtype, std::vector<std::int64_t> shape, Bytes bytes) {
  auto owner = std::make_shared<Bytes>(std::move(bytes));
  return memory_tensor(name, owner->data(), dtype, std::move(shape), owner);
}

Bytes random_bytes(Rng& rng, std::int64_t count) {
  Bytes bytes(static_cast<std::size_t>(count));
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(rng());
  return bytes;
}

// About `size`, in the dtype of scales; signs only where the dtype has them.
void append_scale(Rng& rng, DType dtype, float size, Bytes& out) {
  const float value = size * (0.5f + uniform(rng));
  const auto append = [&](const auto& bits) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&bits);
    out.insert(out.end(), bytes, bytes + sizeof bits);
  };
  switch (dtype) {
    case DType::kBFloat16: return append(float_to_bf16(rng() % 8 == 0 ? -value : value));
    case DType::kFloat16: return append(float_to_fp16(value));
    case DType::kFloat8E8M0: return append(static_cast<std::uint8_t>(bits_from_float(value) >> 23));
    case DType::kFloat8E4M3: return append(float_to_fp8_e4m3(value));
    default: return append(value);
  }
}

TensorRef scale_tensor(Rng& rng, DType dtype, std::vector<std::int64_t> shape, float size) {
  Bytes bytes;
  for (std::int64_t i = 0; i < shape[0] * shape[1]; ++i) append_scale(rng, dtype, size, bytes);
  return owned("scales", dtype, std::move(shape), std::move(bytes));
}

float root_mean_square(Code code) {
  switch (code) {
    case Code::kInt8: return 74.0f;
    case Code::kE4M3: return 100.0f;
    case Code::kE2M1: return 3.0f;
    default: return 5.0f;
  }
}

void set_codes(Rng& rng, QuantTensors& t) {
  const std::int64_t n = t.rows, k = t.cols, slots = 32 / code_bits(t.format.code);
  switch (t.packing) {
    case Packing::kBytes: {
      Bytes codes = random_bytes(rng, n * k);
      if (t.format.code == Code::kE4M3)
        for (std::uint8_t& code : codes)
          if ((code & 0x7f) == 0x7f) code ^= 1;  // NaN
      t.codes = owned("codes", t.format.code == Code::kE4M3 ? DType::kFloat8E4M3 : DType::kInt8, {n, k}, codes);
      return;
    }
    case Packing::kNibbles:
      t.codes = owned("codes", DType::kUInt8, {n, ceil_div(k, 2)}, random_bytes(rng, n * ceil_div(k, 2)));
      return;
    case Packing::kWordsAlongK:
      t.codes = owned("codes", DType::kInt32, {n, ceil_div(k, slots)}, random_bytes(rng, n * ceil_div(k, slots) * 4));
      return;
    case Packing::kGptq:
      t.codes = owned("codes", DType::kInt32, {ceil_div(k, slots), n}, random_bytes(rng, ceil_div(k, slots) * n * 4));
      return;
    case Packing::kAwq: t.codes = owned("codes", DType::kInt32, {k, n / 8}, random_bytes(rng, k * n / 2)); return;
    case Packing::kGgml: return;
  }
}

void set_zeros(Rng& rng, QuantTensors& t) {
  const std::int64_t groups = t.format.groups(t.cols), slots = 32 / code_bits(t.format.code);
  const std::int64_t packed = ceil_div(t.rows, slots);
  if (t.format.offset != Offset::kZeroPoint) return;
  if (t.packing == Packing::kBytes)
    t.zeros = owned("zeros", DType::kInt8, {t.rows, groups}, random_bytes(rng, t.rows * groups));
  else if (t.packing == Packing::kWordsAlongK)
    t.zeros = owned("zeros", DType::kInt32, {packed, groups}, random_bytes(rng, packed * groups * 4));
  else
    t.zeros = owned("zeros", DType::kInt32, {groups, packed}, random_bytes(rng, packed * groups * 4));
}

}  // namespace

const std::vector<QuantVariant>& quant_variants() {
  constexpr auto kNo = Offset::kNone, kZero = Offset::kZeroPoint;
  constexpr auto kNoRow = RowScale::kNone;
  constexpr Code kInt8 = Code::kInt8, kInt4 = Code::kUInt4, kE4M3 = Code::kE4M3, kE2M1 = Code::kE2M1;
  constexpr DType kF32 = DType::kFloat32, kF16 = DType::kFloat16, kBf16 = DType::kBFloat16;
  static const std::vector<QuantVariant> list = {
      {"int8_rows", {"int8", kInt8, 0, kF32}},
      {"int8_rows_zeros", {"int8", kInt8, 0, kBf16, kZero}},
      {"int8_g32", {"int8", kInt8, 32, kF16}},
      {"int4_g32", {"int4", kInt4, 32, kBf16, kNo, 8}, Packing::kWordsAlongK},
      {"int4_g64_zeros", {"int4", kInt4, 64, kF16, kZero}, Packing::kWordsAlongK},
      {"int4_rows", {"int4", kInt4, 0, kBf16, kNo, 8}, Packing::kWordsAlongK},
      {"int8_words", {"int8", kInt8, 128, kBf16}, Packing::kWordsAlongK},
      {"gptq_g128", {"int4", kInt4, 128, kF16, kZero}, Packing::kGptq, false, 8},
      {"gptq_act_order", {"int4", kInt4, 32, kF16, kZero}, Packing::kGptq, true, 8},
      {"gptq_8bit", {"int8", kInt8, 64, kF16, kZero}, Packing::kGptq, false, 8},
      {"awq_g128", {"int4", kInt4, 128, kF16, kZero}, Packing::kAwq, false, 8},
      {"fp8_blocks", {"fp8", kE4M3, 128, kF32, kNo, 0, kNoRow, 0, 128}},
      {"fp8_blocks_ue8m0", {"fp8", kE4M3, 128, DType::kFloat8E8M0, kNo, 0, kNoRow, 0, 128}},
      {"fp8_blocks_of_16", {"fp8", kE4M3, 16, kF32, kNo, 0, kNoRow, 0, 16}},
      {"fp8_rows", {"fp8", kE4M3, 0, kBf16}},
      {"mxfp8", {"mxfp8", kE4M3, 32, DType::kFloat8E8M0}},
      {"mxfp4", {"mxfp4", kE2M1, 32, DType::kFloat8E8M0}, Packing::kNibbles},
      {"fp4_float32", {"mxfp4", kE2M1, 32, kF32}, Packing::kNibbles},
      {"nvfp4", {"nvfp4", kE2M1, 16, DType::kFloat8E4M3, kNo, 0, RowScale::kMultiplies}, Packing::kNibbles},
      {"nvfp4_divided", {"nvfp4", kE2M1, 16, DType::kFloat8E4M3, kNo, 0, RowScale::kDivides}, Packing::kNibbles},
  };
  return list;
}

MatrixRef random_quantised(Rng& rng, const QuantVariant& variant, std::int64_t rows, std::int64_t cols) {
  auto t = std::make_shared<QuantTensors>();
  t->format = variant.format;
  t->packing = variant.packing;
  t->rows = rows;
  t->cols = cols;
  t->zero_add = variant.packing == Packing::kGptq ? 1 : 0;
  set_codes(rng, *t);
  const std::int64_t groups = variant.format.groups(cols), grid = ceil_div(rows, variant.format.scale_rows);
  float size = 1.5f / std::sqrt(static_cast<float>(cols)) / root_mean_square(variant.format.code);
  if (variant.format.row_scale != RowScale::kNone) {
    // e4m3 holds scales near 1; the tensor's own brings them to size.
    const float tensor = variant.format.row_scale == RowScale::kDivides ? 1.0f / size : size;
    Bytes bytes(4);
    std::memcpy(bytes.data(), &tensor, 4);
    t->row_scales = owned("tensor scale", DType::kFloat32, {1}, bytes);
    size = 1.0f;
  }
  const bool transposed = variant.packing == Packing::kGptq || variant.packing == Packing::kAwq;
  t->scales = scale_tensor(
      rng, variant.format.scale,
      transposed ? std::vector<std::int64_t>{groups, rows} : std::vector<std::int64_t>{grid, groups}, size);
  set_zeros(rng, *t);
  if (variant.act_order) {
    Bytes bytes;
    for (std::int64_t k = 0; k < cols; ++k) {
      const auto group = static_cast<std::int32_t>(rng() % static_cast<std::uint64_t>(groups));
      const auto* begin = reinterpret_cast<const std::uint8_t*>(&group);
      bytes.insert(bytes.end(), begin, begin + 4);
    }
    t->column_groups = owned("g_idx", DType::kInt32, {cols}, bytes);
  }
  return quantised_matrix(t);
}

BlockTensors random_quantised_tensors(Rng& rng, const BlockConfig& config, const QuantVariant& variant,
                                      bool quantised_shared) {
  BlockTensors tensors = random_tensors(rng, config, DType::kBFloat16);
  const auto replace = [&](std::vector<ExpertTensors>& experts) {
    for (ExpertTensors& expert : experts)
      for (MatrixRef* matrix : {&expert.gate, &expert.up, &expert.down})
        if (*matrix) *matrix = random_quantised(rng, variant, matrix->rows, matrix->cols);
  };
  replace(tensors.experts);
  if (quantised_shared) replace(tensors.shared);
  return tensors;
}

}  // namespace moekit::conformance
