// SPDX-License-Identifier: Apache-2.0
// A group of devices that exchange rows (HCCL).
#pragma once

#include <string>

#include "backends/ascend/api.h"
#include "backends/ascend/tensor.h"

namespace moekit::ascend {

class Communicator {
 public:
  /// Whether libhccl.so is there.
  static bool available();
  /// Made by one rank, on its device, and handed to all (as bytes) by whatever started them.
  static HcclRootInfo root_info(int device);
  /// Joins; returns when all `ranks` have. Each rank has a device of its own. Throws DeviceError.
  Communicator(const HcclRootInfo& root, int ranks, int rank, int device);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int ranks() const noexcept { return ranks_; }
  int rank() const noexcept { return rank_; }
  int device() const noexcept { return device_; }
  /// What operators that communicate by themselves call the group; empty where the installation does not tell.
  const std::string& name() const noexcept { return name_; }

  /// `own` of every rank, one after the other, into `all`. Float dtypes; enqueued.
  void all_gather(const Tensor& own, const Tensor& all, AclStream stream) const;
  /// The sum of `all` over the ranks, of which each gets its part in `own`.
  void reduce_scatter(const Tensor& all, const Tensor& own, AclStream stream) const;

 private:
  int ranks_, rank_, device_;
  HcclComm comm_ = nullptr;
  std::string name_;
};

}  // namespace moekit::ascend
