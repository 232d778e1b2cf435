// SPDX-License-Identifier: Apache-2.0
// aclnnDynamicQuant: int8 and one scale a row.
#include "operator.h"

namespace ascend_double {
namespace {

int dynamic_quant(Handle x_handle, Handle smooth_handle, Handle y_handle, Handle scale_handle, uint64_t* workspace,
                  void** executor) {
  Call call("aclnnDynamicQuant", workspace, executor);
  const Argument x = call.input("x", x_handle).is({DataType::kFloat16, DataType::kBFloat16}).has_rank(2, 8);
  const Argument smooth = call.optional_input("smoothScalesOptional", smooth_handle).is({x.dtype()});
  const Argument y = call.output("yOut", y_handle).is({DataType::kInt8}).has_shape(x.dims());
  const Argument scale = call.output("scaleOut", scale_handle).is({DataType::kFloat});
  std::vector<int64_t> rows = x.dims();
  const int64_t width = rows.back();
  rows.pop_back();
  scale.has_shape(rows);
  smooth.has_shape({width});
  return call.finish(0, [=](const Arrays& arrays) {
    const Array& scales = arrays[scale.index()];
    for (int64_t r = 0; r < scales.elements(); ++r) {
      std::vector<float> row = arrays[x.index()].row(r);
      for (int64_t i = 0; smooth.present() && i < width; ++i) {
        row[static_cast<size_t>(i)] *= static_cast<float>(arrays[smooth.index()][i]);
      }
      scales.set(r, quantise_row(row, arrays[y.index()], r));
    }
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnDynamicQuant, dynamic_quant)
