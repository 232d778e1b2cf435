// SPDX-License-Identifier: Apache-2.0
// Elementwise functions of one tensor, computed in double and rounded once; the output may be the input.
#include "operator.h"

namespace ascend_double {
namespace {

int apply(const char* operation, Handle self_handle, Handle out_handle, std::function<double(double)> function,
          uint64_t* workspace, void** executor) {
  Call call(operation, workspace, executor);
  call.allow_in_place();
  const Argument self = call.input("self", self_handle).is(ASCEND_DOUBLE_FLOATS);
  const Argument out = call.output("out", out_handle).is({self.dtype()}).has_shape(self.dims());
  return call.finish(0, [=](const Arrays& arrays) {
    const Array &in = arrays[self.index()], &result = arrays[out.index()];
    for (int64_t i = 0; i < in.elements(); ++i) result.set(i, function(in[i]));
  });
}

// NaN stays NaN.
double relu(double x) { return x < 0 ? 0 : x; }

double scalar(Handle handle) { return scalars().get(handle, code::kNullptr, code::kParamInvalid)->value; }

int gelu_v2(Handle x, int64_t approximate, Handle y, uint64_t* workspace, void** executor) {
  require(approximate == 0 || approximate == 1, code::kParamInvalid, "approximate is ", approximate);
  return apply("aclnnGeluV2", x, y, approximate == 1 ? gelu_tanh : gelu_erf, workspace, executor);
}

int clamp(Handle self, Handle low, Handle high, Handle out, uint64_t* workspace, void** executor) {
  require(low != nullptr || high != nullptr, code::kNullptr, "both limits are NULL");
  const double least = low != nullptr ? scalar(low) : -INFINITY, most = high != nullptr ? scalar(high) : INFINITY;
  const auto function = [=](double x) { return x < least ? least : x > most ? most : x; };
  return apply("aclnnClamp", self, out, function, workspace, executor);
}

int clamp_min(Handle self, Handle low, Handle out, uint64_t* workspace, void** executor) {
  const double least = scalar(low);
  return apply(
      "aclnnClampMin", self, out, [=](double x) { return x < least ? least : x; }, workspace, executor);
}

int clamp_max(Handle self, Handle high, Handle out, uint64_t* workspace, void** executor) {
  const double most = scalar(high);
  return apply(
      "aclnnClampMax", self, out, [=](double x) { return x > most ? most : x; }, workspace, executor);
}

int muls(Handle self, Handle other, Handle out, uint64_t* workspace, void** executor) {
  const double factor = scalar(other);
  return apply(
      "aclnnMuls", self, out, [=](double x) { return x * factor; }, workspace, executor);
}

int adds(Handle self, Handle other, Handle alpha, Handle out, uint64_t* workspace, void** executor) {
  const double summand = scalar(other) * scalar(alpha);
  return apply(
      "aclnnAdds", self, out, [=](double x) { return x + summand; }, workspace, executor);
}

int divs(Handle self, Handle other, Handle out, uint64_t* workspace, void** executor) {
  const double divisor = scalar(other);
  return apply(
      "aclnnDivs", self, out, [=](double x) { return x / divisor; }, workspace, executor);
}

int pow_scalar(Handle self, Handle exponent, Handle out, uint64_t* workspace, void** executor) {
  const double power = scalar(exponent);
  return apply(
      "aclnnPowTensorScalar", self, out, [=](double x) { return std::pow(x, power); }, workspace, executor);
}

// log(1 + exp(beta x)) / beta, x itself where beta x exceeds the threshold.
int softplus(Handle self, Handle beta_handle, Handle threshold_handle, Handle out, uint64_t* workspace,
             void** executor) {
  const double beta = scalar(beta_handle), threshold = scalar(threshold_handle);
  const auto function = [=](double x) { return beta * x > threshold ? x : std::log1p(std::exp(beta * x)) / beta; };
  return apply("aclnnSoftplus", self, out, function, workspace, executor);
}

}  // namespace
}  // namespace ascend_double

#define ASCEND_DOUBLE_UNARY(symbol, expression)                                       \
  namespace {                                                                         \
  int plain_##symbol(Handle self, Handle out, uint64_t* workspace, void** executor) { \
    const auto function = [](double x) -> double { return expression; };              \
    return apply(#symbol, self, out, function, workspace, executor);                  \
  }                                                                                   \
  }                                                                                   \
  ASCEND_DOUBLE_OPERATOR(symbol, plain_##symbol)

using namespace ascend_double;
ASCEND_DOUBLE_UNARY(aclnnSigmoid, 1 / (1 + std::exp(-x)))
ASCEND_DOUBLE_UNARY(aclnnSilu, x / (1 + std::exp(-x)))
ASCEND_DOUBLE_UNARY(aclnnGelu, gelu_erf(x))
ASCEND_DOUBLE_UNARY(aclnnRelu, relu(x))
ASCEND_DOUBLE_UNARY(aclnnExp, std::exp(x))
ASCEND_DOUBLE_UNARY(aclnnLog, std::log(x))
ASCEND_DOUBLE_UNARY(aclnnTanh, std::tanh(x))
ASCEND_DOUBLE_UNARY(aclnnErf, std::erf(x))
ASCEND_DOUBLE_UNARY(aclnnSqrt, std::sqrt(x))
ASCEND_DOUBLE_UNARY(aclnnReciprocal, 1 / x)
ASCEND_DOUBLE_UNARY(aclnnAbs, std::fabs(x))
ASCEND_DOUBLE_UNARY(aclnnNeg, -x)
ASCEND_DOUBLE_OPERATOR(aclnnGeluV2, gelu_v2)
ASCEND_DOUBLE_OPERATOR(aclnnClamp, clamp)
ASCEND_DOUBLE_OPERATOR(aclnnClampMin, clamp_min)
ASCEND_DOUBLE_OPERATOR(aclnnClampMax, clamp_max)
ASCEND_DOUBLE_OPERATOR(aclnnMuls, muls)
ASCEND_DOUBLE_OPERATOR(aclnnAdds, adds)
ASCEND_DOUBLE_OPERATOR(aclnnDivs, divs)
ASCEND_DOUBLE_OPERATOR(aclnnPowTensorScalar, pow_scalar)
ASCEND_DOUBLE_OPERATOR(aclnnSoftplus, softplus)
