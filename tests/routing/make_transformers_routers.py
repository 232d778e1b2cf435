# SPDX-License-Identifier: Apache-2.0
"""Writes transformers_routers.json: what the routers of transformers answer for random logits.

Run with transformers 5.23 and torch 2.15: python tests/routing/make_transformers_routers.py
Each case holds the logits that a router class computed (its own dtype: float32 or bfloat16) and the experts and weights
that it chose. Rows in which a choice met equal values at its edge are left out: torch.topk does not say which it takes.
"""
import json
import pathlib
import types

import torch
from transformers.models.afmoe import modeling_afmoe as afmoe
from transformers.models.cohere2_moe import modeling_cohere2_moe as cohere2
from transformers.models.dbrx import modeling_dbrx as dbrx
from transformers.models.deepseek_v2 import modeling_deepseek_v2 as deepseek_v2
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek_v3
from transformers.models.deepseek_v4 import modeling_deepseek_v4 as deepseek_v4
from transformers.models.ernie4_5_moe import modeling_ernie4_5_moe as ernie
from transformers.models.gemma4 import modeling_gemma4 as gemma4
from transformers.models.gpt_oss import modeling_gpt_oss as gpt_oss
from transformers.models.granitemoe import modeling_granitemoe as granite
from transformers.models.kolibri1 import modeling_kolibri1 as kolibri1
from transformers.models.lfm2_moe import modeling_lfm2_moe as lfm2
from transformers.models.llama4 import modeling_llama4 as llama4
from transformers.models.longcat_flash import modeling_longcat_flash as longcat
from transformers.models.minimax_m2 import modeling_minimax_m2 as minimax_m2
from transformers.models.mistral4 import modeling_mistral4 as mistral4
from transformers.models.mixtral import modeling_mixtral as mixtral
from transformers.models.phimoe import modeling_phimoe as phimoe
from transformers.models.qwen3_moe import modeling_qwen3_moe as qwen3

HIDDEN, EXPERTS, TOP_K, TOKENS = 24, 16, 4, 10
CONFIG = types.SimpleNamespace(
    hidden_size=HIDDEN, num_experts=EXPERTS, num_local_experts=EXPERTS, n_routed_experts=12, zero_expert_num=4,
    num_experts_per_tok=TOP_K, top_k_experts=TOP_K, norm_topk_prob=True, routed_scaling_factor=2.5, n_group=4,
    topk_group=2, topk_method="group_limited_greedy", moe_norm_min=1e-12, router_bias=False,
    scoring_func="sqrtsoftplus", expert_selection_fn="softmax", use_expert_bias=True, route_scale=1.5, vocab_size=30,
    router_jitter_noise=0.1, input_jitter_noise=0.0, rms_norm_eps=1e-6, moe_num_experts=EXPERTS, moe_num_shared_experts=0,
    moe_jitter_eps=None)


class TieWatch:
    """Marks the rows for which some top-k had equal values on both sides of its edge."""

    def __init__(self):
        self.tied = torch.zeros(TOKENS, dtype=torch.bool)
        self.topk = torch.topk

    def __call__(self, values, k, dim=-1, **kwargs):
        ranked = values.float().sort(dim=-1, descending=True).values
        if k < ranked.shape[-1]:
            self.tied |= (ranked[..., k - 1] == ranked[..., k]).reshape(TOKENS, -1).any(dim=-1)
        return self.topk(values, k, dim=dim, **kwargs)

    def __enter__(self):
        self.method = torch.Tensor.topk
        torch.topk, torch.Tensor.topk = self, lambda values, *args, **kwargs: self(values, *args, **kwargs)
        return self

    def __exit__(self, *_):
        torch.topk, torch.Tensor.topk = self.topk, self.method


def build(cls):
    router = cls(CONFIG)
    for parameter in router.parameters():
        torch.nn.init.normal_(parameter, std=1.5 * HIDDEN**-0.5)
    for name, buffer in router.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(0.2 * torch.randn(buffer.shape))
    return router


def bias_of(router):
    for name, buffer in list(router.named_buffers()) + list(router.named_parameters()):
        if "correction_bias" in name:
            return buffer.float().flatten()
    return None


def keep_biases(router, dtype):
    """The module in dtype; selection biases stay in float32, as the published checkpoints hold them."""
    saved = {n: b.clone() for n, b in router.named_buffers()}
    saved |= {n: p.detach().clone() for n, p in router.named_parameters() if "correction_bias" in n}
    router.to(dtype)
    for name, value in saved.items():
        holder = router.get_submodule(name.rpartition(".")[0])
        old = getattr(holder, name.rpartition(".")[2])
        old.data = value
    return router


def standard(cls):
    def route(x, dtype):
        router = keep_biases(build(cls), dtype)
        logits, weights, ids = router(x)
        return logits, weights, ids, bias_of(router)
    return route


def with_bias_argument(cls, three_dims=False):
    def route(x, dtype):
        router, bias = build(cls).to(dtype), 0.2 * torch.randn(EXPERTS)
        logits, weights, ids = router(x[None] if three_dims else x, bias)
        return logits, weights, ids, bias
    return route


def llama4_route(x, dtype):
    scores, logits = build(llama4.Llama4Router).to(dtype)(x)
    ids = logits.topk(TOP_K, dim=-1).indices
    return logits, scores.gather(1, ids), ids, None


def dbrx_route(x, dtype):
    logits = build(dbrx.DbrxRouter).to(dtype)(x)
    block = types.SimpleNamespace(top_k=TOP_K, moe_normalize_expert_weights=1.0)
    weights, ids = dbrx.DbrxFFN.route_tokens_to_experts(block, logits)
    return logits, weights, ids, None


def phimoe_route(x, dtype):
    logits, weights, ids = build(phimoe.PhimoeTopKRouter).to(dtype).eval()(x)
    return logits, weights, ids, None


def hash_route(x, dtype):
    router = build(deepseek_v4.DeepseekV4HashRouter)
    router.tid2eid.copy_(torch.stack([torch.randperm(EXPERTS)[:TOP_K] for _ in range(CONFIG.vocab_size)]))
    router = keep_biases(router, dtype)
    logits, weights, ids = router(x, torch.randint(0, CONFIG.vocab_size, (len(x),)))
    return logits, weights, ids, None


def gemma4_route(x, dtype):
    router, seen = build(gemma4.Gemma4TextRouter).to(dtype), {}
    router.proj.register_forward_hook(lambda module, inputs, output: seen.update(input=inputs[0], logits=output))
    _, weights, ids = router(x)
    gemma4_route.extra = {"x": x.float().tolist(), "in_scale": router.scale.float().tolist(),
                          "input": seen["input"].float().tolist(),
                          "per_expert_scale": router.per_expert_scale.float().tolist()}
    return seen["logits"], weights, ids, None


ROUTERS = {
    "afmoe": with_bias_argument(afmoe.AfmoeTokenChoiceRouter, three_dims=True),
    "cohere2_moe": standard(cohere2.Cohere2MoeTopKRouter),
    "dbrx": dbrx_route,
    "deepseek_v2": standard(deepseek_v2.DeepseekV2TopkRouter),
    "deepseek_v3": standard(deepseek_v3.DeepseekV3TopkRouter),
    "deepseek_v4": standard(deepseek_v4.DeepseekV4TopKRouter),
    "deepseek_v4_hash": hash_route,
    "ernie4_5_moe": standard(ernie.Ernie4_5_MoeTopKRouter),
    "gemma4": gemma4_route,
    "gpt_oss": standard(gpt_oss.GptOssTopKRouter),
    "granitemoe": standard(granite.GraniteMoeTopKRouter),
    "kolibri1": standard(kolibri1.Kolibri1TopKRouter),
    "lfm2_moe": with_bias_argument(lfm2.Lfm2MoeTopKRouter),
    "llama4": llama4_route,
    "longcat_flash": standard(longcat.LongcatFlashTopkRouter),
    "minimax_m2": with_bias_argument(minimax_m2.MiniMaxM2TopKRouter),
    "mistral4": standard(mistral4.Mistral4TopkRouter),
    "mixtral": standard(mixtral.MixtralTopKRouter),
    "phimoe": phimoe_route,
    "qwen3_moe": standard(qwen3.Qwen3MoeTopKRouter),
}


def make_case(name, dtype):
    x = torch.randn(TOKENS, HIDDEN).to(dtype)
    with TieWatch() as watch:
        logits, weights, ids, bias = ROUTERS[name](x, dtype)
    logits, weights = logits.float(), weights.float()
    distinct = (~watch.tied).tolist()
    keep = lambda rows: [row for row, ok in zip(rows.tolist(), distinct) if ok]
    case = {"router": name, "dtype": str(dtype).removeprefix("torch."), "logits": keep(logits), "ids": keep(ids),
            "weights": keep(weights), "selection_bias": bias.tolist() if bias is not None else []}
    if name == "gemma4":
        extra = gemma4_route.extra
        extra["x"], extra["input"] = ([r for r, ok in zip(extra[key], distinct) if ok] for key in ("x", "input"))
        case |= extra
    return case


def short(value):
    if isinstance(value, float):
        return float(f"{value:.9g}")  # nine digits hold a float32
    if isinstance(value, list):
        return [short(item) for item in value]
    return value


if __name__ == "__main__":
    torch.manual_seed(20)
    with torch.no_grad():
        cases = [make_case(name, dtype) for name in ROUTERS for dtype in (torch.float32, torch.bfloat16)]
    lines = [json.dumps({key: short(value) for key, value in case.items()}) for case in cases]
    path = pathlib.Path(__file__).with_name("transformers_routers.json")
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(path.name, path.stat().st_size, "bytes;", {c["router"] + "/" + c["dtype"]: len(c["ids"]) for c in cases})
