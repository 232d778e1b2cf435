// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/blas_products.h"

#include <stdexcept>

#include "backends/cuda/host_params.h"
#include "backends/cuda/pack.h"
#include "core/environment.h"
#include "moekit/error.h"

namespace moekit::cuda {
namespace {

std::size_t size_of(Element element) { return element == Element::kFloat32 ? 4 : 2; }

// One call of cublasGemmGroupedBatchedEx, every product a group of its own. Column-major, C^T = W X^T: W [rows, cols]
// row-major is taken transposed, rows of x are columns.
class Grouped {
 public:
  Grouped(const PackedProjection& weights, Element element) : weights_(weights), element_(element) {}

  void add(std::int64_t expert, const std::byte* x, std::byte* out, std::int64_t count) {
    a_.push_back(weights_.matrices.data() + static_cast<std::size_t>(expert) * weights_.expert_bytes);
    b_.push_back(x);
    c_.push_back(out);
    n_.push_back(static_cast<int>(count));
  }
  std::size_t pointer_count() const { return 3 * a_.size(); }
  void list_pointers(std::vector<const void*>& all) const {
    all.insert(all.end(), a_.begin(), a_.end());
    all.insert(all.end(), b_.begin(), b_.end());
    all.insert(all.end(), c_.begin(), c_.end());
  }

  /// `pointers`: the list in device memory.
  void launch(const BlasApi& blas, BlasHandle handle, const void** pointers) const {
    const std::size_t groups = a_.size();
    if (groups == 0) return;
    const std::vector<int> transposed(groups, kOpT), plain(groups, kOpN), one_each(groups, 1);
    const std::vector<int> m(groups, static_cast<int>(padded(weights_.rows))),
        k(groups, static_cast<int>(padded(weights_.cols)));
    const std::vector<float> alpha(groups, 1.0f), beta(groups, 0.0f);
    const int type = element_ == Element::kFloat32 ? kR32F : element_ == Element::kBFloat16 ? kR16BF : kR16F;
    check(blas,
          blas.grouped_product(handle, transposed.data(), plain.data(), m.data(), n_.data(), k.data(), alpha.data(),
                               pointers, type, k.data(), pointers + groups, type, k.data(), beta.data(),
                               const_cast<void**>(pointers + 2 * groups), type, m.data(), static_cast<int>(groups),
                               one_each.data(), element_ == Element::kFloat32 ? kCompute32FPedantic : kCompute32F),
          "cublasGemmGroupedBatchedEx");
  }

 private:
  const PackedProjection& weights_;
  Element element_;
  std::vector<const void*> a_, b_;
  std::vector<void*> c_;
  std::vector<int> n_;
};

// offsets [experts + 1] of the sorted rows, on the host.
std::vector<int> host_offsets(const Call& call, const PackedExperts& experts, const Rows& rows) {
  std::vector<int> offsets(static_cast<std::size_t>(experts.count) + 1);
  if (rows.host_offsets != nullptr) {
    for (std::size_t e = 0; e < offsets.size(); ++e) offsets[e] = static_cast<int>(rows.host_offsets[e]);
  } else if (rows.uniform > 0) {
    for (std::size_t e = 0; e < offsets.size(); ++e) offsets[e] = static_cast<int>(e) * rows.uniform;
  } else {
    const DeviceContext& device = call.block.device;
    device.check(device.driver.copy_to_host(offsets.data(), device_pointer(call.arrays.offsets),
                                            offsets.size() * sizeof(int), call.scope.stream()),
                 "cuMemcpyDtoHAsync");
    device.check(device.driver.stream_synchronize(call.scope.stream()), "cuStreamSynchronize");
  }
  return offsets;
}

// Rows of `element` and `width` in device memory.
struct Matrix {
  const void* data;
  Element element;
  std::int64_t width;
  std::byte* row(std::int64_t r) const {
    return static_cast<std::byte*>(const_cast<void*>(data)) + static_cast<std::size_t>(r * width) * size_of(element);
  }
};

// Products of every expert that has rows. `same`: every expert reads x from its first row.
Grouped products(const PackedProjection& weights, const std::vector<int>& offsets, const Matrix& x, bool same,
                 const Matrix& out) {
  Grouped grouped(weights, x.element);
  for (std::size_t e = 0; e + 1 < offsets.size(); ++e)
    if (const int count = offsets[e + 1] - offsets[e]; count > 0)
      grouped.add(static_cast<std::int64_t>(e), x.row(same ? 0 : offsets[e]), out.row(offsets[e]), count);
  return grouped;
}

// Biases and activation of sums.
void activate(const Call& call, const PackedProjection* gate, const PackedProjection& up, const Matrix& sums,
              const Rows& rows, GemmParams p) {
  ActivateParams a = {};
  a.rows = p;
  set_columns(up, a.rows);
  set_biases(gate, up, a.rows);
  a.tile_rows = rows.tile_rows;
  a.gate = gate != nullptr ? call.arrays.gate_sums : nullptr;
  a.up = sums.data;
  a.from = sums.element;
  call.launch(KernelId::moekit_activate_rows, tile_grid(rows), 1, kRowThreads, 0, a);
}

}  // namespace

bool blas_asked_for() {
  const std::string choice = environment("MOEKIT_CUDA_GEMM");
  if (choice.empty() || choice == "moekit") return false;
  if (choice == "cublas") return true;
  throw std::invalid_argument("[environment] MOEKIT_CUDA_GEMM='" + choice + "' is not one of moekit, cublas");
}

std::string why_no_blas(const BlockFormats& formats) {
  for (const ExpertFormats* each : {&formats.routed, &formats.shared})
    for (const auto part : kProjectionFormats)
      if (!(each->*part).plain()) return "weights are " + describe(each->*part);
  std::string reason;
  blas_api(&reason);
  return reason;
}

void blas_multiply(const Call& call, const PackedExperts& experts, const Rows& rows) {
  if (call.scope.capturing())
    throw DeviceError(
        "[cuda] cuBLAS' grouped product takes its sizes from the host, which a stream under capture cannot: "
        "layers made without MOEKIT_CUDA_GEMM=cublas can");
  const DeviceContext& device = call.block.device;
  const std::vector<int> offsets = host_offsets(call, experts, rows);
  GemmParams p = input_of(call, experts, rows);
  const bool same = p.same_input;
  if (p.input_row != nullptr) reorder(call, experts.first(), rows, p);
  const Matrix x = {p.input, experts.first().input_element(), p.input_stride};
  const std::int64_t inner = padded(experts.up.rows), output = padded(experts.down.rows);
  const Matrix gate_sums = {call.arrays.gate_sums, x.element, inner}, up_sums = {call.arrays.up_sums, x.element, inner};
  const Matrix hidden = {rows.hidden, experts.down.input_element(), inner};
  const Matrix& down_input = experts.linear() ? x : hidden;
  // The sums of up have been read when those of down are written.
  const Matrix down_sums = {call.arrays.up_sums, down_input.element, output};

  std::vector<Grouped> first;
  if (experts.gate.present()) first.push_back(products(experts.gate, offsets, x, same, gate_sums));
  if (!experts.linear()) first.push_back(products(experts.up, offsets, x, same, up_sums));
  const Grouped down = products(experts.down, offsets, down_input, experts.linear() && same, down_sums);
  std::vector<const void*> pointers;
  for (const Grouped& grouped : first) grouped.list_pointers(pointers);
  down.list_pointers(pointers);
  if (pointers.empty()) return;
  const std::size_t bytes = pointers.size() * sizeof pointers[0];
  device.check(
      device.driver.copy_to_device(device_pointer(call.arrays.pointers), pointers.data(), bytes, call.scope.stream()),
      "cuMemcpyHtoDAsync");
  // Pageable memory, as in run_grouped: only a wait makes certain that it has been taken.
  device.check(device.driver.stream_synchronize(call.scope.stream()), "cuStreamSynchronize");

  std::string reason;
  const BlasApi& blas = *blas_api(&reason);  // packing has asked for it
  const BlasHandle handle = call.scratch.blas(call.scope, blas);
  const void** at = call.arrays.pointers;
  for (const Grouped& grouped : first) {
    grouped.launch(blas, handle, at);
    at += grouped.pointer_count();
  }
  if (!experts.linear()) {
    p.to = hidden.element;
    p.out = rows.hidden;
    p.activation = activation_params(experts.config);
    activate(call, experts.gate.present() ? &experts.gate : nullptr, experts.up, up_sums, rows, p);
  }
  down.launch(blas, handle, at);
  p.to = Element::kFloat32;
  p.out = rows.out;
  p.activation = no_activation();
  activate(call, nullptr, experts.down, down_sums, rows, p);
}

}  // namespace moekit::cuda
