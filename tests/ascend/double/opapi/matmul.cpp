// SPDX-License-Identifier: Apache-2.0
// aclnnMm, aclnnMatmul, aclnnBatchMatMul, aclnnAddmm.
#include "operator.h"

namespace ascend_double {
namespace {

void multiply(const Array& a, const Array& b, const Array& out, int64_t batch, int64_t m, int64_t k, int64_t n,
              const Array* bias, int64_t bias_rows, float beta, float alpha) {
  std::vector<float> sums(static_cast<size_t>(n));
  for (int64_t row = 0; row < m; ++row) {
    std::fill(sums.begin(), sums.end(), 0.0f);
    for (int64_t i = 0; i < k; ++i) {
      const auto value = static_cast<float>(a[(batch * m + row) * k + i]);
      for (int64_t c = 0; c < n; ++c)
        sums[static_cast<size_t>(c)] += value * static_cast<float>(b[(batch * k + i) * n + c]);
    }
    for (int64_t c = 0; c < n; ++c) {
      float value = alpha * sums[static_cast<size_t>(c)];
      if (bias != nullptr) value += beta * static_cast<float>((*bias)[(bias_rows == 1 ? 0 : row * n) + c]);
      out.set((batch * m + row) * n + c, value);
    }
  }
}

int product(const char* operation, int64_t rank, Handle self_handle, Handle mat2_handle, Handle out_handle,
            int8_t cube_math, uint64_t* workspace, void** executor) {
  Call call(operation, workspace, executor);
  const Argument self = call.input("self", self_handle).is(ASCEND_DOUBLE_FLOATS).has_rank(rank, rank);
  const Argument mat2 = call.input("mat2", mat2_handle).is({self.dtype()}).has_rank(rank, rank);
  const Argument out = call.output("out", out_handle).is({self.dtype()});
  require(cube_math >= 0 && cube_math <= 3, code::kParamInvalid, "cubeMathType is ", int{cube_math});
  require(self.dim(-1) == mat2.dim(-2), code::kParamInvalid, "self has ", self.dim(-1), " columns, mat2 ", mat2.dim(-2),
          " rows");
  require(rank == 2 || self.dim(0) == mat2.dim(0), code::kParamInvalid, "batches are ", self.dim(0), " and ",
          mat2.dim(0));
  std::vector<int64_t> shape = self.dims();
  shape.back() = mat2.dim(-1);
  out.has_shape(shape);
  return call.finish(odd_workspace(out.elements()), [=](const Arrays& arrays) {
    for (int64_t batch = 0; batch < (rank == 3 ? self.dim(0) : 1); ++batch) {
      multiply(arrays[self.index()], arrays[mat2.index()], arrays[out.index()], batch, self.dim(-2), self.dim(-1),
               mat2.dim(-1), nullptr, 0, 0, 1);
    }
  });
}

int mm(Handle self, Handle mat2, Handle out, int8_t cube_math, uint64_t* workspace, void** executor) {
  return product("aclnnMm", 2, self, mat2, out, cube_math, workspace, executor);
}

int matmul(Handle self, Handle mat2, Handle out, int8_t cube_math, uint64_t* workspace, void** executor) {
  return product("aclnnMatmul", 2, self, mat2, out, cube_math, workspace, executor);
}

int batch_matmul(Handle self, Handle mat2, Handle out, int8_t cube_math, uint64_t* workspace, void** executor) {
  return product("aclnnBatchMatMul", 3, self, mat2, out, cube_math, workspace, executor);
}

// out = beta * self + alpha * mat1 @ mat2; self [M, N], [1, N] or [N].
int addmm(Handle self_handle, Handle mat1_handle, Handle mat2_handle, Handle beta_handle, Handle alpha_handle,
          Handle out_handle, int8_t cube_math, uint64_t* workspace, void** executor) {
  Call call("aclnnAddmm", workspace, executor);
  const Argument self = call.input("self", self_handle).is(ASCEND_DOUBLE_FLOATS).has_rank(1, 2);
  const Argument mat1 = call.input("mat1", mat1_handle).is({self.dtype()}).has_rank(2, 2);
  const Argument mat2 = call.input("mat2", mat2_handle).is({self.dtype()}).has_rank(2, 2);
  const Argument out = call.output("out", out_handle).is({self.dtype()});
  const auto beta = static_cast<float>(scalars().get(beta_handle, code::kNullptr, code::kParamInvalid)->value);
  const auto alpha = static_cast<float>(scalars().get(alpha_handle, code::kNullptr, code::kParamInvalid)->value);
  require(cube_math >= 0 && cube_math <= 3, code::kParamInvalid, "cubeMathType is ", int{cube_math});
  require(mat1.dim(1) == mat2.dim(0), code::kParamInvalid, "mat1 has ", mat1.dim(1), " columns, mat2 ", mat2.dim(0),
          " rows");
  const int64_t m = mat1.dim(0), n = mat2.dim(1);
  out.has_shape({m, n});
  const int64_t bias_rows = self.rank() == 1 ? 1 : self.dim(0);
  require(self.dim(-1) == n && (bias_rows == 1 || bias_rows == m), code::kParamInvalid, "self: shape ",
          text_of(self.dims()), " does not broadcast to ", text_of(out.dims()));
  return call.finish(odd_workspace(out.elements()), [=](const Arrays& arrays) {
    multiply(arrays[mat1.index()], arrays[mat2.index()], arrays[out.index()], 0, m, mat1.dim(1), n,
             &arrays[self.index()], bias_rows, beta, alpha);
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnMm, mm)
ASCEND_DOUBLE_OPERATOR(aclnnMatmul, matmul)
ASCEND_DOUBLE_OPERATOR(aclnnBatchMatMul, batch_matmul)
ASCEND_DOUBLE_OPERATOR(aclnnAddmm, addmm)
