// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/isa.h"

#include <mutex>
#include <stdexcept>
#include <string>

#include "core/cpu_features.h"
#include "core/environment.h"
#include "moekit/error.h"

namespace moekit::cpu {

namespace {

std::mutex g_mutex;
std::string g_forced;  // guarded by g_mutex

bool runs_here(const KernelTable& table) { return (table.needs & ~cpu_features()) == 0; }

std::string joined(const std::vector<std::string_view>& names) {
  std::string text;
  for (const std::string_view name : names) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

const KernelTable& find(std::string_view name, const char* operation) {
  std::size_t count = 0;
  const KernelTable* const* tables = kernel_tables(&count);
  for (std::size_t i = 0; i < count; ++i)
    if (tables[i]->name == name && runs_here(*tables[i])) return *tables[i];
  throw std::invalid_argument(std::string("[") + operation + "] instruction set '" + std::string(name) +
                              "': this host runs " + joined(host_isas()) + "; this build has " + joined(known_isas()));
}

std::vector<std::string_view> names(bool host_only) {
  std::size_t count = 0;
  const KernelTable* const* tables = kernel_tables(&count);
  std::vector<std::string_view> list;
  for (std::size_t i = 0; i < count; ++i)
    if (!host_only || runs_here(*tables[i])) list.push_back(tables[i]->name);
  return list;
}

}  // namespace

std::vector<std::string_view> known_isas() { return names(false); }
std::vector<std::string_view> host_isas() { return names(true); }

void force_isa(std::string_view name) {
  if (!name.empty()) find(name, "force_isa");
  const std::lock_guard<std::mutex> lock(g_mutex);
  g_forced = name;
}

ChosenKernels choose_kernels(bool reproducible) {
  std::string wanted;
  {
    const std::lock_guard<std::mutex> lock(g_mutex);
    wanted = g_forced;
  }
  const char* source = "force_isa";
  if (wanted.empty()) {
    wanted = environment("MOEKIT_ISA");
    source = "MOEKIT_ISA";
  }
  std::size_t count = 0;
  const KernelTable* const* tables = kernel_tables(&count);
  ChosenKernels chosen;
  const KernelTable* first = wanted.empty() ? nullptr : &find(wanted, source);
  // From the chosen table on down the list: an entry that it lacks is inherited. Generic, the last, has all.
  bool reached = wanted.empty();
  for (std::size_t i = 0; i < count; ++i) {
    reached = reached || tables[i] == first;
    if (!reached || !runs_here(*tables[i])) continue;
    if (wanted.empty() && (tables[i]->wants & ~cpu_features()) != 0) continue;
    const KernelTable* own = !reproducible || tables[i]->reproducible ? tables[i] : tables[i]->instead;
    if (own == nullptr) continue;
    const KernelTable& table = *own;
    if (chosen.table == nullptr) chosen.table = &table;
    if (chosen.f32.up == nullptr && table.f32.up != nullptr) chosen.f32 = table.f32, chosen.f32_name = table.name;
    if (chosen.bf16.up == nullptr && table.bf16.up != nullptr) chosen.bf16 = table.bf16, chosen.bf16_name = table.name;
    if (chosen.integer.up == nullptr && table.integer.up != nullptr)
      chosen.integer = table.integer, chosen.integer_name = table.name;
  }
  if (chosen.table == nullptr)
    throw UnsupportedError("[reproducible] no kernels with fused multiply-adds for this host; it runs " +
                           joined(host_isas()));
  return chosen;
}

}  // namespace moekit::cpu
