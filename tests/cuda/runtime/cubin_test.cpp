// SPDX-License-Identifier: Apache-2.0
// What the stand-in reads from nvcc's output, and that it holds launches against it.
#include "cuda/runtime/cubin.h"

#include <cstring>

#include "cuda/runtime/session.h"

extern "C" const unsigned char moekit_fatbin_probe[], moekit_fatbin_probe_end[];

namespace moekit::standin {
namespace {

using namespace cuda;
using MachineCode = Session;

TEST_F(MachineCode, TellsParametersAndLimits) {
  ASSERT_TRUE(is_fat_binary(moekit_fatbin_probe));
  const FatBinary fat = read_fat_binary(moekit_fatbin_probe);
  ASSERT_FALSE(fat.machine_code.empty());
  ASSERT_EQ(fat.ptx.size(), 1u);
  for (const auto& [capability, kernels] : fat.machine_code) {
    SCOPED_TRACE("sm_" + std::to_string(capability));
    ASSERT_EQ(kernels.size(), 2u);
    const KernelImage& add = kernels.at("moekit_probe_add");
    EXPECT_EQ(add.parameter_bytes, std::vector<std::size_t>{sizeof(AddParams)});
    EXPECT_EQ(add.max_threads, 256);
    EXPECT_EQ(add.static_shared_bytes, 0);
    EXPECT_GT(add.registers, 4);
    EXPECT_LE(add.registers, 32);
    const KernelImage& fill = kernels.at("moekit_probe_fill");
    EXPECT_EQ(fill.parameter_bytes, std::vector<std::size_t>{sizeof(FillParams)});
    EXPECT_EQ(fill.max_threads, 0);
    EXPECT_EQ(fill.static_shared_bytes, 64 * 4);
  }
}

TEST_F(MachineCode, RunsOnItsMajorVersionOrByPtx) {
  FatBinary fat;
  fat.machine_code[80];
  fat.machine_code[86];
  EXPECT_EQ(fat.choose(80), 80);
  EXPECT_EQ(fat.choose(89), 86);
  EXPECT_EQ(fat.choose(90), 0);
  EXPECT_FALSE(fat.runs_on(90));
  EXPECT_FALSE(fat.runs_on(75));
  fat.ptx.push_back(80);
  EXPECT_TRUE(fat.runs_on(90));
  EXPECT_FALSE(fat.runs_on(75));
}

TEST_F(MachineCode, HoldsLaunchesAgainstIt) {
  KernelLibrary library = nullptr;
  Kernel add = nullptr, none = nullptr;
  ASSERT_CUDA(cuLibraryLoadData(&library, moekit_fatbin_probe, nullptr, nullptr, 0, nullptr, nullptr, 0));
  ASSERT_CUDA(cuLibraryGetKernel(&add, library, "moekit_probe_add"));
  EXPECT_EQ(cuLibraryGetKernel(&none, library, "moekit_probe_less"), ERROR_NOT_FOUND);
  float* p = floats(8);
  AddParams params{p, p, p, 8};
  EXPECT_CUDA(launch(add, params, nullptr, 256));
  EXPECT_EQ(launch(add, params, nullptr, 257), ERROR_INVALID_VALUE) << "__launch_bounds__(256)";

  add_twin({"moekit_probe_add", sizeof(AddParams) - 8, [](const LaunchShape&, const void*) {}});
  EXPECT_CUDA(launch(add, params, nullptr, 256));
  EXPECT_FALSE(take_problems().empty()) << "a parameter of another size than nvcc's";
  EXPECT_CUDA(cuLibraryUnload(library));
}

TEST_F(MachineCode, ABrokenFileIsRefused) {
  const std::size_t bytes = static_cast<std::size_t>(moekit_fatbin_probe_end - moekit_fatbin_probe);
  std::vector<unsigned char> copy(moekit_fatbin_probe, moekit_fatbin_probe_end);
  const std::uint64_t longer = bytes;  // the entries' bytes, as if the file went on by its own header
  std::memcpy(copy.data() + 24, &longer, 8);
  EXPECT_THROW(read_fat_binary(copy.data()), std::runtime_error);
}

}  // namespace
}  // namespace moekit::standin
