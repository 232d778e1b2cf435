// SPDX-License-Identifier: Apache-2.0
// The pretended machine: its devices, and every object that the driver has given out.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "cuda/runtime/capture.h"
#include "cuda/runtime/control.h"
#include "cuda/runtime/cubin.h"
#include "cuda/runtime/error_codes.h"
#include "cuda/runtime/extra_api.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/queue.h"

namespace moekit::cuda {

struct ContextObject {
  int device = 0;
  bool retained = false;
};

struct StreamObject {
  ContextObject* context = nullptr;
  bool non_blocking = false;
  standin::OperationPtr tail;
  std::shared_ptr<standin::Capture> capture;
  std::vector<std::size_t> capture_after;  // nodes that the next captured one comes after
};

struct EventObject {
  ContextObject* context = nullptr;
  bool recorded = false;
  standin::OperationPtr point;
  std::shared_ptr<standin::Capture> capture;  // when it was last recorded in a capturing stream
  std::vector<std::size_t> capture_after;
};

struct KernelObject {
  std::string name;
  std::map<int, standin::KernelImage> images;  // by compute capability; empty: no machine code was given
  std::map<int, int> dynamic_shared_limit;     // by device: what cuKernelSetAttribute allowed
};

struct LibraryObject {
  std::map<std::string, std::unique_ptr<KernelObject>> kernels;
  standin::FatBinary images;
};

struct GraphObject {
  int device = 0;
  std::vector<standin::Node> nodes;
};

struct GraphExecObject {
  int device = 0;
  std::vector<standin::Node> nodes;
  standin::OperationPtr last;  // one launch at a time
};

}  // namespace moekit::cuda

namespace moekit::standin {

// Limits of a compute capability: CUDA C++ programming guide, table "Technical Specifications per Compute Capability".
struct DeviceModel {
  int capability = 90;  // 10 * major + minor
  std::size_t memory = 0;
  int shared_optin = 0;  // bytes of shared memory a block may ask for
  int multiprocessors = 0;
  cuda::ContextObject context;
  cuda::StreamObject legacy;  // the default stream
  int broken = 0;             // sticky error
};
constexpr int kSharedDefault = 48 * 1024;  // without cuKernelSetAttribute

struct Fault {
  std::string function;  // empty: a kernel as it runs
  int remaining = 1;
  int code = 0;
  bool sticky = false;
};

struct Machine {
  Machine();
  std::recursive_mutex mutex;
  bool initialised = false;
  std::vector<std::unique_ptr<DeviceModel>> devices;
  Memory memory;
  Queue queue;
  std::set<cuda::StreamObject*> streams;
  std::set<cuda::EventObject*> events;
  std::set<cuda::LibraryObject*> libraries;
  std::set<cuda::GraphObject*> graphs;
  std::set<cuda::GraphExecObject*> graph_execs;
  std::vector<std::weak_ptr<Capture>> captures;
  std::map<std::string, Twin, std::less<>> twins;
  std::map<std::string, std::uint64_t, std::less<>> calls;
  std::vector<Fault> faults;
  std::vector<std::string> problems;
  std::vector<LaunchRecord> launches;
  Statistics statistics;
  const char* doing = nullptr;  // what runs on a device now

  /// Reads the environment. False: MOEKIT_STANDIN_DEVICES cannot be read.
  bool initialise();
  void problem(std::string text);
  /// Runs one operation with its device's memory open.
  void run(const Operation& operation);
  /// Whether the calling thread may not do now what a capture cannot contain; breaks the captures if so.
  bool capture_forbids();
};
Machine& machine();
/// Contexts made current by this thread, the last on top.
std::vector<cuda::ContextObject*>& context_stack();

/// The beginning of every call: takes the lock, counts, and tells what stands against it. Calls that need a context
/// answer the sticky error of a broken device.
enum class Needs { kNothing, kDriver, kContext, kContextOutsideCapture };
class Entry {
 public:
  Entry(const char* function, Needs needs);
  int result = SUCCESS;
  bool asked_for = false;  // a test wanted this result (fail_call)
  /// The device of the current context, for calls that need one.
  DeviceModel& device() const { return *machine().devices[static_cast<std::size_t>(device_)]; }
  int ordinal() const { return device_; }

 private:
  std::lock_guard<std::recursive_mutex> lock_;
  int device_ = 0;
};

/// A stream by its handle: null and 1 are the default stream. Null when it is none of the current context.
cuda::StreamObject* stream_of(const Entry& entry, cuda::StreamHandle handle);
/// Queues work on a stream, or notes it where the stream captures. Answers a result code.
int enqueue(const Entry& entry, cuda::StreamObject& stream, std::string what, std::function<void()> run);
/// The operation to wait for so that all work of a stream is done.
OperationPtr everything_of(const Entry& entry, cuda::StreamObject& stream);

}  // namespace moekit::standin
