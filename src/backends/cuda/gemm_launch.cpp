// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "backends/cuda/call.h"
#include "backends/cuda/pack.h"

namespace moekit::cuda {
namespace {

struct Kernels {
  KernelId gated[2], plain[2];  // small tile, large tile
};

Kernels kernels_of(const WeightFormat& format) {
  if (format.code == Code::kFloat32)
    return {{KernelId::moekit_gemm_f32_gated, KernelId::moekit_gemm_f32_gated},
            {KernelId::moekit_gemm_f32_plain, KernelId::moekit_gemm_f32_plain}};
  return {{KernelId::moekit_gemm_bf16_gated_8, KernelId::moekit_gemm_bf16_gated_64},
          {KernelId::moekit_gemm_bf16_plain_8, KernelId::moekit_gemm_bf16_plain_64}};
}

}  // namespace

void launch_gemm(const Call& call, const PackedProjection* gate, const PackedProjection& up, GemmParams p,
                 int tile_rows, std::int64_t tiles) {
  const std::int64_t rows = padded(up.rows);
  p.gate = gate != nullptr ? gate->matrices.data() : nullptr;
  p.up = up.matrices.data();
  p.expert_bytes = static_cast<long long>(up.expert_bytes);
  p.gate_bias = gate != nullptr ? reinterpret_cast<const float*>(gate->bias.data()) : nullptr;
  p.up_bias = reinterpret_cast<const float*>(up.bias.data());
  p.bias_stride = static_cast<int>(up.rows);
  p.k_steps = static_cast<int>(padded(up.cols) / kStepColumns);
  p.row_tiles = static_cast<int>(rows / kTileRows);
  p.columns = static_cast<int>(up.rows);
  p.out_stride = rows;
  const bool float32 = up.format.code == Code::kFloat32;
  // Matrix rows of a block: four warps of four, or of two tiles; a gated form has two matrices for them.
  const std::int64_t block_rows = (float32 ? 16 : 128) / (gate != nullptr ? 2 : 1);
  const Kernels kernels = kernels_of(up.format);
  const std::size_t size = tile_rows == kSmallTile ? 0 : 1;
  call.launch((gate != nullptr ? kernels.gated : kernels.plain)[size], blocks_for(rows, block_rows),
              std::min<std::int64_t>(tiles, kMaxGridY), kGemmThreads,
              float32 ? 0 : static_cast<std::size_t>(ring_bytes(tile_rows)), p);
}

}  // namespace moekit::cuda
