// SPDX-License-Identifier: Apache-2.0
// Device memory, the caller's streams, recorded calls, graphs.
#include <thread>

#include "ascend/device_layer.h"
#include "backends/ascend/graph.h"
#include "moekit/error.h"

namespace moekit::ascend_test {
namespace {

using conformance::Block;
using conformance::Matrix;
using conformance::Mode;
using conformance::Result;
using conformance::Rng;

struct Streams : OnAscend {
  void SetUp() override {
    OnAscend::SetUp();
    stream = backend().new_stream(kDevice);
  }
  void TearDown() override {
    stream.reset();
    OnAscend::TearDown();
  }
  // The device's own results differ from call to call where it is made to.
  static void expect_same(const Matrix& got, const Matrix& want) {
    if (conformance::slack() == 1.0) {
      EXPECT_EQ(got.bytes(), want.bytes());
    } else {
      EXPECT_LE(nmse(got, want, all_rows(want)), 3e-5 * conformance::slack());
    }
  }
  std::unique_ptr<Stream> stream;
};

TEST_F(Streams, DeviceMemoryWithGapsAndWithout) {
  for (const Mode& mode : conformance::modes(kAscend)) {
    const Block block(kAscend, small_block(), mode, kBiased, 1);
    Rng rng(2);
    const Matrix x = Matrix::random(rng, 70, 48, mode.data);
    const Matrix want = run(block.layer, x, {}).y;
    for (const std::int64_t gap : {0, 5}) {
      const OnDevice in(x, gap), out(70, 48, mode.data, gap);
      block.layer.forward(in.view(), out.out(), {}, nullptr, stream.get());
      stream->synchronize();
      expect_same(out.read(), want);
      block.layer.forward(in.view(), out.out());  // without a stream: done on return
      expect_same(out.read(), want);
    }
  }
}

TEST_F(Streams, AWarmCallNeitherWaitsNorAllocates) {
  if (!control()) GTEST_SKIP() << "not tested: calls of the runtime are counted by the double only";
  for (const std::int64_t tokens : {5, 200}) {
    const Block block(kAscend, small_block(), conformance::modes()[2], kBiased, 3);
    Rng rng(4);
    const OnDevice in(Matrix::random(rng, tokens, 48, DType::kBFloat16)), out(tokens, 48, DType::kBFloat16);
    for (int i = 0; i < 2; ++i) block.layer.forward(in.view(), out.out(), {}, nullptr, stream.get());
    const char* const waits[] = {"aclrtSynchronizeStream",
                                 "aclrtSynchronizeDevice",
                                 "aclrtSynchronizeEvent",
                                 "aclrtMemcpy",
                                 "aclrtMalloc",
                                 "aclrtFree"};
    std::uint64_t before[std::size(waits)];
    for (std::size_t i = 0; i < std::size(waits); ++i) before[i] = control().calls(waits[i]);
    block.layer.forward(in.view(), out.out(), {}, nullptr, stream.get());
    for (std::size_t i = 0; i < std::size(waits); ++i) EXPECT_EQ(control().calls(waits[i]), before[i]) << waits[i];
    stream->synchronize();
  }
}

TEST_F(Streams, SmallBatchesRunTheirExecutorsAgainAtOtherAddresses) {
  if (!control()) GTEST_SKIP() << "not tested: calls of the runtime are counted by the double only";
  const Block block(kAscend, small_block(), conformance::modes()[2], kBiased, 5);
  Rng rng(6);
  const Matrix first = Matrix::random(rng, 3, 48, DType::kBFloat16),
               second = Matrix::random(rng, 3, 48, DType::kBFloat16);
  const Matrix want_first = run(block.layer, first, {}).y, want_second = run(block.layer, second, {}).y;
  const OnDevice in(first), out(3, 48, DType::kBFloat16), other_in(second), other_out(3, 48, DType::kBFloat16);
  block.layer.forward(in.view(), out.out(), {}, nullptr, stream.get());
  stream->synchronize();
  const std::uint64_t planned = control().calls("aclnnSwiGluGetWorkspaceSize"), ran = control().calls("aclnnSwiGlu");
  const std::uint64_t moved = control().calls("aclSetInputTensorAddr");
  block.layer.forward(other_in.view(), other_out.out(), {}, nullptr, stream.get());
  block.layer.forward(in.view(), out.out(), {}, nullptr, stream.get());
  stream->synchronize();
  EXPECT_EQ(control().calls("aclnnSwiGluGetWorkspaceSize"), planned);
  EXPECT_GT(control().calls("aclnnSwiGlu"), ran);
  EXPECT_GT(control().calls("aclSetInputTensorAddr"), moved);
  expect_same(other_out.read(), want_second);
  expect_same(out.read(), want_first);
}

TEST_F(Streams, CallsOfOneLayerOnManyStreams) {
  const Block block(kAscend, small_block(), conformance::modes()[2], kBiased, 7);
  Rng rng(8);
  std::vector<Matrix> x, want;
  for (const std::int64_t tokens : {1, 4, 65, 130}) {
    x.push_back(Matrix::random(rng, tokens, 48, DType::kBFloat16));
    want.push_back(run(block.layer, x.back(), {}).y);
  }
  // One thread, streams in turn: the workspace goes from stream to stream before the work is done.
  std::vector<std::unique_ptr<Stream>> streams;
  std::vector<std::unique_ptr<OnDevice>> in, out;
  for (std::size_t i = 0; i < 12; ++i) {
    streams.push_back(backend().new_stream(kDevice));
    in.push_back(std::make_unique<OnDevice>(x[i % 4]));
    out.push_back(std::make_unique<OnDevice>(x[i % 4].rows(), 48, DType::kBFloat16));
  }
  for (std::size_t i = 0; i < 12; ++i) block.layer.forward(in[i]->view(), out[i]->out(), {}, nullptr, streams[i].get());
  for (std::size_t i = 0; i < 12; ++i) {
    streams[i]->synchronize();
    expect_same(out[i]->read(), want[i % 4]);
  }
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      for (int call = 0; call < 10; ++call) {
        block.layer.forward(in[i]->view(), out[i]->out(), {}, nullptr, streams[i].get());
        streams[i]->synchronize();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < 4; ++i) expect_same(out[i]->read(), want[i]);
}

TEST_F(Streams, RoutingIsHandedOutOnTheDevice) {
  const Block block(kAscend, small_block(), conformance::modes()[0], kBiased, 9);
  Rng rng(10);
  const Matrix x = Matrix::random(rng, 6, 48, DType::kFloat32);
  const Result want = run(block.layer, x, {});
  const OnDevice in(x), out(6, 48, DType::kFloat32);
  const Buffer ids = backend().allocate(6 * 4 * 4, kDevice), weights = backend().allocate(6 * 4 * 4, kDevice);
  const RoutingView routing{6, 4, static_cast<std::int32_t*>(ids.data()), static_cast<float*>(weights.data())};
  for (int call = 0; call < 3; ++call) {
    block.layer.forward(in.view(), out.out(), {}, &routing, stream.get());
    stream->synchronize();
    std::vector<std::int32_t> got(24);
    backend().copy(got.data(), ids.data(), 96, CopyKind::kDeviceToHost, nullptr);
    EXPECT_EQ(got, want.ids);
  }
}

struct Graphs : Streams {
  void SetUp() override {
    Streams::SetUp();
    if (!ascend::Graph::available()) GTEST_SKIP() << "not tested: graphs, this installation has no capture";
  }
};

TEST_F(Graphs, ReplayWithNewInputs) {
  for (const std::int64_t tokens : {2, 80}) {
    const Block block(kAscend, small_block(), conformance::modes()[2], kBiased, 11);
    Rng rng(12);
    const Matrix first = Matrix::random(rng, tokens, 48, DType::kBFloat16);
    const OnDevice in(first), out(tokens, 48, DType::kBFloat16);
    block.layer.forward(in.view(), out.out(), {}, nullptr, stream.get());
    stream->synchronize();
    ascend::Graph graph(*stream, [&] { block.layer.forward(in.view(), out.out(), {}, nullptr, stream.get()); });
    for (int replay = 0; replay < 3; ++replay) {
      const Matrix x = Matrix::random(rng, tokens, 48, DType::kBFloat16);
      in.write(x);
      graph.replay(*stream);
      stream->synchronize();
      const Matrix got = out.read();
      expect_same(got, run(block.layer, x, {}).y);  // eager calls in between use other memory
    }
  }
}

TEST_F(Graphs, AColdCallSaysWhatToDo) {
  const Block block(kAscend, small_block(), conformance::modes()[2], kBiased, 13);
  const OnDevice in(4, 48, DType::kBFloat16), out(4, 48, DType::kBFloat16);
  try {
    ascend::Graph graph(*stream, [&] { block.layer.forward(in.view(), out.out(), {}, nullptr, stream.get()); });
    FAIL() << "no error";
  } catch (const DeviceError& error) {
    EXPECT_NE(std::string(error.what()).find("before capturing"), std::string::npos) << error.what();
  }
  Rng rng(14);
  const Matrix x = Matrix::random(rng, 4, 48, DType::kBFloat16);
  EXPECT_LE(nmse(run(block.layer, x, {}).y, run_oracle(block, x, {}).y, all_rows(x)), nmse_bound(kAscend, block.mode));
}

TEST_F(Graphs, RoutingOnTheHostCannotBeCaptured) {
  BlockConfig config = small_block();
  config.router.score = Score::kSqrtSoftplus;
  const Block block(kAscend, config, conformance::modes()[2], kBiased, 15);
  const OnDevice in(4, 48, DType::kBFloat16), out(4, 48, DType::kBFloat16);
  block.layer.forward(in.view(), out.out(), {}, nullptr, stream.get());
  stream->synchronize();
  EXPECT_THROW(ascend::Graph(*stream, [&] { block.layer.forward(in.view(), out.out(), {}, nullptr, stream.get()); }),
               DeviceError);
}

}  // namespace
}  // namespace moekit::ascend_test
