// SPDX-License-Identifier: Apache-2.0
// Making and ending groups.
#include <cstring>

#include "../core/context.h"
#include "../core/entry.h"
#include "communicator.h"

namespace ascend_double {
namespace {

constexpr size_t kRootInfoBytes = 4108;
constexpr size_t kNameBytes = 128;
constexpr char kMark[] = "ascend-double";

int get_root_info(void* root_info) {
  current_context();
  require(root_info != nullptr, hccl::kPointer, "rootInfo is NULL");
  const auto segment = Segment::create();
  std::memset(root_info, 0, kRootInfoBytes);
  std::memcpy(root_info, kMark, sizeof(kMark));
  std::memcpy(static_cast<char*>(root_info) + sizeof(kMark), segment->name().c_str(), segment->name().size());
  return 0;
}

void* add(const std::shared_ptr<Segment>& segment, uint32_t rank, uint32_t ranks, int device) {
  auto communicator = std::make_shared<Communicator>();
  communicator->segment = segment;
  communicator->rank = rank;
  communicator->ranks = ranks;
  communicator->device = device;
  return communicators().add(communicator);
}

int init_root_info(uint32_t ranks, const void* root_info, uint32_t rank, void** handle) {
  const auto context = current_context();
  require(root_info != nullptr && handle != nullptr, hccl::kPointer, "an argument is NULL");
  const auto* const info = static_cast<const char*>(root_info);
  require(std::memcmp(info, kMark, sizeof(kMark)) == 0, hccl::kPara, "rootInfo did not come from HcclGetRootInfo");
  require(rank < ranks, hccl::kPara, "rank is ", rank, " of ", ranks);
  const auto segment = Segment::open(info + sizeof(kMark));
  segment->join(ranks);
  segment->barrier();
  *handle = add(segment, rank, ranks, context->device);
  return 0;
}

int init_all(uint32_t count, int32_t* devices, void** handles) {
  require_initialized();
  require(devices != nullptr && handles != nullptr, hccl::kPointer, "an argument is NULL");
  for (uint32_t i = 0; i < count; ++i) check_device(devices[i]);
  const auto segment = Segment::create();
  for (uint32_t i = 0; i < count; ++i) segment->join(count);
  for (uint32_t i = 0; i < count; ++i) handles[i] = add(segment, i, count, devices[i]);
  return 0;
}

std::shared_ptr<Communicator> get(void* handle) { return communicators().get(handle, hccl::kPointer, hccl::kPara); }

int destroy(void* handle) {
  const auto communicator = communicators().remove(handle, hccl::kPointer, hccl::kPara);
  if (communicator->pending > 0) {
    note_violation("destroyed while busy", "HcclCommDestroy: a collective still lies in a queue");
  }
  return 0;
}

int get_name(void* handle, char* name) {
  require(name != nullptr, hccl::kPointer, "commName is NULL");
  std::memset(name, 0, kNameBytes);
  std::strncpy(name, get(handle)->segment->name().c_str(), kNameBytes - 1);
  return 0;
}

int get_rank_size(void* handle, uint32_t* ranks) {
  require(ranks != nullptr, hccl::kPointer, "rankSize is NULL");
  *ranks = get(handle)->ranks;
  return 0;
}

int get_rank_id(void* handle, uint32_t* rank) {
  require(rank != nullptr, hccl::kPointer, "rank is NULL");
  *rank = get(handle)->rank;
  return 0;
}

const char* error_string(int code) {
  switch (code) {
    case 0: return "no error";
    case hccl::kPara: return "parameter error";
    case hccl::kPointer: return "empty pointer";
    case hccl::kMemory: return "memory error";
    case hccl::kInternal: return "internal error";
    case hccl::kNotSupported: return "feature not supported";
    case hccl::kTimeout: return "time out";
    default: return "unknown error";
  }
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_EXPORT(HcclGetRootInfo, get_root_info)
ASCEND_DOUBLE_EXPORT(HcclCommInitRootInfo, init_root_info)
ASCEND_DOUBLE_EXPORT(HcclCommInitAll, init_all)
ASCEND_DOUBLE_EXPORT(HcclCommDestroy, destroy)
ASCEND_DOUBLE_EXPORT(HcclGetCommName, get_name)
ASCEND_DOUBLE_EXPORT(HcclGetRankSize, get_rank_size)
ASCEND_DOUBLE_EXPORT(HcclGetRankId, get_rank_id)
ASCEND_DOUBLE_EXPORT(HcclGetErrorString, error_string)
