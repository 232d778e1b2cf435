// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/forward.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "backends/ascend/call.h"
#include "backends/ascend/elementwise.h"
#include "moekit/error.h"

namespace moekit::ascend {
namespace {

// Longer batches go in pieces of this size: at hidden 7168, intermediate 2048 and top 8, the largest published layer,
// a piece takes 16384 * 8 * (2 * 7168 + 3 * 2048) * 2 bytes = 5.4 GB of workspace. Rows do not know each other.
constexpr std::int64_t kMaxTokens = 16384;
// Shapes up to here are recorded: making executors costs the host some microseconds an operator, which larger batches
// hide behind the device's work.
constexpr std::int64_t kMaxRecordedTokens = 64;

struct Call {
  const AscendBlock& block;
  MatrixView x;
  RouteInputs inputs;
  RoutingView routing;
  MutableMatrixView y;
  CallSteps steps;

  Call chunk(std::int64_t first, std::int64_t count) const {
    Call c = *this;
    const std::int64_t k = block.config().router.top_k;
    const auto advance = [](auto*& pointer, std::int64_t elements) {
      if (pointer != nullptr) pointer += elements;
    };
    c.x.data = static_cast<const char*>(x.data) + first * x.row_stride * static_cast<std::int64_t>(dtype_size(x.dtype));
    c.y.data = static_cast<char*>(y.data) + first * y.row_stride * static_cast<std::int64_t>(dtype_size(y.dtype));
    c.x.rows = c.y.rows = c.routing.tokens = count;
    advance(c.inputs.token_ids, first);
    advance(c.inputs.expert_ids, first * k);
    advance(c.inputs.weights, first * k);
    advance(c.routing.expert_ids, first * k);
    advance(c.routing.weights, first * k);
    return c;
  }
};

bool packed_rows(std::int64_t rows, std::int64_t cols, std::int64_t stride) { return rows <= 1 || stride == cols; }

// Operators take rows without gaps.
Tensor contiguous_input(Queue& queue, const MatrixView& x) {
  Tensor t = tensor_over(x.data, acl_dtype(x.dtype), {x.rows, x.cols});
  t.foreign = Foreign::kInput;
  if (packed_rows(x.rows, x.cols, x.row_stride)) return t;
  if (x.row_stride < 0)
    throw std::invalid_argument("[forward] x in device memory has row stride " + std::to_string(x.row_stride) +
                                ", expected at least 0");
  queue.forget();
  t.foreign = Foreign::kNo;
  t.strides[0] = x.row_stride;
  const Tensor packed = queue.make(t.dtype, {x.rows, x.cols});
  copy_elements(queue, t, packed);
  return packed;
}

// y itself where it has no gaps, rows for write_rows() otherwise.
Tensor contiguous_output(Queue& queue, const MutableMatrixView& y) {
  Tensor t = tensor_over(y.data, acl_dtype(y.dtype), {y.rows, y.cols});
  t.foreign = Foreign::kOutput;
  if (packed_rows(y.rows, y.cols, y.row_stride)) return t;
  queue.forget();
  return queue.make(t.dtype, {y.rows, y.cols});
}

void write_rows(Queue& queue, const Tensor& from, const MutableMatrixView& y) {
  if (packed_rows(y.rows, y.cols, y.row_stride)) return;
  Tensor t = tensor_over(y.data, from.dtype, {y.rows, y.cols});
  t.strides[0] = y.row_stride;
  copy_elements(queue, from, t);
}

Routed route(Queue& queue, const Call& call, const Tensor& x, AscendWorkspace& workspace) {
  const std::int64_t tokens = call.x.rows, k = call.block.config().router.top_k;
  const RoutePlan& plan = call.block.plan(call.x.dtype);
  if (call.steps.routes && plan.gate == RoutePlan::Gate::kHost)
    return route_on_host(queue, call.block, plan, x, call.inputs.token_ids, workspace);
  if (call.steps.routes && plan.gate != RoutePlan::Gate::kExternal)
    return route_on_device(queue, call.block, plan, x, workspace.memory().constants);
  queue.forget();  // the addresses of ids and weights are the caller's
  const void* ids = call.steps.routes ? call.inputs.expert_ids : call.routing.expert_ids;
  const void* weights = call.steps.routes ? call.inputs.weights : call.routing.weights;
  return {tensor_over(ids, kAclInt32, {tokens, k}), tensor_over(weights, kAclFloat, {tokens, k})};
}

// The call, as any queue gets it.
Routed describe(Queue& queue, const Call& call, AscendWorkspace& workspace) {
  const Tensor x = contiguous_input(queue, call.x);
  const Routed routed = route(queue, call, x, workspace);
  if (!call.steps.computes) return routed;
  const Tensor y = contiguous_output(queue, call.y);
  run_experts(queue, call.block, x, routed, y, workspace.memory().constants);
  write_rows(queue, y, call.y);
  return routed;
}

std::size_t count(const Call& call, AscendWorkspace& workspace) {
  CallMemory& memory = workspace.memory();
  memory.arena.begin(true);
  Queue counting(memory.arena, memory.operators, nullptr, Queue::Mode::kCount);
  describe(counting, call, workspace);
  return memory.arena.used();
}

void make_room(CallMemory& memory, std::size_t bytes, std::int64_t tokens, AclStream stream) {
  if (memory.arena.bytes() < bytes) {
    if (is_capturing(stream))
      throw DeviceError("[ascend] " + std::to_string(tokens) + " tokens need " + std::to_string(bytes) +
                        " bytes of workspace, which cannot be allocated while the stream is captured; call the layer "
                        "once with this many tokens before capturing");
    check(api().rt.aclrtSynchronizeStream(stream), "aclrtSynchronizeStream");
    memory.recordings.clear();  // they hold addresses of what is freed now
    memory.arena.reserve(bytes);
  }
  memory.arena.begin(false);
}

// ids and weights to where the caller wants them; a caller of kExternal may hand in the very arrays.
void hand_out(Queue& queue, const RoutingView& wanted, const void* ids, const void* weights) {
  const std::int64_t slots = wanted.tokens * wanted.top_k;
  if (wanted.expert_ids != nullptr && wanted.expert_ids != ids)
    copy_elements(queue, tensor_over(ids, kAclInt32, {slots}), tensor_over(wanted.expert_ids, kAclInt32, {slots}));
  if (wanted.weights != nullptr && wanted.weights != weights)
    copy_elements(queue, tensor_over(weights, kAclFloat, {slots}), tensor_over(wanted.weights, kAclFloat, {slots}));
}

void run_chunk(const Call& call, AscendWorkspace& workspace, AclStream stream) {
  CallMemory& memory = workspace.memory();
  const std::int64_t tokens = call.x.rows;
  grow_constants(memory.constants, call.block, tokens, stream);
  Queue queue(memory.arena, memory.operators, stream, Queue::Mode::kRun);
  const bool whole = call.steps.routes && call.steps.computes;
  if (!whole || tokens > kMaxRecordedTokens || !packed_rows(tokens, call.x.cols, call.x.row_stride) ||
      !packed_rows(tokens, call.y.cols, call.y.row_stride)) {
    make_room(memory, count(call, workspace), tokens, stream);
    const Routed routed = describe(queue, call, workspace);
    if (call.steps.routes) hand_out(queue, call.routing, routed.ids.data, routed.weights.data);
    return;
  }
  const CallKey key = {tokens, call.x.dtype, call.y.dtype};
  auto found = memory.recordings.find(key);
  if (found != memory.recordings.end() && found->second != nullptr) {
    Recording& recording = *found->second;
    try {
      recording.run(const_cast<void*>(call.x.data), call.y.data, memory.operators.data(), stream);
    } catch (...) {
      memory.recordings.erase(found);
      throw;
    }
    return hand_out(queue, call.routing, recording.ids, recording.weights);
  }
  make_room(memory, count(call, workspace), tokens, stream);
  const bool refused = memory.recordings.count(key) != 0;
  auto recording = std::make_unique<Recording>();
  Queue recorder(memory.arena, memory.operators, stream, refused ? Queue::Mode::kRun : Queue::Mode::kRecord,
                 recording.get());
  const Routed routed = describe(recorder, call, workspace);
  hand_out(queue, call.routing, routed.ids.data, routed.weights.data);
  if (refused) return;
  recording->input = const_cast<void*>(call.x.data);
  recording->output = call.y.data;
  recording->ids = routed.ids.data;
  recording->weights = routed.weights.data;
  if (!recorder.repeatable()) recording.reset();  // remembered, so that it is not tried again
  memory.recordings[key] = std::move(recording);
}

// What device memory holds is not looked at, only that it is there. The texts are those of host memory.
void check_inputs(const RouterConfig& config, const RouteInputs& inputs) {
  const auto fail = [](const char* what) { throw std::invalid_argument("[route] " + std::string(what)); };
  const bool external = config.source == RouterSource::kExternal;
  if (config.source == RouterSource::kHashTable && inputs.token_ids == nullptr)
    fail("token_ids are missing: this layer routes by token id");
  if (external && inputs.expert_ids == nullptr) fail("expert_ids are missing: this layer is routed by the caller");
  if (external && inputs.weights == nullptr) fail("weights are missing: this layer is routed by the caller");
  if (!external && (inputs.expert_ids != nullptr || inputs.weights != nullptr))
    fail("expert_ids or weights were given, but this layer routes by itself");
}

// Runs `work` on the stream between the calls before and after it.
template <class Work>
void on_stream(int device, AscendWorkspace& workspace, Stream* stream, const Work& work) {
  const DeviceScope scope(device);
  const AclStream native = stream != nullptr ? stream->native() : workspace.own_stream();
  const bool capturing = is_capturing(native);
  workspace.begin(native, capturing);
  try {
    work(native);
    if (!capturing) workspace.end(native);
    if (stream == nullptr) check(api().rt.aclrtSynchronizeStream(native), "aclrtSynchronizeStream");
  } catch (...) {
    // What was enqueued still uses the workspace, which goes to another call next.
    if (!capturing) api().rt.aclrtSynchronizeStream(native);
    throw;
  }
  if (capturing) workspace.leave_to_graph();
}

}  // namespace

void run_call(const AscendBlock& block, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing,
              const MutableMatrixView& y, AscendWorkspace& workspace, Stream* stream, CallSteps steps) {
  if (steps.routes) check_inputs(block.config().router, inputs);
  const Call call = {block, x, inputs, routing, y, steps};
  on_stream(block.device(), workspace, stream, [&](AclStream native) {
    for (std::int64_t first = 0; first < x.rows; first += kMaxTokens)
      run_chunk(call.chunk(first, std::min(kMaxTokens, x.rows - first)), workspace, native);
  });
}

void run_grouped(const AscendBlock& block, const MatrixView& rows, const std::int64_t* offsets,
                 const MutableMatrixView& out, AscendWorkspace& workspace, Stream* stream) {
  if (rows.rows == 0) return;
  const std::int64_t experts = block.routed.experts;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(experts));
  for (std::int64_t e = 0; e < experts; ++e) counts[static_cast<std::size_t>(e)] = offsets[e + 1] - offsets[e];
  on_stream(block.device(), workspace, stream, [&](AclStream native) {
    CallMemory& memory = workspace.memory();
    const auto describe_rows = [&](Queue& queue) {
      const Tensor list = queue.make(kAclInt64, {experts});
      if (!queue.counting()) {
        check(api().rt.aclrtSynchronizeStream(native), "aclrtSynchronizeStream");  // the call before may read the arena
        copy_now(list.data, counts.data(), list.bytes(), kAclHostToDevice);
      }
      const Tensor x = cast(queue, contiguous_input(queue, rows), block.routed.dtype);
      const Tensor result = run_mlp(queue, block.routed, x, {}, list, Tail::kUndefined);
      const Tensor y = contiguous_output(queue, out);
      if (result.dtype == y.dtype) {
        copy_elements(queue, result, y);
      } else {
        cast_to(queue, result, y);
      }
      write_rows(queue, y, out);
    };
    memory.arena.begin(true);
    Queue counting(memory.arena, memory.operators, native, Queue::Mode::kCount);
    describe_rows(counting);
    make_room(memory, memory.arena.used(), rows.rows, native);
    Queue queue(memory.arena, memory.operators, native, Queue::Mode::kRun);
    describe_rows(queue);
  });
}

std::size_t count_call(const AscendBlock& block, std::int64_t tokens) {
  const BlockConfig& config = block.config();
  AscendWorkspace workspace(block.device());
  std::size_t most = 0;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
    Call call = {block, {}, {}, {}, {}, {}};
    call.x = {nullptr, dtype, std::min(tokens, kMaxTokens), config.expert.input, config.expert.input, 1};
    call.y = {nullptr, dtype, call.x.rows, config.expert.output, config.expert.output};
    call.routing = {call.x.rows, config.router.top_k, nullptr, nullptr};
    most = std::max(most, count(call, workspace));
  }
  return most;
}

}  // namespace moekit::ascend
