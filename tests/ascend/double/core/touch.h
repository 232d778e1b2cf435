// SPDX-License-Identifier: Apache-2.0
// Address space that nobody may touch, and a word of explanation before the crash of a program that does.
#pragma once

#include <cstdint>

namespace ascend_double {

// `bytes` of address space that may neither be read nor written; `what` (which lives on) lies there. Throws
// Failure{kRtOutOfMemory}.
char* reserve_untouchable(uint64_t bytes, const char* what);

// From now on a touch of such space is named on stderr. Then the fault goes its way: to the handler that was there
// before (a sanitizer's, Python's), or to the end of the process.
void explain_touches();

}  // namespace ascend_double
