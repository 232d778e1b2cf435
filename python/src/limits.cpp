// SPDX-License-Identifier: Apache-2.0
// What the machine can do at most, for `moekit bench`.
#include "backends/cpu/limits.h"

#include "backends/cpu/limit_meter.h"
#include "bindings.h"

namespace moekit::python {
namespace {

using cpu::LimitMeter;

py::dict facts(const cpu::Limits& limits) {
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
  out["fp32"] = limits.fp32_peak().rate;
  out["bf16"] = limits.bf16_peak().rate;
  out["peaks"] = peaks;
  return out;
}

}  // namespace

void bind_limits(py::module_& module) {
  using Nogil = py::call_guard<py::gil_scoped_release>;
  py::class_<LimitMeter>(
      module, "LimitMeter",
      "Rates of all threads, bytes/s and flop/s: memory reads, and multiply-adds of each ISA. Holds "
      "read_bytes of memory (0: three times the last-level cache, within a quarter of the free one).")
      .def(py::init([](std::size_t read_bytes) {
             return std::make_unique<LimitMeter>(read_bytes == 0 ? cpu::default_read_bytes() : read_bytes);
           }),
           py::arg("read_bytes") = 0, Nogil())
      .def("measure", &LimitMeter::measure, py::arg("seconds"), Nogil(), "Looks for better rates for so long.")
      .def_property_readonly(
          "best", [](const LimitMeter& meter) { return facts(meter.best()); },
          "The best rates that measure() has seen.")
      .def("read_rate", &LimitMeter::read_rate, py::arg("seconds"), Nogil(), "bytes/s over the next seconds.")
      .def(
          "flop_rate",
          [](const LimitMeter& meter, bool float32, double seconds) {
            return meter.flop_rate(meter.best().peak_of(float32 ? DType::kFloat32 : DType::kBFloat16), seconds);
          },
          py::arg("float32"), py::arg("seconds"), Nogil(),
          "flop/s over the next seconds of the arithmetic that weights are judged by: float32 multiply-adds; unless "
          "float32 is asked for, bfloat16 ones where they are faster.");
}

}  // namespace moekit::python
