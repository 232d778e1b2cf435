// SPDX-License-Identifier: Apache-2.0
// What happens before what. Each stream counts its tasks; a clock says up to which count of each stream a party has
// waited (vector clocks: Mattern 1989). Work that touches bytes which other work touched earlier, one of the two
// writing, must have waited for it: through the order of one stream, an event, or a synchronise of the host. What lacks
// that is a race and is found whatever the timing was.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "memory.h"

namespace ascend_double {

using Clock = std::map<uint32_t, uint64_t>;  // stream -> tasks known to be done

void merge(Clock* into, const Clock& from);

class Order {
 public:
  // The next task of a stream touches the regions: its count. The host's knowledge at this moment goes with it.
  uint64_t submit(uint32_t stream, const std::vector<Region>& touches, const char* what);
  // The stream's tasks from now on come after the clock's.
  void wait(uint32_t stream, const Clock& clock);
  // What a task submitted to the stream now would come after.
  Clock clock(uint32_t stream);
  void host_saw(const Clock& clock);
  // The host itself touches the region now (a synchronous copy, a free).
  void host_touches(const Region& region, const char* what);
  // The stream has drained and is gone.
  void forget(uint32_t stream);

 private:
  void check(const Region& region, uint32_t stream, const Clock& clock, const char* what) const;

  std::mutex mutex_;
  Clock host_;
  std::map<uint32_t, Clock> streams_;
};

Order& order();

}  // namespace ascend_double
