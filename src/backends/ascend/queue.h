// SPDX-License-Identifier: Apache-2.0
// Giving work to a stream. One piece of code describes a call; the queue it is given walks through it
//   kCount    launching nothing: how much workspace does it take,
//   kRun      launching each operator with an executor of its own,
//   kRecord   the same, keeping the executors, so that the next call of the same shape only runs them.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "backends/ascend/arena.h"
#include "backends/ascend/arguments.h"

namespace moekit::ascend {

/// One launch that can be run again: an operator with its executor, or a copy.
struct Step {
  const char* name = nullptr;
  int (*run)(void*, std::uint64_t, AclExecutor*, AclStream) = nullptr;  // null: a copy
  std::uint64_t workspace_bytes = 0;
  AclExecutor* executor = nullptr;
  Arguments arguments;
  void* target = nullptr;  // of a copy
  const void* source = nullptr;
  std::size_t bytes = 0;
};

/// A recorded call.
class Recording {
 public:
  Recording() = default;
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording();
  /// Runs all steps with new addresses of the caller's memory.
  void run(void* input, void* output, void* operator_workspace, AclStream stream);

  std::vector<Step> steps;
  void* input = nullptr;  // addresses that the executors hold
  void* output = nullptr;
  const void* ids = nullptr;  // where the call leaves its routing
  const void* weights = nullptr;
};

class Queue {
 public:
  enum class Mode { kCount, kRun, kRecord };

  /// `operators`: the workspace that all operators of a stream share.
  /// `recording`: what kRecord fills.
  Queue(Arena& arena, Arena& operators, AclStream stream, Mode mode, Recording* recording = nullptr)
      : arena_(arena), operators_(operators), stream_(stream), mode_(mode), recording_(recording) {}

  Mode mode() const noexcept { return mode_; }
  bool counting() const noexcept { return mode_ == Mode::kCount; }
  AclStream stream() const noexcept { return stream_; }

  /// An uninitialised contiguous tensor of this call.
  Tensor make(AclDType dtype, std::initializer_list<std::int64_t> shape) {
    Tensor t = tensor_over(nullptr, dtype, shape);
    t.data = arena_.take(t.bytes());
    return t;
  }

  /// Plans and enqueues one operator. Throws DeviceError naming the function that failed.
  template <class... P, class... A>
  void run(const Operator<P...>& op, const A&... values) {
    static_assert(sizeof...(P) == sizeof...(A), "one value a parameter");
    if (counting()) return;
    Arguments arguments;
    std::uint64_t bytes = 0;
    AclExecutor* executor = nullptr;
    plan(op, arguments, &bytes, &executor, std::index_sequence_for<P...>(), values...);
    launch(op.name, op.run, bytes, executor, std::move(arguments));
  }
  /// Device to device.
  void copy(void* target, const void* source, std::size_t bytes);
  void zero(const Tensor& target);

  /// Marks the call as one that cannot be repeated from a recording.
  void forget() noexcept { repeatable_ = false; }
  bool repeatable() const noexcept { return repeatable_; }

 private:
  template <class... P, std::size_t... I, class... A>
  void plan(const Operator<P...>& op, Arguments& arguments, std::uint64_t* bytes, AclExecutor** executor,
            std::index_sequence<I...>, const A&... values) {
    require(op.name, op.plan != nullptr);
    check_plan(op.name, op.plan(arguments.convert<P>(values, I)..., bytes, executor));
  }
  static void require(const char* name, bool there);
  static void check_plan(const char* name, int code);
  void launch(const char* name, int (*function)(void*, std::uint64_t, AclExecutor*, AclStream), std::uint64_t bytes,
              AclExecutor* executor, Arguments arguments);
  void make_repeatable(AclExecutor* executor, const Arguments& arguments);

  Arena& arena_;
  Arena& operators_;
  AclStream stream_;
  Mode mode_;
  bool repeatable_ = true;
  Recording* recording_;
};

}  // namespace moekit::ascend
