// SPDX-License-Identifier: Apache-2.0
// moekit_cuda_kit [FILE]: the conformance kit on the first device; JSON to FILE or to the terminal. Exits 1 when the
// emulation imitates something wrongly, 2 when there is no device.
#include <cstdio>
#include <exception>
#include <fstream>

#include "cuda/kit/blas_oracle.h"

int main(int count, char** arguments) {
  using namespace moekit::kit;
  try {
    std::vector<Finding> findings = run_kit(device_runner(), host_runner());
    std::string reason;
    const std::vector<Finding> products = run_blas_oracle(&reason);
    if (products.empty()) std::fprintf(stderr, "not tested: products against cuBLAS (%s)\n", reason.c_str());
    findings.insert(findings.end(), products.begin(), products.end());
    bool passed = true;
    for (const Finding& f : findings) {
      passed = passed && f.passed;
      std::printf("%-6s %-40s %zu words, %zu differ, worst %g (allowed %g) %s\n", f.passed ? "ok" : "FAILED",
                  f.name.c_str(), f.compared, f.different, f.worst, f.allowed, f.detail.c_str());
    }
    const std::string json = to_json(findings, device_name(), driver_version());
    if (count > 1) std::ofstream(arguments[1]) << json << '\n';
    return passed ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
