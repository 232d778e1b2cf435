// SPDX-License-Identifier: Apache-2.0
// The stand-in's stream capture: what may be captured, what breaks a capture, and that replay does the same again.
#include "cuda/runtime/session.h"

namespace moekit::standin {
namespace {

using namespace cuda;

constexpr int kGlobal = 0, kThreadLocal = 1, kRelaxed = 2;

class Capturing : public Session {
 protected:
  void SetUp() override {
    Session::SetUp();
    stream_ = new_stream();
  }
  void TearDown() override {
    EXPECT_CUDA(cuStreamDestroy_v2(stream_));
    Session::TearDown();
  }
  void begin(int mode = kGlobal) { ASSERT_CUDA(cuStreamBeginCapture_v2(stream_, mode)); }
  // Ends the capture and answers what it came to.
  int end() {
    Graph graph = nullptr;
    const int result = cuStreamEndCapture(stream_, &graph);
    EXPECT_EQ(graph == nullptr, result != SUCCESS);
    if (graph != nullptr) {
      EXPECT_CUDA(cuGraphDestroy(graph));
    }
    return result;
  }
  StreamHandle stream_ = nullptr;
};

TEST_F(Capturing, ReplaysWhatWasCaptured) {
  float *a = floats(8), *b = floats(8), *sum = floats(8);
  upload(a, std::vector<float>(8, 1.0f));
  upload(b, std::vector<float>(8, 2.0f));
  upload(sum, std::vector<float>(8, 0.0f));
  Graph graph = nullptr;
  GraphExec exec = nullptr;
  begin();
  EXPECT_CUDA(add(a, b, sum, 8, stream_));
  EXPECT_CUDA(add(sum, b, sum, 8, stream_));
  EXPECT_CUDA(cuMemcpyDtoDAsync_v2(device(a), device(sum), 8 * 4, stream_));
  ASSERT_CUDA(cuStreamEndCapture(stream_, &graph));
  std::size_t count = 0;
  EXPECT_CUDA(cuGraphGetNodes(graph, nullptr, &count));
  EXPECT_EQ(count, 3u);
  EXPECT_EQ(download(sum, 1)[0], 0.0f) << "nothing runs while capturing";
  ASSERT_CUDA(cuGraphInstantiateWithFlags(&exec, graph, 0));
  EXPECT_CUDA(cuGraphDestroy(graph));
  for (int round = 0; round < 3; ++round) EXPECT_CUDA(cuGraphLaunch(exec, stream_));
  EXPECT_CUDA(cuStreamSynchronize(stream_));
  EXPECT_EQ(download(sum, 8), std::vector<float>(8, 13.0f));  // 1 + 3 rounds of 2 + 2
  EXPECT_CUDA(cuGraphExecDestroy(exec));
}

TEST_F(Capturing, WaitingAndAllocatingBreakIt) {
  float* p = floats(4);
  float host[4] = {};
  DevicePointer fresh = 0;
  const struct {
    const char* what;
    std::function<int()> call;
  } forbidden[] = {
      {"allocate", [&] { return cuMemAlloc_v2(&fresh, 4); }},
      {"free", [&] { return cuMemFree_v2(device(p)); }},
      {"wait for the stream", [&] { return cuStreamSynchronize(stream_); }},
      {"query the stream", [&] { return cuStreamQuery(stream_); }},
      {"wait for the device", [&] { return cuCtxSynchronize(); }},
      {"copy and wait", [&] { return cuMemcpyDtoH_v2(host, device(p), 4); }},
      {"download to pageable memory", [&] { return cuMemcpyDtoHAsync_v2(host, device(p), 4, stream_); }},
      {"upload from pageable memory", [&] { return cuMemcpyHtoDAsync_v2(device(p), host, 4, stream_); }},
      {"load a library",
       [&] {
         KernelLibrary library = nullptr;
         return cuLibraryLoadData(&library, "moekit: names", nullptr, nullptr, 0, nullptr, nullptr, 0);
       }},
  };
  for (const auto& [what, call] : forbidden) {
    begin();
    EXPECT_EQ(call(), ERROR_STREAM_CAPTURE_UNSUPPORTED) << what;
    EXPECT_EQ(fill(p, 1.0f, 4, stream_), ERROR_STREAM_CAPTURE_INVALIDATED) << what;
    EXPECT_EQ(end(), ERROR_STREAM_CAPTURE_INVALIDATED) << what;
  }
}

TEST_F(Capturing, TheDefaultStreamTakesNoPart) {
  EXPECT_EQ(cuStreamBeginCapture_v2(nullptr, kGlobal), ERROR_STREAM_CAPTURE_UNSUPPORTED);
  float* p = floats(4);
  const StreamHandle blocking = new_stream(0);
  Graph graph = nullptr;
  ASSERT_CUDA(cuStreamBeginCapture_v2(blocking, kRelaxed));
  EXPECT_EQ(fill(p, 1.0f, 4, nullptr), ERROR_STREAM_CAPTURE_IMPLICIT);
  EXPECT_EQ(cuStreamEndCapture(blocking, &graph), ERROR_STREAM_CAPTURE_INVALIDATED);
  EXPECT_CUDA(cuStreamDestroy_v2(blocking));
}

TEST_F(Capturing, OtherStreamsJoinByEvents) {
  float *a = floats(4), *b = floats(4);
  const StreamHandle side = new_stream();
  const Event fork = new_event(), join = new_event();
  begin();
  EXPECT_CUDA(fill(a, 1.0f, 4, stream_));
  EXPECT_CUDA(cuEventRecord(fork, stream_));
  EXPECT_CUDA(cuStreamWaitEvent(side, fork, 0));
  EXPECT_CUDA(add(a, a, b, 4, side));
  EXPECT_CUDA(cuEventRecord(join, side));
  EXPECT_CUDA(cuStreamWaitEvent(stream_, join, 0));
  EXPECT_CUDA(add(a, b, a, 4, stream_));
  Graph graph = nullptr;
  GraphExec exec = nullptr;
  ASSERT_CUDA(cuStreamEndCapture(stream_, &graph));
  ASSERT_CUDA(cuGraphInstantiateWithFlags(&exec, graph, 0));
  for (std::uint64_t seed = 1; seed < 30; ++seed) {
    set_schedule(Schedule::kRandom, seed);
    EXPECT_CUDA(cuGraphLaunch(exec, stream_));
    EXPECT_CUDA(cuStreamSynchronize(stream_));
    EXPECT_EQ(download(a, 4), std::vector<float>(4, 3.0f));
  }
  EXPECT_CUDA(cuGraphDestroy(graph));
  EXPECT_CUDA(cuGraphExecDestroy(exec));

  begin();
  EXPECT_CUDA(cuEventRecord(fork, stream_));
  EXPECT_CUDA(cuStreamWaitEvent(side, fork, 0));
  EXPECT_CUDA(fill(b, 1.0f, 4, side));
  EXPECT_EQ(end(), ERROR_STREAM_CAPTURE_UNJOINED);
  EXPECT_EQ(cuStreamWaitEvent(stream_, fork, 0), ERROR_CAPTURED_EVENT) << "its capture is over";
  EXPECT_CUDA(cuEventDestroy_v2(fork));
  EXPECT_CUDA(cuEventDestroy_v2(join));
  EXPECT_CUDA(cuStreamDestroy_v2(side));
}

TEST_F(Capturing, WorkOutsideIsNotWaitedFor) {
  const Event event = new_event();
  const StreamHandle side = new_stream();
  EXPECT_CUDA(cuEventRecord(event, side));
  begin();
  EXPECT_EQ(cuStreamWaitEvent(stream_, event, 0), ERROR_STREAM_CAPTURE_ISOLATION);
  EXPECT_EQ(end(), ERROR_STREAM_CAPTURE_INVALIDATED);
  EXPECT_CUDA(cuEventDestroy_v2(event));
  EXPECT_CUDA(cuStreamDestroy_v2(side));
}

TEST_F(Capturing, ModesDecideWhoIsBound) {
  DevicePointer p = 0;
  begin(kRelaxed);
  EXPECT_CUDA(cuMemAlloc_v2(&p, 16));
  EXPECT_CUDA(cuMemFree_v2(p));
  EXPECT_CUDA(end());
  begin(kThreadLocal);
  EXPECT_EQ(cuMemAlloc_v2(&p, 16), ERROR_STREAM_CAPTURE_UNSUPPORTED);
  EXPECT_EQ(end(), ERROR_STREAM_CAPTURE_INVALIDATED);
  int status = -1;
  EXPECT_CUDA(cuStreamIsCapturing(stream_, &status));
  EXPECT_EQ(status, kCaptureStatusNone);
  EXPECT_EQ(cuStreamEndCapture(stream_, nullptr), ERROR_STREAM_CAPTURE_UNMATCHED);
}

}  // namespace
}  // namespace moekit::standin
