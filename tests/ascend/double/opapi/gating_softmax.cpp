// SPDX-License-Identifier: Apache-2.0
// aclnnMoeGatingTopKSoftmax and its V2.
#include "operator.h"

namespace ascend_double {
namespace {

// x without its last dimension, and k.
std::vector<int64_t> with_last(std::vector<int64_t> dims, int64_t last) {
  dims.back() = last;
  return dims;
}

void check_input(const Argument& x, const Argument& finished, int64_t k) {
  x.is(ASCEND_DOUBLE_FLOATS).has_rank(2, 3, code::kTiling);
  const int64_t experts = x.dim(-1);
  require(k >= 0 && k <= experts && k <= 1024, code::kTiling, "k is ", k, ", must be 0..min(", experts, ", 1024)");
  std::vector<int64_t> rows = x.dims();
  rows.pop_back();
  finished.is({DataType::kBool}).has_shape(rows, code::kTiling);
}

int softmax_top_k(Handle x_handle, Handle finished_handle, int64_t k, Handle y_handle, Handle ids_handle,
                  Handle rows_handle, uint64_t* workspace, void** executor) {
  Call call("aclnnMoeGatingTopKSoftmax", workspace, executor);
  const Argument x = call.input("x", x_handle), finished = call.optional_input("finishedOptional", finished_handle);
  const Argument y = call.output("yOut", y_handle), ids = call.output("expertIdxOut", ids_handle);
  const Argument rows = call.output("rowIdxOut", rows_handle);
  check_input(x, finished, k);
  const auto shape = with_last(x.dims(), k);
  y.is({x.dtype()}).has_shape(shape, code::kTiling);
  ids.is({DataType::kInt32}).has_shape(shape, code::kTiling);
  rows.is({DataType::kInt32}).has_shape(shape, code::kTiling);
  return call.finish(odd_workspace(x.elements()), [=](const Arrays& arrays) {
    const Array& in = arrays[x.index()];
    const int64_t experts = x.dim(-1), tokens = experts ? in.elements() / experts : 0;
    for (int64_t t = 0; t < tokens; ++t) {
      std::vector<float> scores = in.row(t);
      softmax(scores.data(), experts);
      const auto chosen = top_k(scores, k);
      const bool done = finished.present() && arrays[finished.index()].integer(t) != 0;
      for (int64_t j = 0; j < k; ++j) {
        const int64_t id = chosen[static_cast<size_t>(j)];
        arrays[y.index()].set(t * k + j, scores[static_cast<size_t>(id)]);
        arrays[ids.index()].set_integer(t * k + j, done ? experts : id);
        arrays[rows.index()].set_integer(t * k + j, j * tokens + t);
      }
    }
  });
}

int softmax_top_k_v2(Handle x_handle, Handle finished_handle, int64_t k, int64_t renorm, bool keep_softmax,
                     Handle y_handle, Handle ids_handle, Handle softmax_handle, uint64_t* workspace, void** executor) {
  Call call("aclnnMoeGatingTopKSoftmaxV2", workspace, executor);
  const Argument x = call.input("x", x_handle), finished = call.optional_input("finishedOptional", finished_handle);
  const Argument y = call.output("yOut", y_handle), ids = call.output("expertIdxOut", ids_handle);
  const Argument all = call.optional_output("softmaxResultOutOptional", softmax_handle);
  check_input(x, finished, k);
  require(renorm == 0 || renorm == 1, code::kTiling, "renorm is ", renorm, ", must be 0 or 1");
  const bool wants_all = renorm == 0 && keep_softmax;
  require(all.present() == wants_all, code::kParamInvalid, "softmaxResultOutOptional goes with renorm 0 and the flag");
  const auto shape = with_last(x.dims(), k);
  y.is({x.dtype()}).has_shape(shape, code::kTiling);
  ids.is({DataType::kInt32}).has_shape(shape, code::kTiling);
  all.is({DataType::kFloat}).has_shape(x.dims(), code::kTiling);
  return call.finish(odd_workspace(x.elements()), [=](const Arrays& arrays) {
    const Array& in = arrays[x.index()];
    const int64_t experts = x.dim(-1), tokens = experts ? in.elements() / experts : 0;
    for (int64_t t = 0; t < tokens; ++t) {
      std::vector<float> scores = in.row(t);
      if (renorm == 0) softmax(scores.data(), experts);
      const auto chosen = top_k(scores, k);
      std::vector<float> weights;
      for (const int64_t id : chosen) weights.push_back(scores[static_cast<size_t>(id)]);
      if (renorm == 1) softmax(weights.data(), k);
      const bool done = finished.present() && arrays[finished.index()].integer(t) != 0;
      for (int64_t j = 0; j < k; ++j) {
        arrays[y.index()].set(t * k + j, weights[static_cast<size_t>(j)]);
        arrays[ids.index()].set_integer(t * k + j, done ? experts : chosen[static_cast<size_t>(j)]);
      }
      for (int64_t e = 0; wants_all && e < experts; ++e) {
        arrays[all.index()].set(t * experts + e, scores[static_cast<size_t>(e)]);
      }
    }
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnMoeGatingTopKSoftmax, softmax_top_k)
ASCEND_DOUBLE_OPERATOR(aclnnMoeGatingTopKSoftmaxV2, softmax_top_k_v2)
