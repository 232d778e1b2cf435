// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/communicator.h"

#include <stdexcept>
#include <string>

#include "backends/ascend/device.h"
#include "moekit/error.h"

namespace moekit::ascend {
namespace {

void check_hccl(int code, const char* call) {
  if (code == 0) return;
  const char* meaning = api().hccl.HcclGetErrorString != nullptr ? api().hccl.HcclGetErrorString(code) : nullptr;
  throw DeviceError("[ascend] " + std::string(call) + " failed with " + std::to_string(code) +
                    (meaning != nullptr ? " (" + std::string(meaning) + ")" : ""));
}

constexpr std::size_t kNameBytes = 128;  // of a group

HcclDType hccl_dtype(AclDType dtype) {
  return dtype == kAclBFloat16 ? kHcclBFloat16 : dtype == kAclFloat16 ? kHcclFloat16 : kHcclFloat;
}

}  // namespace

bool Communicator::available() {
  const Collectives& h = api().hccl;
  return api().reason.empty() && h.HcclGetRootInfo != nullptr && h.HcclCommInitRootInfo != nullptr &&
         h.HcclCommDestroy != nullptr && h.HcclAllGather != nullptr && h.HcclReduceScatter != nullptr;
}

HcclRootInfo Communicator::root_info(int device) {
  if (!available()) throw DeviceError("[ascend] expert parallelism needs libhccl.so, which was not found");
  const DeviceScope scope(device);
  HcclRootInfo info{};
  check_hccl(api().hccl.HcclGetRootInfo(&info), "HcclGetRootInfo");
  return info;
}

Communicator::Communicator(const HcclRootInfo& root, int ranks, int rank, int device)
    : ranks_(ranks), rank_(rank), device_(device) {
  if (!available()) throw DeviceError("[ascend] expert parallelism needs libhccl.so, which was not found");
  if (ranks < 1 || rank < 0 || rank >= ranks)
    throw std::invalid_argument("[ascend] rank " + std::to_string(rank) + " of " + std::to_string(ranks) +
                                " ranks, expected 0 .. ranks - 1");
  const DeviceScope scope(device);
  check_hccl(api().hccl.HcclCommInitRootInfo(static_cast<std::uint32_t>(ranks), &root, static_cast<std::uint32_t>(rank),
                                             &comm_),
             "HcclCommInitRootInfo");
  char name[kNameBytes + 1] = "";
  if (api().hccl.HcclGetCommName != nullptr && api().hccl.HcclGetCommName(comm_, name) == 0) name_ = name;
}

Communicator::~Communicator() {
  try {
    const DeviceScope scope(device_);
    api().hccl.HcclCommDestroy(comm_);
  } catch (...) {  // the device went away
  }
}

void Communicator::all_gather(const Tensor& own, const Tensor& all, AclStream stream) const {
  check_hccl(api().hccl.HcclAllGather(own.data, all.data, static_cast<std::uint64_t>(own.elements()),
                                      hccl_dtype(own.dtype), comm_, stream),
             "HcclAllGather");
}

void Communicator::reduce_scatter(const Tensor& all, const Tensor& own, AclStream stream) const {
  check_hccl(api().hccl.HcclReduceScatter(all.data, own.data, static_cast<std::uint64_t>(own.elements()),
                                          hccl_dtype(own.dtype), kHcclSum, comm_, stream),
             "HcclReduceScatter");
}

}  // namespace moekit::ascend
