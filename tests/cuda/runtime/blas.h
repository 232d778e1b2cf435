// SPDX-License-Identifier: Apache-2.0
// The functions of blas_api.h declared, for those who call them.
#pragma once

#include "cuda/runtime/blas_api.h"

namespace moekit::standin {

extern "C" {
#define X(name, params) BlasStatus name params;
MOEKIT_STANDIN_BLAS_FUNCTIONS(X)
#undef X
const char* cublasGetStatusName(BlasStatus status);
const char* cublasGetStatusString(BlasStatus status);
}

}  // namespace moekit::standin
