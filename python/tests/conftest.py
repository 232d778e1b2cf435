# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"


class PlainMoE(nn.Module):
    """The tutorials' module, written out."""

    def __init__(self, num_experts, input_dim, output_dim):
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(input_dim, output_dim) for _ in range(num_experts)])
        self.gate = nn.Linear(input_dim, num_experts)

    def forward(self, x):
        mix = F.softmax(self.gate(x), dim=-1)
        outputs = torch.stack([expert(x) for expert in self.experts], dim=-1)
        return (outputs * mix.unsqueeze(-2)).sum(-1)


def nmse(y, expected) -> float:
    """Sum of squared differences over the sum of squares, in float64."""
    y, expected = (np.asarray(a.detach().double() if isinstance(a, torch.Tensor) else a, dtype=np.float64)
                   for a in (y, expected))
    assert y.shape == expected.shape
    return float(np.square(y - expected).sum() / max(np.square(expected).sum(), 1e-300))


def nmse_bound(layer) -> float:
    """Of outputs for float32 tokens, weights as they are: kernels of this host may round x and hidden activations to
    bfloat16, each by up to 2^-9 of a number (the conformance suite has the same bound)."""
    return 3e-5 if "x rounded to bfloat16" in layer.explain() else 1e-9


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return PlainMoE(4, 10, 5)


@pytest.fixture(scope="session")
def model_path():
    return MODELS / "qwen3_moe_bytes"
