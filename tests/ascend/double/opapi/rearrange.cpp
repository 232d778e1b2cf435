// SPDX-License-Identifier: Apache-2.0
// aclnnIndexSelect, aclnnGather, aclnnSoftmax, aclnnReduceSum, aclnnTopk, aclnnInplaceCopy, aclnnInplaceZero,
// aclnnInplaceFillScalar.
#include <algorithm>

#include "operator.h"

namespace ascend_double {
namespace {

int64_t axis_of(const Argument& tensor, int64_t dim) {
  const int64_t axis = dim < 0 ? dim + tensor.rank() : dim;
  require(axis >= 0 && axis < tensor.rank(), code::kParamInvalid, "dim is ", dim, ", ", tensor.name(), " has ",
          tensor.rank(), " dimensions");
  return axis;
}

// A tensor as [outer, along the axis, inner].
struct Split {
  int64_t outer = 1, along = 1, inner = 1;
};

Split split(const std::vector<int64_t>& dims, int64_t axis) {
  Split result;
  for (size_t i = 0; i < dims.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    (at < axis ? result.outer : at > axis ? result.inner : result.along) *= dims[i];
  }
  return result;
}

int64_t checked(int64_t index, int64_t limit) {
  if (index < 0 || index >= limit) {
    violate("device range", code::kRtAicoreException, "index ", index, " of ", limit);
  }
  return index;
}

int index_select(Handle self_handle, int64_t dim, Handle index_handle, Handle out_handle, uint64_t* workspace,
                 void** executor) {
  Call call("aclnnIndexSelect", workspace, executor);
  const Argument self = call.input("self", self_handle);
  const Argument index = call.input("index", index_handle).is({DataType::kInt32, DataType::kInt64}).has_rank(0, 1);
  const Argument out = call.output("out", out_handle).is({self.dtype()});
  const int64_t axis = axis_of(self, dim);
  std::vector<int64_t> shape = self.dims();
  shape[static_cast<size_t>(axis)] = index.elements();
  out.has_shape(shape);
  return call.finish(0, [=](const Arrays& arrays) {
    const Split part = split(self.dims(), axis);
    const int64_t count = index.elements();
    for (int64_t o = 0; o < part.outer; ++o) {
      for (int64_t i = 0; i < count; ++i) {
        const int64_t from = checked(arrays[index.index()].integer(i), part.along);
        arrays[out.index()].copy((o * count + i) * part.inner, arrays[self.index()],
                                 (o * part.along + from) * part.inner, part.inner);
      }
    }
  });
}

// out has index's shape; dimensions other than dim must not exceed self's: here they are equal.
int gather(Handle self_handle, int64_t dim, Handle index_handle, Handle out_handle, uint64_t* workspace,
           void** executor) {
  Call call("aclnnGather", workspace, executor);
  const Argument self = call.input("self", self_handle);
  const Argument index = call.input("index", index_handle).is({DataType::kInt32, DataType::kInt64});
  const Argument out = call.output("out", out_handle).is({self.dtype()}).has_shape(index.dims());
  const int64_t axis = axis_of(self, dim);
  std::vector<int64_t> shape = self.dims();
  require(index.rank() == self.rank(), code::kParamInvalid, "index has ", index.rank(), " dimensions, self ",
          self.rank());
  shape[static_cast<size_t>(axis)] = index.dim(axis);
  index.has_shape(shape);
  return call.finish(0, [=](const Arrays& arrays) {
    const Split part = split(self.dims(), axis);
    const int64_t count = index.dim(axis);
    for (int64_t o = 0; o < part.outer; ++o) {
      for (int64_t i = 0; i < count * part.inner; ++i) {
        const int64_t from = checked(arrays[index.index()].integer(o * count * part.inner + i), part.along);
        arrays[out.index()].copy(o * count * part.inner + i, arrays[self.index()],
                                 (o * part.along + from) * part.inner + i % part.inner, 1);
      }
    }
  });
}

int softmax_of(Handle self_handle, int64_t dim, Handle out_handle, uint64_t* workspace, void** executor) {
  Call call("aclnnSoftmax", workspace, executor);
  const Argument self = call.input("self", self_handle).is(ASCEND_DOUBLE_FLOATS);
  const Argument out = call.output("out", out_handle).is({self.dtype(), DataType::kFloat}).has_shape(self.dims());
  const int64_t axis = axis_of(self, dim);
  return call.finish(0, [=](const Arrays& arrays) {
    const Split part = split(self.dims(), axis);
    std::vector<float> line(static_cast<size_t>(part.along));
    for (int64_t o = 0; o < part.outer * part.inner; ++o) {
      const auto at = [&](int64_t i) { return (o / part.inner * part.along + i) * part.inner + o % part.inner; };
      for (int64_t i = 0; i < part.along; ++i)
        line[static_cast<size_t>(i)] = static_cast<float>(arrays[self.index()][at(i)]);
      softmax(line.data(), part.along);
      for (int64_t i = 0; i < part.along; ++i) arrays[out.index()].set(at(i), line[static_cast<size_t>(i)]);
    }
  });
}

int reduce_sum(Handle self_handle, Handle dims_handle, bool keep, int dtype, Handle out_handle, uint64_t* workspace,
               void** executor) {
  Call call("aclnnReduceSum", workspace, executor);
  const Argument self = call.input("self", self_handle).is(ASCEND_DOUBLE_FLOATS);
  const Argument out = call.output("out", out_handle).is({static_cast<DataType>(dtype)});
  const auto over = int_arrays().get(dims_handle, code::kNullptr, code::kParamInvalid);
  require(over->values.size() == 1, code::kParamInvalid, "the double sums over one dimension, not ",
          over->values.size());
  const int64_t axis = axis_of(self, over->values[0]);
  std::vector<int64_t> shape = self.dims();
  if (keep) {
    shape[static_cast<size_t>(axis)] = 1;
  } else {
    shape.erase(shape.begin() + axis);
  }
  out.has_shape(shape);
  return call.finish(0, [=](const Arrays& arrays) {
    const Split part = split(self.dims(), axis);
    for (int64_t o = 0; o < part.outer * part.inner; ++o) {
      float sum = 0;
      for (int64_t i = 0; i < part.along; ++i) {
        sum +=
            static_cast<float>(arrays[self.index()][(o / part.inner * part.along + i) * part.inner + o % part.inner]);
      }
      arrays[out.index()].set(o, sum);
    }
  });
}

int topk(Handle self_handle, int64_t k, int64_t dim, bool largest, bool sorted, Handle values_handle,
         Handle indices_handle, uint64_t* workspace, void** executor) {
  Call call("aclnnTopk", workspace, executor);
  const Argument self = call.input("self", self_handle).is(ASCEND_DOUBLE_FLOATS);
  const Argument values = call.output("valuesOut", values_handle).is({self.dtype()});
  const Argument indices = call.output("indicesOut", indices_handle).is({DataType::kInt64});
  require(axis_of(self, dim) == self.rank() - 1, code::kParamInvalid, "the double sorts along the last dimension");
  require(k >= 0 && k <= self.dim(-1), code::kParamInvalid, "k is ", k, ", must be 0..", self.dim(-1));
  require(sorted, code::kParamInvalid, "the double gives sorted values only");
  std::vector<int64_t> shape = self.dims();
  shape.back() = k;
  values.has_shape(shape);
  indices.has_shape(shape);
  return call.finish(odd_workspace(self.elements()), [=](const Arrays& arrays) {
    const int64_t width = self.dim(-1);
    for (int64_t r = 0; r < self.elements() / std::max<int64_t>(1, width); ++r) {
      std::vector<float> row = arrays[self.index()].row(r);
      for (float& value : row) value = largest ? value : -value;
      const auto chosen = top_k(row, k);
      for (int64_t j = 0; j < k; ++j) {
        const int64_t at = chosen[static_cast<size_t>(j)];
        arrays[values.index()].copy(r * k + j, arrays[self.index()], r * width + at, 1);
        arrays[indices.index()].set_integer(r * k + j, at);
      }
    }
  });
}

// Between types it rounds; strided views on both sides.
int inplace_copy(Handle self_handle, Handle source_handle, uint64_t* workspace, void** executor) {
  Call call("aclnnInplaceCopy", workspace, executor);
  const Argument source = call.input("src", source_handle);
  const Argument self = call.strided_output("selfRef", self_handle).has_shape(source.dims());
  return call.finish(0, [=](const Arrays& arrays) {
    const Array& to = arrays[self.index()];
    for (int64_t i = 0; i < to.elements(); ++i) to.set_exact(i, arrays[source.index()][i]);
  });
}

int fill(const char* operation, Handle self_handle, double value, uint64_t* workspace, void** executor) {
  Call call(operation, workspace, executor);
  const Argument self = call.output("selfRef", self_handle);
  return call.finish(0, [=](const Arrays& arrays) {
    for (int64_t i = 0; i < self.elements(); ++i) arrays[self.index()].set_exact(i, value);
  });
}

int inplace_zero(Handle self, uint64_t* workspace, void** executor) {
  return fill("aclnnInplaceZero", self, 0, workspace, executor);
}

int inplace_fill(Handle self, Handle value, uint64_t* workspace, void** executor) {
  const double number = scalars().get(value, code::kNullptr, code::kParamInvalid)->value;
  return fill("aclnnInplaceFillScalar", self, number, workspace, executor);
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnIndexSelect, index_select)
ASCEND_DOUBLE_OPERATOR(aclnnGather, gather)
ASCEND_DOUBLE_OPERATOR(aclnnSoftmax, softmax_of)
ASCEND_DOUBLE_OPERATOR(aclnnReduceSum, reduce_sum)
ASCEND_DOUBLE_OPERATOR(aclnnTopk, topk)
ASCEND_DOUBLE_OPERATOR(aclnnInplaceCopy, inplace_copy)
ASCEND_DOUBLE_OPERATOR(aclnnInplaceZero, inplace_zero)
ASCEND_DOUBLE_OPERATOR(aclnnInplaceFillScalar, inplace_fill)
