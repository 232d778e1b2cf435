// SPDX-License-Identifier: Apache-2.0
// Handles that cannot be dereferenced and are never given twice, so a handle used after its end is told from a live
// one.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "failure.h"

namespace ascend_double {

class HandleTableBase {
 public:
  explicit HandleTableBase(const char* kind);
  virtual ~HandleTableBase() = default;
  HandleTableBase(const HandleTableBase&) = delete;
  HandleTableBase& operator=(const HandleTableBase&) = delete;

  const char* kind() const { return kind_; }
  size_t live() const;
  static const std::vector<HandleTableBase*>& all();

 protected:
  void* add_object(std::shared_ptr<void> object);
  // Throws Failure{null_code} for NULL and Failure{bad_code} for any other handle that is not live; both but NULL are
  // violations.
  std::shared_ptr<void> find(const void* handle, bool remove, int null_code, int bad_code);
  std::vector<std::shared_ptr<void>> objects() const;

 private:
  bool in_range(const void* handle) const;

  const char* kind_;
  char* base_;  // of address space that nobody may touch
  mutable std::mutex mutex_;
  size_t next_ = 1;
  std::map<const void*, std::shared_ptr<void>> objects_;
};

template <class T>
class HandleTable : public HandleTableBase {
 public:
  using HandleTableBase::HandleTableBase;

  void* add(std::shared_ptr<T> object) { return add_object(std::move(object)); }
  std::shared_ptr<T> get(const void* handle, int null_code, int bad_code) {
    return std::static_pointer_cast<T>(find(handle, false, null_code, bad_code));
  }
  std::shared_ptr<T> remove(const void* handle, int null_code, int bad_code) {
    return std::static_pointer_cast<T>(find(handle, true, null_code, bad_code));
  }
  std::vector<std::shared_ptr<T>> all_live() const {
    std::vector<std::shared_ptr<T>> result;
    for (const auto& object : objects()) result.push_back(std::static_pointer_cast<T>(object));
    return result;
  }
};

}  // namespace ascend_double
