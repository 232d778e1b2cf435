// SPDX-License-Identifier: Apache-2.0
// Profiles and single settings: MOEKIT_ASCEND_DOUBLE_<NAME> of the environment, read when the double is loaded, or set
// by a test through ascend_double_set(name, value). The names are listed in ../README.md.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace ascend_double {

class Settings {
 public:
  Settings();

  // An unknown name is an error of the test: false.
  bool set(const std::string& name, const std::string& value);
  // Back to what the environment said at load.
  void reset();

  bool has_profile(const std::string& name) const;
  bool strict() const { return has_profile("strict"); }
  bool jitter() const { return jitter_; }  // asked for every element
  bool old_cann() const { return has_profile("old"); }

  uint64_t delay_us() const;      // longest random delay before a queued task
  bool lazy() const;              // queues are drained only when something waits for them
  uint64_t memory_bytes() const;  // of each device
  int devices() const;
  int poison() const;  // byte that fresh and freed device memory holds
  std::string soc() const;
  std::string on_violation() const;  // "print" | "record" | "abort"
  std::string leaks() const;         // at the end of the process: "off" | "report" | "fail"
  uint64_t seed() const;
  uint64_t hccl_timeout_ms() const;

  // Whether dlsym finds the symbol (profile "old", ABSENT).
  bool present(const std::string& symbol) const;
  // Counts a call of the symbol and returns the code with which it must fail, 0 to go on (FAULTS).
  int count_call(const std::string& symbol);
  uint64_t calls(const std::string& symbol) const;
  void clear_calls();

 private:
  std::string value(const std::string& name, const std::string& otherwise) const;
  uint64_t number(const std::string& name, uint64_t otherwise) const;

  std::atomic<bool> jitter_{false};
  mutable std::mutex mutex_;
  std::map<std::string, std::string> values_;
  std::map<std::string, uint64_t> calls_;
  uint64_t calls_of_all_ = 0;  // that "*" among the faults counts
};

Settings& settings();

}  // namespace ascend_double
