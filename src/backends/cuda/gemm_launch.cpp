// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "backends/cuda/call.h"
#include "backends/cuda/host_params.h"
#include "backends/cuda/pack.h"

namespace moekit::cuda {
namespace {

struct Kernels {
  KernelId gated[2], plain[2];  // small tile, large tile
};

#define MOEKIT_QUANT_KERNELS(code)                                                       \
  {                                                                                      \
    {KernelId::moekit_gemm_##code##_gated_8, KernelId::moekit_gemm_##code##_gated_32}, { \
      KernelId::moekit_gemm_##code##_plain_8, KernelId::moekit_gemm_##code##_plain_32    \
    }                                                                                    \
  }

Kernels kernels_of(const WeightFormat& format) {
  if (format.plain()) {
    switch (element_of(format.element())) {
      case Element::kFloat32:
        return {{KernelId::moekit_gemm_f32_gated, KernelId::moekit_gemm_f32_gated},
                {KernelId::moekit_gemm_f32_plain, KernelId::moekit_gemm_f32_plain}};
      case Element::kBFloat16:
        return {{KernelId::moekit_gemm_bf16_gated_8, KernelId::moekit_gemm_bf16_gated_64},
                {KernelId::moekit_gemm_bf16_plain_8, KernelId::moekit_gemm_bf16_plain_64}};
      case Element::kFloat16: break;
    }
    return {{KernelId::moekit_gemm_f16_gated_8, KernelId::moekit_gemm_f16_gated_64},
            {KernelId::moekit_gemm_f16_plain_8, KernelId::moekit_gemm_f16_plain_64}};
  }
  switch (code_kind(format.code)) {
    case CodeKind::kUInt4: return MOEKIT_QUANT_KERNELS(u4);
    case CodeKind::kUInt8: return MOEKIT_QUANT_KERNELS(u8);
    case CodeKind::kE2M1: return MOEKIT_QUANT_KERNELS(e2m1);
    case CodeKind::kE4M3: break;
  }
  return MOEKIT_QUANT_KERNELS(e4m3);
}

const float* floats(const DeviceMemory& memory) { return reinterpret_cast<const float*>(memory.data()); }

// Gate and up have one format, so one layout of scales.
void set_scales(const PackedProjection* gate, const PackedProjection& up, GemmParams& p) {
  if (up.format.plain()) return;
  p.up_scale = floats(up.scales);
  p.up_zero = floats(up.zeros);
  p.gate_scale = gate != nullptr ? floats(gate->scales) : nullptr;
  p.gate_zero = gate != nullptr ? floats(gate->zeros) : nullptr;
  p.scale_stride = up.quant.scale_count();
  p.group_halves = static_cast<int>(up.quant.group_halves);
  p.minimum = up.format.offset == Offset::kMin;
  p.constant_zero = up.quant.constant_zero;
}

}  // namespace

void set_columns(const PackedProjection& up, GemmParams& p) {
  p.columns = static_cast<int>(up.rows);
  p.out_stride = padded(up.rows);
}

void set_biases(const PackedProjection* gate, const PackedProjection& up, GemmParams& p) {
  p.gate_bias = gate != nullptr ? floats(gate->bias) : nullptr;
  p.up_bias = floats(up.bias);
  p.bias_stride = static_cast<int>(up.rows);
}

void launch_gemm(const Call& call, const PackedProjection* gate, const PackedProjection& up, GemmParams p,
                 int tile_rows, std::int64_t tiles) {
  const std::int64_t rows = padded(up.rows);
  p.gate = gate != nullptr ? gate->matrices.data() : nullptr;
  p.up = up.matrices.data();
  p.expert_bytes = static_cast<long long>(up.expert_bytes);
  set_columns(up, p);
  set_biases(gate, up, p);
  p.k_steps = static_cast<int>(padded(up.packed_cols) / kStepColumns);
  p.row_tiles = static_cast<int>(rows / kTileRows);
  set_scales(gate, up, p);
  const bool float32 = up.format.code == Code::kFloat32;
  // Matrix rows of a block: four warps of four, or of two tiles; a gated form has two matrices for them.
  const std::int64_t block_rows = (float32 ? 16 : 128) / (gate != nullptr ? 2 : 1);
  const Kernels kernels = kernels_of(up.format);
  const std::size_t size = tile_rows == kSmallTile ? 0 : 1;
  const int tokens = size == 0 ? kSmallTile : up.format.plain() ? kLargeTile : kLargeQuantTile;
  call.launch((gate != nullptr ? kernels.gated : kernels.plain)[size], blocks_for(rows, block_rows),
              std::min<std::int64_t>(tiles, kMaxGridY), kGemmThreads,
              float32 ? 0 : static_cast<std::size_t>(ring_bytes(tokens)), p);
}

}  // namespace moekit::cuda
