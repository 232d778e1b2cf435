// SPDX-License-Identifier: Apache-2.0
// Shared memory in which the ranks of one group meet, as threads of a process or as processes of one host: a barrier
// and one slot for each rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace ascend_double {

namespace hccl {
inline constexpr int kPara = 1;
inline constexpr int kPointer = 2;
inline constexpr int kMemory = 3;
inline constexpr int kInternal = 4;
inline constexpr int kNotSupported = 5;
inline constexpr int kTimeout = 9;
}  // namespace hccl

inline constexpr uint32_t kMaxRanks = 16;
inline constexpr uint64_t kSlotBytes = uint64_t{1} << 18;  // of a rank's data in one round

// What a rank is about to do; all ranks of a group must mean the same.
struct Signature {
  int32_t kind, dtype, reduction, root;
  uint64_t count;              // of the call; 0 where ranks may differ
  uint64_t bytes;              // that this rank will post
  uint64_t counts[kMaxRanks];  // all-to-all with own counts: elements for each peer, and where they begin
  uint64_t begins[kMaxRanks];
};

class Segment {
 public:
  // A new one under a name of its own, for `ranks` members.
  static std::shared_ptr<Segment> create();
  static std::shared_ptr<Segment> open(const std::string& name);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  const std::string& name() const { return name_; }
  // The first to come says how many there will be. Throws Failure{kPara} for another number or too many.
  void join(uint32_t ranks);
  // Until all have come. Throws Failure{kTimeout}; the group is broken from then on.
  void barrier();
  Signature& signature(uint32_t rank);
  std::byte* slot(uint32_t rank);

 private:
  struct Layout;
  Segment(std::string name, Layout* layout) : name_(std::move(name)), layout_(layout) {}

  const std::string name_;
  Layout* const layout_;
};

}  // namespace ascend_double
