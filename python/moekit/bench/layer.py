# SPDX-License-Identifier: Apache-2.0
"""One layer of a model's sizes in each weight format: moekit against transformers' block and the peers that live in
environments of their own."""
from __future__ import annotations

from typing import Iterator

import numpy as np

import moekit

from ..cli.doctor import memory_bytes
from . import inputs, remote, transformers_peer
from .shapes import QUICK, SHAPES, Sizes, that_fit
from .suite import Case, Options
from .timing import Competitor

PLAIN = ("float32", "bfloat16", "bf16z")


def _layer(s: Sizes, weights, form: str) -> moekit.MoeLayer:
    config = {"router": {"num_experts": s.experts, "top_k": s.top_k, "renorm": "add_eps"},
              "expert": {"input": s.hidden, "intermediate": s.intermediate, "output": s.hidden}}
    tensors = {"router.weight": weights["router"], "experts.gate": weights["gate_up"][:, : s.intermediate],
               "experts.up": weights["gate_up"][:, s.intermediate :], "experts.down": weights["down"]}
    return moekit.MoeLayer.from_arrays(config, tensors, dtype=form)


def _to_numpy(y) -> np.ndarray:
    if isinstance(y, np.ndarray):
        return y.astype(np.float64)
    return (y[0] if y.dim() == 3 else y).double().numpy()


class _Format:
    """Everything that holds the weights of one shape in one format."""

    def __init__(self, s: Sizes, weights, form: str, workers: remote.Workers):
        self.s, self.form, self.workers = s, form, workers
        self.weights = {name: tensor.float() for name, tensor in weights.items()} if form == "float32" else weights
        self.layer = _layer(s, self.weights, form)
        self.missing, self.block = {}, None
        reason = "its experts are float32 or bfloat16 on the CPU"
        if form in PLAIN:
            self.block, reason = transformers_peer.block(s, self.weights)
        if self.block is None:
            self.missing = {name: reason for name in transformers_peer.NAMES}
        self.facts, missing = workers.load(s, weights, "bfloat16" if form == "bf16z" else form)
        self.missing.update(missing)

    def case(self, model: str, of_experts: int, tokens: int, routing: str, wanted) -> Case:
        s, element = self.s, 4 if self.form == "float32" else 2
        batches = [inputs.steered(s, self.weights["router"], each) for each in wanted]
        own = [x.float() for x in batches] if self.form == "float32" else batches
        competitors, missing = [Competitor("moekit", self.layer, own)], dict(self.missing)
        if self.block is not None:
            peers, more = transformers_peer.competitors(self.block, s, own, element)
            competitors += peers
            missing.update(more)
        peers, more = self.workers.competitors(self.facts, batches)
        missing.update(more)
        used = np.mean([len(np.unique(np.asarray(self.layer(x, return_routing=True)[1].expert_ids))) for x in own])
        share, router = float(used) / s.experts, float(s.experts * s.hidden * element)  # the router is read whole
        bytes_of = {name: share * facts["weight_bytes"] for name, facts in self.facts.items()}
        bytes_of.update({name: router + used * s.expert_weights * element for name in transformers_peer.NAMES})
        shape = {"model": model, "hidden": s.hidden, "intermediate": s.intermediate, "experts": s.experts,
                 "of_experts": of_experts, "top_k": s.top_k, "T": tokens, "routing": routing, "dtype": self.form}
        return Case("layer", shape, competitors + peers, inputs.reference(s, self.weights, own[0]), _to_numpy,
                    router + used * self.layer.memory_needs.expert, 2.0 * tokens * s.top_k * s.expert_weights, missing, bytes_of,
                    {name: f"{self.workers.versions[name]}: {facts['detail']}" for name, facts in self.facts.items()})


def cases(options: Options) -> Iterator[Case]:
    """Cases one after the other, one shape and format at a time in memory. Raises ImportError without torch."""
    import torch

    random = np.random.default_rng(0)
    memory = options.memory or memory_bytes()["available"] // 2
    shapes = {"tiny": QUICK} if options.quick else {name: SHAPES[name] for name in options.shapes}
    sizes = {name: that_fit(whole, options.formats, memory) for name, whole in shapes.items()}  # all before the first
    with torch.no_grad(), remote.workers(options.peers, options.threads) as workers:  # while a case runs, too
        for model, whole in shapes.items():
            s = sizes[model]
            weights = {name: workers.tensor(name, shape) for name, shape in inputs.weight_shapes(s).items()}
            inputs.fill_weights(s, weights)
            for form in options.formats:
                held = _Format(s, weights, form, workers)
                for routing in options.routings:
                    for tokens in options.tokens:
                        yield held.case(model, whole.experts, tokens, routing,
                                        inputs.wanted_experts(s, tokens, routing, random))
                del held
            del weights
