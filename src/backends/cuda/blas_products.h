// SPDX-License-Identifier: Apache-2.0
// The products of a set of experts by cuBLAS: a fallback, and something to hold the own kernels against. Sizes go
// through the host, so a call waits for its routing and cannot be captured, and an element's bits may depend on the
// batch, as cuBLAS chooses its kernels by size.
#pragma once

#include "backends/cuda/products.h"

namespace moekit::cuda {

/// What MOEKIT_CUDA_GEMM asks for: "moekit" (or nothing), or "cublas". Throws std::invalid_argument for another value.
bool blas_asked_for();
/// Why cuBLAS cannot do the products of these formats here; empty where it can.
std::string why_no_blas(const BlockFormats& formats);

/// As multiply(), for experts with PackedExperts::blas. Throws DeviceError.
void blas_multiply(const Call& call, const PackedExperts& experts, const Rows& rows);

}  // namespace moekit::cuda
