// SPDX-License-Identifier: Apache-2.0
#include "core/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "moekit/core.h"

namespace moekit {
namespace {

// Growing, shrinking and larger than the machine.
constexpr int kTeams[] = {1, 2, 3, 7, 16, 5, 2, 1};

TEST(RunParallel, EveryThreadOfTheTeamRunsOnce) {
  for (int round = 0; round < 50; ++round) {
    for (const int threads : kTeams) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(threads));
      std::atomic<int> team_size{0};
      run_parallel(threads, [&](Team& team, int thread) {
        team_size.store(team.threads());
        ++runs.at(static_cast<std::size_t>(thread));
      });
      ASSERT_GE(team_size, 1);
      ASSERT_LE(team_size, threads);
      for (int i = 0; i < threads; ++i) ASSERT_EQ(runs[static_cast<std::size_t>(i)], i < team_size ? 1 : 0) << threads;
    }
  }
}

TEST(RunParallel, CallerIsThreadZero) {
  const std::thread::id caller = std::this_thread::get_id();
  run_parallel(4, [&](Team&, int thread) { EXPECT_EQ(std::this_thread::get_id() == caller, thread == 0); });
}

TEST(RunParallel, BarrierOrdersPhases) {
  constexpr int kPhases = 200;
  for (const int threads : kTeams) {
    std::vector<int> phase_of(static_cast<std::size_t>(threads), 0);  // plain ints: only the barrier orders them
    std::atomic<int> mistakes{0};
    run_parallel(threads, [&](Team& team, int thread) {
      const int size = team.threads();
      for (int phase = 1; phase <= kPhases; ++phase) {
        phase_of[static_cast<std::size_t>(thread)] = phase;
        team.barrier();
        if (phase_of[static_cast<std::size_t>((thread + 1) % size)] != phase) ++mistakes;
        team.barrier();
      }
    });
    EXPECT_EQ(mistakes, 0) << threads;
  }
}

TEST(RunParallel, NestedJobsRunOnTheirCallerAlone) {
  std::atomic<int> inner_runs{0}, outer_runs{0};
  run_parallel(4, [&](Team&, int) {
    ++outer_runs;
    run_parallel(4, [&](Team& team, int thread) {
      EXPECT_EQ(team.threads(), 1);
      EXPECT_EQ(thread, 0);
      ++inner_runs;
    });
  });
  EXPECT_EQ(inner_runs, outer_runs);
}

TEST(ParallelFor, EveryIndexOnceInPiecesOfAtMostTheGrain) {
  for (const int threads : kTeams) {
    for (const std::int64_t count : {0, 1, 2, 63, 64, 65, 1000}) {
      for (const std::int64_t grain : {1, 7, 64, 5000}) {
        std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
        parallel_for(threads, count, grain, [&](std::int64_t first, std::int64_t last) {
          EXPECT_LT(first, last);
          EXPECT_LE(last - first, grain);
          for (std::int64_t i = first; i < last; ++i) ++visits.at(static_cast<std::size_t>(i));
        });
        for (const auto& visit : visits) ASSERT_EQ(visit, 1);
      }
    }
  }
}

TEST(ParallelFor, ManyCallersAtOnceEachGetTheirOwnResult) {
  constexpr std::int64_t kCount = 1000;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 8; ++caller) {
    callers.emplace_back([caller] {
      for (int round = 0; round < 100; ++round) {
        std::atomic<std::int64_t> sum{0};
        parallel_for(3, kCount, 50, [&](std::int64_t first, std::int64_t last) {
          for (std::int64_t i = first; i < last; ++i) sum += i + caller;
        });
        ASSERT_EQ(sum, kCount * (kCount - 1) / 2 + caller * kCount);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

/// Runs body in a forked child; the alarm turns a hang into a failure.
template <class Body>
int exit_status_of_child(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(body() ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

class Fork : public testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "not tested: ThreadSanitizer supports no new threads in the child of a process with threads";
#endif
  }
};

TEST_F(Fork, ChildOfAProcessWithWorkersHasAWorkingPool) {
  std::atomic<int> runs{0};
  run_parallel(4, [&](Team&, int) { ++runs; });  // the parent's workers exist
  ASSERT_GE(runs, 1);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(exit_status_of_child([] {
                std::atomic<int> sum{0};
                parallel_for(4, 100, 1, [&](std::int64_t first, std::int64_t) { sum += static_cast<int>(first); });
                return sum == 4950;
              }),
              0);
  }
  runs = 0;
  run_parallel(4, [&](Team&, int) { ++runs; });
  EXPECT_GE(runs, 1);
}

TEST_F(Fork, ChildOfAForkDuringAJobOfAnotherThread) {
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) parallel_for(3, 64, 1, [](std::int64_t, std::int64_t) {});
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(exit_status_of_child([] {
                std::atomic<int> sum{0};
                parallel_for(3, 10, 1, [&](std::int64_t, std::int64_t) { ++sum; });
                return sum == 10;
              }),
              0);
  }
  stop = true;
  busy.join();
}

TEST(AvailableCpus, FollowTheAffinityMask) {
  EXPECT_GE(available_cpus(), 1);
  std::thread([] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(available_cpus(), 1);
  }).join();
}

TEST(NumThreads, SetAndRestored) {
  const int before = num_threads();
  EXPECT_GE(before, 1);
  set_num_threads(7);
  EXPECT_EQ(num_threads(), 7);
  EXPECT_THROW(set_num_threads(1 << 20), std::invalid_argument);
  EXPECT_EQ(num_threads(), 7);
  set_num_threads(0);
  EXPECT_EQ(num_threads(), before);
}

}  // namespace
}  // namespace moekit
