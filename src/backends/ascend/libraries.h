// SPDX-License-Identifier: Apache-2.0
// CANN's shared libraries: where they are looked for, and looking up symbols in them.
//
// With MOEKIT_ASCEND_LIBRARY_PATH set, only in the folder that it names. Otherwise, for each kind:
//   runtime      libascendcl.so, then libacl_rt.so
//   tensors      libnnopbase.so
//   operators    libcust_opapi.so in op_api/lib/ of each folder of ASCEND_CUSTOM_OPP_PATH and of the vendors that
//                ASCEND_OPP_PATH/vendors/config.ini lists; every libopapi_*.so of ASCEND_HOME_PATH/lib64; libopapi.so;
//                the names of older releases (libaclnn_*.so)
//   collectives  libhccl.so, then libhcomm.so
// A plain name is given to the dynamic linker first (LD_LIBRARY_PATH) and then tried in lib64/ of ASCEND_HOME_PATH and
// ASCEND_TOOLKIT_HOME. The variables in capitals are CANN's own, set by its set_env.sh.
#pragma once

#include <string>
#include <vector>

namespace moekit::ascend {

class Libraries {
 public:
  /// Opens what there is; what is missing is told by tried(). Libraries stay open for the life of the process.
  Libraries();

  /// Null when absent.
  void* runtime_symbol(const char* name) const noexcept;
  /// An operator's two functions from the same library, the first that has both.
  bool operator_symbols(const char* name, void** plan, void** run) const;
  void* collective_symbol(const char* name) const noexcept;

  bool has_runtime() const noexcept { return !runtime_.empty(); }
  bool has_operators() const noexcept { return !operators_.empty(); }
  /// One line: what could not be opened, and the linker's reason for the first of them.
  const std::string& tried() const noexcept { return tried_; }
  /// Paths or names of what was opened.
  const std::vector<std::string>& opened() const noexcept { return opened_; }

 private:
  bool open(std::vector<void*>& into, const std::string& name);
  bool open_named(std::vector<void*>& into, const std::string& name);
  void open_folder(const std::string& folder);
  void open_vendors();

  std::string only_;                  // the override folder; empty: none
  std::vector<std::string> folders_;  // lib64 folders of the toolkit
  std::vector<void*> runtime_, operators_, collectives_;
  std::string tried_;
  std::vector<std::string> opened_;
};

}  // namespace moekit::ascend
