// SPDX-License-Identifier: Apache-2.0
// Weights to device memory, one matrix of one expert at a time through a host buffer.
#include <cstring>
#include <functional>

#include "backends/ascend/packed.h"
#include "core/float_convert.h"
#include "formats/read.h"
#include "moekit/error.h"

namespace moekit::ascend {
namespace {

struct Part {
  const MatrixRef ExpertTensors::*matrix;
  const MatrixRef ExpertTensors::*bias;
};
constexpr Part kGate = {&ExpertTensors::gate, &ExpertTensors::gate_bias};
constexpr Part kUp = {&ExpertTensors::up, &ExpertTensors::up_bias};
constexpr Part kDown = {&ExpertTensors::down, &ExpertTensors::down_bias};

void store_rows(const MatrixView& rows, DType dtype, void* out) {
  std::vector<float> row(static_cast<std::size_t>(rows.cols));
  for (std::int64_t r = 0; r < rows.rows; ++r) {
    load_as_float(rows.data, rows.dtype, r * rows.row_stride, rows.col_stride, rows.cols, row.data());
    for (std::int64_t c = 0; c < rows.cols; ++c)
      store_float(out, dtype, r * rows.cols + c, row[static_cast<std::size_t>(c)]);
  }
}

// Groups are runs of columns for the operators.
void check_columns(const MatrixRef& matrix, const QuantRows& rows) {
  for (std::size_t k = 0; k < rows.column_groups.size(); ++k)
    if (rows.column_groups[k] != static_cast<std::int64_t>(k) / rows.format.group)
      throw UnsupportedError("[ascend] " + matrix.tensor.name + ": column " + std::to_string(k) + " is in group " +
                             std::to_string(rows.column_groups[k]) + " (act-order), grouped products take runs of " +
                             std::to_string(rows.format.group) + " columns");
}

// Codes of [N, K] as int4 [K, N], two along N a byte, the even n in the low half, from column `first` of `width` on.
void pack_int4(const QuantRows& rows, std::int64_t first, std::int64_t width, std::uint8_t* out) {
  for (std::int64_t n = 0; n < rows.rows; ++n)
    for (std::int64_t k = 0; k < rows.cols; ++k) {
      const int code = rows.codes[static_cast<std::size_t>(n * rows.cols + k)] - rows.format.zero;
      const std::int64_t at = k * width + first + n;
      const auto nibble = static_cast<std::uint8_t>(code & 15);
      out[at / 2] = static_cast<std::uint8_t>(out[at / 2] | (at % 2 == 0 ? nibble : nibble << 4));
    }
}

}  // namespace

class Packer {
 public:
  Packer(AscendBlock& block, const BlockFormats& formats) : block_(block), nonfinite_(formats.nonfinite_scales) {}

  Tensor allocate(AclDType dtype, std::initializer_list<std::int64_t> shape) {
    Tensor t = tensor_over(nullptr, dtype, shape);
    block_.memory_.push_back(moekit::ascend::allocate(t.bytes(), block_.device_));
    block_.bytes_ += t.bytes();
    t.data = block_.memory_.back().data();
    return t;
  }
  Tensor upload(const std::vector<float>& values, std::initializer_list<std::int64_t> shape,
                AclDType dtype = kAclFloat) {
    if (values.empty()) return {};
    const Tensor t = allocate(dtype, shape);
    staging_.resize(t.bytes());
    for (std::size_t i = 0; i < values.size(); ++i)
      store_float(staging_.data(), host_dtype(dtype), static_cast<std::int64_t>(i), values[i]);
    copy_now(t.data, staging_.data(), t.bytes(), kAclHostToDevice);
    return t;
  }
  std::vector<float> read_vector(const MatrixRef& source) {
    if (!source) return {};
    const MatrixView view = source.read(scratch_.bytes);
    std::vector<float> values(static_cast<std::size_t>(view.cols));
    load_as_float(view.data, view.dtype, 0, view.col_stride, view.cols, values.data());
    return values;
  }

  Mlp mlp(const ExpertConfig& config, const std::vector<ExpertTensors>& experts, const ExpertFormats& formats,
          bool dynamic) {
    Mlp mlp;
    mlp.config = config;
    mlp.experts = static_cast<std::int64_t>(experts.size());
    mlp.dtype = row_dtype(config, formats);
    const bool linear = config.act == Activation::kLinear;
    if (!linear && is_gated(config.act))
      mlp.up = projection(experts, {kGate, kUp}, config.intermediate, config.input, formats.up, dynamic, mlp.dtype);
    else if (!linear)
      mlp.up = projection(experts, {kUp}, config.intermediate, config.input, formats.up, dynamic, mlp.dtype);
    mlp.down = projection(experts, {kDown}, config.output, linear ? config.input : config.intermediate, formats.down,
                          dynamic, mlp.dtype);
    return mlp;
  }

 private:
  // Parts one below the other: [E, parts * rows, cols].
  Projection projection(const std::vector<ExpertTensors>& experts, const std::vector<Part>& parts, std::int64_t rows,
                        std::int64_t cols, const WeightFormat& format, bool dynamic, AclDType dtype) {
    Projection p;
    std::string unused;
    product_of(format, &p.product, &unused);
    if (p.product == Product::kA16W8 && dynamic) p.product = Product::kA8W8;
    const auto count = static_cast<std::int64_t>(experts.size()), n = static_cast<std::int64_t>(parts.size()) * rows;
    switch (p.product) {
      case Product::kFloat: float_weights(p, experts, parts, rows, cols, format); break;
      case Product::kA16W8:
      case Product::kA8W8: int8_weights(p, experts, parts, rows, cols, format, dtype); break;
      case Product::kA16W4: int4_weights(p, experts, parts, rows, cols, format, dtype); break;
    }
    std::vector<float> bias;
    for (const ExpertTensors& expert : experts)
      for (const Part& part : parts) {
        const std::vector<float> values = read_vector(expert.*part.bias);
        bias.insert(bias.end(), values.begin(), values.end());
      }
    p.bias = upload(bias, {count, n}, dtype == kAclFloat16 ? kAclFloat16 : kAclFloat);
    return p;
  }

  void float_weights(Projection& p, const std::vector<ExpertTensors>& experts, const std::vector<Part>& parts,
                     std::int64_t rows, std::int64_t cols, const WeightFormat& format) {
    const auto n = static_cast<std::int64_t>(parts.size()) * rows;
    const Tensor all = allocate(acl_dtype(format.element()), {static_cast<std::int64_t>(experts.size()), n, cols});
    const std::size_t bytes = dtype_bytes(all.dtype, rows * cols);
    auto* target = static_cast<char*>(all.data);
    staging_.resize(bytes);
    for (const ExpertTensors& expert : experts)
      for (const Part& part : parts) {
        store_rows(read_plain(expert.*part.matrix, scratch_, nonfinite_), format.element(), staging_.data());
        copy_now(target, staging_.data(), bytes, kAclHostToDevice);
        target += bytes;
      }
    p.weight = all.transposed();
  }

  void int8_weights(Projection& p, const std::vector<ExpertTensors>& experts, const std::vector<Part>& parts,
                    std::int64_t rows, std::int64_t cols, const WeightFormat& format, AclDType dtype) {
    const auto count = static_cast<std::int64_t>(experts.size()), n = static_cast<std::int64_t>(parts.size()) * rows;
    const Tensor all = allocate(kAclInt8, {count, n, cols});
    auto* target = static_cast<char*>(all.data);
    std::vector<float> scales;
    for (const ExpertTensors& expert : experts)
      for (const Part& part : parts) {
        const QuantRows& read = read_quantised(expert.*part.matrix, format, nonfinite_, scratch_);
        copy_now(target, read.codes.data(), read.codes.size(), kAclHostToDevice);
        target += read.codes.size();
        scales.insert(scales.end(), read.scales.begin(), read.scales.end());
      }
    p.weight = all.transposed();
    place_scales(p, scales, {count, n}, dtype);
  }

  void int4_weights(Projection& p, const std::vector<ExpertTensors>& experts, const std::vector<Part>& parts,
                    std::int64_t rows, std::int64_t cols, const WeightFormat& format, AclDType dtype) {
    const auto count = static_cast<std::int64_t>(experts.size()), n = static_cast<std::int64_t>(parts.size()) * rows;
    const std::int64_t groups = format.groups(cols);
    p.weight = allocate(kAclInt4, {count, cols, n});
    const std::size_t bytes = dtype_bytes(kAclInt4, cols * n);
    auto* target = static_cast<char*>(p.weight.data);
    std::vector<float> scales(static_cast<std::size_t>(count * groups * n));
    for (std::int64_t e = 0; e < count; ++e, target += bytes) {
      staging_.assign(bytes, std::byte{0});
      std::int64_t first = 0;
      for (const Part& part : parts) {
        const MatrixRef& matrix = experts[static_cast<std::size_t>(e)].*part.matrix;
        const QuantRows& read = read_quantised(matrix, format, nonfinite_, scratch_);
        check_columns(matrix, read);
        pack_int4(read, first, n, reinterpret_cast<std::uint8_t*>(staging_.data()));
        for (std::int64_t r = 0; r < rows; ++r)
          for (std::int64_t g = 0; g < groups; ++g)
            scales[static_cast<std::size_t>((e * groups + g) * n + first + r)] =
                read.scales[static_cast<std::size_t>(r * groups + g)];
        first += rows;
      }
      copy_now(target, staging_.data(), bytes, kAclHostToDevice);
    }
    place_scales(p, scales, {count, groups, n}, dtype);
  }

  // kA8W8 multiplies by them in float32; with float x they have the dtype of x, and an offset must be there.
  void place_scales(Projection& p, const std::vector<float>& scales, std::initializer_list<std::int64_t> shape,
                    AclDType dtype) {
    p.scale = upload(scales, shape, p.product == Product::kA8W8 ? kAclFloat : dtype);
    if (p.product != Product::kA8W8) p.offset = upload(std::vector<float>(scales.size(), 0.0f), shape, dtype);
  }

  AscendBlock& block_;
  bool nonfinite_;
  ReadScratch scratch_;
  std::vector<std::byte> staging_;
};

AscendBlock::AscendBlock(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats,
                         int device, ExpertSlice slice)
    : PackedBlock(config, formats), tables(read_router_tables(config.router, tensors.router)), device_(device) {
  const DeviceScope scope(device);
  Packer packer(*this, formats);
  const std::int64_t columns = config.router.columns(), hidden = config.expert.input;
  if (config.router.source != RouterSource::kExternal)
    router_weight = packer.upload(read_float32(tensors.router.weight), {columns, hidden});
  router_bias = packer.upload(tables.bias, {1, columns});
  selection_bias = packer.upload(tables.selection_bias, {columns});
  shared_gate = packer.upload(packer.read_vector(tensors.shared_gate), {1, hidden});
  if (slice.count == 0) slice = {0, config.router.num_experts};
  first_expert = slice.first;
  const auto first = tensors.experts.begin() + slice.first;
  routed = packer.mlp(config.expert, {first, first + slice.count}, formats.routed, formats.int8_activations);
  if (config.shared.count > 0)
    shared = packer.mlp(config.shared.expert, tensors.shared, formats.shared, formats.int8_activations);
  const auto plan_for = [&](AclDType native) {
    return plan_route(config.router, !tables.selection_bias.empty(), !tables.per_expert_scale.empty(),
                      !tables.in_scale.empty(), native);
  };
  f32_plan = plan_for(kAclFloat);
  bf16_plan = plan_for(kAclBFloat16);
  f16_plan = plan_for(kAclFloat16);
  dense = config.router.all_experts && config.router.num_identity == 0 && config.expert.act == Activation::kLinear &&
          routed.down.product == Product::kFloat && routed.experts == config.router.num_experts;
}

}  // namespace moekit::ascend
