// SPDX-License-Identifier: Apache-2.0
#include "communicator.h"

#include <algorithm>
#include <cstring>

namespace ascend_double {

HandleTable<Communicator>& communicators() {
  static auto* const instance = new HandleTable<Communicator>("HcclComm");
  return *instance;
}

DataType type_of(int hccl_type) {
  switch (hccl_type) {
    case 0: return DataType::kInt8;
    case 1: return DataType::kInt16;
    case 2: return DataType::kInt32;
    case 3: return DataType::kFloat16;
    case 4: return DataType::kFloat;
    case 5: return DataType::kInt64;
    case 6: return DataType::kUint64;
    case 7: return DataType::kUint8;
    case 8: return DataType::kUint16;
    case 9: return DataType::kUint32;
    case 10: return DataType::kDouble;
    case 11: return DataType::kBFloat16;
    default: fail(hccl::kNotSupported, "data type ", hccl_type, " is not supported");
  }
}

Exchange exchange(Communicator* communicator, const Signature& signature, const std::byte* bytes) {
  Segment& segment = *communicator->segment;
  const uint32_t ranks = communicator->ranks, rank = communicator->rank;
  segment.signature(rank) = signature;
  segment.barrier();
  Exchange result;
  uint64_t most = 0;
  const Signature first = segment.signature(0);
  bool same = true;
  for (uint32_t r = 0; r < ranks; ++r) {
    const Signature& other = segment.signature(r);
    same = same && other.kind == first.kind && other.dtype == first.dtype && other.reduction == first.reduction &&
           other.root == first.root && other.count == first.count;
    result.signatures.push_back(other);
    result.data.emplace_back(other.bytes);
    most = std::max(most, other.bytes);
  }
  segment.barrier();  // all have read the signatures: all come to the same judgement
  if (!same) {
    violate("collective mismatch", hccl::kPara, "the ranks do not call the same collective with the same arguments");
  }
  for (uint64_t offset = 0; offset < most; offset += kSlotBytes) {
    const auto part = [offset](uint64_t all) { return all <= offset ? 0 : std::min(all - offset, kSlotBytes); };
    if (const uint64_t own = part(signature.bytes)) std::memcpy(segment.slot(rank), bytes + offset, own);
    segment.barrier();
    for (uint32_t r = 0; r < ranks; ++r) {
      const uint64_t theirs = part(result.signatures[r].bytes);
      if (theirs > 0) std::memcpy(result.data[r].data() + offset, segment.slot(r), theirs);
    }
    segment.barrier();
  }
  return result;
}

}  // namespace ascend_double
