// SPDX-License-Identifier: Apache-2.0
// GGUF headers: what is well-formed is read, every other kind is refused with a message that names what was seen.
#include <gtest/gtest.h>

#include <functional>

#include "checkpoint/expect_part.h"
#include "checkpoint/files.h"
#include "checkpoint/gguf_bytes.h"
#include "checkpoint/gguf_header.h"

namespace moekit {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the builder's words

GgufHeader parse(const std::string& bytes) {
  const BytesStorage storage(bytes);
  return parse_gguf_header(storage, bytes.size(), "x.gguf");
}
std::string error_of(const std::string& bytes) {
  return checkpoint_error_of([&] { parse(bytes); });
}

/// A float32 [2, 3] at 0 and Q8_0 [2, 32] behind it.
Gguf two_tensors() {
  Gguf file;
  file.pairs = {gguf_pair("general.architecture", "qwen3moe"), gguf_pair("a.b", kU32, std::uint32_t{7})};
  file.tensors = {gguf_tensor("f", {3, 2}, 0, 0), gguf_tensor("q", {32, 2}, 8, 32)};
  file.data = std::string(32 + 2 * 34, '\1');
  return file;
}

TEST(GgufHeader, ReadsTensorsAndTheirPlaces) {
  const Gguf file = two_tensors();
  const std::string bytes = file.bytes();
  const std::uint64_t data = bytes.size() - file.data.size();
  const GgufHeader header = parse(bytes);
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[0].name, "f");
  EXPECT_EQ(header.tensors[0].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(header.tensors[0].dtype, DType::kFloat32);
  EXPECT_EQ(header.tensors[0].encoding, Encoding::kPlain);
  EXPECT_EQ(header.tensors[0].begin, data);
  EXPECT_EQ(header.tensors[0].end, data + 24);
  EXPECT_EQ(header.tensors[1].shape, (std::vector<std::int64_t>{2, 32}));
  EXPECT_EQ(header.tensors[1].encoding, Encoding::kQ8_0);
  EXPECT_EQ(header.tensors[1].begin, data + 32);
  EXPECT_EQ(header.tensors[1].end, data + 32 + 68);
}

TEST(GgufHeader, ReadsEveryKindOfValue) {
  Gguf file;
  file.pairs = {gguf_pair("u8", kU8, std::uint8_t{200}),
                gguf_pair("i8", kI8, std::int8_t{-3}),
                gguf_pair("u16", kU16, std::uint16_t{65535}),
                gguf_pair("i16", kI16, std::int16_t{-300}),
                gguf_pair("u32", kU32, std::uint32_t{4000000000}),
                gguf_pair("i32", kI32, std::int32_t{-70000}),
                gguf_pair("f32", kF32, 0.5f),
                gguf_pair("bool", kBool, std::uint8_t{1}),
                gguf_pair("text", "hello"),
                gguf_array<std::int32_t>("array", kI32, {1, 2, 3}),
                gguf_pair("u64", kU64, std::uint64_t{1} << 63),
                gguf_pair("i64", kI64, std::int64_t{-5}),
                gguf_pair("f64", kF64, 0.25)};
  const GgufMetadata m = parse(file.bytes()).metadata;
  EXPECT_EQ(m.size(), 13u);
  EXPECT_TRUE(m.at("u8") == 200 && m.at("i8") == -3 && m.at("u16") == 65535 && m.at("i16") == -300);
  EXPECT_TRUE(m.at("u32") == std::int64_t{4000000000} && m.at("i32") == -70000 && m.at("i64") == -5);
  EXPECT_EQ(m.at("f32").number(), 0.5);
  EXPECT_EQ(m.at("f64").number(), 0.25);
  EXPECT_EQ(m.at("u64").number(), 9223372036854775808.0);
  EXPECT_TRUE(m.at("bool") == true && m.at("text") == "hello");
  ASSERT_NE(m.at("array").array(), nullptr);
  EXPECT_TRUE(m.at("array").array()->size() == 3 && (*m.at("array").array())[2] == 3);
}

TEST(GgufHeader, VocabulariesArePassedOver) {
  Gguf file = two_tensors();
  std::string tokens = gguf_text("tokens") + le(std::uint32_t{kArr}) + le(std::uint32_t{kStr}) + le(std::uint64_t{9});
  for (int i = 0; i < 9; ++i) tokens += gguf_text(std::string(static_cast<std::size_t>(i) * 40000, 'x'));
  std::string nested = gguf_text("nested") + le(std::uint32_t{kArr}) + le(std::uint32_t{kArr}) + le(std::uint64_t{2});
  for (int i = 0; i < 2; ++i) nested += le(std::uint32_t{kU8}) + le(std::uint64_t{3}) + "abc";
  file.pairs.push_back(tokens);
  file.pairs.push_back(nested);
  file.pairs.push_back(gguf_pair("template", std::string(70000, 'y')));
  file.pairs.push_back(gguf_array("scores", kF32, std::vector<float>(100000)));
  const GgufHeader header = parse(file.bytes());
  for (const char* key : {"tokens", "nested", "template", "scores"}) EXPECT_TRUE(header.metadata.at(key).is_null());
  EXPECT_EQ(header.tensors.size(), 2u);
}

TEST(GgufHeader, OtherAlignmentsAndVersionTwo) {
  for (const std::uint32_t alignment : {8u, 64u, 4096u}) {
    Gguf file = two_tensors();
    file.version = 2;
    file.alignment = alignment;
    file.pairs.push_back(gguf_pair("general.alignment", kU32, alignment));
    const std::uint64_t second = std::max<std::uint64_t>(24, alignment);
    file.tensors[1] = gguf_tensor("q", {32, 2}, 8, second);
    file.data = std::string(second + 68, '\1');
    EXPECT_EQ(parse(file.bytes()).tensors.size(), 2u);
  }
}

TEST(GgufHeader, PaddingBehindTheLastTensorMayBeThere) {
  Gguf file = two_tensors();
  file.data.resize(128);  // 32 + 68, rounded up
  EXPECT_EQ(parse(file.bytes()).tensors.size(), 2u);
  file.data += '\0';
  expect_gguf_part(error_of(file.bytes()), "tensors end at byte 100 of the data, the file holds 129");
}

struct Bad {
  const char* name;
  std::function<void(Gguf&)> spoil;
  const char* message;
};

constexpr std::uint64_t kHuge = ~std::uint64_t{0};

const Bad kBad[] = {
    {"magic", [](Gguf& f) { f.magic = "GGML"; }, "does not begin with the magic 'GGUF'"},
    {"version 1", [](Gguf& f) { f.version = 1; }, "version 1, known are 2 and 3"},
    {"version 0", [](Gguf& f) { f.version = 0; }, "version 0, known are 2 and 3"},
    {"big endian", [](Gguf& f) { f.version = 0x03000000; }, "a big-endian file"},
    {"tensors 2^63", [](Gguf& f) { f.extra_tensors = std::uint64_t{1} << 63; },
     "9223372036854775810 tensors, the limit"},
    {"pairs 2^64-1", [](Gguf& f) { f.extra_pairs = kHuge - 2; }, "18446744073709551615 key-value pairs, the limit"},
    {"more tensors than bytes", [](Gguf& f) { f.extra_tensors = 1000; }, "1002 tensors, the limit"},
    {"duplicate key", [](Gguf& f) { f.pairs.push_back(f.pairs[1]); }, "duplicate key 'a.b'"},
    {"empty key", [](Gguf& f) { f.pairs[1] = gguf_pair("", kU8, std::uint8_t{1}); }, "an empty key"},
    {"key length 2^64-1 (CVE-2024-23496)", [](Gguf& f) { f.pairs[1] = le(kHuge) + "abc"; },
     "a key needs 18446744073709551615 bytes from byte"},
    {"text length 2^64-1 (CVE-2024-23496)",
     [](Gguf& f) { f.pairs[1] = gguf_text("k") + le(std::uint32_t{kStr}) + le(kHuge); },
     "key 'k' needs 18446744073709551615 bytes"},
    {"long key", [](Gguf& f) { f.pairs[1] = gguf_pair(std::string(70000, 'k'), kU8, std::uint8_t{1}); },
     "a key of 70000 bytes, the limit is 65535"},
    {"value type", [](Gguf& f) { f.pairs[1] = gguf_pair("k", 13, std::uint8_t{1}); },
     "key 'k': value type 13, known are 0 to 12"},
    {"bool", [](Gguf& f) { f.pairs[1] = gguf_pair("k", kBool, std::uint8_t{2}); }, "key 'k': bool is 2"},
    {"array of 2^62 (CVE-2024-21836)",
     [](Gguf& f) {
       f.pairs[1] = gguf_text("k") + le(std::uint32_t{kArr}) + le(std::uint32_t{kU32}) + le(std::uint64_t{1} << 62);
     },
     "key 'k': array of 4611686018427387904 items"},
    {"array of strings (CVE-2024-21825)",
     [](Gguf& f) {
       f.pairs[1] = gguf_text("k") + le(std::uint32_t{kArr}) + le(std::uint32_t{kStr}) + le(kHuge / 8 + 1);
     },
     "key 'k': array of 2305843009213693952 items"},
    {"deep nesting",
     [](Gguf& f) {
       f.pairs[1] = gguf_text("k") + le(std::uint32_t{kArr});
       for (int i = 0; i < 100000; ++i) f.pairs[1] += le(std::uint32_t{kArr}) + le(std::uint64_t{1});
     },
     "arrays nested deeper than 8 levels"},
    {"alignment 0", [](Gguf& f) { f.pairs.push_back(gguf_pair("general.alignment", kU32, 0u)); },
     "general.alignment is 0, expected a power of two"},
    {"alignment 3", [](Gguf& f) { f.pairs.push_back(gguf_pair("general.alignment", kU32, 3u)); },
     "general.alignment is 3, expected a power of two"},
    {"alignment 2^31", [](Gguf& f) { f.pairs.push_back(gguf_pair("general.alignment", kU32, 1u << 31)); },
     "general.alignment is 2147483648, expected a power of two"},
    {"alignment as text", [](Gguf& f) { f.pairs.push_back(gguf_pair("general.alignment", "32")); },
     "general.alignment is \"32\", expected an integer"},
    {"alignment negative", [](Gguf& f) { f.pairs.push_back(gguf_pair("general.alignment", kI32, -32)); },
     "general.alignment is -32, expected an integer from 0"},
    {"five dimensions (CVE-2024-21802)",
     [](Gguf& f) {
       f.tensors[0] = gguf_tensor("f", {3, 2, 1, 1, 1}, 0, 0);
     },
     "tensor 'f': 5 dimensions, the limit is 4"},
    {"extent 2^63", [](Gguf& f) { f.tensors[0] = gguf_tensor("f", {std::uint64_t{1} << 63}, 0, 0); },
     "tensor 'f': an extent of 9223372036854775808"},
    {"product of extents wraps (CVE-2024-23605)",
     [](Gguf& f) {
       f.tensors[0] = gguf_tensor("f", {std::uint64_t{1} << 32, std::uint64_t{1} << 32, 6}, 0, 0);
     },
     "tensor 'f': shape [6, 4294967296, 4294967296] passes 2^63 - 1"},
    {"bytes wrap (CVE-2026-33298, CVE-2025-53630)",
     [](Gguf& f) { f.tensors[0] = gguf_tensor("f", {std::uint64_t{1} << 62}, 0, 0); },
     "passes 2^63 - 1 elements or bytes"},
    {"sum wraps (CVE-2026-27940)",
     [](Gguf& f) {
       f.tensors[1] = gguf_tensor("q", {32, 2}, 8, kHuge - 31);
     },
     "offset 18446744073709551584 and 68 bytes pass 2^64 - 1"},
    {"past the file (CVE-2026-7482)",
     [](Gguf& f) {
       f.tensors[1] = gguf_tensor("q", {32, 4000}, 8, 32);
     },
     "tensor 'q': bytes 32..136032 pass the end of the file, which holds 100 bytes of data"},
    {"row no multiple of the block",
     [](Gguf& f) {
       f.tensors[1] = gguf_tensor("q", {33, 2}, 8, 32);
     },
     "tensor 'q': rows of 33 elements, expected a multiple of the 32 in a block of Q8_0"},
    {"block without a row", [](Gguf& f) { f.tensors[1] = gguf_tensor("q", {}, 8, 32); }, "rows of 1 elements"},
    {"type",
     [](Gguf& f) {
       f.tensors[0] = gguf_tensor("f", {3, 2}, 4, 0);
     },
     "tensor 'f': ggml type 4, known are"},
    {"type 2^32-1",
     [](Gguf& f) {
       f.tensors[0] = gguf_tensor("f", {3, 2}, 0xffffffff, 0);
     },
     "ggml type 4294967295"},
    {"duplicate tensor",
     [](Gguf& f) {
       f.tensors[1] = gguf_tensor("f", {32, 2}, 8, 32);
     },
     "tensor 'f': duplicate name"},
    {"no name",
     [](Gguf& f) {
       f.tensors[0] = gguf_tensor("", {3, 2}, 0, 0);
     },
     "a tensor without a name"},
    {"long name",
     [](Gguf& f) {
       f.tensors[0] = gguf_tensor(std::string(65, 'n'), {3, 2}, 0, 0);
     },
     "the name of a tensor of 65 bytes, the limit is 64"},
    {"odd offset",
     [](Gguf& f) {
       f.tensors[1] = gguf_tensor("q", {32, 2}, 8, 33);
     },
     "tensor 'q': offset 33, expected a multiple of the alignment 32"},
    {"overlap",
     [](Gguf& f) {
       f.tensors[1] = gguf_tensor("q", {32, 2}, 8, 0);
     },
     "overlap the tensor before, expected to begin at"},
    {"hole",
     [](Gguf& f) {
       f.tensors[1] = gguf_tensor("q", {32, 2}, 8, 64);
       f.data.resize(64 + 68);
     },
     "tensor 'q': bytes 64..132 leave a hole, expected to begin at 32"},
    {"name with control characters",
     [](Gguf& f) {
       f.tensors[0] = gguf_tensor("\x1b[2J", {3, 2}, 4, 0);
     },
     "tensor '\\x1b[2J'"},
};

TEST(GgufHeader, RefusesWhatIsNotWellFormed) {
  ASSERT_EQ(parse(two_tensors().bytes()).tensors.size(), 2u);
  for (const Bad& bad : kBad) {
    SCOPED_TRACE(bad.name);
    Gguf file = two_tensors();
    bad.spoil(file);
    expect_gguf_part(error_of(file.bytes()), bad.message);
  }
}

TEST(GgufHeader, ManyTensorsTakeNoQuadraticTime) {
  Gguf file;
  for (int i = 0; i < 100000; ++i)
    file.tensors.push_back(gguf_tensor("t" + std::to_string(i), {8}, 0, static_cast<std::uint64_t>(i) * 32));
  file.data = std::string(3200000, '\0');
  const std::string bytes = file.bytes();
  EXPECT_EQ(parse(bytes).tensors.size(), 100000u);
  file.tensors.back() = gguf_tensor("t0", {8}, 0, 99999 * 32);
  expect_gguf_part(error_of(file.bytes()), "tensor 't0': duplicate name");
}

TEST(GgufHeader, LimitsOnCounts) {
  Gguf file;
  file.data = std::string(std::size_t{40} << 20, '\0');  // room for both
  file.extra_tensors = kMaxGgufTensors + 1;
  expect_gguf_part(error_of(file.bytes()), "131073 tensors, the limit is 131072");
  file.extra_tensors = 0;
  file.extra_pairs = kMaxGgufPairs + 1;
  expect_gguf_part(error_of(file.bytes()), "65537 key-value pairs, the limit is 65536");
}

}  // namespace
}  // namespace moekit
