// SPDX-License-Identifier: Apache-2.0
// What reproducible_test.cpp expects: XXH64 of outputs, expert ids and weights of its cases, in their order. They
// change only with a change of the arithmetic itself, which is one for users.
#pragma once

namespace moekit::conformance {

constexpr const char* kReproducibleHashes[] = {
    "98e847f1fff64b9a",  // f32 softmax_renorm linear
    "12b8719c22312988",  // bf16_weights softmax_renorm linear_bias
    "00ef2f1232f30795",  // bf16 softmax_renorm silu
    "64017033ab5e8d84",  // bf16_data softmax_renorm silu_biases
    "0384df866d15c820",  // f32 softmax gelu_tanh
    "802b4ea7b085eed3",  // bf16_weights softmax gelu
    "0dc5193d96510892",  // bf16 softmax silu_clamp
    "8c09183e88fb0158",  // bf16_data softmax swiglu_oai_biases
    "580eebb560dbb5ec",  // f32 dense swiglu_oai
    "c2d6890961e02f05",  // bf16_weights dense swiglu_step
    "3d9724e21f18160e",  // bf16 dense relu
    "643ed71ead679d80",  // bf16_data dense relu2
    "38ebbf6c20788c5d",  // f32 softmax_topk_bias shared_add
    "3b00ef352e30f494",  // bf16_weights softmax_topk_bias shared_two
    "9580f50bbdfec0d5",  // bf16 softmax_topk_bias shared_sigmoid
    "de883433bdaf59b4",  // bf16_data softmax_topk_bias shared_average
    "af7e984f9e4180a3",  // f32 sigmoid_groups_top2 out_scale
    "2266cd2366d00b61",  // bf16_weights sigmoid_groups_top2 linear
    "fa67b712a979794f",  // bf16 sigmoid_groups_top2 linear_bias
    "4e0ec45bf682363d",  // bf16_data sigmoid_groups_top2 silu
    "69a90b387d18fe02",  // f32 sigmoid_bias silu_biases
    "d607885c2bdadfb9",  // bf16_weights sigmoid_bias gelu_tanh
    "d86edb956eb963c0",  // bf16 sigmoid_bias gelu
    "4d390d55b0863ca8",  // bf16_data sigmoid_bias silu_clamp
    "d138edc920a1ba77",  // f32 sigmoid_native swiglu_oai_biases
    "8a4368f7396bedfd",  // bf16_weights sigmoid_native swiglu_oai
    "668267246dbd197e",  // bf16 sigmoid_native swiglu_step
    "734e33dafa5867ae",  // bf16_data sigmoid_native relu
    "983e3a7d2b7b3bc0",  // f32 sigmoid_on_logit relu2
    "284a3640bc2b448b",  // bf16_weights sigmoid_on_logit shared_add
    "0c0827415e4ad7fc",  // bf16 sigmoid_on_logit shared_two
    "3bb9ac96264bb0b2",  // bf16_data sigmoid_on_logit shared_sigmoid
    "15e455fbb1026c6c",  // f32 sigmoid_scaled_sum shared_average
    "6eecac9024449aea",  // bf16_weights sigmoid_scaled_sum out_scale
    "f47a799624c5ab4e",  // bf16 sigmoid_scaled_sum linear
    "7a062aa49d4fd523",  // bf16_data sigmoid_scaled_sum linear_bias
    "9b0eeb44879604f8",  // f32 softmax_groups_max silu
    "336caf5312f6252a",  // bf16_weights softmax_groups_max silu_biases
    "de6f3fa308e234c9",  // bf16 softmax_groups_max gelu_tanh
    "2960f7b30bb26dcc",  // bf16_data softmax_groups_max gelu
    "e2d00ea929fcf671",  // f32 softmax_groups_top2 silu_clamp
    "945a2eea782ee3c7",  // bf16_weights softmax_groups_top2 swiglu_oai_biases
    "4030b3c04fe35631",  // bf16 softmax_groups_top2 swiglu_oai
    "3377ac1b848e1e6a",  // bf16_data softmax_groups_top2 swiglu_step
    "09bf6fcbabeb00f3",  // f32 softmax_clamp_min relu
    "b00c3b652907843e",  // bf16_weights softmax_clamp_min relu2
    "ef5b7a00e6cefe7c",  // bf16 softmax_clamp_min shared_add
    "f4c34de48e17105d",  // bf16_data softmax_clamp_min shared_two
    "9b9ec5b068599c42",  // f32 identity_experts shared_sigmoid
    "68c4b13a344accf0",  // bf16_weights identity_experts shared_average
    "f88fb9f36b92609a",  // bf16 identity_experts out_scale
    "e4688defda68f6d8",  // bf16_data identity_experts linear
    "3dc77b20a14357ca",  // f32 sqrt_softplus linear_bias
    "2556c4fbbeee35da",  // bf16_weights sqrt_softplus silu
    "d2021e4a75161ea5",  // bf16 sqrt_softplus silu_biases
    "a58fa5bfde02b6ea",  // bf16_data sqrt_softplus gelu_tanh
    "71333aa4cadb426d",  // f32 hash_table gelu
    "dc891ebccf27deb2",  // bf16_weights hash_table silu_clamp
    "4eb705c0509b6b73",  // bf16 hash_table swiglu_oai_biases
    "3a43128312467be6",  // bf16_data hash_table swiglu_oai
    "3b4705bb6a418147",  // f32 weighted_input swiglu_step
    "a202d0f8a73c832a",  // bf16_weights weighted_input relu
    "a4e1de5b918ed1e3",  // bf16 weighted_input relu2
    "85fbc1e1484abc71",  // bf16_data weighted_input shared_add
    "744db98cbc4ef863",  // f32 rms_norm_input shared_two
    "39f23d7beba2189b",  // bf16_weights rms_norm_input shared_sigmoid
    "16bc29faf3978437",  // bf16 rms_norm_input shared_average
    "f6756803a7195696",  // bf16_data rms_norm_input out_scale
    "e8bfb83795e951f8",  // f32 sparsemixer linear
    "deb42efac4b77a5f",  // bf16_weights sparsemixer linear_bias
    "68e3232bfdd16570",  // bf16 sparsemixer silu
    "c0d49276ce127952",  // bf16_data sparsemixer silu_biases
    "5247b471e448e35d",  // f32 p_norm gelu_tanh
    "652f37de20b3ea57",  // bf16_weights p_norm gelu
    "bd3b00c334393a6c",  // bf16 p_norm silu_clamp
    "2d59ac9fc2703db7",  // bf16_data p_norm swiglu_oai_biases
    "dedebe139d41951d",  // f32 argmax_per_group swiglu_oai
    "4eeaf89f01ea953b",  // bf16_weights argmax_per_group swiglu_step
    "dc3f9c257ff4ef78",  // bf16 argmax_per_group relu
    "782403764defb204",  // bf16_data argmax_per_group relu2
    "b9b133d3108d4f03",  // f32 softcap shared_add
    "bc1168ff399fccbb",  // bf16_weights softcap shared_two
    "4aa1a417fc53a442",  // bf16 softcap shared_sigmoid
    "785e18596a3d91d1",  // bf16_data softcap shared_average
    "94bf6313b5866096",  // f32 external out_scale
    "2a1ef444aa33bc9e",  // bf16_weights external linear
    "5eaaf9fa0aa4fa62",  // bf16 external linear_bias
    "a2c95bcb5c7bea12",  // bf16_data external silu
    "1e5beb7d92cb39b4",  // int8_rows f32
    "a8ee714df357a473",  // int8_rows bf16
    "35c441e4b0e8fd5c",  // int8_rows_zeros f32
    "423b43695e6b065e",  // int8_rows_zeros bf16
    "5935f80812ec7956",  // int8_g32 f32
    "cb5906a9be549bd4",  // int8_g32 bf16
    "752e9927ce5ad883",  // int4_g32 f32
    "85a7e3d593ac8351",  // int4_g32 bf16
    "e59eec76ff1483f3",  // int4_g64_zeros f32
    "dc151923e3c90db7",  // int4_g64_zeros bf16
    "6ceefd9db2e59463",  // int4_rows f32
    "244c820c38ef968a",  // int4_rows bf16
    "c6e3387ef4f8ff5d",  // int8_words f32
    "f41c6afc5c1d6537",  // int8_words bf16
    "106ba6e8e1463cad",  // gptq_g128 f32
    "a4da8f5d37a588a3",  // gptq_g128 bf16
    "2b60d20bf41c1b46",  // gptq_act_order f32
    "1a60e2606fd07629",  // gptq_act_order bf16
    "5ce9147ec4158565",  // gptq_8bit f32
    "c856b97605ca1ee3",  // gptq_8bit bf16
    "91ed91c56dc5c7b2",  // awq_g128 f32
    "a3e202dc94c9e2b3",  // awq_g128 bf16
    "459fbbca318e3194",  // fp8_blocks f32
    "f402582d14ea3b54",  // fp8_blocks bf16
    "c46eed1d963d4ed5",  // fp8_blocks_ue8m0 f32
    "109127dfc2f1719d",  // fp8_blocks_ue8m0 bf16
    "77c72029c0459a1e",  // fp8_blocks_of_16 f32
    "34905c3ed2ba4300",  // fp8_blocks_of_16 bf16
    "fc124c1531a56004",  // fp8_rows f32
    "6bf23f98f459dac8",  // fp8_rows bf16
    "a3ca5a6f88958baf",  // mxfp8 f32
    "7c3018015c3eff27",  // mxfp8 bf16
    "66ba1876c018cc97",  // mxfp4 f32
    "621ce0d1c0486b38",  // mxfp4 bf16
    "53a92eb6ba6b8bb2",  // fp4_float32 f32
    "e52561f486088363",  // fp4_float32 bf16
    "41beccb3296e2971",  // nvfp4 f32
    "53e0a5cc75bee75e",  // nvfp4 bf16
    "26e40193d9fc1161",  // nvfp4_divided f32
    "324d74cc1db2d0db",  // nvfp4_divided bf16
    "d3f3209e05a226c6",  // quantised to int8
    "0a6557afac01da46",  // quantised to int8, int8 activations
    "8e7fe55c81ddae9c",  // quantised to int4
    "ba77ff1632298fdd",  // quantised to int4, int8 activations
    "87b40eb129200aa2",  // quantised to fp8
    "6a9b57d071ef4a30",  // quantised to mxfp4
    "4cd37da75bffa90a",  // quantised to mxfp4, int8 activations
};

}  // namespace moekit::conformance
