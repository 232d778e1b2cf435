// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace moekit::standin {
namespace {

constexpr std::size_t kGuard = std::size_t{1} << 20;  // wide enough for a stride of a large matrix; costs no memory
constexpr std::size_t kAlignment = 256;               // what cuMemAlloc promises
constexpr int kPoison = 0xFF;
constexpr std::byte kGuardByte{0xA5};

std::size_t round_up(std::size_t value, std::size_t step) { return (value + step - 1) / step * step; }

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

std::uintptr_t address_of(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

// The allocation whose mapping, guards included, holds the address.
const Allocation* mapping_at(const std::map<std::uintptr_t, Allocation>& map, const void* pointer) {
  auto after = map.upper_bound(address_of(pointer));
  if (after == map.begin()) return nullptr;
  const Allocation& a = std::prev(after)->second;
  return address_of(pointer) < address_of(a.mapping) + a.mapping_bytes ? &a : nullptr;
}

void protect(const Allocation& a, int rights) { mprotect(a.pages, a.page_bytes, rights); }

}  // namespace

std::byte* Memory::allocate(int device, std::size_t bytes) {
  Allocation a;
  a.bytes = bytes;
  a.device = device;
  a.page_bytes = round_up(round_up(bytes, kAlignment), page_bytes());
  a.mapping_bytes = a.page_bytes + 2 * kGuard;
  void* mapping = mmap(nullptr, a.mapping_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  a.mapping = static_cast<std::byte*>(mapping);
  a.pages = a.mapping + kGuard;
  a.data = a.pages + a.page_bytes - round_up(bytes, kAlignment);
  a.number = ++count_;
  protect(a, PROT_READ | PROT_WRITE);
  std::memset(a.pages, static_cast<int>(kGuardByte), a.page_bytes);
  std::memset(a.data, kPoison, bytes);
  if (device != kHost) protect(a, PROT_NONE);
  live_[address_of(a.mapping)] = a;
  return a.data;
}

bool Memory::release(std::byte* data) {
  const Allocation* found = find(data);
  if (found == nullptr || found->data != data) return false;
  Allocation a = *found;
  live_.erase(address_of(a.mapping));
  a.live = false;
  madvise(a.pages, a.page_bytes, MADV_DONTNEED);  // the memory goes back, the address stays taken
  protect(a, PROT_NONE);
  released_[address_of(a.mapping)] = a;
  return true;
}

const Allocation* Memory::find(const void* pointer) const {
  const Allocation* a = mapping_at(live_, pointer);
  if (a == nullptr) return nullptr;
  const auto begin = address_of(a->data);
  return address_of(pointer) >= begin && address_of(pointer) < begin + a->bytes ? a : nullptr;
}

bool Memory::holds(const void* pointer, std::size_t bytes, int device) const {
  const Allocation* a = find(pointer);
  return a != nullptr && a->device == device && bytes <= a->bytes - (address_of(pointer) - address_of(a->data));
}

void Memory::open(int device) {
  for (const auto& [key, a] : live_)
    if (a.device == device) protect(a, PROT_READ | PROT_WRITE);
}

void Memory::close(int device) {
  for (const auto& [key, a] : live_)
    if (a.device == device) protect(a, PROT_NONE);
}

std::string Memory::check_guards(int device) {
  std::string wrong;
  const auto check = [&](std::byte* begin, const std::byte* end) {
    for (std::byte* p = begin; p != end; ++p) {
      if (*p == kGuardByte) continue;
      if (wrong.empty()) wrong = describe(p);
      *p = kGuardByte;
    }
  };
  for (const auto& [key, a] : live_) {
    if (a.device != device) continue;
    check(a.pages, a.data);
    check(a.data + a.bytes, a.pages + a.page_bytes);
  }
  return wrong;
}

std::string Memory::describe(const void* pointer) const {
  const Allocation* a = mapping_at(live_, pointer);
  if (a == nullptr) a = mapping_at(released_, pointer);
  if (a == nullptr) return "";
  const auto address = address_of(pointer), begin = address_of(a->data);
  const std::string place = address < begin              ? std::to_string(begin - address) + " bytes before"
                            : address < begin + a->bytes ? "byte " + std::to_string(address - begin) + " of"
                                                         : std::to_string(address - begin - a->bytes) + " bytes after";
  return place + (a->live ? " allocation " : " released allocation ") + std::to_string(a->number) + " (" +
         std::to_string(a->bytes) + " bytes on " +
         (a->device == kHost ? "the host" : "device " + std::to_string(a->device)) + ")";
}

std::size_t Memory::live_bytes(int device) const {
  std::size_t sum = 0;
  for (const auto& [key, a] : live_) sum += a.device == device ? a.bytes : 0;
  return sum;
}

std::size_t Memory::live_allocations() const {
  std::size_t sum = 0;
  for (const auto& [key, a] : live_) sum += a.device != kHost;
  return sum;
}

}  // namespace moekit::standin
