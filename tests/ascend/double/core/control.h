// SPDX-License-Identifier: Apache-2.0
// The control functions, for tests: exported with C linkage from every library of the double (through its dependency on
// libascend_double_core.so), to be found with dlsym.
#pragma once

#include <cstdint>

#define ASCEND_DOUBLE_CONTROL __attribute__((visibility("default")))

extern "C" {

// Sets MOEKIT_ASCEND_DOUBLE_<name> for the calls that follow; 0, or 1 for an unknown name.
ASCEND_DOUBLE_CONTROL int ascend_double_set(const char* name, const char* value);
// Settings as the environment gave them at load; no violations, no counted calls. Handles and memory stay.
ASCEND_DOUBLE_CONTROL void ascend_double_reset();
// How many violations were counted; the text of one, "kind: what happened" (its length; 0: there is none).
ASCEND_DOUBLE_CONTROL uint64_t ascend_double_violations();
ASCEND_DOUBLE_CONTROL uint64_t ascend_double_violation(uint64_t index, char* text, uint64_t size);
// Live objects: "block", "pinned block", "context", "stream", "event", "aclmdlRI", "aclTensor", "aclTensorList",
// "aclIntArray", "aclScalar", "aclOpExecutor", "HcclComm".
ASCEND_DOUBLE_CONTROL uint64_t ascend_double_live(const char* kind);
// Calls of an exported name since the start or the last reset.
ASCEND_DOUBLE_CONTROL uint64_t ascend_double_calls(const char* symbol);
ASCEND_DOUBLE_CONTROL uint64_t ascend_double_used_bytes(int device);
// Reads device memory as it is at this moment, without any check of order: 0 or the code of the refusal.
ASCEND_DOUBLE_CONTROL int ascend_double_peek(const void* device_address, uint64_t bytes, void* host);

}  // extern "C"
