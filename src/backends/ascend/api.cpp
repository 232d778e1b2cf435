// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/api.h"

#include <type_traits>

#include "backends/ascend/libraries.h"
#include "moekit/error.h"

namespace moekit::ascend {
namespace {

struct Meaning {
  int code;
  const char* text;
};

// Codes that a user can do something about, or that tell apart kinds of failure.
constexpr Meaning kMeanings[] = {
    {100000, "invalid parameter"},
    {107001, "no such device"},
    {107002, "no device was set on this thread"},
    {107003, "the stream belongs to another context"},
    {107027, "the stream is being captured"},
    {161001, "a required argument is null"},
    {161002, "an argument is invalid"},
    {200000, "allocation failed"},
    {207001, "out of device memory"},
    {207018, "out of memory"},
    {361001, "the runtime failed"},
    {507014, "a kernel timed out"},
    {507015, "a kernel failed"},
    {507046, "the stream did not finish in time"},
    {561001, "shapes do not fit"},
    {561002, "no tiling for these shapes"},
    {561003, "the operator's kernels are not installed"},
    {561103, "an inner check failed"},
    {561107, "ASCEND_OPP_PATH is not set"},
    {561112, "the operator package is not installed"},
};

std::string describe(const Runtime& rt, int code) {
  std::string text = std::to_string(code);
  for (const Meaning& meaning : kMeanings)
    if (meaning.code == code) text += " (" + std::string(meaning.text) + ")";
  const char* recent = rt.aclGetRecentErrMsg != nullptr ? rt.aclGetRecentErrMsg() : nullptr;
  if (recent != nullptr && *recent != '\0') text += ": " + std::string(recent);
  return text;
}

// Answers the names of needed functions that are missing.
std::string resolve_runtime(const Libraries& libraries, Runtime& rt) {
  std::string missing;
#define MOEKIT_ASCEND_LOOK_UP(result, name, parameters) \
  rt.name = reinterpret_cast<result(*) parameters>(libraries.runtime_symbol(#name));
#define MOEKIT_ASCEND_REQUIRE(result, name, parameters) \
  MOEKIT_ASCEND_LOOK_UP(result, name, parameters)       \
  if (rt.name == nullptr) missing += (missing.empty() ? "" : ", ") + std::string(#name);
  MOEKIT_ASCEND_RUNTIME(MOEKIT_ASCEND_REQUIRE, MOEKIT_ASCEND_LOOK_UP)
#undef MOEKIT_ASCEND_REQUIRE
#undef MOEKIT_ASCEND_LOOK_UP
  // The spelling of releases before 8.
  const auto older = [&](auto& function, const char* name) {
    if (function == nullptr)
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(libraries.runtime_symbol(name));
  };
  older(rt.aclSetInputTensorAddr, "AclSetInputTensorAddr");
  older(rt.aclSetOutputTensorAddr, "AclSetOutputTensorAddr");
  older(rt.aclSetDynamicInputTensorAddr, "AclSetDynamicInputTensorAddr");
  return missing;
}

void resolve_collectives(const Libraries& libraries, Collectives& hccl) {
#define MOEKIT_ASCEND_LOOK_UP(result, name, parameters) \
  hccl.name = reinterpret_cast<result(*) parameters>(libraries.collective_symbol(#name));
  MOEKIT_ASCEND_COLLECTIVES(MOEKIT_ASCEND_LOOK_UP)
#undef MOEKIT_ASCEND_LOOK_UP
}

void resolve_operators(const Libraries& libraries, Api& table) {
  const auto look_up = [&](auto& op, const char* symbol) {
    op.name = symbol;
    void *plan = nullptr, *run = nullptr;
    if (libraries.operator_symbols(symbol, &plan, &run)) {
      op.plan = reinterpret_cast<decltype(op.plan)>(plan);
      op.run = reinterpret_cast<decltype(op.run)>(run);
    } else {
      table.absent += (table.absent.empty() ? "" : ", ") + std::string(symbol);
    }
  };
#define MOEKIT_ASCEND_OPERATOR(member, symbol, ...) look_up(table.op.member, #symbol);
  MOEKIT_ASCEND_OPERATORS(MOEKIT_ASCEND_OPERATOR)
#undef MOEKIT_ASCEND_OPERATOR
}

std::string start(Api& table) {
  const Runtime& rt = table.rt;
  // Another user of the process (torch_npu) may have done it before; nobody finalises, for the same reason.
  if (const int code = rt.aclInit(nullptr); code != 0 && code != kAclRepeatInitialize)
    return "aclInit failed with " + describe(rt, code);
  if (const int code = rt.aclrtGetDeviceCount(&table.devices); code != 0)
    return "aclrtGetDeviceCount failed with " + describe(rt, code);
  if (table.devices == 0) return "aclrtGetDeviceCount found no device";
  return {};
}

Api load() {
  Api table;
  const Libraries libraries;
  const auto refuse = [&](const std::string& what) {
    table.reason = "not available: " + what;
    return table;
  };
  if (!libraries.has_runtime()) return refuse("tried " + libraries.tried());
  if (const std::string missing = resolve_runtime(libraries, table.rt); !missing.empty())
    return refuse("the libraries lack " + missing +
                  (libraries.tried().empty() ? "" : "; tried and not opened: " + libraries.tried()));
  if (!libraries.has_operators()) return refuse("no operator library; tried " + libraries.tried());
  resolve_operators(libraries, table);
  resolve_collectives(libraries, table.hccl);
  if (const std::string reason = start(table); !reason.empty()) return refuse(reason);
  std::int32_t version[3] = {};
  if (table.rt.aclrtGetSocName != nullptr && table.rt.aclrtGetSocName() != nullptr)
    table.version = table.rt.aclrtGetSocName();
  if (table.rt.aclrtGetVersion != nullptr && table.rt.aclrtGetVersion(&version[0], &version[1], &version[2]) == 0)
    table.version += (table.version.empty() ? "runtime " : ", runtime ") + std::to_string(version[0]) + "." +
                     std::to_string(version[1]) + "." + std::to_string(version[2]);
  return table;
}

}  // namespace

const Api& api() {
  static const Api table = load();
  return table;
}

void check(int code, const char* call) {
  if (code != 0) throw DeviceError("[ascend] " + std::string(call) + " failed with " + describe(api().rt, code));
}

}  // namespace moekit::ascend
