// SPDX-License-Identifier: Apache-2.0
// Every driver call of a layer fails once, at every place: the error is typed and tells the call, the code and its
// name, nothing leaks, and the layer works afterwards.
#include <functional>
#include <optional>

#include "cuda/runtime/layer_session.h"

namespace moekit::standin {
namespace {

class LayerFailures : public LayerSession {
 protected:
  // All functions that a layer may call while it is made and while it runs.
  static std::vector<std::string> functions() {
    return {
#define X(member, name, params) #name,
        MOEKIT_CUDA_DRIVER_FUNCTIONS(X)
#undef X
    };
  }
  // The name as messages have it: without the version that exported names carry.
  static std::string plain(const std::string& function) {
    const auto at = function.find("_v");
    return function.substr(0, at);
  }
  // Functions whose answer decides something and is no failure of the call.
  static bool answers(const std::string& function) {
    return function == "cuGetErrorName" || function == "cuGetErrorString" || function == "cuPointerGetAttribute" ||
           function == "cuCtxPopCurrent_v2" || function == "cuMemFree_v2" || function == "cuLibraryGetKernel" ||
           function == "cuEventDestroy_v2" || function == "cuStreamDestroy_v2";
  }
  // Lets the n-th call of each function in `body` fail, for all n. Answers how many failures were seen.
  static int fail_each(const std::function<void()>& body, const std::function<void()>& afterwards) {
    int seen = 0;
    for (const std::string& function : functions()) {
      if (answers(function)) continue;
      const std::uint64_t before = calls(function);
      body();
      const std::uint64_t count = calls(function) - before;
      afterwards();
      for (std::uint64_t n = 1; n <= count; ++n) {
        fail_call(function, static_cast<int>(n), ERROR_UNKNOWN);
        try {
          body();
          ADD_FAILURE() << "call " << n << " of " << function << " failed and nobody noticed";
        } catch (const DeviceError& error) {
          const std::string text = error.what();
          for (const std::string& part : {plain(function), std::string("CUDA_ERROR_UNKNOWN"), std::string("999")})
            EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks: " << part;
          ++seen;
        }
        clear_failures();
        afterwards();
      }
    }
    return seen;
  }
};

TEST_F(LayerFailures, InACallLeaveTheLayerUsable) {
  const BlockConfig config = plain_config();
  const Mode& mode = mode_named("bf16");
  const MoeLayer layer = make(config, mode);
  const Matrix x = random_x(config, 5, mode);
  const std::vector<std::byte> want = bits(conformance::run(layer, x, {}));
  const int seen = fail_each([&] { conformance::run(layer, x, {}); },
                             [&] { ASSERT_EQ(bits(conformance::run(layer, x, {})), want); });
  EXPECT_GE(seen, 10);
}

TEST_F(LayerFailures, InACallOnAStreamLeaveTheLayerUsable) {
  const BlockConfig config = plain_config();
  const Mode& mode = mode_named("f32");
  const MoeLayer layer = make(config, mode);
  const auto stream = backend_by_name("cuda").new_stream({DeviceKind::kCuda, 0});
  const auto other = backend_by_name("cuda").new_stream({DeviceKind::kCuda, 0});
  OnDevice data(config, 5, mode.data);
  data.set(random_x(config, 5, mode));
  layer.forward(data.x(), data.y());
  const std::vector<std::byte> want = data.download();
  const int seen = fail_each(
      [&] {
        layer.forward(data.x(), data.y(), {}, nullptr, stream.get());
        layer.forward(data.x(), data.y(), {}, nullptr, other.get());
        stream->synchronize();
        other->synchronize();
      },
      [&] {
        // On the other stream, at once: what the failed call has queued is still under way.
        layer.forward(data.x(), data.y(), {}, nullptr, other.get());
        other->synchronize();
        stream->synchronize();
        ASSERT_EQ(data.download(), want);
      });
  EXPECT_GE(seen, 10);
}

TEST_F(LayerFailures, WhileItIsMadeLeakNothing) {
  const BlockConfig config = plain_config();
  const Mode& mode = mode_named("bf16");
  Rng rng(4);
  const BlockTensors tensors = conformance::random_tensors(rng, config, mode.weights, {false, true, false, false});
  make(config, tensors, mode);
  const Statistics before = statistics();
  // Kept until failures are over: a layer that goes cannot tell anyone what failed.
  std::optional<MoeLayer> made;
  const int seen = fail_each([&] { made.emplace(make(config, tensors, mode)); },
                             [&] {
                               made.reset();
                               ASSERT_EQ(statistics().live_bytes, before.live_bytes);
                             });
  EXPECT_GE(seen, 5);
  EXPECT_EQ(statistics().live_allocations, before.live_allocations);
}

TEST_F(LayerFailures, OutOfMemoryIsAnErrorOfTheCallOnly) {
  const BlockConfig config = plain_config();
  const Mode& mode = mode_named("f32");
  const MoeLayer layer = make(config, mode);
  const Matrix small = random_x(config, 3, mode), large = random_x(config, 300, mode);
  const std::vector<std::byte> want = bits(conformance::run(layer, small, {}));
  set_memory_limit(0, statistics().live_bytes + 4096);
  for (int round = 0; round < 2; ++round) {
    try {
      conformance::run(layer, large, {});
      ADD_FAILURE() << "no error";
    } catch (const DeviceError& error) {
      for (const char* part : {"cuMemAlloc", "CUDA_ERROR_OUT_OF_MEMORY", "(2)", "out of memory", "bytes"})
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
  set_memory_limit(0, std::size_t{1} << 30);
  EXPECT_EQ(bits(conformance::run(layer, small, {})), want);
  conformance::run(layer, large, {});
}

TEST_F(LayerFailures, OutOfMemoryWhileItIsMade) {
  const BlockConfig config = rich_config();
  const std::size_t before = statistics().live_bytes;
  set_memory_limit(0, before + 20000);
  EXPECT_THROW(make(config, mode_named("bf16")), DeviceError);
  EXPECT_EQ(statistics().live_bytes, before);
  set_memory_limit(0, std::size_t{1} << 30);
  make(config, mode_named("bf16"));
}

TEST_F(LayerFailures, DevicesThatAreNotThere) {
  for (const int ordinal : {2, 7, -1}) {
    try {
      make(plain_config(), mode_named("f32"), ordinal);
      ADD_FAILURE() << "no error for cuda:" << ordinal;
    } catch (const std::exception& error) {
      EXPECT_NE(dynamic_cast<const DeviceError*>(&error), nullptr) << error.what();
      EXPECT_NE(std::string(error.what()).find("cuda:" + std::to_string(ordinal)), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("2 devices"), std::string::npos) << error.what();
    }
  }
}

TEST_F(LayerFailures, MemoryAndStreamsOfOtherDevices) {
  const BlockConfig config = plain_config();
  const Mode& mode = mode_named("f32");
  const MoeLayer layer = make(config, mode);
  OnDevice here(config, 4, mode.data), there(config, 4, mode.data, 1);
  Matrix host = random_x(config, 4, mode);
  here.set(host);
  const auto expect = [&](const char* part, const std::function<void()>& call) {
    try {
      call();
      ADD_FAILURE() << "no error; expected one that says " << part;
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  const auto stream = backend_by_name("cuda").new_stream({DeviceKind::kCuda, 1});
  expect("memory of the host", [&] { layer.forward(host.view(), here.y()); });
  expect("memory of the host", [&] { layer.forward(here.x(), host.out()); });
  expect("cuda:1", [&] { layer.forward(there.x(), here.y()); });
  expect("cuda:1", [&] { layer.forward(here.x(), there.y()); });
  expect("another device", [&] { layer.forward(here.x(), here.y(), {}, nullptr, stream.get()); });
  layer.forward(here.x(), here.y());
}

TEST_F(LayerFailures, AFaultInAKernelIsToldAndEveryLaterCallSaysSo) {
  const BlockConfig config = plain_config();
  const Mode& mode = mode_named("bf16");
  const MoeLayer layer = make(config, mode);
  const Matrix x = random_x(config, 5, mode);
  const std::vector<std::byte> want = bits(conformance::run(layer, x, {}));
  fail_kernel(3, ERROR_ILLEGAL_ADDRESS);
  for (int round = 0; round < 3; ++round) {
    try {
      conformance::run(layer, x, {});
      ADD_FAILURE() << "no error";
    } catch (const DeviceError& error) {
      EXPECT_NE(std::string(error.what()).find("CUDA_ERROR_ILLEGAL_ADDRESS (700)"), std::string::npos) << error.what();
    }
  }
  clear_failures();
  EXPECT_EQ(bits(conformance::run(layer, x, {})), want);
}

}  // namespace
}  // namespace moekit::standin
