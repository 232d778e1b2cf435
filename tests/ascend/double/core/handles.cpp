// SPDX-License-Identifier: Apache-2.0
#include "handles.h"

#include "touch.h"

namespace ascend_double {

namespace {

constexpr size_t kSpacing = 16;               // bytes of address space a handle takes
constexpr size_t kHandles = size_t{1} << 25;  // 2^25 handles of a kind: 512 MiB of address space, no memory
constexpr size_t kRange = kHandles * kSpacing;

std::vector<HandleTableBase*>& tables() {
  static auto* const instance = new std::vector<HandleTableBase*>;
  return *instance;
}

std::mutex& tables_mutex() {
  static auto* const instance = new std::mutex;
  return *instance;
}

}  // namespace

HandleTableBase::HandleTableBase(const char* kind) : kind_(kind), base_(reserve_untouchable(kRange, kind)) {
  std::lock_guard<std::mutex> lock(tables_mutex());
  tables().push_back(this);
}

const std::vector<HandleTableBase*>& HandleTableBase::all() { return tables(); }

size_t HandleTableBase::live() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return objects_.size();
}

void* HandleTableBase::add_object(std::shared_ptr<void> object) {
  std::lock_guard<std::mutex> lock(mutex_);
  require(next_ < kHandles, code::kFailure, "the double has no ", kind_, " handles left after ", next_);
  void* const handle = base_ + kSpacing * next_++;
  objects_[handle] = std::move(object);
  return handle;
}

bool HandleTableBase::in_range(const void* handle) const {
  const auto* const address = static_cast<const char*>(handle);
  return address >= base_ && address < base_ + kRange;
}

std::shared_ptr<void> HandleTableBase::find(const void* handle, bool remove, int null_code, int bad_code) {
  require(handle != nullptr, null_code, kind_, " is NULL");
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = objects_.find(handle);
    if (found != objects_.end()) {
      std::shared_ptr<void> object = found->second;
      if (remove) objects_.erase(found);
      return object;
    }
  }
  if (in_range(handle)) violate("use after destroy", bad_code, kind_, " ", handle, " was destroyed before this call");
  std::vector<HandleTableBase*> others;
  {
    std::lock_guard<std::mutex> lock(tables_mutex());
    others = tables();
  }
  for (const HandleTableBase* other : others) {
    if (other->in_range(handle)) {
      violate("foreign handle", bad_code, "a ", kind_, " is needed, ", handle, " is a ", other->kind_);
    }
  }
  violate("foreign handle", bad_code, kind_, " ", handle, " did not come from this library");
}

std::vector<std::shared_ptr<void>> HandleTableBase::objects() const {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::shared_ptr<void>> result;
  for (const auto& entry : objects_) result.push_back(entry.second);
  return result;
}

}  // namespace ascend_double
