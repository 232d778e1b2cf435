// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/cubin.h"

#include <elf.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string_view>

namespace moekit::standin {
namespace {

constexpr std::uint32_t kFatMagic = 0xBA55ED50;
constexpr std::uint16_t kKindPtx = 1, kKindElf = 2;
constexpr std::size_t kCompressedAt = 16, kCapabilityAt = 28;  // of an entry's header: compressed size, capability
// Attributes of the .nv.info sections, by the numbers that stand for cuobjdump's names.
constexpr std::uint8_t kMaxThreads = 0x05, kParameterInfo = 0x17, kRegisterCount = 0x2F;
constexpr std::uint8_t kSized = 0x04;  // a record with a length; others hold their value in the length's place

template <typename T>
T read(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

struct Elf {
  const std::byte* data;
  std::size_t bytes;

  const std::byte* at(std::size_t offset, std::size_t count) const {
    if (offset > bytes || count > bytes - offset) throw std::runtime_error("[cubin] a table ends after the file");
    return data + offset;
  }
  Elf64_Shdr section(std::size_t index) const {
    const auto header = read<Elf64_Ehdr>(at(0, sizeof(Elf64_Ehdr)));
    return read<Elf64_Shdr>(at(header.e_shoff + index * sizeof(Elf64_Shdr), sizeof(Elf64_Shdr)));
  }
  const char* text(const Elf64_Shdr& strings, std::size_t offset) const {
    return reinterpret_cast<const char*>(at(strings.sh_offset + offset, 1));
  }
};

// Calls record(attribute, bytes, size) for each sized record of an .nv.info section.
template <typename F>
void each_record(const Elf& elf, const Elf64_Shdr& section, F&& record) {
  const std::byte* p = elf.at(section.sh_offset, section.sh_size);
  const std::byte* const end = p + section.sh_size;
  while (end - p >= 4) {
    const auto form = read<std::uint8_t>(p), attribute = read<std::uint8_t>(p + 1);
    const std::size_t size = form == kSized ? read<std::uint16_t>(p + 2) : 0;
    if (size > static_cast<std::size_t>(end - p - 4)) throw std::runtime_error("[cubin] a record passes its section");
    if (form == kSized) record(attribute, p + 4, size);
    p += 4 + size;
  }
}

// From 9.0 on the section counts the 1 KiB that the system keeps of every block's shared memory.
int own_shared_bytes(std::size_t section_bytes, int capability) {
  constexpr std::size_t kKept = 1024;
  return static_cast<int>(capability >= 90 && section_bytes >= kKept ? section_bytes - kKept : section_bytes);
}

std::map<std::string, KernelImage> read_cubin(const Elf& elf, int capability) {
  const auto header = read<Elf64_Ehdr>(elf.at(0, sizeof(Elf64_Ehdr)));
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) throw std::runtime_error("[cubin] no ELF file");
  const Elf64_Shdr names = elf.section(header.e_shstrndx);
  std::map<std::string, KernelImage> kernels;
  constexpr std::string_view kInfo = ".nv.info.", kShared = ".nv.shared.", kReserved = ".nv.shared.reserved.";
  for (std::size_t i = 0; i < header.e_shnum; ++i) {
    const Elf64_Shdr section = elf.section(i);
    const std::string name = elf.text(names, section.sh_name);
    if (name.rfind(kShared, 0) == 0 && name.rfind(kReserved, 0) != 0)
      kernels[name.substr(kShared.size())].static_shared_bytes = own_shared_bytes(section.sh_size, capability);
    if (name.rfind(kInfo, 0) != 0) continue;
    KernelImage& kernel = kernels[name.substr(kInfo.size())];
    each_record(elf, section, [&](std::uint8_t attribute, const std::byte* value, std::size_t size) {
      if (attribute == kMaxThreads && size >= 12)
        kernel.max_threads = static_cast<int>(read<std::uint32_t>(value) * read<std::uint32_t>(value + 4) *
                                              read<std::uint32_t>(value + 8));
      if (attribute != kParameterInfo || size < 12) return;
      const auto ordinal = read<std::uint16_t>(value + 4);
      if (kernel.parameter_bytes.size() <= ordinal) kernel.parameter_bytes.resize(ordinal + 1u);
      kernel.parameter_bytes[ordinal] = read<std::uint32_t>(value + 8) >> 18;
    });
  }
  // Registers stand in the common section, by symbol.
  for (std::size_t i = 0; i < header.e_shnum; ++i) {
    const Elf64_Shdr section = elf.section(i);
    if (std::string_view(elf.text(names, section.sh_name)) != ".nv.info") continue;
    const Elf64_Shdr symbols = elf.section(section.sh_link), strings = elf.section(symbols.sh_link);
    each_record(elf, section, [&](std::uint8_t attribute, const std::byte* value, std::size_t size) {
      if (attribute != kRegisterCount || size < 8) return;
      const auto symbol = read<Elf64_Sym>(
          elf.at(symbols.sh_offset + read<std::uint32_t>(value) * sizeof(Elf64_Sym), sizeof(Elf64_Sym)));
      const auto kernel = kernels.find(elf.text(strings, symbol.st_name));
      if (kernel != kernels.end()) kernel->second.registers = static_cast<int>(read<std::uint32_t>(value + 4));
    });
  }
  return kernels;
}

}  // namespace

bool FatBinary::runs_on(int capability) const {
  return choose(capability) != 0 ||
         std::any_of(ptx.begin(), ptx.end(), [capability](int version) { return version <= capability; });
}

int FatBinary::choose(int capability) const {
  int best = 0;
  for (const auto& [version, kernels] : machine_code)
    if (version / 10 == capability / 10 && version <= capability) best = std::max(best, version);
  return best;
}

bool is_fat_binary(const void* data) { return read<std::uint32_t>(static_cast<const std::byte*>(data)) == kFatMagic; }

FatBinary read_fat_binary(const void* data) {
  const auto* const begin = static_cast<const std::byte*>(data);
  FatBinary fat;
  const std::byte* p = begin + read<std::uint16_t>(begin + 6);
  const std::byte* const end = p + read<std::uint64_t>(begin + 8);
  while (p < end) {
    const auto kind = read<std::uint16_t>(p);
    const auto header_bytes = read<std::uint32_t>(p + 4);
    const auto payload_bytes = read<std::uint64_t>(p + 8);
    const auto capability = static_cast<int>(read<std::uint32_t>(p + kCapabilityAt));
    if (header_bytes < 64 || payload_bytes > static_cast<std::uint64_t>(end - p) - header_bytes)
      throw std::runtime_error("[fatbin] an entry passes the end");
    if (kind == kKindPtx) fat.ptx.push_back(capability);
    if (kind == kKindElf) {
      if (read<std::uint32_t>(p + kCompressedAt) != 0) throw std::runtime_error("[fatbin] compressed machine code");
      fat.machine_code[capability] = read_cubin({p + header_bytes, payload_bytes}, capability);
    }
    p += header_bytes + payload_bytes;
  }
  return fat;
}

}  // namespace moekit::standin
