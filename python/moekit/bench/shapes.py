# SPDX-License-Identifier: Apache-2.0
"""Sizes of the layers that `moekit bench layer` knows, and how many of their experts a machine can hold.

Only sizes are the models': routing is a softmax over all experts with the top k made to sum to one, and experts are
SwiGLU without biases, which is what every peer can run. Shared experts are dense matmuls and are left out."""
from __future__ import annotations

from typing import NamedTuple


class Sizes(NamedTuple):
    hidden: int
    intermediate: int
    experts: int
    top_k: int

    @property
    def expert_weights(self) -> int:
        """Weights of one expert: gate, up and down."""
        return 3 * self.hidden * self.intermediate


# From each model's published config.json: hidden_size, moe_intermediate_size (intermediate_size where there are no
# dense layers), number of routed experts, experts a token.
SHAPES = {
    "qwen3-30b": Sizes(2048, 768, 128, 8),
    "qwen3-235b": Sizes(4096, 1536, 128, 8),
    "qwen3-next": Sizes(2048, 512, 512, 10),
    "deepseek-v3.2": Sizes(7168, 2048, 256, 8),
    "kimi-k2": Sizes(7168, 2048, 384, 8),
    "minimax-m2": Sizes(3072, 1536, 256, 8),
    "ling-1t": Sizes(8192, 2048, 256, 8),
    "ernie-4.5": Sizes(8192, 3584, 64, 8),
    "gpt-oss-120b": Sizes(2880, 2880, 128, 4),
    "mixtral": Sizes(4096, 14336, 8, 2),
}
QUICK = Sizes(64, 32, 16, 2)

TOKENS = (1, 2, 4, 8, 16, 64, 256, 1024, 4096)
FORMATS = ("float32", "bfloat16", "bf16z", "int8", "fp8", "int4", "mxfp4")
ROUTINGS = ("uniform", "zipf", "one")

# Bytes that each weight takes, at most, beside the bfloat16 source while a format is measured: moekit's layer and one
# copy of each peer that is held at the same time (transformers shares the source; onnxruntime has float32 or codes).
_BYTES_A_WEIGHT = {"float32": 2 + 4 + 4 + 4, "bfloat16": 2 + 2 + 2 + 4, "bf16z": 2 + 2 + 2 + 4}
_QUANTISED_BYTES_A_WEIGHT = 2 + 1 + 1 + 1


def that_fit(sizes: Sizes, formats, memory: int) -> Sizes:
    """The shape with as many experts, halved until the layer fits into `memory` bytes for every format; never fewer
    than a token asks for. Raises ValueError when not even those fit."""
    each = max(_BYTES_A_WEIGHT.get(name, _QUANTISED_BYTES_A_WEIGHT) for name in formats)
    experts = sizes.experts
    while experts * sizes.expert_weights * each > memory:
        if experts == sizes.top_k:
            raise ValueError(f"[bench] {experts} experts of {sizes.hidden} x {sizes.intermediate} take "
                             f"{experts * sizes.expert_weights * each / 1e9:.2f} GB, the limit is {memory / 1e9:.2f} GB (--memory)")
        experts = max(experts // 2, sizes.top_k)
    return sizes._replace(experts=experts)
