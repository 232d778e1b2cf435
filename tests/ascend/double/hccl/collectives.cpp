// SPDX-License-Identifier: Apache-2.0
// The collectives. Each is a task of its stream that waits there for the other ranks; reductions run in the order of
// the ranks in fp32 (64-bit integers in double) and are rounded once.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../core/context.h"
#include "../core/entry.h"
#include "communicator.h"

namespace ascend_double {
namespace {

struct Request {
  std::shared_ptr<Communicator> communicator;
  std::shared_ptr<Stream> stream;
  DataType type = DataType::kInt8;
  uint64_t element_bytes = 1;
  Signature signature{};

  uint64_t bytes(uint64_t elements) const { return elements * element_bytes; }
};

Request request(Collective kind, uint64_t count, int type, int reduction, uint32_t root, void* handle, void* stream) {
  Request result;
  result.communicator = communicators().get(handle, hccl::kPointer, hccl::kPara);
  result.stream = stream_of(stream);
  result.type = type_of(type);
  result.element_bytes = static_cast<uint64_t>(element_bits(result.type) / 8);
  require(result.stream->device() == result.communicator->device, hccl::kPara, "the group lives on device ",
          result.communicator->device, ", the stream on ", result.stream->device());
  require(reduction >= 0 && reduction <= 3, hccl::kPara, "reduction ", reduction, " is unknown");
  require(root < result.communicator->ranks, hccl::kPara, "root is ", root, " of ", result.communicator->ranks);
  require(count <= UINT64_MAX / 8 / kMaxRanks, hccl::kPara, "count is ", count);
  result.signature.kind = static_cast<int32_t>(kind);
  result.signature.dtype = type;
  result.signature.reduction = reduction;
  result.signature.root = static_cast<int32_t>(root);
  result.signature.count = count;
  return result;
}

Region side(const void* address, uint64_t bytes, bool write, const char* name) {
  if (bytes == 0) return {};
  require(address != nullptr, hccl::kPointer, name, " is NULL");
  try {
    return device_memory().region(address, bytes, write, name);
  } catch (const Failure& failure) {
    throw Failure{hccl::kPara, failure.message};  // HCCL has codes of its own
  }
}

using Finish = std::function<void(const Exchange&, std::byte* receive)>;

int submit(const char* name, Request asked, const Region& send, const Region& receive, Finish finish) {
  asked.signature.bytes = send.end - send.begin;
  ++asked.communicator->pending;
  struct Done {  // also where the task never runs
    std::shared_ptr<Communicator> communicator;
    ~Done() { --communicator->pending; }
  };
  auto done = std::make_shared<Done>(Done{asked.communicator});
  asked.stream->submit({name, {send, receive}, [asked, send, receive, finish = std::move(finish), done] {
                          const Exchange all = exchange(asked.communicator.get(), asked.signature, send.data());
                          finish(all, receive.data());
                        }});
  return 0;
}

double combine(int reduction, double a, double b) {
  switch (reduction) {
    case 1: return a * b;
    case 2: return std::fmax(a, b);
    case 3: return std::fmin(a, b);
    default: return a + b;
  }
}

void reduce(const Exchange& all, const Request& asked, uint64_t begin, uint64_t count, std::byte* receive) {
  const bool wide = asked.element_bytes == 8;
  for (uint64_t i = 0; i < count; ++i) {
    const auto at = static_cast<int64_t>(begin + i);
    double value = load_number(asked.type, all.data[0].data(), at);
    for (size_t rank = 1; rank < all.data.size(); ++rank) {
      value = combine(asked.signature.reduction, value, load_number(asked.type, all.data[rank].data(), at));
      if (!wide && is_floating(asked.type)) value = static_cast<float>(value);
    }
    store_number(asked.type, receive, static_cast<int64_t>(i), jittered(asked.type, value));
  }
}

int all_reduce(void* send, void* receive, uint64_t count, int type, int reduction, void* handle, void* stream) {
  const Request asked = request(Collective::kAllReduce, count, type, reduction, 0, handle, stream);
  return submit("HcclAllReduce", asked, side(send, asked.bytes(count), false, "sendBuf"),
                side(receive, asked.bytes(count), true, "recvBuf"),
                [=](const Exchange& all, std::byte* out) { reduce(all, asked, 0, count, out); });
}

int reduce_scatter(void* send, void* receive, uint64_t count, int type, int reduction, void* handle, void* stream) {
  const Request asked = request(Collective::kReduceScatter, count, type, reduction, 0, handle, stream);
  const Communicator& group = *asked.communicator;
  const uint64_t begin = group.rank * count;
  return submit("HcclReduceScatter", asked, side(send, asked.bytes(count * group.ranks), false, "sendBuf"),
                side(receive, asked.bytes(count), true, "recvBuf"),
                [=](const Exchange& all, std::byte* out) { reduce(all, asked, begin, count, out); });
}

int all_gather(void* send, void* receive, uint64_t count, int type, void* handle, void* stream) {
  const Request asked = request(Collective::kAllGather, count, type, 0, 0, handle, stream);
  return submit("HcclAllGather", asked, side(send, asked.bytes(count), false, "sendBuf"),
                side(receive, asked.bytes(count * asked.communicator->ranks), true, "recvBuf"),
                [](const Exchange& all, std::byte* out) {
                  for (const auto& data : all.data) out = std::copy(data.begin(), data.end(), out);
                });
}

int broadcast(void* buffer, uint64_t count, int type, uint32_t root, void* handle, void* stream) {
  const Request asked = request(Collective::kBroadcast, count, type, 0, root, handle, stream);
  const bool sends = asked.communicator->rank == root;
  const Region own = side(buffer, asked.bytes(count), !sends, "buf");
  return submit("HcclBroadcast", asked, sends ? own : Region(), sends ? Region() : own,
                [=](const Exchange& all, std::byte* out) {
                  if (!sends) std::copy(all.data[root].begin(), all.data[root].end(), out);
                });
}

int barrier(void* handle, void* stream) {
  const Request asked = request(Collective::kBarrier, 0, 0, 0, 0, handle, stream);
  return submit("HcclBarrier", asked, {}, {}, [](const Exchange&, std::byte*) {});
}

int all_to_all(const void* send, uint64_t send_count, int send_type, const void* receive, uint64_t receive_count,
               int receive_type, void* handle, void* stream) {
  const Request asked = request(Collective::kAllToAll, send_count, send_type, 0, 0, handle, stream);
  require(send_type == receive_type && send_count == receive_count, hccl::kPara, "send and receive differ");
  const uint64_t all_bytes = asked.bytes(send_count * asked.communicator->ranks);
  const uint64_t part = asked.bytes(send_count), own = asked.communicator->rank * part;
  return submit("HcclAlltoAll", asked, side(send, all_bytes, false, "sendBuf"),
                side(receive, all_bytes, true, "recvBuf"), [=](const Exchange& all, std::byte* out) {
                  for (const auto& data : all.data) out = std::copy_n(data.data() + own, part, out);
                });
}

struct Parts {  // elements for or from each rank
  std::vector<uint64_t> counts, begins;
  uint64_t end() const {
    uint64_t result = 0;
    for (size_t i = 0; i < counts.size(); ++i) result = std::max(result, counts[i] == 0 ? 0 : begins[i] + counts[i]);
    return result;
  }
};

int exchange_parts(const char* name, Request asked, const void* send, const Parts& to, const void* receive,
                   const Parts& from) {
  for (size_t i = 0; i < to.counts.size(); ++i) {
    asked.signature.counts[i] = to.counts[i];
    asked.signature.begins[i] = to.begins[i];
  }
  const Region in = side(send, asked.bytes(to.end()), false, "sendBuf");
  const Region result = side(receive, asked.bytes(from.end()), true, "recvBuf");
  return submit(name, asked, in, result, [=](const Exchange& all, std::byte* out) {
    const uint32_t rank = asked.communicator->rank;
    for (size_t peer = 0; peer < all.data.size(); ++peer) {
      const Signature& sent = all.signatures[peer];
      if (sent.counts[rank] != from.counts[peer]) {
        violate("collective mismatch", hccl::kPara, "rank ", peer, " sends ", sent.counts[rank], " elements to rank ",
                rank, ", which expects ", from.counts[peer]);
      }
      if (from.counts[peer] == 0) continue;
      std::copy_n(all.data[peer].data() + asked.bytes(sent.begins[rank]), asked.bytes(from.counts[peer]),
                  out + asked.bytes(from.begins[peer]));
    }
  });
}

Parts parts(const void* counts, const void* begins, uint32_t ranks, const char* what) {
  require(counts != nullptr && begins != nullptr, hccl::kPointer, what, ": counts or displacements are NULL");
  const auto *const first = static_cast<const uint64_t*>(counts), *const second = static_cast<const uint64_t*>(begins);
  return {{first, first + ranks}, {second, second + ranks}};
}

int all_to_all_v(const void* send, const void* send_counts, const void* send_begins, int send_type, const void* receive,
                 const void* receive_counts, const void* receive_begins, int receive_type, void* handle, void* stream) {
  const Request asked = request(Collective::kAllToAllOfCounts, 0, send_type, 0, 0, handle, stream);
  require(send_type == receive_type, hccl::kPara, "send and receive types differ");
  const uint32_t ranks = asked.communicator->ranks;
  return exchange_parts("HcclAlltoAllV", asked, send, parts(send_counts, send_begins, ranks, "send"), receive,
                        parts(receive_counts, receive_begins, ranks, "receive"));
}

// matrix[i * ranks + j]: elements from rank i to rank j; both buffers are packed in the order of the ranks.
int all_to_all_vc(const void* send, const void* matrix, int send_type, const void* receive, int receive_type,
                  void* handle, void* stream) {
  const Request asked = request(Collective::kAllToAllOfCounts, 0, send_type, 0, 0, handle, stream);
  require(send_type == receive_type, hccl::kPara, "send and receive types differ");
  require(matrix != nullptr, hccl::kPointer, "sendCountMatrix is NULL");
  const auto* const counts = static_cast<const uint64_t*>(matrix);
  const uint32_t ranks = asked.communicator->ranks, rank = asked.communicator->rank;
  Parts to, from;
  uint64_t sent = 0, received = 0;
  for (uint32_t i = 0; i < ranks; ++i) {
    to.counts.push_back(counts[rank * ranks + i]);
    to.begins.push_back(sent);
    from.counts.push_back(counts[i * ranks + rank]);
    from.begins.push_back(received);
    sent += to.counts.back();
    received += from.counts.back();
  }
  return exchange_parts("HcclAlltoAllVC", asked, send, to, receive, from);
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_EXPORT(HcclAllReduce, all_reduce)
ASCEND_DOUBLE_EXPORT(HcclReduceScatter, reduce_scatter)
ASCEND_DOUBLE_EXPORT(HcclAllGather, all_gather)
ASCEND_DOUBLE_EXPORT(HcclBroadcast, broadcast)
ASCEND_DOUBLE_EXPORT(HcclBarrier, barrier)
ASCEND_DOUBLE_EXPORT(HcclAlltoAll, all_to_all)
ASCEND_DOUBLE_EXPORT(HcclAlltoAllV, all_to_all_v)
ASCEND_DOUBLE_EXPORT(HcclAlltoAllVC, all_to_all_vc)
