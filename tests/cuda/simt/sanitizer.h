// SPDX-License-Identifier: Apache-2.0
// Tells AddressSanitizer about changes of stacks; nothing without it.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

// On functions that leave their stack: their own variables must not lie on the one that AddressSanitizer makes up
// beside it, which goes with the fiber.
#define MOEKIT_SIMT_SWITCHES __attribute__((no_sanitize_address))

namespace simt {

#if defined(__SANITIZE_ADDRESS__)
inline thread_local const void* g_scheduler_bottom = nullptr;
inline thread_local std::size_t g_scheduler_size = 0;

MOEKIT_SIMT_SWITCHES inline void* sanitizer_enter_fiber(const void* stack, std::size_t bytes) {
  void* mark = nullptr;
  __sanitizer_start_switch_fiber(&mark, stack, bytes);
  return mark;
}
MOEKIT_SIMT_SWITCHES inline void sanitizer_left_fiber(void* mark) {
  __sanitizer_finish_switch_fiber(mark, nullptr, nullptr);
}
MOEKIT_SIMT_SWITCHES inline void sanitizer_entered_fiber() {
  __sanitizer_finish_switch_fiber(nullptr, &g_scheduler_bottom, &g_scheduler_size);
}
MOEKIT_SIMT_SWITCHES inline void* sanitizer_leave_fiber(bool for_good) {
  void* mark = nullptr;
  __sanitizer_start_switch_fiber(for_good ? nullptr : &mark, g_scheduler_bottom, g_scheduler_size);
  return mark;
}
MOEKIT_SIMT_SWITCHES inline void sanitizer_back_in_fiber(void* mark) {
  __sanitizer_finish_switch_fiber(mark, &g_scheduler_bottom, &g_scheduler_size);
}
#else
inline void* sanitizer_enter_fiber(const void*, std::size_t) { return nullptr; }
inline void sanitizer_left_fiber(void*) {}
inline void sanitizer_entered_fiber() {}
inline void* sanitizer_leave_fiber(bool) { return nullptr; }
inline void sanitizer_back_in_fiber(void*) {}
#endif

}  // namespace simt
