// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: whatever the bytes, a typed error or tensors that lie in the file.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "checkpoint/gguf_bytes.h"
#include "checkpoint/gguf_header.h"
#include "moekit/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace moekit;
  // Behind the right magic and version, so that the fuzzer need not find them.
  const std::string bytes = test::Gguf().header().substr(0, 8).append(reinterpret_cast<const char*>(data), size);
  for (const std::string_view file : {std::string_view(bytes), std::string_view(bytes).substr(8)}) {
    try {
      const test::BytesStorage storage(file);
      std::uint64_t at = 0;
      for (const GgufTensor& tensor : parse_gguf_header(storage, file.size(), "fuzz").tensors) {
        const TensorRef ref = {tensor.name, tensor.dtype, tensor.shape, nullptr, 0, tensor.encoding};
        if (tensor.begin < at || tensor.end > file.size() || tensor.end - tensor.begin != ref.bytes()) std::abort();
        at = tensor.end;
      }
    } catch (const CheckpointError&) {
    }
  }
  return 0;
}
