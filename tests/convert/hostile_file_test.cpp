// SPDX-License-Identifier: Apache-2.0
// Files under right checksums that say what cannot be: a checksum is no signature.
#include "conformance/harness.h"
#include "convert/packed_file.h"

namespace moekit::conformance {
namespace {

using test::checkpoint_error_of;
using test::TempFolder;
using Json = nlohmann::ordered_json;

class HostileFile : public testing::Test {
 protected:
  // GPTQ in its own order of columns, and a hash router: what has indices in its data.
  void SetUp() override {
    Rng rng(1);
    config_.router.source = RouterSource::kHashTable;
    config_.router.num_experts = 3;
    config_.router.top_k = 2;
    config_.expert.input = config_.expert.output = 64;
    config_.expert.intermediate = 32;
    for (const QuantVariant& variant : quant_variants())
      if (variant.act_order) tensors_ = random_quantised_tensors(rng, config_, variant, false);
    ASSERT_EQ(tensors_.experts.size(), 3u);
    bytes_ = test::read_bytes(test::write_layer(folder_, config_, tensors_));
  }
  std::string open(const std::string& bytes) {
    folder_.write("x.safetensors", bytes);
    return checkpoint_error_of([&] { MoeLayer::from_file(folder_.path("x.safetensors")); });
  }
  std::string open_edited(const std::function<void(Json&)>& edit) { return open(test::with_header(bytes_, edit)); }
  void expect_refused(const char* what, const std::function<void(Json& metadata)>& edit) {
    const std::string error = open_edited([&](Json& header) { edit(header["__metadata__"]); });
    EXPECT_NE(error.find(what), std::string::npos) << error;
    EXPECT_NE(error.find("x.safetensors"), std::string::npos) << error;
  }
  void edit_json(Json& metadata, const char* key, const std::function<void(Json&)>& edit) {
    Json json = Json::parse(metadata[key].get<std::string>());
    edit(json);
    metadata[key] = json.dump();
  }
  // The data of a tensor, to be overwritten.
  std::size_t data_of(const char* name) const {
    const std::size_t header = 8 + static_cast<unsigned char>(bytes_[0]) + 256u * static_cast<unsigned char>(bytes_[1]);
    return header + Json::parse(bytes_.substr(8, header - 8))[name]["data_offsets"][0].get<std::size_t>();
  }

  BlockConfig config_;
  BlockTensors tensors_;
  TempFolder folder_;
  std::string bytes_;
};

TEST_F(HostileFile, TheEditingItselfIsNoError) {
  EXPECT_EQ(open_edited([](Json&) {}), "<no error>");
  EXPECT_EQ(open_edited([](Json& h) { h["__metadata__"]["note"] = "by hand"; }), "<no error>");
}

TEST_F(HostileFile, OtherVersionsLayoutsAndByteOrders) {
  expect_refused("version is '2'", [](Json& m) { m["version"] = "2"; });
  expect_refused("layout is 'cpu panels 0'", [](Json& m) { m["layout"] = "cpu panels 0"; });
  expect_refused("byte_order is 'big'", [](Json& m) { m["byte_order"] = "big"; });
  expect_refused("kind is", [](Json& m) { m["kind"] = "something"; });
  for (const char* key : {"version", "layout", "byte_order", "kind", "config", "formats", "layer", "family"})
    expect_refused(key, [&](Json& m) { m.erase(key); });
  expect_refused("layer is '-1'", [](Json& m) { m["layer"] = "-1"; });
  expect_refused("checksums of", [](Json& m) { m.erase("xxh64.routed.panels"); });
}

TEST_F(HostileFile, ConfigurationsThatCannotBe) {
  const auto config = [&](const char* what, const std::function<void(Json&)>& edit) {
    expect_refused(what, [&](Json& m) { edit_json(m, "config", edit); });
  };
  config("num_experts", [](Json& c) { c["router"]["num_experts"] = 0; });
  config("num_experts", [](Json& c) { c["router"]["num_experts"] = 1.5; });
  config("router.score is", [](Json& c) { c["router"]["score"] = "loud"; });
  config("out_scale", [](Json& c) { c["out_scale"] = "nan"; });
  config("fields", [](Json& c) { c["router"]["new"] = 1; });
  config("router.eps is missing", [](Json& c) { c["router"].erase("eps"); });
  config("input", [](Json& c) { c["expert"]["input"] = std::int64_t{1} << 60; });
  const auto formats = [&](const char* what, const std::function<void(Json&)>& edit) {
    expect_refused(what, [&](Json& m) { edit_json(m, "formats", [&](Json& f) { edit(f["routed"]["up"]); }); });
  };
  formats("group = -32", [](Json& f) { f["group"] = -32; });
  formats("scale_rows = 0", [](Json& f) { f["scale_rows"] = 0; });
  formats("not one of", [](Json& f) { f["name"] = "int3"; });
  formats("code", [](Json& f) { f["code"] = "int8"; });
  formats("scale", [](Json& f) { f["scale"] = "int64"; });
  formats("super", [](Json& f) { f["super"] = 256; });
}

TEST_F(HostileFile, PartsThatDoNotFit) {
  // Sizes that agree with themselves and not with the panels: caught before anything is touched.
  EXPECT_NE(open_edited([&](Json& h) {
              edit_json(h["__metadata__"], "config", [](Json& c) { c["expert"]["intermediate"] = 64; });
            }).find("expected"),
            std::string::npos);
  EXPECT_NE(open_edited([&](Json& h) {
              edit_json(h["__metadata__"], "config", [](Json& c) { c["expert"]["intermediate"] = 1 << 27; });
            }).find("panels"),
            std::string::npos);
  EXPECT_NE(open_edited([](Json& h) { h["routed.panels"]["dtype"] = "I8"; }).find("int8"), std::string::npos);
}

TEST_F(HostileFile, IndicesOutOfRange) {
  std::string spoilt = bytes_;
  spoilt.replace(data_of("routed.columns"), 2, "\xff\xff");
  EXPECT_NE(open(spoilt).find("group 65535"), std::string::npos) << open(spoilt);
  spoilt = bytes_;
  spoilt[data_of("routed.streams")] = 2;
  EXPECT_NE(open(spoilt).find("expected 0 or 1"), std::string::npos) << open(spoilt);
  spoilt = bytes_;
  spoilt[data_of("router.tid2eid") + 1] = 1;
  EXPECT_NE(open(spoilt).find("expert id 2"), std::string::npos) << open(spoilt);
}

TEST_F(HostileFile, RoomForExceptionsThatIsNone) {
  Rng rng(2);
  config_.router.source = RouterSource::kComputed;
  bytes_ =
      test::read_bytes(test::write_layer(folder_, config_, random_tensors(rng, config_, DType::kBFloat16), "bf16z"));
  ASSERT_EQ(open(bytes_), "<no error>");
  for (const char* value : {"\xff\xff\xff\xff", "\xff\xff\xff\x7f", "\x00\x00\x01\x00"}) {
    std::string spoilt = bytes_;
    spoilt.replace(data_of("routed.exceptions"), 4, value, 4);
    EXPECT_NE(open(spoilt).find("expected 0 .. 65535"), std::string::npos) << open(spoilt);
  }
  std::string spoilt = bytes_;
  spoilt.replace(data_of("routed.exceptions") + 4, 4, "\x00\xff\x00\x00", 4);  // more than the panels have
  EXPECT_NE(open(spoilt).find("routed.panels"), std::string::npos) << open(spoilt);
}

}  // namespace
}  // namespace moekit::conformance
