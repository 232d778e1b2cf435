// SPDX-License-Identifier: Apache-2.0
// Whole layers of the nvcc-built library over the stand-in driver: results, order of work, allocation, launches.
#include <set>
#include <thread>

#include "cuda/runtime/layer_session.h"
#include "cuda/static/plan.h"

namespace moekit::standin {
namespace {

class LayerRun : public LayerSession {};

TEST_F(LayerRun, MatchesTheOracleAndUsesTheDevice) {
  for (const char* name : {"f32", "bf16", "f16"}) {
    const Mode& mode = mode_named(name);
    const BlockConfig config = rich_config();
    const conformance::Block block({"cuda", ""}, config, mode, {false, true, false, false}, 3);
    const Matrix x = random_x(config, 19, mode);
    const Result got = conformance::run(block.layer, x, {}), want = conformance::run_oracle(block, x, {});
    const std::vector<std::int64_t> rows = conformance::agreeing_rows(block, x, {}, got, want);
    EXPECT_LE(conformance::nmse(got.y, want.y, rows), 20.0 * mode.nmse) << name;
    EXPECT_FALSE(take_launches().empty()) << name;
  }
}

TEST_F(LayerRun, HasTheSameBitsWhateverTheDeviceDoesFirst) {
  const BlockConfig config = rich_config();
  for (const char* name : {"f32", "bf16"}) {
    const Mode& mode = mode_named(name);
    const MoeLayer layer = make(config, mode);
    const Matrix x = random_x(config, 9, mode);
    std::set<std::vector<std::byte>> seen;
    for (const ThreadOrder order : {ThreadOrder::kAscending, ThreadOrder::kDescending, ThreadOrder::kRandom}) {
      set_thread_order(order, 7);
      set_schedule(Schedule::kEager);
      seen.insert(bits(conformance::run(layer, x, {})));
      set_schedule(Schedule::kLazy);
      seen.insert(bits(conformance::run(layer, x, {})));
      for (std::uint64_t seed = 1; seed <= 2; ++seed) {
        set_schedule(Schedule::kRandom, seed);
        seen.insert(bits(conformance::run(layer, x, {})));
      }
    }
    EXPECT_EQ(seen.size(), 1u) << name;
  }
}

// Calls on two streams of a layer in turn share scratch: the second must come behind the first.
TEST_F(LayerRun, StreamsInTurnDoNotDisturbEachOther) {
  const BlockConfig config = rich_config();
  const Mode& mode = mode_named("bf16");
  const MoeLayer layer = make(config, mode);
  const Backend& backend = backend_by_name("cuda");
  const auto first = backend.new_stream({DeviceKind::kCuda, 0}), second = backend.new_stream({DeviceKind::kCuda, 0});
  const auto [a, b, want_a, want_b] = TwoBatches(layer, mode, 9, 13);
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    set_schedule(Schedule::kRandom, seed);
    layer.forward(a.x(), a.y(), {}, nullptr, first.get());
    layer.forward(b.x(), b.y(), {}, nullptr, second.get());
    second->synchronize();
    first->synchronize();
    ASSERT_EQ(a.download(), want_a) << "seed " << seed;
    ASSERT_EQ(b.download(), want_b) << "seed " << seed;
  }
}

// A stream that is gone, with work still queued, leaves its handle to the next: another stream all the same.
TEST_F(LayerRun, ANewStreamWithAnOldHandleComesBehindTheOldOne) {
  const BlockConfig config = rich_config();
  const Mode& mode = mode_named("bf16");
  const MoeLayer layer = make(config, mode);
  const Backend& backend = backend_by_name("cuda");
  const auto [a, b, want_a, want_b] = TwoBatches(layer, mode, 9, 13);
  int met = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    set_schedule(Schedule::kRandom, seed);
    auto stream = backend.new_stream({DeviceKind::kCuda, 0});
    layer.forward(a.x(), a.y(), {}, nullptr, stream.get());
    const void* const handle = stream->native();
    stream.reset();
    stream = backend.new_stream({DeviceKind::kCuda, 0});
    met += stream->native() == handle ? 1 : 0;
    layer.forward(b.x(), b.y(), {}, nullptr, stream.get());
    {
      const Current current(0);
      ASSERT_EQ(cuda::cuCtxSynchronize(), SUCCESS);
    }
    ASSERT_EQ(a.download(), want_a) << "seed " << seed;
    ASSERT_EQ(b.download(), want_b) << "seed " << seed;
  }
  EXPECT_GT(met, 0) << "no handle was given out twice";
}

TEST_F(LayerRun, RefusesWhatItsKernelsDoNotDo) {
  const BlockConfig config = plain_config();
  Rng rng(4);
  LayerOptions options;
  options.dtype = "int8";
  options.device = {DeviceKind::kCuda, 0};
  options.int8_activations = true;
  EXPECT_THROW(MoeLayer(config, conformance::random_tensors(rng, config, DType::kBFloat16), options), UnsupportedError);
}

TEST_F(LayerRun, NeitherAllocatesNorWaitsOnceWarm) {
  const BlockConfig config = rich_config();
  const Mode& mode = mode_named("bf16");
  const MoeLayer layer = make(config, mode);
  const auto stream = backend_by_name("cuda").new_stream({DeviceKind::kCuda, 0});
  OnDevice data(config, 17, mode.data);
  data.set(random_x(config, 17, mode));
  layer.forward(data.x(), data.y(), {}, nullptr, stream.get());
  stream->synchronize();
  const Statistics before = statistics();
  for (int i = 0; i < 5; ++i) layer.forward(data.x(), data.y(), {}, nullptr, stream.get());
  const Statistics after = statistics();
  EXPECT_EQ(after.allocations, before.allocations);
  EXPECT_EQ(after.live_bytes, before.live_bytes);
  EXPECT_EQ(after.waits, before.waits);
  stream->synchronize();
  EXPECT_GT(statistics().kernels, before.kernels);
}

TEST_F(LayerRun, ThreadsCallItAtTheSameTime) {
  const BlockConfig config = plain_config();
  const Mode& mode = mode_named("f32");
  const MoeLayer layer = make(config, mode);
  std::vector<Matrix> inputs;
  std::vector<std::vector<std::byte>> want;
  for (std::uint64_t i = 0; i < 4; ++i) {
    inputs.push_back(random_x(config, 3 + static_cast<std::int64_t>(i), mode, i));
    want.push_back(bits(conformance::run(layer, inputs.back(), {})));
  }
  std::vector<std::vector<std::byte>> got(inputs.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 3; ++round) got[i] = bits(conformance::run(layer, inputs[i], {}));
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(got, want);
}

TEST_F(LayerRun, RunsOnTheDeviceItWasMadeFor) {
  const BlockConfig config = plain_config();
  const Mode& mode = mode_named("bf16");
  const Matrix x = random_x(config, 9, mode);
  const Result first = conformance::run(make(config, mode, 0), x, {});
  take_launches();
  const Result second = conformance::run(make(config, mode, 1), x, {});
  EXPECT_EQ(bits(first), bits(second));
  const std::vector<LaunchRecord> launches = take_launches();
  EXPECT_FALSE(launches.empty());
  for (const LaunchRecord& launch : launches) EXPECT_EQ(launch.device, 1) << launch.kernel;
}

// Launches as the occupancy check assumes them (the shared memory of router kernels grows with the columns: at most
// what the check takes).
TEST_F(LayerRun, LaunchesKeepToThePlan) {
  const auto plans = read_plan(MOEKIT_OCCUPANCY_PLAN);
  for (const char* name : {"f32", "bf16", "f16"}) {
    const Mode& mode = mode_named(name);
    const BlockConfig config = rich_config();
    const MoeLayer layer = make(config, mode);
    take_launches();
    for (const std::int64_t tokens : {1, 9, 33}) conformance::run(layer, random_x(config, tokens, mode), {});
    for (const LaunchRecord& launch : take_launches()) {
      const auto plan = plans.find(launch.kernel);
      ASSERT_NE(plan, plans.end()) << launch.kernel;
      EXPECT_LE(launch.block[0] * launch.block[1] * launch.block[2], plan->second.threads) << launch.kernel;
      EXPECT_LE(launch.shared_bytes, plan->second.shared_bytes) << launch.kernel;
    }
  }
}

// Grids of calls that no test could run here: accepted or refused by the limits of a device, then given up.
TEST_F(LayerRun, LargeCallsKeepToTheLimitsOfAGrid) {
  BlockConfig config = conformance::make_config(conformance::rules()[0], conformance::forms()[2], 4, {1, 1, 1});
  config.router.top_k = 4;
  const Mode& mode = mode_named("f32");
  const MoeLayer layer = make(config, mode);
  const auto stream = backend_by_name("cuda").new_stream({DeviceKind::kCuda, 0});
  constexpr std::int64_t kTokens = 200000;  // 800000 rows: more tiles than gridDim.y can count
  set_memory_limit(0, std::size_t{4} << 30);
  {
    OnDevice data(config, kTokens, mode.data);
    set_schedule(Schedule::kLazy);
    fail_kernel(1, ERROR_LAUNCH_FAILED);
    take_launches();
    layer.forward(data.x(), data.y(), {}, nullptr, stream.get());
    EXPECT_GE(take_launches().size(), 5u);
    EXPECT_THROW(stream->synchronize(), DeviceError);
    clear_failures();
  }
}

}  // namespace
}  // namespace moekit::standin
