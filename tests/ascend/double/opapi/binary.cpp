// SPDX-License-Identifier: Apache-2.0
// Elementwise functions of two tensors with broadcasting; the output may be an input of its shape.
#include "operator.h"

namespace ascend_double {
namespace {

// Shape of both under the rule that dimensions align at the end and 1 stretches.
std::vector<int64_t> broadcast(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  std::vector<int64_t> shape(std::max(a.size(), b.size()));
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1, y = i < b.size() ? b[b.size() - 1 - i] : 1;
    require(x == y || x == 1 || y == 1, code::kParamInvalid, "shapes ", text_of(a), " and ", text_of(b),
            " do not broadcast");
    shape[shape.size() - 1 - i] = x == 1 ? y : x;
  }
  return shape;
}

// The flat index in `dims` of the element at `flat` of the broadcast shape.
int64_t source(const std::vector<int64_t>& dims, const std::vector<int64_t>& shape, int64_t flat) {
  int64_t index = 0, step = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t at = flat % shape[shape.size() - 1 - i];
    flat /= shape[shape.size() - 1 - i];
    if (i >= dims.size()) continue;
    const int64_t dim = dims[dims.size() - 1 - i];
    if (dim != 1) index += at * step;
    step *= dim;
  }
  return index;
}

int apply(const char* operation, Handle self_handle, Handle other_handle, Handle out_handle,
          std::function<double(double, double)> function, uint64_t* workspace, void** executor) {
  Call call(operation, workspace, executor);
  call.allow_in_place();
  const Argument self = call.input("self", self_handle), other = call.input("other", other_handle);
  const Argument out = call.output("out", out_handle);
  for (const Argument* one : {&self, &other}) {
    one->is({DataType::kFloat, DataType::kFloat16, DataType::kBFloat16, DataType::kInt32, DataType::kInt64});
  }
  // Mixed types are promoted on the device; a layer has no use for that, so a mix is a mistake here.
  other.is({self.dtype()});
  out.is({self.dtype()});
  const std::vector<int64_t> shape = broadcast(self.dims(), other.dims());
  out.has_shape(shape);
  return call.finish(0, [=](const Arrays& arrays) {
    const Array& result = arrays[out.index()];
    for (int64_t i = 0; i < result.elements(); ++i) {
      result.set(i, function(arrays[self.index()][source(self.dims(), shape, i)],
                             arrays[other.index()][source(other.dims(), shape, i)]));
    }
  });
}

int mul(Handle self, Handle other, Handle out, uint64_t* workspace, void** executor) {
  return apply(
      "aclnnMul", self, other, out, [](double a, double b) { return a * b; }, workspace, executor);
}

int divide(Handle self, Handle other, Handle out, uint64_t* workspace, void** executor) {
  return apply(
      "aclnnDiv", self, other, out, [](double a, double b) { return a / b; }, workspace, executor);
}

int maximum(Handle self, Handle other, Handle out, uint64_t* workspace, void** executor) {
  return apply(
      "aclnnMaximum", self, other, out, [](double a, double b) { return std::fmax(a, b); }, workspace, executor);
}

int minimum(Handle self, Handle other, Handle out, uint64_t* workspace, void** executor) {
  return apply(
      "aclnnMinimum", self, other, out, [](double a, double b) { return std::fmin(a, b); }, workspace, executor);
}

int add(Handle self, Handle other, Handle alpha_handle, Handle out, uint64_t* workspace, void** executor) {
  const double alpha = scalars().get(alpha_handle, code::kNullptr, code::kParamInvalid)->value;
  return apply(
      "aclnnAdd", self, other, out, [=](double a, double b) { return a + alpha * b; }, workspace, executor);
}

int sub(Handle self, Handle other, Handle alpha_handle, Handle out, uint64_t* workspace, void** executor) {
  const double alpha = scalars().get(alpha_handle, code::kNullptr, code::kParamInvalid)->value;
  return apply(
      "aclnnSub", self, other, out, [=](double a, double b) { return a - alpha * b; }, workspace, executor);
}

// The forms whose first tensor is also the output.
int inplace(const char* operation, Handle self_handle, Handle other_handle, double alpha, bool multiply,
            uint64_t* workspace, void** executor) {
  Call call(operation, workspace, executor);
  const Argument other = call.input("other", other_handle).is(ASCEND_DOUBLE_FLOATS);
  const Argument self = call.output("selfRef", self_handle).is({other.dtype()});
  require(broadcast(self.dims(), other.dims()) == self.dims(), code::kParamInvalid, "other: shape ",
          text_of(other.dims()), " does not broadcast to ", text_of(self.dims()));
  return call.finish(0, [=](const Arrays& arrays) {
    const Array& result = arrays[self.index()];
    for (int64_t i = 0; i < result.elements(); ++i) {
      const double b = arrays[other.index()][source(other.dims(), self.dims(), i)];
      result.set(i, multiply ? result[i] * b : result[i] + alpha * b);
    }
  });
}

int inplace_add(Handle self, Handle other, Handle alpha_handle, uint64_t* workspace, void** executor) {
  const double alpha = scalars().get(alpha_handle, code::kNullptr, code::kParamInvalid)->value;
  return inplace("aclnnInplaceAdd", self, other, alpha, false, workspace, executor);
}

int inplace_mul(Handle self, Handle other, uint64_t* workspace, void** executor) {
  return inplace("aclnnInplaceMul", self, other, 1, true, workspace, executor);
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnAdd, add)
ASCEND_DOUBLE_OPERATOR(aclnnSub, sub)
ASCEND_DOUBLE_OPERATOR(aclnnMul, mul)
ASCEND_DOUBLE_OPERATOR(aclnnDiv, divide)
ASCEND_DOUBLE_OPERATOR(aclnnMaximum, maximum)
ASCEND_DOUBLE_OPERATOR(aclnnMinimum, minimum)
ASCEND_DOUBLE_OPERATOR(aclnnInplaceAdd, inplace_add)
ASCEND_DOUBLE_OPERATOR(aclnnInplaceMul, inplace_mul)
