// SPDX-License-Identifier: Apache-2.0
// The experts alone, on rows sorted by expert: what an expert-parallel layer calls between dispatch and combine.
#include "backend/backend.h"
#include "conformance/harness.h"

namespace moekit::conformance {
namespace {

struct Grouped : testing::TestWithParam<Target> {};

// A row through grouped_mlp is a row through the layer with that expert, weight 1.
TEST_P(Grouped, MatchesTheOracleLayer) {
  const std::int64_t counts[] = {3, 0, 17, 1, 0, 33, 2};
  for (const Mode& mode : modes(GetParam())) {
    for (const std::size_t form : {1u, 3u, 8u, 11u}) {
      SCOPED_TRACE(std::string(mode.name) + ", " + forms()[form].name);
      BlockConfig c = make_config(rules().back(), forms()[form], 7, sizes()[0]);
      c.router.top_k = 1;
      const Block oracle(Target{"reference", ""}, c, mode, {}, 22);
      // make_layer() hides the packed block, so pack by hand, under the same forced ISA.
      const Backend& backend = backend_by_name(GetParam().backend);
      const std::unique_ptr<PackedBlock> packed =
          pack_block(GetParam(), c, oracle.tensors, std::string(dtype_name(mode.weights)));
      const std::unique_ptr<Workspace> workspace = backend.new_workspace(*packed);

      Inputs inputs;
      std::vector<std::int64_t> offsets = {0};
      for (std::int32_t e = 0; e < 7; ++e) {
        inputs.expert_ids.insert(inputs.expert_ids.end(), static_cast<std::size_t>(counts[e]), e);
        offsets.push_back(offsets.back() + counts[e]);
      }
      inputs.weights.assign(inputs.expert_ids.size(), 1.0f);
      Rng rng(23);
      const Matrix x = Matrix::random(rng, offsets.back(), c.expert.input, mode.data);
      Matrix got(x.rows(), c.expert.output, DType::kFloat32);
      const Device device = {backend.device(), 0};
      const Buffer in = despite_faults([&] { return backend.allocate(x.bytes().size(), device); }),
                   out = despite_faults([&] { return backend.allocate(got.bytes().size(), device); });
      MatrixView rows = x.view();
      MutableMatrixView result = got.out();
      rows.data = in.data();
      result.data = out.data();
      despite_faults([&] {
        backend.copy(in.data(), x.view().data, in.bytes(), CopyKind::kHostToDevice, nullptr);
        backend.grouped_mlp(*packed, rows, offsets.data(), result, *workspace, nullptr);
        backend.copy(got.out().data, out.data(), out.bytes(), CopyKind::kDeviceToHost, nullptr);
      });
      const Result want = run_oracle(oracle, x, inputs);
      EXPECT_LE(nmse(got, want.y, all_rows(x)), nmse_bound(GetParam(), mode));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(On, Grouped, testing::ValuesIn(targets()), target_name);

}  // namespace
}  // namespace moekit::conformance
