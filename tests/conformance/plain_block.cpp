// SPDX-License-Identifier: Apache-2.0
// The formula of a block written down once more, as directly as possible: what the reference backend itself is held to.
#include <cmath>

#include "conformance/harness.h"
#include "routing/rules.h"

namespace moekit::conformance {
namespace {

using Vector = std::vector<double>;

double element(const MatrixRef& m, std::int64_t r, std::int64_t c) {
  ByteScratch scratch;
  const MatrixView view = m.read(scratch);
  return load_as_float(view.data, view.dtype, r * view.row_stride + c * view.col_stride);
}

Vector affine(const MatrixRef& w, const MatrixRef& b, const Vector& x) {
  Vector y(static_cast<std::size_t>(w.rows));
  for (std::int64_t r = 0; r < w.rows; ++r) {
    double sum = b ? element(b, 0, r) : 0.0;
    for (std::int64_t c = 0; c < w.cols; ++c) sum += element(w, r, c) * x[static_cast<std::size_t>(c)];
    y[static_cast<std::size_t>(r)] = sum;
  }
  return y;
}

double logistic(double v) { return 1.0 / (1.0 + std::exp(-v)); }
double limited(double v, double low, double high) { return v < low ? low : (v > high ? high : v); }

double form(const ExpertConfig& e, double g, double u) {
  const double l = e.limit, pi = std::acos(-1.0);
  switch (e.act) {
    case Activation::kSilu: return g * logistic(g) * u;
    case Activation::kGelu: return g * 0.5 * std::erfc(-g / std::sqrt(2.0)) * u;
    case Activation::kGeluTanh:
      return 0.5 * g * (1.0 + std::tanh(std::sqrt(2.0 / pi) * (g + 0.044715 * std::pow(g, 3)))) * u;
    case Activation::kSiluClamp: g = limited(g, -1e300, l); return g * logistic(g) * limited(u, -l, l);
    case Activation::kSwigluOai:
      g = limited(g, -1e300, l);
      return (limited(u, -l, l) + e.up_add) * g * logistic(e.alpha * g);
    case Activation::kSwigluStep: return limited(g * logistic(g), -1e300, l) * limited(u, -l, l);
    case Activation::kRelu: return u > 0.0 ? u : 0.0;
    case Activation::kRelu2: return u > 0.0 ? u * u : 0.0;
    case Activation::kLinear: break;
  }
  return u;
}

Vector expert(const ExpertConfig& e, const ExpertTensors& t, const Vector& x) {
  if (e.act == Activation::kLinear) return affine(t.down, t.down_bias, x);
  Vector h = affine(t.up, t.up_bias, x);
  const Vector g = t.gate ? affine(t.gate, t.gate_bias, x) : h;
  for (std::size_t i = 0; i < h.size(); ++i) h[i] = form(e, g[i], h[i]);
  return affine(t.down, t.down_bias, h);
}

Vector token(const Block& block, const Vector& x, DType dtype, const std::int32_t* ids, const float* weights) {
  const BlockConfig& c = block.config;
  Vector sum(static_cast<std::size_t>(c.expert.output));
  const auto add = [&](double w, const Vector& v) {
    for (std::size_t i = 0; i < v.size(); ++i) sum[i] += w * v[i];
  };
  for (std::int64_t j = 0; j < c.router.top_k; ++j) {
    if (ids[j] < 0) continue;
    Vector input = x;
    double w = weights[j];
    if (c.router.apply_at == ApplyAt::kInput) {
      for (double& v : input) {
        v = static_cast<double>(static_cast<float>(v) * weights[j]);
        v = static_cast<double>(rounded(static_cast<float>(v), dtype));
      }
      w = 1.0;
    }
    add(w, ids[j] >= c.router.num_experts
               ? input
               : expert(c.expert, block.tensors.experts[static_cast<std::size_t>(ids[j])], input));
  }
  for (double& v : sum) v *= c.router.scale_at == ScaleAt::kOnRoutedSum ? c.router.scale : 1.0;
  for (const ExpertTensors& shared : block.tensors.shared) {
    const double gate =
        c.shared.gate == SharedGate::kSigmoid ? logistic(affine(block.tensors.shared_gate, {}, x)[0]) : 1.0;
    add(gate, expert(c.shared.expert, shared, x));
  }
  for (double& v : sum)
    v *= c.shared.count > 0 && c.shared.gate == SharedGate::kAverage ? c.out_scale / 2 : c.out_scale;
  return sum;
}

}  // namespace

Matrix plain_block(const Block& block, const Matrix& x, const Result& routing) {
  Matrix y(x.rows(), block.config.expert.output, DType::kFloat32);
  const auto k = static_cast<std::size_t>(block.config.router.top_k);
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    Vector row;
    for (std::int64_t c = 0; c < x.cols(); ++c) row.push_back(x.at(t, c));
    const std::size_t at = static_cast<std::size_t>(t) * k;
    const Vector out = token(block, row, x.dtype(), &routing.ids[at], &routing.weights[at]);
    for (std::size_t c = 0; c < out.size(); ++c) y.set(t, static_cast<std::int64_t>(c), static_cast<float>(out[c]));
  }
  return y;
}

}  // namespace moekit::conformance
