// SPDX-License-Identifier: Apache-2.0
#include "ascend/device_layer.h"

#include <cstring>

namespace moekit::ascend_test {

using conformance::Matrix;

OnDevice::OnDevice(std::int64_t rows, std::int64_t cols, DType dtype, std::int64_t gap, int device)
    : rows_(rows),
      cols_(cols),
      stride_(cols + gap),
      dtype_(dtype),
      memory_(backend().allocate(static_cast<std::size_t>(rows * stride_) * dtype_size(dtype),
                                 {DeviceKind::kAscend, device})) {}

OnDevice::OnDevice(const Matrix& host, std::int64_t gap, int device)
    : OnDevice(host.rows(), host.cols(), host.dtype(), gap, device) {
  write(host);
}

void OnDevice::write(const Matrix& host) const {
  const std::size_t row = static_cast<std::size_t>(cols_) * dtype_size(dtype_);
  const std::size_t step = static_cast<std::size_t>(stride_) * dtype_size(dtype_);
  for (std::int64_t r = 0; r < rows_; ++r)
    backend().copy(static_cast<char*>(memory_.data()) + static_cast<std::size_t>(r) * step, host.row_bytes(r).data(),
                   row, CopyKind::kHostToDevice, nullptr);
}

Matrix OnDevice::read() const {
  Matrix host(rows_, cols_, dtype_);
  const std::size_t row = static_cast<std::size_t>(cols_) * dtype_size(dtype_);
  const std::size_t step = static_cast<std::size_t>(stride_) * dtype_size(dtype_);
  for (std::int64_t r = 0; r < rows_; ++r)
    backend().copy(static_cast<char*>(host.out().data) + static_cast<std::size_t>(r) * row,
                   static_cast<const char*>(memory_.data()) + static_cast<std::size_t>(r) * step, row,
                   CopyKind::kDeviceToHost, nullptr);
  return host;
}

MatrixView OnDevice::view() const { return {memory_.data(), dtype_, rows_, cols_, stride_, 1}; }
MutableMatrixView OnDevice::out() const { return {memory_.data(), dtype_, rows_, cols_, stride_}; }

BlockConfig deepseek_v32(std::int64_t hidden, std::int64_t intermediate) {
  BlockConfig c;
  c.router.num_experts = 256;
  c.router.top_k = 8;
  c.router.matmul = Precision::kFloat32;
  c.router.score = Score::kSigmoid;
  c.router.group_rule = GroupRule::kTop2Sum;
  c.router.n_group = 8;
  c.router.topk_group = 4;
  c.router.renorm = Renorm::kAddEps;
  c.router.eps = 1e-20;
  c.router.scale = 2.5;
  c.expert.input = c.expert.output = hidden;
  c.expert.intermediate = intermediate;
  c.shared.count = 1;
  c.shared.expert = c.expert;
  return c;
}

BlockConfig small_block() {
  BlockConfig c = deepseek_v32(48, 24);
  c.router.num_experts = 16;
  c.router.n_group = 4;
  c.router.topk_group = 2;
  c.router.top_k = 4;
  return c;
}

void OnAscend::SetUp() {
  const Support support = backend().available();
  ASSERT_TRUE(support) << "ascend: " << support.reason;
}

void OnAscend::TearDown() {
  EXPECT_EQ(violations(), "");
  if (control()) control().reset();
}

}  // namespace moekit::ascend_test
