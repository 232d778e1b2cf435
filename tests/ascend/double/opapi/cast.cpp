// SPDX-License-Identifier: Apache-2.0
// aclnnCast: between the number types; floats to integers toward zero.
#include "operator.h"

namespace ascend_double {
namespace {

int cast(Handle self_handle, int dtype, Handle out_handle, uint64_t* workspace, void** executor) {
  Call call("aclnnCast", workspace, executor);
  const Argument self = call.input("self", self_handle), out = call.output("out", out_handle);
  require(static_cast<int>(out.dtype()) == dtype, code::kParamInvalid, "out: dtype is ", name_of(out.dtype()),
          ", the call says ", dtype);
  require(element_bits(self.dtype()) >= 8 && element_bits(out.dtype()) >= 8, code::kParamInvalid, "no cast from ",
          name_of(self.dtype()), " to ", name_of(out.dtype()));
  out.has_shape(self.dims());
  return call.finish(0, [=](const Arrays& arrays) {
    const Array &from = arrays[self.index()], &to = arrays[out.index()];
    for (int64_t i = 0; i < from.elements(); ++i) {
      if (is_floating(from.dtype())) {
        to.set_exact(i, is_floating(to.dtype()) || to.dtype() == DataType::kBool ? from[i] : std::trunc(from[i]));
      } else {
        to.set_integer(i, from.integer(i));
      }
    }
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnCast, cast)
