// SPDX-License-Identifier: Apache-2.0
// A scale of a whole matrix, seen as one for each row: the kernels' layouts know scales of rows, and the value is the
// same.
#pragma once

#include "moekit/tensor.h"

namespace moekit {

/// `tensor` holds one element for each of `count` matrices; the answer is [count, rows], made as it is read.
TensorRef repeated_rows(const TensorRef& tensor, std::int64_t count, std::int64_t rows);

}  // namespace moekit
