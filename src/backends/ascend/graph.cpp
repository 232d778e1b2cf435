// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/graph.h"

#include "moekit/error.h"

namespace moekit::ascend {

bool Graph::available() {
  const Runtime& rt = api().rt;
  return api().reason.empty() && rt.aclmdlRICaptureBegin != nullptr && rt.aclmdlRICaptureEnd != nullptr &&
         rt.aclmdlRIExecuteAsync != nullptr && rt.aclmdlRIDestroy != nullptr && rt.aclmdlRICaptureGetInfo != nullptr;
}

Graph::Graph(Stream& stream, const std::function<void()>& work) {
  if (!available()) throw UnsupportedError("[ascend] this CANN installation captures no graphs");
  const Runtime& rt = api().rt;
  check(rt.aclmdlRICaptureBegin(stream.native(), kAclCaptureRelaxed), "aclmdlRICaptureBegin");
  try {
    work();
  } catch (...) {
    AclGraph partial = nullptr;
    rt.aclmdlRICaptureEnd(stream.native(), &partial);
    if (partial != nullptr) rt.aclmdlRIDestroy(partial);
    throw;
  }
  check(rt.aclmdlRICaptureEnd(stream.native(), &graph_), "aclmdlRICaptureEnd");
}

Graph::~Graph() {
  if (graph_ != nullptr) api().rt.aclmdlRIDestroy(graph_);
}

void Graph::replay(Stream& stream) const {
  check(api().rt.aclmdlRIExecuteAsync(graph_, stream.native()), "aclmdlRIExecuteAsync");
}

}  // namespace moekit::ascend
