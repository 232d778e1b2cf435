// SPDX-License-Identifier: Apache-2.0
// Heap use: none in steady state, and a failed allocation anywhere is std::bad_alloc and nothing worse.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>

#include "conformance/harness.h"
#include "conformance/quantised.h"
#include "moekit/error.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

std::atomic<long> g_count{0};     // allocations so far
std::atomic<long> g_maps{0};      // mappings of memory so far: what AlignedBuffer and large mallocs make
std::atomic<long> g_fail_at{-1};  // the allocation that fails, by count; -1: none

void* counted(std::size_t bytes, std::size_t alignment) {
  if (g_count.fetch_add(1) == g_fail_at.load()) throw std::bad_alloc();
  void* memory = alignment > alignof(std::max_align_t)
                     ? std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment)
                     : std::malloc(bytes != 0 ? bytes : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// Where GCC inlines one of a pair and not the other, it takes them for strangers.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
void* operator new(std::size_t bytes) { return counted(bytes, 1); }
void* operator new[](std::size_t bytes) { return counted(bytes, 1); }
void* operator new(std::size_t bytes, std::align_val_t alignment) { return counted(bytes, std::size_t(alignment)); }
void* operator new[](std::size_t bytes, std::align_val_t alignment) { return counted(bytes, std::size_t(alignment)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

// The sanitizers have an mmap of their own.
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MOEKIT_TEST_COUNTS_MAPS 1
extern "C" void* mmap(void* address, size_t bytes, int protection, int flags, int file, off_t offset) noexcept {
  g_maps.fetch_add(1);
  return reinterpret_cast<void*>(::syscall(SYS_mmap, address, bytes, protection, flags, file, offset));
}
#else
#define MOEKIT_TEST_COUNTS_MAPS 0
#endif

namespace moekit::conformance {
namespace {

struct Allocation : testing::TestWithParam<Target> {
  static BlockConfig config() {
    BlockConfig c = make_config(rules()[0], forms()[2], 7, sizes()[0]);
    c.shared.count = 1;
    c.shared.gate = SharedGate::kSigmoid;
    c.shared.expert = c.expert;
    return c;
  }
};

TEST_P(Allocation, NoneInSteadyState) {
  if (GetParam().backend == "reference") GTEST_SKIP() << "the reference is written for clarity and allocates";
  for (const Mode& mode : modes(GetParam())) {
    const Block block(GetParam(), config(), mode, {}, 30);
    Rng rng(31);
    const Matrix x = Matrix::random(rng, 40, 33, mode.data);
    Matrix y(40, 33, mode.data);
    for (int i = 0; i < 3; ++i) block.layer.forward(x.view(), y.out());
    const long before = g_count, maps = g_maps;
    for (int i = 0; i < 5; ++i) block.layer.forward(x.view(), y.out());
    EXPECT_EQ(g_count - before, 0) << mode.name;
    EXPECT_EQ(g_maps - maps, 0) << mode.name;
  }
}

// Decode and a batch that unpacks weights, in every format: neither the heap nor mappings once both were seen.
TEST_P(Allocation, NoneInSteadyStateInAnyWeightFormat) {
  if (GetParam().backend == "reference") GTEST_SKIP() << "the reference is written for clarity and allocates";
  if (!MOEKIT_TEST_COUNTS_MAPS) std::printf("not tested: mappings of memory under sanitizers\n");
  for (const QuantVariant& variant : quant_variants())
    for (const bool quantised_shared : {false, true}) {
      if (reduced() && !quantised_shared) continue;
      SCOPED_TRACE(variant.name);
      BlockConfig c = config();
      c.expert.input = c.expert.output = reduced() ? 160 : 320;
      c.expert.intermediate = c.expert.input / 2;
      c.shared.expert = c.expert;
      Rng rng(35);
      const BlockTensors tensors = random_quantised_tensors(rng, c, variant, quantised_shared);
      std::unique_ptr<MoeLayer> layer;
      try {
        layer = std::make_unique<MoeLayer>(make_layer(GetParam(), c, tensors, "auto"));
      } catch (const UnsupportedError&) {
        EXPECT_TRUE(variant.act_order && GetParam().backend == "cuda");
        continue;
      }
      for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
        const bool even = (&variant - quant_variants().data()) % 2 == 0;
        if (reduced() && even != (dtype == DType::kFloat32)) continue;
        const std::int64_t hidden = c.expert.input, rows = reduced() ? 40 : 70;
        const Matrix one = Matrix::random(rng, 1, hidden, dtype), many = Matrix::random(rng, rows, hidden, dtype);
        Matrix y_one(1, hidden, dtype), y_many(rows, hidden, dtype);
        const auto calls = [&](int times) {
          for (int i = 0; i < times; ++i) {
            layer->forward(one.view(), y_one.out());
            layer->forward(many.view(), y_many.out());
          }
        };
        calls(reduced() ? 2 : 3);
        const long before = g_count, maps = g_maps;
        calls(reduced() ? 2 : 5);
        EXPECT_EQ(g_count - before, 0);
        EXPECT_EQ(g_maps - maps, 0);
      }
    }
}

TEST_P(Allocation, FailureInAnyPlaceOfPackingIsBadAlloc) {
  for (const Mode& mode : modes(GetParam())) {
    Rng rng(32);
    const BlockTensors tensors = random_tensors(rng, config(), mode.weights);
    const std::string dtype(dtype_name(mode.weights));
    int failures = 0;
    for (long at = 0;; ++at) {
      g_fail_at = g_count + at;
      bool failed = false;
      try {
        make_layer(GetParam(), config(), tensors, dtype);
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      g_fail_at = -1;
      if (!failed) break;
      ++failures;
    }
    EXPECT_GT(failures, 0);
  }
}

TEST_P(Allocation, FailureInACallLeavesTheLayerUsable) {
  for (const Mode& mode : modes(GetParam())) {
    Rng rng(33);
    const Matrix x = Matrix::random(rng, 40, 33, mode.data);
    Matrix want(40, 33, mode.data), y(40, 33, mode.data);
    Block(GetParam(), config(), mode, {}, 34).layer.forward(x.view(), want.out());
    for (long at = 0, failed = 1; failed != 0; ++at) {
      const Block block(GetParam(), config(), mode, {}, 34);  // no workspace yet
      g_fail_at = g_count + at;
      failed = 0;
      try {
        block.layer.forward(x.view(), y.out());
      } catch (const std::bad_alloc&) {
        failed = 1;
      }
      g_fail_at = -1;
      block.layer.forward(x.view(), y.out());
      ASSERT_EQ(y.bytes(), want.bytes()) << mode.name << ", allocation " << at;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(On, Allocation, testing::ValuesIn(targets()), target_name);

}  // namespace
}  // namespace moekit::conformance
