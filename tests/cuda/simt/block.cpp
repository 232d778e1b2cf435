// SPDX-License-Identifier: Apache-2.0
// The scheduler of a block: turns, barriers, collectives.
#include "cuda/simt/block.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <utility>

#include "cuda/simt/context.h"
#include "cuda/simt/sanitizer.h"

namespace simt {
namespace {

// In the static block: found without a call. The stand-in driver is a library that is opened at run time.
__attribute__((tls_model("initial-exec"))) thread_local BlockRunner* g_running = nullptr;
// Gaps between arrays of shared memory, in bytes: a vector access that begins at an array's end lies inside.
constexpr std::size_t kGapBytes = 16;
constexpr unsigned kMaxArrays = 32;

}  // namespace

BlockRunner& runner() {
  if (g_running != nullptr) return *g_running;
  static thread_local const std::unique_ptr<BlockRunner> one = std::make_unique<BlockRunner>();  // large
  return *one;
}

bool in_kernel() { return g_running != nullptr; }

void stop_block(Fault fault, std::string what) { runner().stop(fault, std::move(what)); }

BlockRunner::BlockRunner() = default;
BlockRunner::~BlockRunner() {
  for (std::byte* stack : stacks_) ::operator delete(stack);
  free_region(shared_);
}

void BlockRunner::reserve(unsigned threads) {
  while (stacks_.size() < threads) stacks_.push_back(static_cast<std::byte*>(::operator new(kStackBytes)));
  if (fibers_.size() < threads) fibers_.resize(threads);
}

MOEKIT_SIMT_SWITCHES void BlockRunner::entry() {
  BlockRunner& self = runner();
  sanitizer_entered_fiber();
  self.kernel_->body(self.params_);
  Fiber& fiber = self.current();
  if (!fiber.copies.empty()) self.stop(Fault::kUnfinished, "a thread ended with asynchronous copies not waited for");
  fiber.state = State::kDone;
  self.warps_[self.current_ / kWarp].done |= 1u << self.lane();
  ++self.done_;
  sanitizer_leave_fiber(true);
  moekit_simt_switch(&fiber.context, self.scheduler_);
}

MOEKIT_SIMT_SWITCHES void BlockRunner::yield() {
  Fiber& fiber = current();
  void* const mark = sanitizer_leave_fiber(false);
  moekit_simt_switch(&fiber.context, scheduler_);
  sanitizer_back_in_fiber(mark);
}

MOEKIT_SIMT_SWITCHES void BlockRunner::resume(unsigned thread) {
  current_ = thread;
  void* const mark = sanitizer_enter_fiber(fibers_[thread].stack, kStackBytes);
  moekit_simt_switch(&scheduler_, fibers_[thread].context);
  sanitizer_left_fiber(mark);
}

// Never comes back: the block is given up, its fibers are not resumed. No destructor of the fiber will run, so nothing
// may be left that owns memory: callers give away a string of their own, not the end of a chain of temporary ones.
void BlockRunner::stop(Fault fault, std::string what) {
  {
    std::string text = std::string("[simt] ") + kernel_->name + ", block (" + std::to_string(block_index.x) + ", " +
                       std::to_string(block_index.y) + "), thread " + std::to_string(current_) + ": " + what;
    error_ = std::make_unique<Error>(fault, text);
    std::string().swap(what);  // an assignment would keep the memory
  }
  give_up();
}

MOEKIT_SIMT_SWITCHES void BlockRunner::give_up() {
  sanitizer_leave_fiber(true);
  void* abandoned = nullptr;
  moekit_simt_switch(&abandoned, scheduler_);
  std::abort();
}

void BlockRunner::barrier() {
  Fiber& fiber = current();
  if (done_ != 0) stop(Fault::kDivergence, "__syncthreads after " + std::to_string(done_) + " threads have ended");
  fiber.state = State::kBarrier;
  warps_[current_ / kWarp].at_barrier |= 1u << lane();
  ++at_barrier_;
  if (at_barrier_ < threads_) return yield();
  at_barrier_ = 0;
  for (WarpState& warp : warps_) warp.at_barrier = 0;
  for (unsigned i = 0; i < threads_; ++i) {
    fibers_[i].state = State::kReady;
    ++fibers_[i].who.barrier;
    fibers_[i].who.warp_sync = 0;
  }
}

void BlockRunner::collective(int kind, unsigned mask, void* payload, void (*op)(void* const*, unsigned)) {
  const unsigned self = 1u << lane();
  WarpState& warp = warps_[current_ / kWarp];
  if ((mask & self) == 0) stop(Fault::kDivergence, "a collective whose mask lacks the calling lane");
  if ((mask & warp.done) != 0) stop(Fault::kDivergence, "a collective names a lane that has ended");
  if ((mask & warp.at_barrier) != 0) stop(Fault::kDivergence, "a collective names a lane that waits at a barrier");
  std::size_t at = 0;
  for (; at < warp.meetings.size(); ++at) {
    const Meeting& other = warp.meetings[at];
    if ((other.mask & mask) == 0) continue;
    if (other.kind != kind || other.mask != mask)
      stop(Fault::kDivergence, "lanes of a warp wait in different collectives, or with different masks");
    break;
  }
  if (at == warp.meetings.size()) {
    warp.meetings.emplace_back();
    warp.meetings[at].kind = kind;
    warp.meetings[at].mask = mask;
  }
  Meeting& meeting = warp.meetings[at];
  meeting.arrived |= self;
  meeting.payloads[lane()] = payload;
  if (meeting.arrived != mask) {
    current().state = State::kCollective;
    return yield();
  }
  const unsigned first = current_ / kWarp * kWarp;
  for (unsigned i = 0; i < kWarp; ++i)
    if ((mask >> i & 1) != 0) fibers_[first + i].state = State::kReady;
  if (op != nullptr) op(meeting.payloads, mask);
  warp.meetings.erase(warp.meetings.begin() + static_cast<std::ptrdiff_t>(at));
}

std::byte* BlockRunner::shared_array(unsigned index, std::size_t offset, std::size_t bytes) {
  if (offset + bytes > shared_limit_)
    stop(Fault::kOutOfBounds, "arrays of shared memory take " + std::to_string(offset + bytes) +
                                  " bytes, the launch gave " + std::to_string(shared_limit_));
  if (index >= kMaxArrays) stop(Fault::kLaunch, "more than 32 arrays of shared memory");
  const std::size_t at = offset + (index + 1) * kGapBytes;
  if (bytes != 0 && shared_.written[at / kGranule] == kGap)  // the first thread to come
    std::memset(shared_.written + at / kGranule, 0, bytes / kGranule);
  return shared_.begin + at;
}

const Region* BlockRunner::region_of(const void* address) {
  if (recent_ != nullptr && recent_->holds(address)) return recent_;
  const auto at = std::upper_bound(regions_.begin(), regions_.end(), address,
                                   [](const void* a, const Region* region) { return a < region->end; });
  if (at == regions_.end() || !(*at)->holds(address)) return nullptr;
  return recent_ = *at;
}

void BlockRunner::access(const void* address, std::size_t bytes, bool write) {
  const Fiber& fiber = current();
  const auto* at = static_cast<const std::byte*>(address);
  if (at >= fiber.stack && at < fiber.stack + kStackBytes) return;
  if (reinterpret_cast<std::uintptr_t>(address) % (bytes < 16 ? bytes : 16) != 0)
    stop(Fault::kMisaligned,
         "access of " + std::to_string(bytes) + " bytes at an address that is not a multiple of it");
  if (shared_.holds(address)) return check_access(shared_, address, bytes, write, fiber.who);
  if (const Region* region = region_of(address); region != nullptr)
    return check_access(*region, address, bytes, write, fiber.who);
  const auto* params = static_cast<const std::byte*>(params_);
  if (!write && ((at >= params && at + bytes <= params + kernel_->params_bytes) || is_constant(address))) return;
  stop(Fault::kOutOfBounds, std::string(write ? "store to" : "load from") + " memory that is not the device's");
}

// One turn of all threads that can run. Answers whether any could.
bool BlockRunner::turn_of_all() {
  if (turn_ == Order::kRandom) std::shuffle(order_.begin(), order_.end(), random_);
  bool progress = false;
  for (const unsigned thread : order_) {
    if (fibers_[thread].state != State::kReady) continue;
    resume(thread);
    progress = true;
    if (error_ != nullptr) return false;
  }
  return progress;
}

void BlockRunner::explain_deadlock() {
  unsigned barrier = 0, collective = 0;
  for (unsigned i = 0; i < threads_; ++i) {
    barrier += fibers_[i].state == State::kBarrier ? 1 : 0;
    collective += fibers_[i].state == State::kCollective ? 1 : 0;
  }
  error_ = std::make_unique<Error>(
      Fault::kDivergence, std::string("[simt] ") + kernel_->name + ": nothing can go on: " + std::to_string(barrier) +
                              " threads wait at __syncthreads, " + std::to_string(collective) +
                              " in a warp collective, " + std::to_string(done_) + " have ended");
}

void BlockRunner::run_block() {
  static thread_local std::uint32_t blocks = 0;
  ++blocks;
  done_ = at_barrier_ = 0;
  warps_.resize((threads_ + kWarp - 1) / kWarp);
  for (WarpState& warp : warps_) {
    warp.meetings.clear();
    warp.done = warp.at_barrier = 0;
  }
  if (shared_.cells != nullptr) std::memset(shared_.written, kGap, shared_memory_.size() / kGranule);
  std::fill(shared_memory_.begin(), shared_memory_.end(), std::byte{0xCD});
  for (unsigned i = 0; i < threads_; ++i) {
    Fiber& fiber = fibers_[i];
    fiber.stack = stacks_[i];
    fiber.context = make_context(fiber.stack, kStackBytes, &BlockRunner::entry);
    fiber.state = State::kReady;
    fiber.who.block = blocks;
    fiber.who.barrier = 0;
    fiber.who.thread = static_cast<std::uint16_t>(i);
    fiber.who.warp_sync = 0;
    fiber.index = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
    fiber.copies.clear();
    fiber.copy_groups = 0;
  }
  while (done_ < threads_ && error_ == nullptr)
    if (!turn_of_all() && error_ == nullptr) explain_deadlock();
}

void BlockRunner::run_grid(const KernelInfo& kernel, Dim3 grid_size, Dim3 block_size, std::size_t shared_bytes,
                           const void* params) {
  static std::atomic<std::uint32_t> launches{0};
  kernel_ = &kernel;
  params_ = params;
  grid = grid_size;
  block = block_size;
  threads_ = block.x * block.y * block.z;
  reserve(threads_);
  shared_limit_ = shared_bytes;
  const std::size_t bytes = (shared_bytes + (kMaxArrays + 2) * kGapBytes) / 16 * 16;
  if (shared_memory_.size() < bytes) {
    free_region(shared_);
    shared_memory_.assign(bytes + 16, std::byte{0});
    const auto skew = reinterpret_cast<std::uintptr_t>(shared_memory_.data()) % 16;
    shared_ = make_region(shared_memory_.data() + (16 - skew) % 16, bytes);
    shared_.of_block = true;
  }
  regions_ = all_regions();
  recent_ = nullptr;
  const std::uint32_t serial = ++launches;
  for (unsigned i = 0; i < threads_; ++i) fibers_[i].who.launch = serial;
  order_.resize(threads_);
  std::iota(order_.begin(), order_.end(), 0u);
  turn_ = current_order(random_);
  if (turn_ == Order::kDescending) std::reverse(order_.begin(), order_.end());
  std::vector<std::uint64_t> blocks(std::uint64_t{grid.x} * grid.y * grid.z);
  std::iota(blocks.begin(), blocks.end(), std::uint64_t{0});
  if (turn_ == Order::kDescending) std::reverse(blocks.begin(), blocks.end());
  if (turn_ == Order::kRandom) std::shuffle(blocks.begin(), blocks.end(), random_);

  error_.reset();
  g_running = this;
  for (const std::uint64_t index : blocks) {
    block_index = {static_cast<unsigned>(index % grid.x), static_cast<unsigned>(index / grid.x % grid.y),
                   static_cast<unsigned>(index / grid.x / grid.y)};
    run_block();
    if (error_ != nullptr) break;
  }
  g_running = nullptr;
  if (error_ != nullptr) throw *error_;
}

}  // namespace simt
