// SPDX-License-Identifier: Apache-2.0
// What went wrong so far: violations of the whole process, the recent error text of each thread.
#pragma once

#include <string>
#include <vector>

namespace ascend_double {

std::vector<std::string> violations();
void clear_violations();

// The recent error text of this thread, which is then forgotten; NULL when there is none, as the real call answers.
// The pointer lives until the next call of the same thread.
const char* take_recent_message();

}  // namespace ascend_double
