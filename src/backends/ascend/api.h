// SPDX-License-Identifier: Apache-2.0
// The one table of CANN functions, filled once a process. The runtime's functions are needed; each operator is there or
// not by itself, and what needs a missing one degrades or declines.
#pragma once

#include <string>

#include "backends/ascend/ascend_abi.h"

namespace moekit::ascend {

/// The two functions of an operator; Args are its parameters before (uint64_t* bytes, AclExecutor** executor).
template <class... Args>
struct Operator {
  const char* name = nullptr;
  int (*plan)(Args..., std::uint64_t* bytes, AclExecutor** executor) = nullptr;
  int (*run)(void* workspace, std::uint64_t bytes, AclExecutor* executor, AclStream stream) = nullptr;
  explicit operator bool() const noexcept { return run != nullptr; }
};

struct Runtime {
#define MOEKIT_ASCEND_FUNCTION(result, name, parameters) result(*name) parameters = nullptr;
  MOEKIT_ASCEND_RUNTIME(MOEKIT_ASCEND_FUNCTION, MOEKIT_ASCEND_FUNCTION)
#undef MOEKIT_ASCEND_FUNCTION
};

/// All null where libhccl.so is missing.
struct Collectives {
#define MOEKIT_ASCEND_FUNCTION(result, name, parameters) result(*name) parameters = nullptr;
  MOEKIT_ASCEND_COLLECTIVES(MOEKIT_ASCEND_FUNCTION)
#undef MOEKIT_ASCEND_FUNCTION
};

struct Operators {
#define MOEKIT_ASCEND_OPERATOR(member, symbol, ...) Operator<__VA_ARGS__> member;
  MOEKIT_ASCEND_OPERATORS(MOEKIT_ASCEND_OPERATOR)
#undef MOEKIT_ASCEND_OPERATOR
};

struct Api {
  Runtime rt;
  Operators op;
  Collectives hccl;
  std::string reason;   // why the device cannot be used: "not available: ..."; empty when it can
  std::string absent;   // names of operators that this installation lacks, for explain()
  std::string version;  // of the runtime and the chip, for explain()
  std::uint32_t devices = 0;
};

/// Opens the libraries, initialises the runtime and counts devices on the first call; never throws but bad_alloc.
const Api& api();

/// Throws DeviceError "[ascend] call failed with code N (meaning): text of aclGetRecentErrMsg" when code is not 0.
void check(int code, const char* call);

}  // namespace moekit::ascend
