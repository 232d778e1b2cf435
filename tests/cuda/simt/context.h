// SPDX-License-Identifier: Apache-2.0
// A change of stacks: saves the callee-saved registers of one fiber and loads those of another.
#pragma once

#include <cstddef>

namespace simt {

/// Leaves the running stack, keeping its position in *from, and goes on at `to`. About 10 ns a round trip; swapcontext,
/// which also saves the signal mask by a system call, takes forty times as long.
extern "C" void moekit_simt_switch(void** from, void* to);

/// A position at which `entry` starts on a fresh stack. `entry` never returns.
void* make_context(std::byte* stack, std::size_t bytes, void (*entry)());

}  // namespace simt
