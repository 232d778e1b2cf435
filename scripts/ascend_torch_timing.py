#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""DeepSeek-V3's layer by torch_npu's fused operators, for scripts/ascend_first_run.sh: what a serving engine does.

Prints one JSON object in the form of moekit_ascend_timing. Needs torch and torch_npu, and has not run anywhere yet.
"""
import argparse
import json
import statistics
import time


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--experts", type=int, default=256)
    experts = parser.parse_args().experts
    import torch
    import torch_npu

    hidden, intermediate, top_k, groups = 7168, 2048, 8, 8
    npu, bf16 = torch.device("npu:0"), torch.bfloat16
    router = torch.randn(experts, hidden, device=npu) * hidden**-0.5
    bias = torch.randn(experts, device=npu) * 0.1
    w13 = torch.randn(1, hidden, 2 * intermediate, device=npu, dtype=bf16).mul_(hidden**-0.5).repeat(experts, 1, 1)
    w2 = torch.randn(1, intermediate, hidden, device=npu, dtype=bf16).mul_(intermediate**-0.5).repeat(experts, 1, 1)
    shared13, shared2 = w13[0], w2[0]

    def layer(x):
        tokens = x.shape[0]
        logits = x.float() @ router.t()
        weights, ids, _ = torch_npu.npu_moe_gating_top_k(
            logits, top_k, bias=bias, k_group=4, group_count=groups, group_select_mode=1, renorm=0, norm_type=1,
            routed_scaling_factor=2.5, eps=1e-20)
        rows, index, counts, _ = torch_npu.npu_moe_init_routing_v2(
            x, ids, active_num=tokens * top_k, expert_num=experts, expert_tokens_num_type=1,
            expert_tokens_num_flag=True, active_expert_range=[0, experts], quant_mode=-1)
        up = torch_npu.npu_grouped_matmul([rows], [w13], split_item=2, group_list_type=1, group_type=0,
                                          group_list=counts)[0]
        down = torch_npu.npu_grouped_matmul([torch_npu.npu_swiglu(up)], [w2], split_item=2, group_list_type=1,
                                            group_type=0, group_list=counts)[0]
        routed = torch_npu.npu_moe_token_unpermute(down, index, weights.to(bf16))
        return routed + torch_npu.npu_swiglu(x @ shared13) @ shared2

    runs = []
    for tokens in (1, 8, 64, 512, 4096):
        x = torch.randn(tokens, hidden, device=npu, dtype=bf16)
        times = []
        for call in range(-3, 30):
            torch_npu.npu.synchronize()
            start = time.perf_counter()
            layer(x)
            torch_npu.npu.synchronize()
            if call >= 0:
                times.append((time.perf_counter() - start) * 1e6)
        runs.append({"tokens": tokens, "eager_us": {"median": round(statistics.median(times), 1),
                                                    "least": round(min(times), 1)}})
    print(json.dumps({"torch": torch.__version__, "torch_npu": torch_npu.__version__, "hidden": hidden,
                      "intermediate": intermediate, "experts": experts, "top_k": top_k, "runs": runs}))


if __name__ == "__main__":
    main()
