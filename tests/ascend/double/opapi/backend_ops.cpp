// SPDX-License-Identifier: Apache-2.0
// The small operators that a composed activation and a router need.
#include <functional>

#include "operator.h"

namespace ascend_double {
namespace {

// Flat index of `shape`'s element i in a tensor broadcast to it.
int64_t broadcast_index(int64_t i, const std::vector<int64_t>& shape, const std::vector<int64_t>& dims) {
  int64_t index = 0, step = 1;
  const size_t offset = shape.size() - dims.size();
  for (size_t axis = shape.size(); axis-- > 0;) {
    const int64_t at = i % shape[axis];
    i /= shape[axis];
    if (axis < offset) continue;
    if (dims[axis - offset] != 1) index += at * step;
    step *= dims[axis - offset];
  }
  return index;
}

double scalar_value(const void* handle) { return scalars().get(handle, code::kNullptr, code::kParamInvalid)->value; }

int binary(const char* name, Handle a_handle, Handle b_handle, Handle out_handle, uint64_t* workspace, void** executor,
           const std::function<float(float, float)>& f) {
  Call call(name, workspace, executor);
  const Argument a = call.input("self", a_handle).is(ASCEND_DOUBLE_FLOATS), b = call.input("other", b_handle).is(ASCEND_DOUBLE_FLOATS);
  const Argument out = call.output("out", out_handle).is(ASCEND_DOUBLE_FLOATS);
  const std::vector<int64_t> shape = out.dims(), da = a.dims(), db = b.dims();
  return call.finish(0, [=](const Arrays& arrays) {
    const Array &x = arrays[a.index()], &y = arrays[b.index()], &z = arrays[out.index()];
    for (int64_t i = 0; i < z.elements(); ++i)
      z.set(i, f(static_cast<float>(x[broadcast_index(i, shape, da)]), static_cast<float>(y[broadcast_index(i, shape, db)])));
  });
}

int unary(const char* name, Handle a_handle, Handle out_handle, uint64_t* workspace, void** executor,
          const std::function<float(float)>& f, bool exact = false) {
  Call call(name, workspace, executor);
  const Argument a = call.input("self", a_handle).is(ASCEND_DOUBLE_FLOATS);
  const Argument out = call.output("out", out_handle).is({a.dtype()}).has_shape(a.dims());
  return call.finish(0, [=](const Arrays& arrays) {
    const Array &x = arrays[a.index()], &z = arrays[out.index()];
    for (int64_t i = 0; i < z.elements(); ++i) exact ? z.set_exact(i, f(static_cast<float>(x[i]))) : z.set(i, f(static_cast<float>(x[i])));
  });
}

int add(Handle a, Handle b, Handle alpha, Handle out, uint64_t* ws, void** ex) {
  const float k = static_cast<float>(scalar_value(alpha));
  return binary("aclnnAdd", a, b, out, ws, ex, [k](float x, float y) { return x + k * y; });
}
int mul(Handle a, Handle b, Handle out, uint64_t* ws, void** ex) {
  return binary("aclnnMul", a, b, out, ws, ex, [](float x, float y) { return x * y; });
}
int div_(Handle a, Handle b, Handle out, uint64_t* ws, void** ex) {
  return binary("aclnnDiv", a, b, out, ws, ex, [](float x, float y) { return x / y; });
}
int adds(Handle a, Handle b, Handle alpha, Handle out, uint64_t* ws, void** ex) {
  const float k = static_cast<float>(scalar_value(alpha)) * static_cast<float>(scalar_value(b));
  return unary("aclnnAdds", a, out, ws, ex, [k](float x) { return x + k; });
}
int muls(Handle a, Handle b, Handle out, uint64_t* ws, void** ex) {
  const float k = static_cast<float>(scalar_value(b));
  return unary("aclnnMuls", a, out, ws, ex, [k](float x) { return x * k; });
}
int sigmoid_op(Handle a, Handle out, uint64_t* ws, void** ex) { return unary("aclnnSigmoid", a, out, ws, ex, sigmoid); }
int erf_op(Handle a, Handle out, uint64_t* ws, void** ex) {
  return unary("aclnnErf", a, out, ws, ex, [](float x) { return std::erf(x); });
}
int relu(Handle a, Handle out, uint64_t* ws, void** ex) {
  return unary("aclnnRelu", a, out, ws, ex, [](float x) { return x < 0 ? 0.0f : x; }, true);
}
int clamp(Handle a, Handle low, Handle high, Handle out, uint64_t* ws, void** ex) {
  const float lo = low != nullptr ? static_cast<float>(scalar_value(low)) : -INFINITY;
  const float hi = high != nullptr ? static_cast<float>(scalar_value(high)) : INFINITY;
  return unary("aclnnClamp", a, out, ws, ex, [lo, hi](float x) { return x < lo ? lo : x > hi ? hi : x; }, true);
}
int nan_to_num(Handle a, float nan, float high, float low, Handle out, uint64_t* ws, void** ex) {
  return unary("aclnnNanToNum", a, out, ws, ex,
               [=](float x) { return std::isnan(x) ? nan : x == INFINITY ? high : x == -INFINITY ? low : x; }, true);
}
int compare(const char* name, Handle a_handle, Handle bound, Handle out_handle, uint64_t* ws, void** ex, bool at_least) {
  Call call(name, ws, ex);
  const double limit = scalar_value(bound);
  const Argument a = call.input("self", a_handle), out = call.output("out", out_handle).is({DataType::kBool}).has_shape(a.dims());
  return call.finish(0, [=](const Arrays& arrays) {
    const Array &x = arrays[a.index()], &z = arrays[out.index()];
    for (int64_t i = 0; i < z.elements(); ++i) z.set_integer(i, at_least ? x[i] >= limit : x[i] < limit);
  });
}
int ge_scalar(Handle a, Handle b, Handle out, uint64_t* ws, void** ex) { return compare("aclnnGeScalar", a, b, out, ws, ex, true); }
int lt_scalar(Handle a, Handle b, Handle out, uint64_t* ws, void** ex) { return compare("aclnnLtScalar", a, b, out, ws, ex, false); }
int masked_fill(Handle self_handle, Handle mask_handle, Handle value, uint64_t* ws, void** ex) {
  Call call("aclnnInplaceMaskedFillScalar", ws, ex);
  const double fill = scalar_value(value);
  const Argument self = call.output("selfRef", self_handle);
  const Argument mask = call.input("mask", mask_handle).is({DataType::kBool}).has_shape(self.dims());
  return call.finish(0, [=](const Arrays& arrays) {
    const Array &x = arrays[self.index()], &m = arrays[mask.index()];
    for (int64_t i = 0; i < x.elements(); ++i)
      if (m.integer(i) != 0) x.set_exact(i, fill);
  });
}
int reduce_sum(Handle a_handle, Handle dims, bool keep, int dtype, Handle out_handle, uint64_t* ws, void** ex) {
  Call call("aclnnReduceSum", ws, ex);
  const auto axes = int_arrays().get(dims, code::kNullptr, code::kParamInvalid);
  const Argument a = call.input("self", a_handle).is(ASCEND_DOUBLE_FLOATS).has_rank(2, 2);
  require(keep && axes->values == std::vector<int64_t>{1}, code::kParamInvalid, "rows only");
  const Argument out = call.output("out", out_handle).is({static_cast<DataType>(dtype)}).has_shape({a.dim(0), 1});
  return call.finish(0, [=](const Arrays& arrays) {
    const Array &x = arrays[a.index()], &z = arrays[out.index()];
    for (int64_t r = 0; r < x.dim(0); ++r) {
      float sum = 0;
      for (int64_t c = 0; c < x.dim(1); ++c) sum += static_cast<float>(x[r * x.dim(1) + c]);
      z.set(r, sum);
    }
  });
}
int gather(Handle a_handle, int64_t dim, Handle index_handle, Handle out_handle, uint64_t* ws, void** ex) {
  Call call("aclnnGather", ws, ex);
  const Argument a = call.input("self", a_handle).has_rank(2, 2), index = call.input("index", index_handle).is({DataType::kInt32, DataType::kInt64});
  require(dim == 1, code::kParamInvalid, "rows only");
  const Argument out = call.output("out", out_handle).is({a.dtype()}).has_shape(index.dims());
  return call.finish(0, [=](const Arrays& arrays) {
    const Array &x = arrays[a.index()], &at = arrays[index.index()], &z = arrays[out.index()];
    for (int64_t i = 0; i < z.elements(); ++i) z.set_exact(i, x[i / z.dim(1) * x.dim(1) + at.integer(i)]);
  });
}
int softmax_op(Handle a_handle, int64_t dim, Handle out_handle, uint64_t* ws, void** ex) {
  Call call("aclnnSoftmax", ws, ex);
  const Argument a = call.input("self", a_handle).is(ASCEND_DOUBLE_FLOATS).has_rank(2, 2);
  require(dim == 1, code::kParamInvalid, "rows only");
  const Argument out = call.output("out", out_handle).is({a.dtype()}).has_shape(a.dims());
  return call.finish(0, [=](const Arrays& arrays) {
    const Array &x = arrays[a.index()], &z = arrays[out.index()];
    for (int64_t r = 0; r < x.dim(0); ++r) {
      std::vector<float> row = x.row(r);
      softmax(row.data(), x.dim(1));
      for (int64_t c = 0; c < x.dim(1); ++c) z.set(r * x.dim(1) + c, row[static_cast<size_t>(c)]);
    }
  });
}
int mm(Handle a_handle, Handle b_handle, Handle out_handle, int8_t, uint64_t* ws, void** ex) {
  Call call("aclnnMm", ws, ex);
  const Argument a = call.input("self", a_handle).is(ASCEND_DOUBLE_FLOATS).has_rank(2, 2);
  const Argument b = call.input("mat2", b_handle).is({a.dtype()}).has_rank(2, 2);
  require(a.dim(1) == b.dim(0), code::kParamInvalid, "inner dimensions ", a.dim(1), " and ", b.dim(0));
  const Argument out = call.output("out", out_handle).is({a.dtype()}).has_shape({a.dim(0), b.dim(1)});
  return call.finish(odd_workspace(a.elements()), [=](const Arrays& arrays) {
    const Array &x = arrays[a.index()], &w = arrays[b.index()], &z = arrays[out.index()];
    for (int64_t r = 0; r < x.dim(0); ++r) {
      const std::vector<float> row = x.row(r);
      for (int64_t c = 0; c < w.dim(1); ++c) {
        float sum = 0;
        for (int64_t k = 0; k < x.dim(1); ++k) sum += row[static_cast<size_t>(k)] * static_cast<float>(w[k * w.dim(1) + c]);
        z.set(r * w.dim(1) + c, sum);
      }
    }
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnAdd, add)
ASCEND_DOUBLE_OPERATOR(aclnnMul, mul)
ASCEND_DOUBLE_OPERATOR(aclnnDiv, div_)
ASCEND_DOUBLE_OPERATOR(aclnnAdds, adds)
ASCEND_DOUBLE_OPERATOR(aclnnMuls, muls)
ASCEND_DOUBLE_OPERATOR(aclnnSigmoid, sigmoid_op)
ASCEND_DOUBLE_OPERATOR(aclnnErf, erf_op)
ASCEND_DOUBLE_OPERATOR(aclnnRelu, relu)
ASCEND_DOUBLE_OPERATOR(aclnnClamp, clamp)
ASCEND_DOUBLE_OPERATOR(aclnnNanToNum, nan_to_num)
ASCEND_DOUBLE_OPERATOR(aclnnGeScalar, ge_scalar)
ASCEND_DOUBLE_OPERATOR(aclnnLtScalar, lt_scalar)
ASCEND_DOUBLE_OPERATOR(aclnnInplaceMaskedFillScalar, masked_fill)
ASCEND_DOUBLE_OPERATOR(aclnnReduceSum, reduce_sum)
ASCEND_DOUBLE_OPERATOR(aclnnGather, gather)
ASCEND_DOUBLE_OPERATOR(aclnnSoftmax, softmax_op)
ASCEND_DOUBLE_OPERATOR(aclnnMm, mm)
