// SPDX-License-Identifier: Apache-2.0
// What the machine can do at most, for `moekit bench`.
#include "backends/cpu/limits.h"

#include "bindings.h"

namespace moekit::python {
namespace {

py::dict limits_facts(std::size_t read_bytes, double seconds) {
  cpu::Limits limits;
  {
    const py::gil_scoped_release nogil;
    limits = cpu::measure_limits(read_bytes == 0 ? cpu::default_read_bytes() : read_bytes, seconds);
  }
  py::list peaks;
  for (const cpu::IsaPeak& peak : limits.peaks) {
    py::dict entry;
    entry["isa"] = std::string(peak.isa);
    entry["fp32"] = peak.fp32;
    entry["bf16"] = peak.bf16;
    peaks.append(entry);
  }
  py::dict out;
  out["threads"] = limits.threads;
  out["read_bytes"] = limits.read_bytes;
  out["dram"] = limits.dram;
  out["fp32"] = limits.fp32_peak();
  out["bf16"] = limits.bf16_peak();
  out["peaks"] = peaks;
  return out;
}

}  // namespace

void bind_limits(py::module_& module) {
  module.def("measure_limits", &limits_facts, py::arg("read_bytes") = 0, py::arg("seconds") = 1.0,
             "Best rates of all threads, bytes/s and flop/s: memory reads of read_bytes (0: three times the last-level "
             "cache, within a quarter of the free memory), fp32 and bf16 multiply-adds of each ISA.");
}

}  // namespace moekit::python
