// SPDX-License-Identifier: Apache-2.0
#include "cuda/simt/memory.h"

#include <link.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "cuda/simt/block.h"

namespace simt {
namespace {

std::size_t cells_of(const Region& region) {
  return static_cast<std::size_t>(region.end - region.begin + kGranule - 1) / kGranule;
}

void* zero_pages(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return memory;
}

struct Regions {
  std::shared_mutex mutex;
  std::vector<std::unique_ptr<Region>> list;  // by address; a region stays where it is while others come and go
};
Regions& regions() {
  static Regions all;
  return all;
}

// First region that ends behind the address.
auto position(std::vector<std::unique_ptr<Region>>& list, const void* address) {
  return std::upper_bound(list.begin(), list.end(), address,
                          [](const void* at, const std::unique_ptr<Region>& region) { return at < region->end; });
}

// Whether `earlier` is known to be over when `now` happens. Launches are ordered by the stream.
bool ordered(const Who& earlier, const Who& now, bool of_block) {
  if (earlier.launch != now.launch) return true;
  if (earlier.block != now.block) return of_block;
  if (earlier.thread == now.thread || earlier.barrier < now.barrier) return true;
  return earlier.thread / 32 == now.thread / 32 && earlier.warp_sync < now.warp_sync;
}

std::string who_text(const Who& who) {
  return "thread " + std::to_string(who.thread) + " of block run " + std::to_string(who.block) + " (barrier " +
         std::to_string(who.barrier) + ")";
}

[[noreturn]] void race(const char* what, const Who& earlier, const Who& now, std::size_t offset) {
  std::string text = std::string("race: ") + what + " by " + who_text(earlier) + ", byte " + std::to_string(offset) +
                     ", unordered with " + who_text(now);
  stop_block(Fault::kRace, std::move(text));  // see stop()
}

void note_read(Cell& cell, const Who& who, bool of_block) {
  // A writer to come conflicts with one of two different readers at least. Of several, keep those that least orders.
  if (cell.readers[0].thread == who.thread || ordered(cell.readers[0], who, of_block)) {
    cell.readers[0] = who;
  } else {
    cell.readers[1] = who;
  }
}

// A cell that is a gap, or that nobody has written yet.
void check_state(const Region& region, std::size_t cell, std::size_t offset, bool write, const Who& who) {
  if (region.written[cell] == kGap) {
    std::string text = std::string(write ? "store" : "load") + " outside the arrays of shared memory, byte " +
                       std::to_string(offset) + ", by " + who_text(who);
    stop_block(Fault::kOutOfBounds, std::move(text));  // see stop()
  }
  if (!write) {
    std::string text = "load of memory that nobody wrote, byte " + std::to_string(offset) + " of " +
                       std::to_string(region.end - region.begin) + " by " + who_text(who);
    stop_block(Fault::kUninitialised, std::move(text));  // see stop()
  }
}

}  // namespace

Region make_region(void* memory, std::size_t bytes) {
  Region region;
  region.begin = static_cast<std::byte*>(memory);
  region.end = region.begin + bytes;
  if (bytes == 0) return region;
  region.cells = static_cast<Cell*>(zero_pages(cells_of(region) * sizeof(Cell)));
  region.written = static_cast<std::uint8_t*>(zero_pages(cells_of(region)));
  return region;
}

void free_region(Region& region) noexcept {
  if (region.cells == nullptr) return;
  munmap(region.cells, cells_of(region) * sizeof(Cell));
  munmap(region.written, cells_of(region));
  region.cells = nullptr;
}

void add_region(void* memory, std::size_t bytes) {
  auto region = std::make_unique<Region>(make_region(memory, bytes));
  Regions& all = regions();
  const std::unique_lock lock(all.mutex);
  all.list.insert(position(all.list, memory), std::move(region));
}

void remove_region(void* memory) {
  Regions& all = regions();
  const std::unique_lock lock(all.mutex);
  for (auto at = all.list.begin(); at != all.list.end(); ++at) {
    if ((*at)->begin != memory) continue;
    free_region(**at);
    all.list.erase(at);
    return;
  }
}

const Region* find_region(const void* address) {
  Regions& all = regions();
  const std::shared_lock lock(all.mutex);
  const auto at = position(all.list, address);
  return at != all.list.end() && (*at)->holds(address) ? at->get() : nullptr;
}

std::vector<const Region*> all_regions() {
  Regions& all = regions();
  const std::shared_lock lock(all.mutex);
  std::vector<const Region*> list;
  for (const auto& region : all.list) list.push_back(region.get());
  return list;
}

void mark_written(void* memory, std::size_t bytes) {
  const Region* region = bytes != 0 ? find_region(memory) : nullptr;
  if (region == nullptr) return;
  const auto first = static_cast<std::size_t>(static_cast<std::byte*>(memory) - region->begin) / kGranule;
  const auto last = static_cast<std::size_t>(static_cast<std::byte*>(memory) - region->begin + bytes - 1) / kGranule;
  std::memset(region->written + first, 1, last - first + 1);
}

bool is_written(const void* memory, std::size_t bytes) {
  const Region* region = find_region(memory);
  if (region == nullptr) return bytes == 0;
  const auto* begin = static_cast<const std::byte*>(memory);
  if (begin + bytes > region->end) return false;
  for (std::size_t i = 0; i < bytes; ++i)
    if (region->written[static_cast<std::size_t>(begin - region->begin + i) / kGranule] == 0) return false;
  return true;
}

void check_access(const Region& region, const void* address, std::size_t bytes, bool write, const Who& who) {
  const auto* at = static_cast<const std::byte*>(address);
  const auto offset = static_cast<std::size_t>(at - region.begin);
  const char* const verb = write ? "store" : "load";
  if (bytes > static_cast<std::size_t>(region.end - at)) {
    std::string text = std::string(verb) + " of " + std::to_string(bytes) + " bytes at byte " + std::to_string(offset) +
                       " of " + std::to_string(region.end - region.begin) + " by " + who_text(who);
    stop_block(Fault::kOutOfBounds, std::move(text));  // see stop()
  }
  const std::size_t first = offset / kGranule, last = (offset + bytes - 1) / kGranule;
  if (write) region.stored_to = true;
  for (std::size_t cell = first; cell <= last; ++cell)
    if (region.written[cell] != 1) check_state(region, cell, offset, write, who);
  if (!region.stored_to) return;
  for (std::size_t cell = first; cell <= last; ++cell) {
    Cell& shadow = region.cells[cell];
    if (!ordered(shadow.writer, who, region.of_block))
      race(write ? "two stores, first" : "load after a store", shadow.writer, who, offset);
    if (!write) {
      note_read(shadow, who, region.of_block);
      continue;
    }
    for (const Who& reader : shadow.readers)
      if (!ordered(reader, who, region.of_block)) race("store after a load", reader, who, offset);
    shadow.writer = who;
    region.written[cell] = 1;
  }
}

bool is_constant(const void* address) {
  using Range = std::pair<const std::byte*, const std::byte*>;
  static const std::vector<Range> ranges = [] {
    std::vector<Range> found;
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* data) {
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const auto& header = info->dlpi_phdr[i];
            // Tables of constants with addresses in them lie in the part that is read-only once relocated.
            const bool fixed = header.p_type == PT_LOAD ? (header.p_flags & PF_W) == 0 : header.p_type == PT_GNU_RELRO;
            if (!fixed) continue;
            const auto* begin = reinterpret_cast<const std::byte*>(info->dlpi_addr + header.p_vaddr);
            static_cast<std::vector<Range>*>(data)->emplace_back(begin, begin + header.p_memsz);
          }
          return 0;
        },
        &found);
    return found;
  }();
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const Range& range) { return address >= range.first && address < range.second; });
}

}  // namespace simt
