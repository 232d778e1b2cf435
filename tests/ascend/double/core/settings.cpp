// SPDX-License-Identifier: Apache-2.0
#include "settings.h"

#include <cstdlib>
#include <set>
#include <sstream>

namespace ascend_double {

namespace {

const char* const kNames[] = {"PROFILE", "DELAY_US",     "LAZY",  "MEMORY", "DEVICES", "POISON",         "SOC",
                              "SEED",    "ON_VIOLATION", "LEAKS", "ABSENT", "FAULTS",  "HCCL_TIMEOUT_MS"};

// What CANN 8.1 did not have, as the profile "old" plays it.
const std::set<std::string> kNewerSymbols = {"aclnnGroupedMatmulV5",
                                             "aclnnMoeInitRoutingV3",
                                             "aclnnMoeGatingTopKSoftmaxV2",
                                             "aclnnMoeTokenPermuteV2",
                                             "aclnnMoeDistributeDispatchV2",
                                             "aclnnMoeDistributeCombineV2",
                                             "aclnnGroupedMatmulSwigluQuant",
                                             "aclmdlRICaptureBegin",
                                             "aclmdlRICaptureGetInfo",
                                             "aclmdlRICaptureEnd",
                                             "aclmdlRIExecuteAsync",
                                             "aclmdlRIDestroy",
                                             "aclrtGetDeviceInfo",
                                             "HcclAlltoAllVC"};

bool contains_item(const std::string& list, const std::string& item) {
  std::istringstream in(list);
  for (std::string part; std::getline(in, part, ',');) {
    if (part == item) return true;
  }
  return false;
}

// An operator is its two functions: its name stands for both.
std::string operator_of(const std::string& symbol) {
  const std::string suffix = "GetWorkspaceSize";
  const bool first_phase =
      symbol.size() > suffix.size() && symbol.compare(symbol.size() - suffix.size(), suffix.size(), suffix) == 0;
  return first_phase ? symbol.substr(0, symbol.size() - suffix.size()) : symbol;
}

// What "*" among the faults means. What gives back cannot report, and what only asks is not asked in vain.
bool may_fail(const std::string& symbol) {
  if (symbol.rfind("aclnn", 0) == 0) return true;
  for (const char* part : {"Destroy", "Free", "Get", "Init", "Finalize", "Reset", "SetDevice", "SynchronizeEvent"}) {
    if (symbol.find(part) != std::string::npos) return false;
  }
  return true;
}

}  // namespace

Settings::Settings() { reset(); }

void Settings::reset() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    values_.clear();
    for (const char* name : kNames) {
      const char* given = std::getenv(("MOEKIT_ASCEND_DOUBLE_" + std::string(name)).c_str());
      if (given != nullptr) values_[name] = given;
    }
  }
  jitter_ = has_profile("jitter");
}

bool Settings::set(const std::string& name, const std::string& new_value) {
  for (const char* known : kNames) {
    if (name != known) continue;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      values_[name] = new_value;
    }
    jitter_ = has_profile("jitter");
    return true;
  }
  return false;
}

std::string Settings::value(const std::string& name, const std::string& otherwise) const {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = values_.find(name);
  return found == values_.end() || found->second.empty() ? otherwise : found->second;
}

uint64_t Settings::number(const std::string& name, uint64_t otherwise) const {
  const std::string given = value(name, "");
  return given.empty() ? otherwise : std::strtoull(given.c_str(), nullptr, 0);
}

bool Settings::has_profile(const std::string& name) const { return contains_item(value("PROFILE", "normal"), name); }
uint64_t Settings::delay_us() const { return number("DELAY_US", strict() ? 200 : 50); }
bool Settings::lazy() const { return number("LAZY", 0) != 0; }
uint64_t Settings::memory_bytes() const { return number("MEMORY", uint64_t{16} << 30); }
int Settings::devices() const { return static_cast<int>(number("DEVICES", 4)); }
// 0xCD is a large number in every type, 0xFF a NaN in the floating ones: what is read by mistake then spreads.
int Settings::poison() const { return static_cast<int>(number("POISON", strict() ? 0xFF : 0xCD)); }
std::string Settings::soc() const { return value("SOC", "Ascend910B3"); }
std::string Settings::on_violation() const { return value("ON_VIOLATION", strict() ? "abort" : "print"); }
std::string Settings::leaks() const { return value("LEAKS", "off"); }
uint64_t Settings::seed() const { return number("SEED", 1); }
uint64_t Settings::hccl_timeout_ms() const { return number("HCCL_TIMEOUT_MS", 20000); }

bool Settings::present(const std::string& symbol) const {
  const std::string name = operator_of(symbol);
  if (old_cann() && kNewerSymbols.count(name) != 0) return false;
  const std::string absent = value("ABSENT", "");
  return !contains_item(absent, name) && !contains_item(absent, symbol);
}

int Settings::count_call(const std::string& symbol) {
  const std::string faults = value("FAULTS", "");
  std::lock_guard<std::mutex> lock(mutex_);
  const uint64_t call = ++calls_[symbol];
  const uint64_t call_of_all = may_fail(symbol) ? ++calls_of_all_ : 0;
  std::istringstream in(faults);  // symbol:n:code, ...; n counts from 1, 0 is every call; *:n:code is every n-th of all
  for (std::string item; std::getline(in, item, ',');) {
    const size_t first = item.find(':');
    const size_t second = first == std::string::npos ? first : item.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string name = item.substr(0, first);
    const uint64_t at = std::strtoull(item.c_str() + first + 1, nullptr, 10);
    const bool hit =
        name == "*" ? at != 0 && call_of_all != 0 && call_of_all % at == 0 : name == symbol && (at == 0 || at == call);
    if (hit) return std::atoi(item.c_str() + second + 1);
  }
  return 0;
}

uint64_t Settings::calls(const std::string& symbol) const {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = calls_.find(symbol);
  return found == calls_.end() ? 0 : found->second;
}

void Settings::clear_calls() {
  std::lock_guard<std::mutex> lock(mutex_);
  calls_.clear();
}

Settings& settings() {
  static Settings* const instance = new Settings;
  return *instance;
}

}  // namespace ascend_double
