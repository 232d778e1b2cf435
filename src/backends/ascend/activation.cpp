// SPDX-License-Identifier: Apache-2.0
// Activations: SwiGLU by its operator, the others of elementwise operators in float32, so that only the result is
// rounded.
#include "backends/ascend/call.h"
#include "backends/ascend/elementwise.h"

namespace moekit::ascend {
namespace {

constexpr double kSqrtHalf = 0.70710678118654752440;        // 1 / sqrt(2)
constexpr double kTwoSqrt2OverPi = 1.59576912160573071176;  // 2 sqrt(2 / pi)

// Chains of operators that write into new tensors: few of them are alive at once, but a call keeps all it made.
struct Chain {
  Queue& queue;
  const Operators& op = api().op;

  Tensor make(const Tensor& like) const { return queue.make(kAclFloat, {like.dims[0], like.dims[1]}); }
  Tensor mul(const Tensor& a, const Tensor& b) const {
    const Tensor out = make(a);
    queue.run(op.mul, a, b, out);
    return out;
  }
  Tensor muls(const Tensor& a, double factor) const {
    const Tensor out = make(a);
    queue.run(op.muls, a, Scalar{factor}, out);
    return out;
  }
  Tensor adds(const Tensor& a, double value) const {
    const Tensor out = make(a);
    queue.run(op.adds, a, Scalar{value}, Scalar{1.0}, out);
    return out;
  }
  Tensor sigmoid(const Tensor& a) const {
    const Tensor out = make(a);
    queue.run(op.sigmoid, a, out);
    return out;
  }
  Tensor erf(const Tensor& a) const {
    const Tensor out = make(a);
    queue.run(op.erf, a, out);
    return out;
  }
  Tensor relu(const Tensor& a) const {
    const Tensor out = make(a);
    queue.run(op.relu, a, out);
    return out;
  }
  Tensor below(const Tensor& a, double high) const {
    const Tensor out = make(a);
    queue.run(op.clamp, a, nullptr, Scalar{high}, out);
    return out;
  }
  Tensor between(const Tensor& a, double limit) const {
    const Tensor out = make(a);
    queue.run(op.clamp, a, Scalar{-limit}, Scalar{limit}, out);
    return out;
  }
  Tensor silu(const Tensor& a) const { return mul(a, sigmoid(a)); }
  // x * 0.5 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), and 0.5 * (1 + tanh(a)) = sigmoid(2 a)
  Tensor gelu_tanh(const Tensor& a) const {
    const Tensor inner = mul(a, adds(muls(mul(a, a), 0.044715), 1.0));
    return mul(a, sigmoid(muls(inner, kTwoSqrt2OverPi)));
  }
  Tensor gelu(const Tensor& a) const { return mul(a, adds(muls(erf(muls(a, kSqrtHalf)), 0.5), 0.5)); }
};

Tensor composed(const Chain& c, const ExpertConfig& config, const Tensor& g, const Tensor& u) {
  const double limit = config.limit;
  switch (config.act) {
    case Activation::kSilu: return c.mul(c.silu(g), u);
    case Activation::kGeluTanh: return c.mul(c.gelu_tanh(g), u);
    case Activation::kGelu: return c.mul(c.gelu(g), u);
    case Activation::kSiluClamp: return c.mul(c.silu(c.below(g, limit)), c.between(u, limit));
    case Activation::kSwigluOai: {
      const Tensor gate = c.below(g, limit);
      return c.mul(c.adds(c.between(u, limit), config.up_add), c.mul(gate, c.sigmoid(c.muls(gate, config.alpha))));
    }
    case Activation::kSwigluStep: return c.mul(c.below(c.silu(g), limit), c.between(u, limit));
    case Activation::kRelu: return c.relu(u);
    case Activation::kRelu2: {
      const Tensor positive = c.relu(u);
      return c.mul(positive, positive);
    }
    case Activation::kLinear: break;
  }
  return u;
}

}  // namespace

Tensor activate(Queue& queue, const ExpertConfig& config, const Tensor& in) {
  const std::int64_t rows = in.dims[0], width = config.intermediate;
  if (config.act == Activation::kSilu && api().op.swiglu) {
    const Tensor out = queue.make(in.dtype, {rows, width});
    queue.run(api().op.swiglu, in, -1, out);
    return out;
  }
  const Chain chain{queue};
  const bool gated = is_gated(config.act);
  // A cast also makes the halves contiguous.
  const auto half = [&](std::int64_t first) {
    const Tensor part = in.columns(first, width);
    if (!gated && in.dtype == kAclFloat) return part;
    const Tensor out = queue.make(kAclFloat, {rows, width});
    cast_to(queue, part, out);
    return out;
  };
  const Tensor gate = half(0), up = gated ? half(width) : gate;
  return cast(queue, composed(chain, config, gate, up), in.dtype);
}

}  // namespace moekit::ascend
