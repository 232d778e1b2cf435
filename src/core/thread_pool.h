// SPDX-License-Identifier: Apache-2.0
// One pool of worker threads for the process. Workers spin for a moment after a job and then sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace moekit {

/// A reference to a callable: no allocation, valid only while the callable lives.
template <class Signature>
class FunctionRef;
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F, class = std::enable_if_t<!std::is_same_v<std::decay_t<F>, FunctionRef>>>
  FunctionRef(F&& f) noexcept  // NOLINT(google-explicit-constructor): lambdas convert at the call
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(args...);
        }) {}
  R operator()(Args... args) const { return call_(object_, args...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

/// The threads of one running job, and the barrier between them.
class Team {
 public:
  explicit Team(int threads) noexcept : threads_(threads) {}
  int threads() const noexcept { return threads_; }
  /// Returns once every thread of the team has called it. What was written before is visible after.
  void barrier() noexcept;

 private:
  int threads_;
  std::atomic<std::uint32_t> arrived_{0};
  std::atomic<std::uint32_t> generation_{0};
};

/// Runs job(team, thread) on up to `threads` threads, the caller being thread 0, and returns when all are done.
/// When the pool is busy with another caller's job, or inside a job, it runs on the caller alone: jobs must give the
/// same result for every team size. Jobs must not throw.
void run_parallel(int threads, FunctionRef<void(Team&, int)> job);

/// run_parallel for jobs that may throw and use no barrier: rethrows the first exception once all threads are done.
void run_throwing(int threads, FunctionRef<void(Team&, int)> job);

/// Splits [0, count) dynamically: body(first, last) for pieces of at most `grain`. `body` may throw, as in run_throwing.
void parallel_for(int threads, std::int64_t count, std::int64_t grain,
                  FunctionRef<void(std::int64_t, std::int64_t)> body);

/// CPUs that the affinity mask and the cgroup quota give this process, at least 1.
int available_cpus() noexcept;

}  // namespace moekit
