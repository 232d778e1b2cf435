// SPDX-License-Identifier: Apache-2.0
// aclnnSwiGlu: silu of the first half times the second half.
#include "operator.h"

namespace ascend_double {
namespace {

int swiglu(Handle x_handle, int64_t dim, Handle out_handle, uint64_t* workspace, void** executor) {
  Call call("aclnnSwiGlu", workspace, executor);
  const Argument x = call.input("x", x_handle).is(ASCEND_DOUBLE_FLOATS).has_rank(1, 8);
  const Argument out = call.output("out", out_handle).is({x.dtype()});
  require(x.contiguous(), code::kParamInvalid, "x must be contiguous");
  const int64_t axis = dim < 0 ? dim + x.rank() : dim;
  require(axis >= 0 && axis < x.rank(), code::kParamInvalid, "dim is ", dim, ", x has ", x.rank(), " dimensions");
  require(x.dim(axis) % 2 == 0, code::kParamInvalid, "x has ", x.dim(axis), " elements along dim, must be even");
  std::vector<int64_t> shape = x.dims();
  shape[static_cast<size_t>(axis)] /= 2;
  out.has_shape(shape);
  return call.finish(0, [=](const Arrays& arrays) {
    const Array &in = arrays[x.index()], &result = arrays[out.index()];
    int64_t inner = 1;
    for (int64_t i = axis + 1; i < x.rank(); ++i) inner *= x.dim(i);
    const int64_t half = x.dim(axis) / 2 * inner;
    for (int64_t i = 0; i < result.elements(); ++i) {
      const int64_t at = i / half * 2 * half + i % half;
      result.set(i, silu(static_cast<float>(in[at])) * static_cast<float>(in[at + half]));
    }
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnSwiGlu, swiglu)
