// SPDX-License-Identifier: Apache-2.0
// Tells AddressSanitizer about changes of stacks; nothing without it.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt {

#if defined(__SANITIZE_ADDRESS__)
inline thread_local const void* g_scheduler_bottom = nullptr;
inline thread_local std::size_t g_scheduler_size = 0;

inline void* sanitizer_enter_fiber(const void* stack, std::size_t bytes) {
  void* mark = nullptr;
  __sanitizer_start_switch_fiber(&mark, stack, bytes);
  return mark;
}
inline void sanitizer_left_fiber(void* mark) { __sanitizer_finish_switch_fiber(mark, nullptr, nullptr); }
inline void sanitizer_entered_fiber() {
  __sanitizer_finish_switch_fiber(nullptr, &g_scheduler_bottom, &g_scheduler_size);
}
inline void* sanitizer_leave_fiber(bool for_good) {
  void* mark = nullptr;
  __sanitizer_start_switch_fiber(for_good ? nullptr : &mark, g_scheduler_bottom, g_scheduler_size);
  return mark;
}
inline void sanitizer_back_in_fiber(void* mark) {
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
