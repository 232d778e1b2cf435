// SPDX-License-Identifier: Apache-2.0
#include "touch.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>

#include "failure.h"

namespace ascend_double {

namespace {

// Read inside a signal handler: a fixed array that only grows. Later ranges are as untouchable, only without a word.
constexpr size_t kRanges = 256;
struct Range {
  uintptr_t begin, end;
  const char* what;
};
Range ranges[kRanges];
std::atomic<size_t> range_count{0};
struct sigaction previous[2];
constexpr int kSignals[2] = {SIGSEGV, SIGBUS};

void say(const char* text) {
  if (write(STDERR_FILENO, text, std::strlen(text)) < 0) return;  // nothing is left to be done
}

void on_fault(int signal, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  const size_t count = range_count.load();
  for (size_t i = 0; i < count; ++i) {
    if (address < ranges[i].begin || address >= ranges[i].end) continue;
    const bool memory = std::strcmp(ranges[i].what, "device memory") == 0;
    say("[ascend double] the host touched ");
    say(memory ? "" : "a handle: ");
    say(ranges[i].what);
    say("\n");
    break;
  }
  // Returning runs the faulting instruction again, under the handler that was there before.
  for (int i = 0; i < 2; ++i) {
    if (kSignals[i] == signal) sigaction(signal, &previous[i], nullptr);
  }
}

}  // namespace

char* reserve_untouchable(uint64_t bytes, const char* what) {
  void* const base = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  require(base != MAP_FAILED, code::kRtOutOfMemory, "no address space for ", bytes, " bytes");
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  const size_t at = range_count.load();
  if (at < kRanges) {
    const auto begin = reinterpret_cast<uintptr_t>(base);
    ranges[at] = {begin, begin + bytes, what};
    range_count.store(at + 1);
  }
  return static_cast<char*>(base);
}

void explain_touches() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < 2; ++i) sigaction(kSignals[i], &action, &previous[i]);
  });
}

}  // namespace ascend_double
