// SPDX-License-Identifier: Apache-2.0
#include "cuda/simt/context.h"

#include <cstdint>

#if defined(__x86_64__)
// System V: rbx, rbp, r12-r15 and the control words of x87 and SSE belong to the callee. The control words are the same
// in all fibers.
__asm__(R"(.text
.globl moekit_simt_switch
.hidden moekit_simt_switch
.type moekit_simt_switch, @function
moekit_simt_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size moekit_simt_switch, .-moekit_simt_switch
)");
#elif defined(__aarch64__)
// AAPCS64: x19-x30 and the low halves of v8-v15.
__asm__(R"(.text
.globl moekit_simt_switch
.hidden moekit_simt_switch
.type moekit_simt_switch, %function
moekit_simt_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size moekit_simt_switch, .-moekit_simt_switch
)");
#else
#error "no stack switch for this processor: add one here"
#endif

namespace simt {

void* make_context(std::byte* stack, std::size_t bytes, void (*entry)()) {
  auto top = reinterpret_cast<std::uintptr_t>(stack + bytes) & ~std::uintptr_t{15};
#if defined(__x86_64__)
  // Six registers, the address that `ret` takes, and one word so that the stack is aligned as after a call.
  auto* words = reinterpret_cast<std::uintptr_t*>(top) - 8;
  for (int i = 0; i < 8; ++i) words[i] = 0;
  words[6] = reinterpret_cast<std::uintptr_t>(entry);
#else
  auto* words = reinterpret_cast<std::uintptr_t*>(top) - 20;
  for (int i = 0; i < 20; ++i) words[i] = 0;
  words[11] = reinterpret_cast<std::uintptr_t>(entry);  // x30
#endif
  return words;
}

}  // namespace simt
