// SPDX-License-Identifier: Apache-2.0
// Well-formed headers, and every way in which one can lie.
#include <gtest/gtest.h>

#include "checkpoint/files.h"
#include "checkpoint/safetensors_header.h"

namespace moekit {
namespace {

using test::checkpoint_error_of;

std::vector<SafetensorsEntry> parse(std::string_view json, std::uint64_t data_bytes) {
  return parse_safetensors_header(json, 8 + json.size() + data_bytes, "x.safetensors");
}

std::string error_of(std::string_view json, std::uint64_t data_bytes) {
  return checkpoint_error_of([&] { parse(json, data_bytes); });
}

TEST(SafetensorsHeader, ReadsTensorsInOffsetOrder) {
  const std::string json =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[3,27]},)"
      R"("a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"e":{"dtype":"BF16","shape":[0,7],"data_offsets":[27,27]},)"
      R"("s":{"shape":[],"data_offsets":[27,35],"dtype":"I64"}}   )";
  const auto entries = parse(json, 35);
  ASSERT_EQ(entries.size(), 4u);
  EXPECT_EQ(entries[0].name, "a");
  EXPECT_EQ(entries[1].name, "b");  // at an odd offset
  EXPECT_EQ(entries[1].begin, 8 + json.size() + 3);
  EXPECT_EQ(entries[1].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(entries[1].dtype, DType::kFloat32);
  EXPECT_EQ(entries[3].dtype, DType::kInt64);
  EXPECT_TRUE(entries[3].shape.empty());
}

TEST(SafetensorsHeader, KnowsEveryDType) {
  const std::pair<const char*, DType> cases[] = {{"F64", DType::kFloat64},
                                                 {"F32", DType::kFloat32},
                                                 {"BF16", DType::kBFloat16},
                                                 {"F16", DType::kFloat16},
                                                 {"F8_E4M3", DType::kFloat8E4M3},
                                                 {"F8_E5M2", DType::kFloat8E5M2},
                                                 {"F8_E8M0", DType::kFloat8E8M0},
                                                 {"I64", DType::kInt64},
                                                 {"I32", DType::kInt32},
                                                 {"I16", DType::kInt16},
                                                 {"I8", DType::kInt8},
                                                 {"U64", DType::kUInt64},
                                                 {"U32", DType::kUInt32},
                                                 {"U16", DType::kUInt16},
                                                 {"U8", DType::kUInt8},
                                                 {"BOOL", DType::kBool}};
  for (const auto& [name, dtype] : cases) {
    const std::size_t bytes = 3 * dtype_size(dtype);
    const auto entries = parse(R"({"a":{"dtype":")" + std::string(name) + R"(","shape":[3],"data_offsets":[0,)" +
                                   std::to_string(bytes) + "]}}",
                               bytes);
    ASSERT_EQ(entries.size(), 1u) << name;
    EXPECT_EQ(entries[0].dtype, dtype) << name;
  }
}

TEST(SafetensorsHeader, AcceptsNoTensors) {
  EXPECT_TRUE(parse("{}", 0).empty());
  EXPECT_TRUE(parse(R"({"__metadata__":{}})", 0).empty());
}

struct Lie {
  const char* what;
  const char* json;
  std::uint64_t data_bytes;
  const char* message;  // a part of it
};

class SafetensorsLies : public ::testing::TestWithParam<Lie> {};

TEST_P(SafetensorsLies, AreRefusedByName) {
  const std::string error = error_of(GetParam().json, GetParam().data_bytes);
  EXPECT_NE(error.find("x.safetensors"), std::string::npos) << error;
  EXPECT_NE(error.find(GetParam().message), std::string::npos) << error;
}

constexpr const char* kOne = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
const Lie kLies[] = {
    {"Empty", "", 0, "empty, expected a JSON object"},
    {"Array", "[]", 0, "begins with '['"},
    {"LeadingSpace", " {}", 0, "begins with ' '"},
    {"Torn", R"({"a":)", 0, "not valid JSON"},
    {"TwoObjects", "{}{}", 0, "not valid JSON"},
    {"InvalidUtf8", "{\"a\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "\\xff"},
    {"DuplicateName",
     R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2,
     "tensor 'a': duplicate name"},
    {"DuplicateField", R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1,
     "duplicate field 'dtype'"},
    {"DuplicateMetadata", R"({"__metadata__":{"x":"1","x":"2"}})", 0, "duplicate key 'x'"},
    {"TwoMetadata", R"({"__metadata__":{},"__metadata__":{}})", 0, "duplicate key '__metadata__'"},
    {"MetadataNumber", R"({"__metadata__":{"x":1}})", 0, "__metadata__: 1, expected strings"},
    {"MetadataNested", R"({"__metadata__":{"x":{}}})", 0, "expected strings"},
    {"UnknownField", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1, "unknown field 'x'"},
    {"MissingField", R"({"a":{"dtype":"U8","shape":[1]}})", 1, "lacks dtype, shape or data_offsets"},
    {"TensorIsNumber", R"({"a":7})", 0, "tensor 'a' is 7, expected an object"},
    {"TensorIsArray", R"({"a":[1]})", 0, "tensor 'a' is an array"},
    {"TensorIsNull", R"({"a":null})", 0, "tensor 'a' is null"},
    {"UnknownDType", R"({"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", 1, "dtype 'F4' is not one of"},
    {"DTypeNumber", R"({"a":{"dtype":3,"shape":[2],"data_offsets":[0,1]}})", 1, "dtype is 3, expected a string"},
    {"NegativeDim", R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1, "shape holds -1"},
    {"FloatDim", R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1, "shape holds 1.0"},
    {"InfiniteDim", R"({"a":{"dtype":"U8","shape":[1e999],"data_offsets":[0,1]}})", 1, "1e999"},
    {"HugeDim", R"({"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]}})", 1,
     "shape holds 9223372036854775808"},
    {"StringDim", R"({"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}})", 1, "shape holds '1'"},
    {"NestedShape", R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", 1, "shape holds an array"},
    {"ShapeIsNumber", R"({"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", 1, "shape holds 1, expected an array"},
    {"OneOffset", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1, "data_offsets are not two numbers"},
    {"ThreeOffsets", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", 1, "more than two data_offsets"},
    {"NegativeOffset", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}})", 1, "data_offsets hold -1"},
    // Sizes that wrap: CVE-2024-23605, CVE-2024-21836, CVE-2024-21825, CVE-2025-53630, CVE-2026-27940.
    {"ShapeWrapsToSmall", R"({"a":{"dtype":"U8","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}})", 0,
     "passes 2^63 - 1 bytes"},
    {"ShapeWrapsBeforeZero", R"({"a":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})", 0,
     "passes 2^63 - 1 bytes"},
    // The element count fits, the byte size does not: CVE-2026-33298.
    {"BytesWrap", R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0,
     "passes 2^63 - 1 bytes"},
    {"OffsetSumWraps",
     R"({"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[9223372036854775807,18446744073709551614]}})",
     0, "data_offsets hold 18446744073709551614"},
    // Dimensions larger than the data: CVE-2026-7482, CVE-2024-21802.
    {"DimsPassData", R"({"a":{"dtype":"F32","shape":[1000],"data_offsets":[0,8]}})", 8, "expected 4000 bytes"},
    {"EndBeforeBegin", R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[1,0]}})", 1, "data_offsets 1..0"},
    {"PastTheEnd", kOne, 7, "pass the end of the file, which holds 7"},
    {"TrailingBytes", kOne, 9, "tensors end at byte 8 of the data, the file holds 9"},
    {"DataWithoutTensors", "{}", 1, "tensors end at byte 0"},
    {"Hole",
     R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})", 3,
     "tensor 'b': data_offsets 2..3 leave a hole"},
    {"HoleAtTheStart", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2, "leave a hole"},
    {"Overlap",
     R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3,
     "tensor 'b': data_offsets 1..3 overlap"},
    {"SameBytesTwice",
     R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2,
     "overlap"},
};
INSTANTIATE_TEST_SUITE_P(All, SafetensorsLies, ::testing::ValuesIn(kLies),
                         [](const auto& lie) { return std::string(lie.param.what); });

TEST(SafetensorsHeader, NulByteDoesNotEndTheText) {
  const std::string json = std::string("{}") + '\0' + "junk";
  EXPECT_NE(error_of(json, 0).find("NUL byte at 2"), std::string::npos);
}

TEST(SafetensorsHeader, DepthIsBounded) {
  const std::string deep(100'000, '[');
  EXPECT_NE(error_of("{\"a\":" + deep, 0).find("tensor 'a' is an array"), std::string::npos);
}

TEST(SafetensorsHeader, TokensAreBounded) {
  EXPECT_NE(error_of("{\"" + std::string(17 << 20, 'x') + "\":", 0).find("string of more than 16 MiB"),
            std::string::npos);
  EXPECT_NE(error_of("{\"a\":" + std::string(1000, '1'), 0).find("token of more than 400"), std::string::npos);
}

TEST(SafetensorsHeader, LengthIsChecked) {
  const auto length = [](std::string_view prefix, std::uint64_t size) {
    return safetensors_header_length(prefix, size, "x.safetensors");
  };
  using namespace std::string_view_literals;
  EXPECT_EQ(length("\2\0\0\0\0\0\0\0"sv, 10), 2u);
  for (std::size_t size = 0; size < 8; ++size)
    EXPECT_NE(checkpoint_error_of([&] { length("\2\0\0\0\0\0\0\0"sv.substr(0, size), size); }).find("at least 8"),
              std::string::npos);
  EXPECT_NE(checkpoint_error_of([&] { length("\3\0\0\0\0\0\0\0"sv, 10); }).find("the file has 2 after"),
            std::string::npos);
  EXPECT_NE(checkpoint_error_of([&] {
              length("\xff\xff\xff\xff\xff\xff\xff\xff"sv, 10);
            }).find("header of 18446744073709551615 bytes, the limit is 100000000"),
            std::string::npos);
  EXPECT_NE(checkpoint_error_of([&] {
              length("\x01\xe1\xf5\x05\0\0\0\0"sv, std::uint64_t{1} << 40);
            }).find("header of 100000001 bytes"),
            std::string::npos);
  EXPECT_EQ(length("\x00\xe1\xf5\x05\0\0\0\0"sv, std::uint64_t{1} << 40), 100'000'000u);
}

TEST(SafetensorsHeader, HundredThousandTensors) {
  std::string json = "{";
  for (int i = 0; i < 100'000; ++i)
    json += (i ? ",\"t" : "\"t") + std::to_string(i) + R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" +
            std::to_string(i) + "," + std::to_string(i + 1) + "]}";
  json += "}";
  const auto entries = parse(json, 100'000);
  ASSERT_EQ(entries.size(), 100'000u);
  EXPECT_EQ(entries[99'999].name, "t99999");
}

}  // namespace
}  // namespace moekit
