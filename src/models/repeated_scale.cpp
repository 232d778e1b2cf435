// SPDX-License-Identifier: Apache-2.0
#include "models/repeated_scale.h"

#include <cstring>

namespace moekit {
namespace {

class RepeatedStorage final : public Storage {
 public:
  RepeatedStorage(TensorRef source, std::int64_t rows)
      : source_(std::move(source)), size_(dtype_size(source_.dtype)), rows_(static_cast<std::size_t>(rows)) {}

  const std::byte* read(std::size_t offset, std::size_t bytes, ByteScratch& scratch) const override {
    if (bytes == 0) return nullptr;
    const std::size_t first = offset / size_, last = (offset + bytes - 1) / size_;
    ByteScratch own;
    const std::size_t matrix = first / rows_;
    const std::byte* values =
        source_.storage->read(source_.offset + matrix * size_, (last / rows_ - matrix + 1) * size_, own);
    scratch.resize(bytes);
    for (std::size_t i = 0; i < bytes; i += size_)
      std::memcpy(scratch.data() + i, values + ((offset + i) / size_ / rows_ - matrix) * size_, size_);
    return scratch.data();
  }

 private:
  TensorRef source_;
  std::size_t size_, rows_;
};

}  // namespace

TensorRef repeated_rows(const TensorRef& tensor, std::int64_t count, std::int64_t rows) {
  return {tensor.name, tensor.dtype, {count, rows}, std::make_shared<RepeatedStorage>(tensor, rows), 0};
}

}  // namespace moekit
