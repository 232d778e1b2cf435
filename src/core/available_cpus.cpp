// SPDX-License-Identifier: Apache-2.0
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "core/thread_pool.h"

namespace moekit {
namespace {

int affinity_cpus() {
  // The kernel refuses masks smaller than its own; 2^16 CPUs is above every Linux build.
  for (int cpus = 1024; cpus <= 1 << 16; cpus *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(cpus));
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
    CPU_ZERO_S(bytes, set);
    const bool done = sched_getaffinity(0, bytes, set) == 0;
    const int error = errno, count = done ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (done) return count;
    if (error != EINVAL) break;
  }
  return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
}

// "max 100000" or "150000 100000" of cgroup v2; 0 when there is no limit.
double quota_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::strtod(quota.c_str(), nullptr) / period;
}

double quota_v1(const std::string& folder) {
  double quota = 0, period = 0;
  if (!(std::ifstream(folder + "/cpu.cfs_quota_us") >> quota)) return 0;
  if (!(std::ifstream(folder + "/cpu.cfs_period_us") >> period)) return 0;
  return quota > 0 && period > 0 ? quota / period : 0;
}

// The tightest quota from this process's cgroup up to the root.
double cgroup_cpus() {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  double limit = 0;
  const auto tighten = [&limit](double cpus) {
    if (cpus > 0) limit = limit > 0 ? std::min(limit, cpus) : cpus;
  };
  while (std::getline(file, line)) {  // "hierarchy:controllers:path"
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && controllers.find("cpu") == std::string::npos) continue;
    const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
    for (std::string path = line.substr(second + 1);; path.erase(path.rfind('/'))) {
      tighten(v2 ? quota_v2(root + path) : quota_v1(root + path));
      if (path.find('/') == std::string::npos) break;
    }
  }
  return limit;
}

}  // namespace

int available_cpus() noexcept {
  try {
    int cpus = affinity_cpus();
    const double quota = cgroup_cpus();
    if (quota > 0) cpus = std::min(cpus, std::max(1, static_cast<int>(std::lround(quota))));
    return std::max(1, cpus);
  } catch (...) {
    return 1;
  }
}

}  // namespace moekit
