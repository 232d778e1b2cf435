# SPDX-License-Identifier: Apache-2.0
"""Tokens a second of transformers' generate, with and without moekit, prefill and decode apart, on a Qwen3-MoE model of
random weights that is made on the spot: its experts are 600 MB in bfloat16."""
from __future__ import annotations

import copy
import time
from typing import Iterator, NamedTuple

import numpy as np

from .suite import Case, Options
from .timing import Competitor


class Model(NamedTuple):
    hidden: int
    intermediate: int
    experts: int
    top_k: int
    layers: int
    vocabulary: int
    prompt: int  # tokens that the prefill case reads
    new: int  # tokens that the decode case makes after a short prompt


SIZES = Model(1024, 512, 32, 4, 6, 8192, 256, 32)
QUICK = Model(64, 32, 8, 2, 2, 128, 8, 4)
_SHORT_PROMPT = 8
IMPLEMENTATIONS = ("eager", "grouped_mm")

# Squared error of the last prompt token's logits over the square of those in float32. Six layers of bfloat16 round at
# each step, and a router that decides otherwise changes one of four experts; the quantised ones as in suite.py.
LARGEST_ERROR = {"float32": 1e-3, "bfloat16": 0.05, "bf16z": 0.05, "int8": 0.05, "fp8": 0.1, "int4": 0.4, "mxfp4": 0.5}


def _model(m: Model):
    import torch
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=m.vocabulary, hidden_size=m.hidden, intermediate_size=m.intermediate, num_hidden_layers=m.layers,
        num_attention_heads=max(1, m.hidden // 64), num_key_value_heads=max(1, m.hidden // 256), head_dim=64,
        num_experts=m.experts, num_experts_per_tok=m.top_k, moe_intermediate_size=m.intermediate, norm_topk_prob=True,
        decoder_sparse_step=1, mlp_only_layers=[], max_position_embeddings=4096, bos_token_id=0, eos_token_id=None,
        pad_token_id=0, tie_word_embeddings=False)
    model = Qwen3MoeForCausalLM(config).to(torch.bfloat16).eval().requires_grad_(False)
    # Deviation 1 / sqrt(columns): the default of 0.02 lets the residual stream drown the experts.
    for name, parameter in model.named_parameters():
        if parameter.dim() >= 2 and "embed" not in name:
            parameter.copy_(torch.randn(parameter.shape) * parameter.shape[-1] ** -0.5)
    return model


class _Clock:
    """A stopping criterion of generate that stops nothing and notes when each token was there."""

    def __init__(self):
        self.at = []

    def __call__(self, input_ids, scores, **_):
        import torch

        self.at.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool)


def _seconds(model, prompt, new: int, phase: str) -> float:
    """prefill: from the call to the first token. decode: from the first token to the last."""
    from transformers import StoppingCriteriaList

    clock, start = _Clock(), time.perf_counter()
    model.generate(prompt, attention_mask=prompt.new_ones(prompt.shape), do_sample=False, min_new_tokens=new,
                   max_new_tokens=new, stopping_criteria=StoppingCriteriaList([clock]))
    return clock.at[0] - start if phase == "prefill" else clock.at[-1] - clock.at[0]


def _competitor(name: str, model, prompts, new: int, phase: str, implementation=None) -> Competitor:
    def use():
        if implementation is not None:
            model.config._experts_implementation = implementation

    def logits(x):
        use()
        return model(x).logits[:, -1].double().numpy()

    def turn(batch):
        use()
        return sum(_seconds(model, x, new, phase) for x in batch)

    return Competitor(name, logits, prompts, turn)


def _dense_weights(model) -> int:
    """Weights outside the experts that every token meets: all but the embedding."""
    return sum(p.numel() for name, p in model.named_parameters() if ".mlp.experts." not in name and "embed" not in name)


def cases(options: Options) -> Iterator[Case]:
    """Cases one after the other. Raises ImportError without torch and transformers."""
    import torch
    import transformers

    from .. import hf

    transformers.logging.set_verbosity_error()
    m = QUICK if options.quick else SIZES
    with torch.no_grad():
        plain = _model(m)
        dense, expert = _dense_weights(plain), 3 * m.hidden * m.intermediate
        exact = copy.deepcopy(plain).float()
        prompts = {"prefill": [torch.randint(1, m.vocabulary, (1, m.prompt)) for _ in range(2)],
                   "decode": [torch.randint(1, m.vocabulary, (1, _SHORT_PROMPT)) for _ in range(2)]}
        references = {phase: exact(x[0]).logits[:, -1].double().numpy() for phase, x in prompts.items()}
        del exact
        for form in options.formats:
            model = copy.deepcopy(plain)
            packed = sum(layer.nbytes for layer in hf.replace_moe(model, dtype=form).values())
            for phase, new, tokens in (("prefill", 1, m.prompt), ("decode", m.new, m.new - 1)):
                calls = 1 if phase == "prefill" else tokens  # of the model
                share = 1.0 if phase == "prefill" else m.top_k / m.experts
                competitors = [_competitor("moekit", model, prompts[phase], new, phase)]
                competitors += [_competitor(f"transformers {name}, bfloat16", plain, prompts[phase], new, phase, name)
                                for name in IMPLEMENTATIONS]
                bytes_of = {c.name: calls * 2 * (dense + share * m.layers * m.experts * expert) for c in competitors}
                ours = calls * (2 * dense + share * packed)
                bytes_of["moekit"] = ours
                yield Case("generate", {"phase": phase, "tokens": tokens, "dtype": form, **m._asdict()}, competitors,
                           references[phase], lambda y: np.asarray(y), ours,
                           2.0 * tokens * (dense + m.layers * m.top_k * expert), {}, bytes_of,
                           largest_error=LARGEST_ERROR[form])
            del model
