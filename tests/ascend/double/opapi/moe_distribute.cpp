// SPDX-License-Identifier: Apache-2.0
#include "moe_distribute.h"

#include <cstring>

#include "../core/context.h"

namespace ascend_double {
namespace {

// How many ranks an Atlas A2 takes with the algorithm "fullmesh".
bool allowed_on_a2(int64_t ranks) {
  for (const int64_t each : {16, 32, 64, 128, 192, 256, 384}) {
    if (ranks == each) return true;
  }
  return ranks >= 2 && ranks <= 8;
}

}  // namespace

Signature Distribution::signature(Collective kind, DataType dtype) const {
  Signature result{};
  result.kind = static_cast<int32_t>(kind);
  result.dtype = static_cast<int32_t>(dtype);
  result.reduction = static_cast<int32_t>(choices);
  result.root = static_cast<int32_t>(experts);
  result.count = static_cast<uint64_t>(hidden) << 32 | static_cast<uint64_t>(tokens);
  return result;
}

Distribution check_distribution(const DistributionArguments& given, int64_t tokens, int64_t hidden, int64_t choices) {
  require(given.group_ep != nullptr && given.group_ep[0] != '\0', code::kNullptr, "groupEp is empty");
  Distribution d;
  d.tokens = tokens;
  d.hidden = hidden;
  d.choices = choices;
  d.ranks = given.ranks;
  d.rank = given.rank;
  d.experts = given.experts;
  const std::string soc = settings().soc();
  d.first_generation = soc.rfind("Ascend910B", 0) == 0;
  require(d.first_generation || soc.rfind("Ascend910_93", 0) == 0, code::kTiling, soc, " has no fused distribution");
  for (const auto& each : communicators().all_live()) {
    const bool named = each->segment->name() == given.group_ep && each->rank == static_cast<uint32_t>(given.rank);
    if (named) d.group = each;
  }
  require(d.group != nullptr, code::kTiling, "groupEp ", given.group_ep, " has no rank ", given.rank,
          " in this process");
  require(static_cast<int64_t>(d.group->ranks) == given.ranks, code::kTiling, "epWorldSize is ", given.ranks,
          ", the group has ", d.group->ranks);
  require(d.group->device == current_context()->device, code::kTiling, "the group's rank lives on device ",
          d.group->device);
  require(d.first_generation ? allowed_on_a2(d.ranks) : d.ranks >= 2 && d.ranks <= 768, code::kTiling,
          "epWorldSize is ", d.ranks, ", which this chip does not take");
  require(given.experts > 0 && given.experts <= 1024 && given.experts % given.ranks == 0, code::kTiling,
          "moeExpertNum is ", given.experts, ", must be a multiple of ", given.ranks, " up to 1024");
  require(choices > 0 && choices <= 16 && choices <= given.experts, code::kTiling, "K is ", choices,
          ", must be 1..16 and no more than the experts");
  require(tokens > 0 && tokens <= (d.first_generation ? 256 : 512), code::kTiling, "BS is ", tokens);
  require(d.first_generation ? hidden % 32 == 0 && hidden <= 10240 : hidden >= 1024 && hidden <= 8192, code::kTiling,
          "H is ", hidden, ", which this chip does not take");
  require(given.group_tp == nullptr || given.group_tp[0] == '\0', code::kTiling, "groupTp must be empty");
  require((given.tp_ranks == 0 || (given.tp_ranks == 1 && !d.first_generation)) && given.tp_rank == 0, code::kTiling,
          "tpWorldSize is ", given.tp_ranks, ", tpRankId ", given.tp_rank);
  require(given.shard_type == 0 && given.shared_experts == 0 && given.shared_ranks == 0, code::kTiling,
          "the double plays ranks without shared experts");
  require(given.global_tokens == 0 || given.global_tokens == tokens * d.ranks, code::kTiling, "globalBS is ",
          given.global_tokens, ", the double plays equal ranks: 0 or ", tokens * d.ranks);
  const std::string algorithm = given.algorithm == nullptr ? "" : given.algorithm;
  require(d.first_generation ? algorithm == "fullmesh" : algorithm.empty(), code::kTiling, "commAlg is '", algorithm,
          "', played are \"fullmesh\" on an A2 and none on an A3");
  d.local = given.experts / given.ranks;
  return d;
}

}  // namespace ascend_double
