// SPDX-License-Identifier: Apache-2.0
// Layers in CUDA graphs, as torch captures them.
#include "cuda/runtime/layer_session.h"

namespace moekit::standin {
namespace {

using namespace cuda;

class LayerGraph : public LayerSession {
 protected:
  void SetUp() override {
    LayerSession::SetUp();
    if (has_library_twins()) stream_ = backend_by_name("cuda").new_stream({DeviceKind::kCuda, 0});
  }
  // Captures what `body` does on the stream.
  template <typename F>
  GraphExec capture(F&& body) {
    const Current current(0);
    Graph graph = nullptr;
    GraphExec exec = nullptr;
    EXPECT_EQ(cuStreamBeginCapture_v2(native(*stream_), 0), SUCCESS);
    body();
    EXPECT_EQ(cuStreamEndCapture(native(*stream_), &graph), SUCCESS);
    if (graph == nullptr) return nullptr;
    EXPECT_EQ(cuGraphInstantiateWithFlags(&exec, graph, 0), SUCCESS);
    EXPECT_EQ(cuGraphDestroy(graph), SUCCESS);
    return exec;
  }
  void replay(GraphExec exec) {
    const Current current(0);
    EXPECT_EQ(cuGraphLaunch(exec, native(*stream_)), SUCCESS);
    EXPECT_EQ(cuStreamSynchronize(native(*stream_)), SUCCESS);
  }
  std::unique_ptr<Stream> stream_;
};

TEST_F(LayerGraph, ReplayIsTheCallItself) {
  const BlockConfig config = rich_config();
  for (const char* name : {"f32", "bf16"}) {
    const Mode& mode = mode_named(name);
    const MoeLayer layer = make(config, mode);
    OnDevice data(config, 11, mode.data), eager(config, 11, mode.data);
    data.set(random_x(config, 11, mode));
    layer.forward(data.x(), data.y(), {}, nullptr, stream_.get());  // warm: allocates its scratch
    stream_->synchronize();
    const GraphExec exec = capture([&] { layer.forward(data.x(), data.y(), {}, nullptr, stream_.get()); });
    ASSERT_NE(exec, nullptr);
    for (std::uint64_t round = 0; round < 4; ++round) {
      set_schedule(Schedule::kRandom, round + 1);
      const Matrix x = random_x(config, 11, mode, 100 + round);
      data.set(x);
      eager.set(x);
      replay(exec);
      layer.forward(eager.x(), eager.y());  // between replays, and in other memory than theirs
      EXPECT_EQ(data.download(), eager.download()) << name << ", round " << round;
    }
    const Current current(0);
    EXPECT_EQ(cuGraphExecDestroy(exec), SUCCESS);
  }
}

TEST_F(LayerGraph, SeveralLayersAndSizesInOneGraph) {
  const BlockConfig config = plain_config();
  const Mode& mode = mode_named("bf16");
  const MoeLayer one = make(config, mode);
  const TwoBatches both(one, mode, 5, 12);
  const GraphExec exec = capture([&] {
    one.forward(both.a.x(), both.a.y(), {}, nullptr, stream_.get());
    one.forward(both.b.x(), both.b.y(), {}, nullptr, stream_.get());
  });
  ASSERT_NE(exec, nullptr);
  replay(exec);
  EXPECT_EQ(both.a.download(), both.want_a);
  EXPECT_EQ(both.b.download(), both.want_b);
  const Current current(0);
  EXPECT_EQ(cuGraphExecDestroy(exec), SUCCESS);
}

// A cold call would have to allocate: that is an error of the call, with the capture broken or not, and afterwards the
// layer works.
TEST_F(LayerGraph, AColdCallSaysSo) {
  const BlockConfig config = plain_config();
  const Mode& mode = mode_named("f32");
  const MoeLayer layer = make(config, mode);
  OnDevice data(config, 6, mode.data);
  data.set(random_x(config, 6, mode));
  {
    const Current current(0);
    Graph graph = nullptr;
    ASSERT_EQ(cuStreamBeginCapture_v2(native(*stream_), 0), SUCCESS);
    try {
      layer.forward(data.x(), data.y(), {}, nullptr, stream_.get());
      ADD_FAILURE() << "a layer without scratch was captured";
    } catch (const DeviceError& error) {
      EXPECT_NE(std::string(error.what()).find("captur"), std::string::npos) << error.what();
    }
    cuStreamEndCapture(native(*stream_), &graph);
    if (graph != nullptr) cuGraphDestroy(graph);
  }
  layer.forward(data.x(), data.y());
  const std::vector<std::byte> got = data.download();
  layer.forward(data.x(), data.y());
  EXPECT_EQ(data.download(), got);
}

// The graph's memory outlives calls that need more.
TEST_F(LayerGraph, LargerCallsLeaveAGraphsMemoryAlone) {
  const BlockConfig config = plain_config();
  const Mode& mode = mode_named("bf16");
  const MoeLayer layer = make(config, mode);
  OnDevice small(config, 4, mode.data), large(config, 40, mode.data);
  small.set(random_x(config, 4, mode, 1));
  large.set(random_x(config, 40, mode, 2));
  layer.forward(small.x(), small.y());
  const std::vector<std::byte> want = small.download();
  const GraphExec exec = capture([&] { layer.forward(small.x(), small.y(), {}, nullptr, stream_.get()); });
  ASSERT_NE(exec, nullptr);
  layer.forward(large.x(), large.y());
  small.set(random_x(config, 4, mode, 1));
  replay(exec);
  EXPECT_EQ(small.download(), want);
  const Current current(0);
  EXPECT_EQ(cuGraphExecDestroy(exec), SUCCESS);
}

}  // namespace
}  // namespace moekit::standin
