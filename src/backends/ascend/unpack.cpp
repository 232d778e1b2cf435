// SPDX-License-Identifier: Apache-2.0
// Packed weights back to host memory.
#include <vector>

#include "backends/ascend/packed.h"
#include "core/float_convert.h"

namespace moekit::ascend {
namespace {

std::vector<std::byte> download(const void* source, std::size_t bytes) {
  std::vector<std::byte> host(bytes);
  copy_now(host.data(), source, bytes, kAclDeviceToHost);
  return host;
}

// Rows first .. first + out.rows of expert `expert` of a [E, K, N] view over [E, N, K].
void unpack_rows(const Projection& p, std::int64_t expert, std::int64_t first, const MutableMatrixView& out) {
  if (out.data == nullptr) return;
  const std::int64_t n = p.weight.dims[2], k = p.weight.dims[1], at = (expert * n + first) * k;
  const std::size_t bytes = dtype_bytes(p.weight.dtype, out.rows * k);
  const auto rows = download(static_cast<const char*>(p.weight.data) + dtype_bytes(p.weight.dtype, at), bytes);
  const DType dtype = host_dtype(p.weight.dtype);
  for (std::int64_t r = 0; r < out.rows; ++r)
    for (std::int64_t c = 0; c < k; ++c)
      store_float(out.data, out.dtype, r * out.row_stride + c, load_as_float(rows.data(), dtype, r * k + c));
}

void unpack_bias(const Projection& p, std::int64_t expert, std::int64_t first, const MutableMatrixView& out) {
  if (out.data == nullptr) return;
  const std::int64_t at = expert * p.bias.dims[1] + first;
  const auto values = download(static_cast<const char*>(p.bias.data) + dtype_bytes(p.bias.dtype, at),
                               dtype_bytes(p.bias.dtype, out.cols));
  load_as_float(values.data(), host_dtype(p.bias.dtype), 0, 1, out.cols, static_cast<float*>(out.data));
}

}  // namespace

void AscendBlock::unpack(std::int64_t expert, bool of_shared, const ExpertViews& out) const {
  const Mlp& mlp = of_shared ? shared : routed;
  if (mlp.down.product != Product::kFloat || (mlp.up.weight && mlp.up.product != Product::kFloat))
    return PackedBlock::unpack(expert, of_shared, out);
  const DeviceScope scope(device_);
  const std::int64_t ups = is_gated(mlp.config.act) ? mlp.config.intermediate : 0;  // gates lie before them
  unpack_rows(mlp.up, expert, 0, out.gate);
  unpack_rows(mlp.up, expert, ups, out.up);
  unpack_rows(mlp.down, expert, 0, out.down);
  unpack_bias(mlp.up, expert, 0, out.gate_bias);
  unpack_bias(mlp.up, expert, ups, out.up_bias);
  unpack_bias(mlp.down, expert, 0, out.down_bias);
}

}  // namespace moekit::ascend
