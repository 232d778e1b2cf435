// SPDX-License-Identifier: Apache-2.0
#include "segment.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <new>

#include "../core/failure.h"
#include "../core/settings.h"

namespace ascend_double {

struct Segment::Layout {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  uint32_t ranks, joined, arrived, broken;
  uint64_t generation;
  Signature signatures[kMaxRanks];
  alignas(64) std::byte slots[kMaxRanks][kSlotBytes];
};

namespace {

class Lock {
 public:
  explicit Lock(pthread_mutex_t* mutex) : mutex_(mutex) { pthread_mutex_lock(mutex_); }
  ~Lock() { pthread_mutex_unlock(mutex_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  pthread_mutex_t* const mutex_;
};

void* map_file(int file, size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  require(memory != MAP_FAILED, hccl::kMemory, "no memory for ", bytes, " shared bytes");
  return memory;
}

}  // namespace

std::shared_ptr<Segment> Segment::create() {
  static std::atomic<int> next{0};
  const std::string name = text("/ascend_double_", getpid(), "_", next++);
  const int file = shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
  require(file >= 0, hccl::kMemory, "cannot create shared memory ", name);
  if (ftruncate(file, sizeof(Layout)) != 0) {
    close(file);
    shm_unlink(name.c_str());
    fail(hccl::kMemory, "cannot size shared memory ", name);
  }
  auto* const layout = static_cast<Layout*>(map_file(file, sizeof(Layout)));  // zeros, as a new file is
  pthread_mutexattr_t mutex;
  pthread_mutexattr_init(&mutex);
  pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(&layout->mutex, &mutex);
  pthread_mutexattr_destroy(&mutex);
  pthread_condattr_t condition;
  pthread_condattr_init(&condition);
  pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
  pthread_condattr_setclock(&condition, CLOCK_MONOTONIC);
  pthread_cond_init(&layout->changed, &condition);
  pthread_condattr_destroy(&condition);
  return std::shared_ptr<Segment>(new Segment(name, layout));
}

std::shared_ptr<Segment> Segment::open(const std::string& name) {
  const int file = shm_open(name.c_str(), O_RDWR, 0600);
  require(file >= 0, hccl::kPara, "the root information names no open group: ", name);
  return std::shared_ptr<Segment>(new Segment(name, static_cast<Layout*>(map_file(file, sizeof(Layout)))));
}

Segment::~Segment() { munmap(layout_, sizeof(Layout)); }

void Segment::join(uint32_t ranks) {
  const Lock lock(&layout_->mutex);
  require(ranks > 0 && ranks <= kMaxRanks, hccl::kPara, "nRanks is ", ranks, ", must be 1..", kMaxRanks);
  if (layout_->ranks == 0) layout_->ranks = ranks;
  require(layout_->ranks == ranks, hccl::kPara, "nRanks is ", ranks, ", another rank said ", layout_->ranks);
  require(layout_->joined < ranks, hccl::kPara, "all ", ranks, " ranks have joined already");
  // Nobody else will open it: the name goes, the memory stays until the last one leaves.
  if (++layout_->joined == ranks) shm_unlink(name_.c_str());
}

void Segment::barrier() {
  timespec deadline;
  clock_gettime(CLOCK_MONOTONIC, &deadline);
  const uint64_t milliseconds = settings().hccl_timeout_ms();
  deadline.tv_sec += static_cast<time_t>(milliseconds / 1000);
  deadline.tv_nsec += static_cast<long>(milliseconds % 1000 * 1000000);
  if (deadline.tv_nsec >= 1000000000) {
    ++deadline.tv_sec;
    deadline.tv_nsec -= 1000000000;
  }
  const Lock lock(&layout_->mutex);
  const uint64_t generation = layout_->generation;
  if (++layout_->arrived == layout_->ranks) {
    layout_->arrived = 0;
    ++layout_->generation;
    pthread_cond_broadcast(&layout_->changed);
  }
  while (layout_->generation == generation && layout_->broken == 0) {
    if (pthread_cond_timedwait(&layout_->changed, &layout_->mutex, &deadline) != 0) {
      layout_->broken = 1;
      pthread_cond_broadcast(&layout_->changed);
    }
  }
  require(layout_->generation != generation || layout_->broken == 0, hccl::kTimeout, "a rank did not come within ",
          milliseconds, " ms");
}

Signature& Segment::signature(uint32_t rank) { return layout_->signatures[rank]; }
std::byte* Segment::slot(uint32_t rank) { return layout_->slots[rank]; }

}  // namespace ascend_double
