// SPDX-License-Identifier: Apache-2.0
#include <numeric>

#include "backends/ascend/call.h"
#include "moekit/error.h"

namespace moekit::ascend {
namespace {

// One int64 every kAlignment bytes, so that each is aligned as a tensor of its own.
constexpr std::int64_t kCountStep = static_cast<std::int64_t>(kAlignment / sizeof(std::int64_t));

template <class T>
Buffer upload(const std::vector<T>& values, int device) {
  Buffer buffer = allocate(values.size() * sizeof(T), device);
  copy_now(buffer.data(), values.data(), buffer.bytes(), kAclHostToDevice);
  return buffer;
}

}  // namespace

void grow_constants(Constants& constants, const AscendBlock& block, std::int64_t tokens, AclStream stream) {
  const BlockConfig& config = block.config();
  if (constants.tokens >= tokens || (config.shared.count == 0 && !config.router.all_experts)) return;
  if (is_capturing(stream))
    throw DeviceError("[ascend] " + std::to_string(tokens) +
                      " tokens for the first time while the stream is captured; call the layer once before capturing");
  check(api().rt.aclrtSynchronizeStream(stream), "aclrtSynchronizeStream");  // calls that run use the old tables
  std::int64_t room = 64;
  while (room < tokens) room *= 2;
  constants.tokens = 0;
  if (config.shared.count > 0) {
    std::vector<std::int64_t> counts(static_cast<std::size_t>((room + 1) * kCountStep), 0);
    for (std::int64_t n = 0; n <= room; ++n) counts[static_cast<std::size_t>(n * kCountStep)] = n;
    constants.counts = upload(counts, block.device());
  }
  if (config.router.all_experts) {
    const std::int64_t k = config.router.top_k;
    std::vector<std::int32_t> values(static_cast<std::size_t>(checked_mul(room, k, "tokens * experts")));
    std::iota(values.begin(), values.end(), 0);
    constants.iota = upload(values, block.device());
    for (std::int32_t& value : values) value = static_cast<std::int32_t>(value % k);
    constants.all_ids = upload(values, block.device());
  }
  constants.tokens = room;
}

Tensor row_count(const Constants& constants, std::int64_t rows) {
  const auto* counts = static_cast<const std::int64_t*>(constants.counts.data());
  // While a call is counted the table may not be there yet.
  return tensor_over(counts == nullptr ? nullptr : counts + rows * kCountStep, kAclInt64, {1});
}

}  // namespace moekit::ascend
