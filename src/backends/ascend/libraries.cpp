// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/libraries.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/environment.h"

namespace moekit::ascend {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

// The vendors in order of priority: the line "load_priority=a,b" of vendors/config.ini.
std::vector<std::string> vendor_priority(const fs::path& vendors) {
  std::ifstream file(vendors / "config.ini");
  const std::string key = "load_priority=";
  for (std::string line; std::getline(file, line);) {
    line.erase(std::remove_if(line.begin(), line.end(), [](unsigned char c) { return c <= ' '; }), line.end());
    if (line.compare(0, key.size(), key) == 0) return split(line.substr(key.size()), ',');
  }
  return {};
}

void* symbol_in(const std::vector<void*>& handles, const char* name) noexcept {
  for (void* handle : handles)
    if (void* symbol = dlsym(handle, name)) return symbol;
  return nullptr;
}

}  // namespace

Libraries::Libraries() : only_(environment("MOEKIT_ASCEND_LIBRARY_PATH")) {
  if (only_.empty()) {
    for (const char* name : {"ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"})
      if (const std::string home = environment(name); !home.empty()) folders_.push_back(home + "/lib64");
    open_vendors();
    for (const std::string& folder : folders_) open_folder(folder);
  } else {
    folders_.push_back(only_);
    open_folder(only_);
  }
  if (!open_named(runtime_, "libascendcl.so")) open_named(runtime_, "libacl_rt.so");
  open_named(runtime_, "libnnopbase.so");
  open_named(operators_, "libopapi.so");
  if (operators_.empty())  // before CANN 8
    for (const char* name : {"libaclnn_ops_infer.so", "libaclnn_ops_train.so", "libaclnn_math.so", "libaclnn_sparse.so",
                             "libaclnn_fft.so", "libaclnn_rand.so"})
      open_named(operators_, name);
  open_named(collectives_, "libhccl.so");
  open_named(collectives_, "libhcomm.so");
}

bool Libraries::open(std::vector<void*>& into, const std::string& name) {
  void* handle = dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr) return false;
  into.push_back(handle);
  opened_.push_back(name);
  return true;
}

bool Libraries::open_named(std::vector<void*>& into, const std::string& name) {
  std::string reason;
  if (only_.empty()) {
    if (open(into, name)) return true;
    if (const char* text = dlerror()) reason = text;
  }
  for (const std::string& folder : folders_) {
    std::error_code ignored;
    if (only_.empty() && !fs::exists(folder + "/" + name, ignored)) continue;
    if (open(into, folder + "/" + name)) return true;
    if (const char* text = dlerror()) reason = text;
  }
  tried_ += (tried_.empty() ? "" : ", ") + name;
  if (tried_.find('(') == std::string::npos) tried_ += " (" + reason + ")";
  return false;
}

void Libraries::open_folder(const std::string& folder) {
  std::vector<std::string> found;
  std::error_code failed;
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end; entry.increment(failed)) {
    const std::string name = entry->path().filename().string();
    const std::string prefix = "libopapi_", suffix = ".so";
    if (name.size() > prefix.size() + suffix.size() && name.compare(0, prefix.size(), prefix) == 0 &&
        name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0)
      found.push_back(entry->path().string());
  }
  std::sort(found.begin(), found.end());  // the order of a directory is no order
  for (const std::string& path : found) open(operators_, path);
}

void Libraries::open_vendors() {
  const char* file = "/op_api/lib/libcust_opapi.so";
  for (const std::string& folder : split(environment("ASCEND_CUSTOM_OPP_PATH"), ':')) open(operators_, folder + file);
  const std::string opp = environment("ASCEND_OPP_PATH");
  if (opp.empty()) return;
  const fs::path vendors = fs::path(opp) / "vendors";
  for (const std::string& vendor : vendor_priority(vendors)) open(operators_, (vendors / vendor).string() + file);
}

void* Libraries::runtime_symbol(const char* name) const noexcept {
  void* symbol = symbol_in(runtime_, name);
  return symbol != nullptr ? symbol : symbol_in(operators_, name);
}

bool Libraries::operator_symbols(const char* name, void** plan, void** run) const {
  const std::string plan_name = std::string(name) + "GetWorkspaceSize";
  for (void* handle : operators_) {
    *plan = dlsym(handle, plan_name.c_str());
    *run = dlsym(handle, name);
    if (*plan != nullptr && *run != nullptr) return true;
  }
  *plan = *run = nullptr;
  return false;
}

void* Libraries::collective_symbol(const char* name) const noexcept { return symbol_in(collectives_, name); }

}  // namespace moekit::ascend
