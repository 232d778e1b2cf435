// SPDX-License-Identifier: Apache-2.0
#include "core/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "core/environment.h"
#include "moekit/core.h"

namespace moekit {
namespace {

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// A pause takes 40-140 cycles; after about 50 us of them the thread waited for has probably lost its CPU.
constexpr int kSpinsBeforeYield = 2000;

template <class Done>
void spin_until(Done done) noexcept {
  for (int spins = 0; !done(); ++spins) {
    if (spins < kSpinsBeforeYield) {
      pause();
    } else {
      sched_yield();
    }
  }
}

// Layers of a model follow each other within some 100 us; a sleeping worker costs a wake-up of 5-50 us a call.
constexpr std::chrono::microseconds kSpinTime{100};

constexpr std::uint64_t kTeamRange = 1 << 16;  // a ticket is sequence * kTeamRange + team size

class Pool {
 public:
  bool try_run(int threads, FunctionRef<void(Team&, int)> job) {
    std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
    if (!owner) return false;
    threads = grow(threads);
    if (threads <= 1) return false;
    Team team(threads);
    job_ = &job;
    team_ = &team;
    pending_.store(threads - 1, std::memory_order_relaxed);
    {
      std::lock_guard<std::mutex> lock(sleep_);
      const std::uint64_t sequence = ticket_.load(std::memory_order_relaxed) / kTeamRange + 1;
      ticket_.store(sequence * kTeamRange + static_cast<std::uint64_t>(threads), std::memory_order_release);
    }
    if (sleepers_.load(std::memory_order_seq_cst) != 0) wake_.notify_all();
    job(team, 0);
    spin_until([this] { return pending_.load(std::memory_order_acquire) == 0; });
    return true;
  }

 private:
  int grow(int threads) {
    while (static_cast<int>(workers_) + 1 < threads) {
      try {
        const std::uint64_t seen = ticket_.load(std::memory_order_relaxed);
        std::thread([this, index = static_cast<int>(workers_) + 1, seen] { work(index, seen); }).detach();
      } catch (const std::system_error&) {
        break;  // no more threads to be had: go on with those there are
      }
      ++workers_;
    }
    return std::min(threads, static_cast<int>(workers_) + 1);
  }

  void work(int index, std::uint64_t seen) {
    for (;;) {
      seen = next_ticket(seen);
      // The ticket carries the team's size: a worker that is late for a job it has no part in must not join a later one
      // twice. A job with this worker in it cannot end before the worker has seen it.
      if (index < static_cast<int>(seen % kTeamRange)) {
        (*job_)(*team_, index);
        pending_.fetch_sub(1, std::memory_order_release);
      }
    }
  }

  std::uint64_t next_ticket(const std::uint64_t seen) {
    std::uint64_t ticket = seen;
    const auto changed = [&] { return (ticket = ticket_.load(std::memory_order_acquire)) != seen; };
    const auto end = std::chrono::steady_clock::now() + kSpinTime;
    do {
      for (int i = 0; i < 50; ++i) {
        if (changed()) return ticket;
        pause();
      }
    } while (std::chrono::steady_clock::now() < end);
    std::unique_lock<std::mutex> lock(sleep_);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    wake_.wait(lock, changed);
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
    return ticket;
  }

  std::mutex owner_;  // held by the caller whose job runs
  std::size_t workers_ = 0;
  const FunctionRef<void(Team&, int)>* job_ = nullptr;
  Team* team_ = nullptr;
  alignas(64) std::atomic<std::uint64_t> ticket_{0};
  alignas(64) std::atomic<int> pending_{0};
  std::atomic<int> sleepers_{0};
  std::mutex sleep_;
  std::condition_variable wake_;
};

std::atomic<Pool*> g_pool{nullptr};

// Never destroyed: workers may outlive static destruction. A forked child has none of the workers and may find the
// locks held, so it starts with a fresh pool; the parent's is left to it unused.
Pool& pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    g_pool.store(new Pool, std::memory_order_release);
    pthread_atfork(nullptr, nullptr, [] { g_pool.store(new Pool, std::memory_order_release); });
  });
  return *g_pool.load(std::memory_order_acquire);
}

thread_local bool t_inside = false;  // a job that asks for a job runs it alone

int default_threads() {
  return static_cast<int>(environment_integer("MOEKIT_NUM_THREADS", 1, 4096, available_cpus()));
}

std::atomic<int> g_threads{0};

}  // namespace

void Team::barrier() noexcept {
  if (threads_ == 1) return;
  const std::uint32_t generation = generation_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<std::uint32_t>(threads_)) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.store(generation + 1, std::memory_order_release);
  } else {
    spin_until([&] { return generation_.load(std::memory_order_acquire) != generation; });
  }
}

void run_parallel(int threads, FunctionRef<void(Team&, int)> job) {
  if (threads > 1 && !t_inside) {
    const auto marked = [&job](Team& team, int thread) {
      t_inside = true;
      job(team, thread);
      t_inside = false;
    };
    if (pool().try_run(threads, marked)) return;
  }
  Team alone(1);
  job(alone, 0);
}

void run_throwing(int threads, FunctionRef<void(Team&, int)> job) {
  std::exception_ptr error;
  std::mutex mutex;
  run_parallel(threads, [&](Team& team, int thread) {
    try {
      job(team, thread);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!error) error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
}

void parallel_for(int threads, std::int64_t count, std::int64_t grain,
                  FunctionRef<void(std::int64_t, std::int64_t)> body) {
  if (count <= 0) return;
  const std::int64_t pieces = (count + grain - 1) / grain;
  std::atomic<std::int64_t> next{0};
  run_throwing(static_cast<int>(std::min<std::int64_t>(threads, pieces)), [&](Team&, int) {
    for (std::int64_t piece; (piece = next.fetch_add(1, std::memory_order_relaxed)) < pieces;)
      body(piece * grain, std::min(count, (piece + 1) * grain));
  });
}

void set_num_threads(int n) {
  if (n > 4096) throw std::invalid_argument("[set_num_threads] " + std::to_string(n) + " threads, at most 4096");
  g_threads.store(n > 0 ? n : default_threads(), std::memory_order_relaxed);
}

int num_threads() {
  int threads = g_threads.load(std::memory_order_relaxed);
  if (threads == 0) {
    threads = default_threads();
    g_threads.store(threads, std::memory_order_relaxed);
  }
  return threads;
}

}  // namespace moekit
