// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/elementwise.h"

namespace moekit::ascend {
namespace {

// A tensor of the shape of another.
Tensor like(Queue& queue, const Tensor& in, AclDType dtype) {
  switch (in.rank) {
    case 1: return queue.make(dtype, {in.dims[0]});
    case 2: return queue.make(dtype, {in.dims[0], in.dims[1]});
    case 3: return queue.make(dtype, {in.dims[0], in.dims[1], in.dims[2]});
    default: return queue.make(dtype, {in.dims[0], in.dims[1], in.dims[2], in.dims[3]});
  }
}

Tensor compared(Queue& queue, const Operator<In, const AclScalar*, Out>& op, const Tensor& in, std::int64_t bound) {
  const Tensor out = like(queue, in, kAclBool);
  queue.run(op, in, Scalar{static_cast<double>(bound), kAclInt32}, out);
  return out;
}

}  // namespace

void cast_to(Queue& queue, const Tensor& in, const Tensor& out) { queue.run(api().op.cast, in, out.dtype, out); }

Tensor cast(Queue& queue, const Tensor& in, AclDType dtype) {
  if (in.dtype == dtype) return in;
  const Tensor out = like(queue, in, dtype);
  cast_to(queue, in, out);
  return out;
}

Tensor rounded(Queue& queue, const Tensor& in, AclDType dtype) { return cast(queue, cast(queue, in, dtype), in.dtype); }

Tensor add(Queue& queue, const Tensor& a, const Tensor& b, double alpha) {
  const Tensor out = like(queue, a, a.dtype);
  queue.run(api().op.add, a, b, Scalar{alpha}, out);
  return out;
}

Tensor scaled(Queue& queue, const Tensor& in, double factor) {
  const Tensor out = like(queue, in, in.dtype);
  queue.run(api().op.muls, in, Scalar{factor}, out);
  return out;
}

Tensor row_sums(Queue& queue, const Tensor& in) {
  const Tensor out = queue.make(kAclFloat, {in.dims[0], 1});
  queue.run(api().op.reduce_sum, in, Ints{{1}}, true, kAclFloat, out);
  return out;
}

Tensor copied(Queue& queue, const Tensor& in) {
  const Tensor out = like(queue, in, in.dtype);
  copy_elements(queue, in, out);
  return out;
}

// Copies by the copy engine take runs of bytes between aligned addresses, everything else is an operator's.
void copy_elements(Queue& queue, const Tensor& from, const Tensor& to) {
  const auto aligned = [](const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) % kCopyAlignment == 0;
  };
  if (from.contiguous() && to.contiguous() && aligned(from.data) && aligned(to.data))
    return queue.copy(to.data, from.data, to.bytes());
  queue.run(api().op.inplace_copy, to, from);
}

Tensor at_least(Queue& queue, const Tensor& in, std::int64_t bound) {
  return compared(queue, api().op.ge_scalar, in, bound);
}

Tensor below(Queue& queue, const Tensor& in, std::int64_t bound) {
  return compared(queue, api().op.lt_scalar, in, bound);
}

void fill_where(Queue& queue, const Tensor& target, const Tensor& mask, double value) {
  queue.run(api().op.masked_fill, target, mask, Scalar{value, target.dtype == kAclInt32 ? kAclInt32 : kAclFloat});
}

Tensor product(Queue& queue, const Tensor& a, const Tensor& b) {
  const Tensor out = queue.make(a.dtype, {a.dims[0], b.dims[0]});
  constexpr std::int8_t kKeepPrecision = 0;
  queue.run(api().op.mm, a, b.transposed(), out, kKeepPrecision);
  return out;
}

}  // namespace moekit::ascend
