// SPDX-License-Identifier: Apache-2.0
// aclnnGeScalar, aclnnLtScalar, aclnnInplaceMaskedFillScalar, aclnnNanToNum.
#include "operator.h"

namespace ascend_double {
namespace {

double number_of(const void* scalar) { return scalars().get(scalar, code::kNullptr, code::kParamInvalid)->value; }

template <class Compare>
int compare(const char* operation, Handle self_handle, Handle bound_handle, Handle out_handle, uint64_t* workspace,
            void** executor, Compare compare) {
  Call call(operation, workspace, executor);
  const double bound = number_of(bound_handle);
  const Argument self = call.input("self", self_handle);
  const Argument out = call.output("out", out_handle).is({DataType::kBool}).has_shape(self.dims());
  return call.finish(0, [=](const Arrays& arrays) {
    for (int64_t i = 0; i < out.elements(); ++i)
      arrays[out.index()].set_integer(i, compare(arrays[self.index()][i], bound) ? 1 : 0);
  });
}

int at_least(Handle self, Handle bound, Handle out, uint64_t* workspace, void** executor) {
  return compare("aclnnGeScalar", self, bound, out, workspace, executor, [](double a, double b) { return a >= b; });
}

int below(Handle self, Handle bound, Handle out, uint64_t* workspace, void** executor) {
  return compare("aclnnLtScalar", self, bound, out, workspace, executor, [](double a, double b) { return a < b; });
}

int masked_fill(Handle self_handle, Handle mask_handle, Handle value_handle, uint64_t* workspace, void** executor) {
  Call call("aclnnInplaceMaskedFillScalar", workspace, executor);
  const double value = number_of(value_handle);
  const Argument self = call.output("selfRef", self_handle);
  const Argument mask = call.input("mask", mask_handle).is({DataType::kBool}).has_shape(self.dims());
  return call.finish(0, [=](const Arrays& arrays) {
    for (int64_t i = 0; i < self.elements(); ++i)
      if (arrays[mask.index()].integer(i) != 0) arrays[self.index()].set_exact(i, value);
  });
}

int nan_to_num(Handle self_handle, float nan, float highest, float lowest, Handle out_handle, uint64_t* workspace,
               void** executor) {
  Call call("aclnnNanToNum", workspace, executor);
  const Argument self = call.input("self", self_handle).is(ASCEND_DOUBLE_FLOATS);
  const Argument out = call.output("out", out_handle).is({self.dtype()}).has_shape(self.dims());
  return call.finish(0, [=](const Arrays& arrays) {
    for (int64_t i = 0; i < out.elements(); ++i) {
      const double x = arrays[self.index()][i];
      arrays[out.index()].set_exact(i, std::isnan(x) ? nan : std::isinf(x) ? (x > 0 ? highest : lowest) : x);
    }
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnGeScalar, at_least)
ASCEND_DOUBLE_OPERATOR(aclnnLtScalar, below)
ASCEND_DOUBLE_OPERATOR(aclnnInplaceMaskedFillScalar, masked_fill)
ASCEND_DOUBLE_OPERATOR(aclnnNanToNum, nan_to_num)
