// SPDX-License-Identifier: Apache-2.0
// Small operators on tensors of a call. Those that return a tensor make it; `out` may not be an input.
#pragma once

#include "backends/ascend/queue.h"

namespace moekit::ascend {

/// The tensor itself when it has the dtype.
Tensor cast(Queue& queue, const Tensor& in, AclDType dtype);
void cast_to(Queue& queue, const Tensor& in, const Tensor& out);
/// float32 to a dtype and back.
Tensor rounded(Queue& queue, const Tensor& in, AclDType dtype);
/// a + alpha * b, broadcast; of the dtype and shape of a.
Tensor add(Queue& queue, const Tensor& a, const Tensor& b, double alpha = 1.0);
Tensor scaled(Queue& queue, const Tensor& in, double factor);
/// Sum of each row of a [rows, columns] float32 tensor, [rows, 1].
Tensor row_sums(Queue& queue, const Tensor& in);
Tensor copied(Queue& queue, const Tensor& in);
/// The elements of `from` into `to`, of one shape and dtype, whatever their strides.
void copy_elements(Queue& queue, const Tensor& from, const Tensor& to);
/// in >= bound, in < bound, elementwise for int32.
Tensor at_least(Queue& queue, const Tensor& in, std::int64_t bound);
Tensor below(Queue& queue, const Tensor& in, std::int64_t bound);
/// Writes `value` where the mask is set.
void fill_where(Queue& queue, const Tensor& target, const Tensor& mask, double value);
/// a [rows, hidden] times b [columns, hidden] transposed, of one dtype.
Tensor product(Queue& queue, const Tensor& a, const Tensor& b);

}  // namespace moekit::ascend
