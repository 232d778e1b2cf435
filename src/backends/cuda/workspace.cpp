// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/workspace.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>

#include "backends/cuda/pack.h"
#include "moekit/error.h"

namespace moekit::cuda {
namespace {

constexpr std::int64_t kAlignment = 256;

// Hands out addresses one behind the other. Counts that kernels hold as int are checked here.
class Cutter {
 public:
  explicit Cutter(std::byte* base) : base_(base) {}
  template <class T>
  void take(T*& array, std::int64_t rows, std::int64_t cols = 1) {
    std::byte* bytes = nullptr;
    take_bytes(bytes, checked_mul(rows, cols, "workspace"), sizeof(T));
    array = reinterpret_cast<T*>(bytes);
  }
  void take_bytes(std::byte*& array, std::int64_t count, std::int64_t size) {
    const std::int64_t bytes = checked_mul(count, size, "workspace");
    if (bytes > std::numeric_limits<std::int64_t>::max() / 2 - used_)
      throw std::invalid_argument("[workspace] " + std::to_string(bytes) + " bytes pass 2^62");
    array = bytes != 0 && base_ != nullptr ? base_ + used_ : nullptr;
    used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  std::size_t used() const { return static_cast<std::size_t>(used_); }

 private:
  std::byte* base_;
  std::int64_t used_ = 0;
};

std::int64_t size_of(Element element) { return element == Element::kFloat32 ? 4 : 2; }

std::int64_t as_int(std::int64_t value, const char* what) {
  if (value > std::numeric_limits<int>::max() - kChunkSlots)
    throw std::invalid_argument("[cuda] " + std::string(what) + " = " + std::to_string(value) +
                                ", at most 2^31 - 1025 in one call");
  return value;
}

bool reads_float32(const PackedExperts& experts) {
  return experts.count > 0 && experts.first().input_element() == Element::kFloat32;
}

// What products in parts put between them, for `rows` rows.
struct PartBytes {
  std::int64_t reordered = 0, gate_sums = 0, up_sums = 0;
};
PartBytes part_bytes(const PackedExperts& experts, std::int64_t rows) {
  const std::int64_t inner = padded(experts.up.rows);
  std::int64_t reordered = 0, gate = 0, up = 0;  // of a row
  for (const PackedProjection* p : {&experts.gate, &experts.up, &experts.down})
    if (p->order || (experts.blas && p == &experts.first()))
      reordered = std::max(reordered, padded(p->packed_cols) * size_of(p->input_element()));
  if (experts.split) gate = up = inner * static_cast<std::int64_t>(sizeof(float));
  if (experts.blas) {
    gate = inner * size_of(experts.first().input_element());
    up = std::max(gate, padded(experts.down.rows) * size_of(experts.down.input_element()));
  }
  return {checked_mul(rows, reordered, "workspace"), checked_mul(rows, gate, "workspace"),
          checked_mul(rows, up, "workspace")};
}
bool reads_short(const PackedExperts& experts) { return experts.count > 0 && !reads_float32(experts); }

}  // namespace

std::size_t lay_out(const Packed& block, std::int64_t tokens, std::byte* base, Arrays* arrays) {
  Arrays unused;
  Arrays& a = arrays != nullptr ? *arrays : unused;
  a = {};
  const BlockConfig& config = block.config();
  const RouterConfig& router = config.router;
  const std::int64_t slots = as_int(checked_mul(tokens, router.top_k, "tokens * top_k"), "tokens * top_k");
  const std::int64_t experts = router.num_experts, hidden = padded(config.expert.input);
  const std::int64_t output = padded(config.expert.output);
  const std::int64_t chunks = (slots + kChunkSlots - 1) / kChunkSlots;
  const std::int64_t input_rows = router.apply_at == ApplyAt::kInput ? std::max(slots, tokens) : tokens;
  Cutter cut(base);
  cut.take(a.bad_input, 1);
  cut.take(a.ids, slots);
  cut.take(a.weights, slots);
  if (router.source != RouterSource::kExternal) {
    cut.take(a.router_input, tokens, hidden);
    cut.take(a.logits, tokens, padded(router.columns()));
  }
  if (reads_float32(block.routed) || reads_float32(block.shared)) cut.take(a.input_f32, input_rows, hidden);
  if (reads_short(block.routed) || reads_short(block.shared)) cut.take(a.input_short, input_rows, hidden);
  cut.take(a.counts, chunks, experts);
  cut.take(a.offsets, experts + 1);
  cut.take(a.slot_of_row, slots);
  cut.take(a.token_of_row, slots);
  cut.take(a.row_of_slot, slots);
  cut.take(a.tiles, slots / kSmallTile + experts);
  cut.take(a.tile_count, 1);
  if (!block.routed.linear())
    cut.take_bytes(a.hidden, checked_mul(slots, padded(config.expert.intermediate), "workspace"),
                   size_of(block.routed.down.input_element()));
  cut.take(a.routed, slots, output);
  const std::int64_t shared_rows = as_int(checked_mul(config.shared.count, tokens, "shared rows"), "shared rows");
  const PartBytes routed = part_bytes(block.routed, slots), shared = part_bytes(block.shared, shared_rows);
  cut.take_bytes(a.reordered, std::max(routed.reordered, shared.reordered), 1);
  cut.take_bytes(a.gate_sums, std::max(routed.gate_sums, shared.gate_sums), 1);
  cut.take_bytes(a.up_sums, std::max(routed.up_sums, shared.up_sums), 1);
  cut.take(a.pointers, block.blas ? std::max<std::int64_t>(block.routed.count, block.shared.count) : 0, 9);
  if (shared_rows > 0) {
    if (!block.shared.linear())
      cut.take_bytes(a.shared_hidden, checked_mul(shared_rows, padded(config.shared.expert.intermediate), "workspace"),
                     size_of(block.shared.down.input_element()));
    cut.take(a.shared, shared_rows, output);
    cut.take(a.shared_gate, tokens);
  }
  return cut.used();
}

Scratch::~Scratch() {
  if (captured_) block_.retain(std::move(memory_));
  if (done_ == nullptr) return;
  if (block_.device.driver.context_push(block_.device.context) != kSuccess) return;
  if (blas_ != nullptr) blas_api_->destroy(blas_);
  block_.device.driver.event_destroy(done_);
  Context popped = nullptr;
  block_.device.driver.context_pop(&popped);
}

Arrays Scratch::begin(const CallScope& call, std::int64_t tokens) {
  const DeviceContext& device = block_.device;
  const std::size_t bytes = lay_out(block_, tokens, nullptr, nullptr);
  if (call.capturing()) {
    if (memory_.bytes() < bytes)
      throw DeviceError("[cuda] a call with " + std::to_string(tokens) + " tokens needs " + std::to_string(bytes) +
                        " bytes of workspace, " + std::to_string(memory_.bytes()) +
                        " are there, and a stream under capture allows no allocation: run the call once before");
    captured_ = true;
  } else {
    if (captured_) {
      block_.retain(std::move(memory_));
      memory_ = DeviceMemory();
      captured_ = used_ = false;
    }
    if (done_ == nullptr) device.check(device.driver.event_create(&done_, kEventDisableTiming), "cuEventCreate");
    if (used_) device.check(device.driver.stream_wait_event(call.stream(), done_, 0), "cuStreamWaitEvent");
    if (memory_.bytes() < bytes) {
      memory_ = DeviceMemory();  // first, so that both need not fit; cuMemFree waits for work that uses it
      memory_ = DeviceMemory(device, bytes, "the workspace");
    }
  }
  Arrays arrays;
  lay_out(block_, tokens, memory_.data(), &arrays);
  return arrays;
}

void Scratch::end(const CallScope& call) {
  if (call.capturing()) return;
  const DeviceContext& device = block_.device;
  device.check(device.driver.event_record(done_, call.stream()), "cuEventRecord");
  used_ = true;
}

// Waits, as the event may be what failed. A broken device answers at once.
void Scratch::abandon(const CallScope& call) noexcept {
  if (!call.capturing()) block_.device.driver.stream_synchronize(call.stream());
}

BlasHandle Scratch::blas(const CallScope& call, const BlasApi& api) {
  blas_api_ = &api;
  if (blas_ == nullptr) check(api, api.create(&blas_), "cublasCreate_v2");
  check(api, api.set_stream(blas_, call.stream()), "cublasSetStream_v2");
  return blas_;
}

}  // namespace moekit::cuda
