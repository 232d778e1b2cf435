// SPDX-License-Identifier: Apache-2.0
// What the two fused operators of expert parallelism share: who takes part, and what chips allow. Played: MoE experts
// only, no tensor parallelism, no masks, the same number of tokens on every rank, quantMode 0 and (dispatch) 2.
#pragma once

#include "../hccl/communicator.h"
#include "operator.h"

namespace ascend_double {

inline constexpr int64_t kAssistWidth = 128;      // int32 of a row in assistInfoForCombine
inline constexpr int64_t kAssistMark = 0x6d6f65;  // first of them; then rank, token, choice of the row's origin
inline constexpr int64_t kMark = 0, kOrigin = 1, kToken = 2, kChoice = 3;

struct Distribution {
  std::shared_ptr<Communicator> group;
  int64_t ranks = 0, rank = 0, experts = 0, local = 0;
  int64_t tokens = 0, hidden = 0, choices = 0;
  bool first_generation = false;  // Atlas A2

  int64_t least_rows() const { return tokens * ranks * std::min(local, choices); }
  // Of epRecvCounts: beside the counts, an A2 keeps what each server of eight ranks sums up.
  int64_t recv_counts() const {
    return ranks * local + (first_generation ? 2 * tokens * ranks * choices * (ranks / 8) : 0);
  }
  // What all ranks have to agree on.
  Signature signature(Collective kind, DataType dtype) const;
};

struct DistributionArguments {
  const char* group_ep;
  int64_t ranks, rank, experts;
  const char* group_tp;
  int64_t tp_ranks, tp_rank, shard_type, shared_experts, shared_ranks, global_tokens;
  const char* algorithm;
};

// Checks the attributes that both operators have. Throws Failure.
Distribution check_distribution(const DistributionArguments& given, int64_t tokens, int64_t hidden, int64_t choices);

}  // namespace ascend_double
