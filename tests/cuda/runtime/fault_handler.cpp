// SPDX-License-Identifier: Apache-2.0
// Says who touched device memory, and where, when the guard pages stop it.
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "cuda/runtime/memory.h"

namespace moekit::standin {
namespace {

const Memory* memory_of_handler = nullptr;
const char* (*doing_of_handler)() = nullptr;
struct sigaction previous_segv, previous_bus;

// The process ends here, so that a heap that the fault left in disorder is the worst that can happen.
void on_fault(int signal, siginfo_t* info, void* context) {
  const std::string place = memory_of_handler->describe(info->si_addr);
  if (!place.empty()) {
    const char* doing = doing_of_handler();
    const std::string who = doing != nullptr ? std::string(doing) + ", run on the device," : std::string("the host");
    const std::string text = "stand-in driver: " + who + " touched " + place + "\n";
    if (write(STDERR_FILENO, text.data(), text.size()) < 0) _exit(99);
    std::abort();
  }
  const struct sigaction& previous = signal == SIGSEGV ? previous_segv : previous_bus;
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
    previous.sa_sigaction(signal, info, context);
  } else {
    ::signal(signal, SIG_DFL);  // the access is tried again and ends the process
  }
}

}  // namespace

void install_fault_handler(const Memory* memory, const char* (*doing)()) {
  memory_of_handler = memory;
  doing_of_handler = doing;
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, &previous_segv);
  sigaction(SIGBUS, &action, &previous_bus);
}

}  // namespace moekit::standin
