// SPDX-License-Identifier: Apache-2.0
// Facts about this process and machine, for `moekit doctor`.
#include <pybind11/stl.h>

#include "backend/backend.h"
#include "backends/cpu/isa.h"
#include "bindings.h"
#include "core/cpu_features.h"
#include "core/environment.h"
#include "core/thread_pool.h"
#include "formats/format.h"
#include "moekit/core.h"

namespace moekit::python {
namespace {

py::list backend_facts() {
  py::list out;
  std::size_t count = 0;
  const Backend* const* list = backends(&count);
  for (std::size_t i = 0; i < count; ++i) {
    const Support support = list[i]->available();
    py::dict entry;
    entry["name"] = std::string(list[i]->name());
    entry["device"] = to_string({list[i]->device(), 0});
    entry["available"] = static_cast<bool>(support);
    entry["reason"] = support.reason;
    out.append(entry);
  }
  return out;
}

py::dict cpu_facts() {
  const std::uint32_t features = cpu_features();
  py::dict flags;
  flags["avx2"] = (features & kAvx2) != 0;
  flags["avx512"] = (features & kAvx512) != 0;
  flags["avx512bf16"] = (features & kAvx512Bf16) != 0;
  flags["avx512vbmi"] = (features & kAvx512Vbmi) != 0;
  flags["avx512vnni"] = (features & kAvx512Vnni) != 0;
  flags["avxvnni"] = (features & kAvxVnni) != 0;
  flags["amx"] = (features & kAmxBf16) != 0;
  flags["neon"] = (features & kNeon) != 0;
  flags["neondot"] = (features & kNeonDot) != 0;
  flags["neoni8mm"] = (features & kNeonI8mm) != 0;
  flags["neonbf16"] = (features & kNeonBf16) != 0;
  py::dict out;
  out["features"] = flags;
  out["amx_refused"] = amx_refused();
  out["l2_bytes"] = l2_cache_bytes();
  out["available_cpus"] = available_cpus();
  py::list known, usable;
  for (const std::string_view name : cpu::known_isas()) known.append(std::string(name));
  for (const std::string_view name : cpu::host_isas()) usable.append(std::string(name));
  out["isas"] = known;
  out["usable_isas"] = usable;
  const cpu::ChosenKernels chosen = cpu::choose_kernels();  // throws for a MOEKIT_ISA that cannot run
  py::dict names;
  names["float32"] = std::string(chosen.f32_name);
  names["bfloat16"] = std::string(chosen.bf16_name);
  names["int8"] = std::string(chosen.integer_name);
  out["chosen"] = names;
  return out;
}

py::list format_names() {
  py::list out;
  std::size_t count = 0;
  const FormatEntry* list = weight_formats(&count);
  for (std::size_t i = 0; i < count; ++i) out.append(std::string(list[i].format.name));
  return out;
}

}  // namespace

void bind_host(py::module_& module) {
  module.def("set_num_threads", &set_num_threads);
  module.def("get_num_threads", &num_threads);
  module.def("backends", &backend_facts);
  module.def("cpu", &cpu_facts);
  module.def("weight_formats", &format_names);
  module.attr("onednn_version") = MOEKIT_ONEDNN_VERSION;
}

}  // namespace moekit::python
