# SPDX-License-Identifier: Apache-2.0
"""What the tests of moekit.hf on quantised weights share."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import moekit.hf as hf

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "models"))
import test_hf  # noqa: E402
import write_checkpoints  # noqa: E402


@pytest.fixture(autouse=True)
def fresh_counters(monkeypatch):
    hf.reset_calls()
    monkeypatch.setattr(hf._calls, "_warned", set())


@pytest.fixture
def float32_kernels(monkeypatch):
    """Kernels that neither round x nor weights to bfloat16, as those of AMX do."""
    monkeypatch.setenv("MOEKIT_ISA", "generic")


def tiny(case, dtype=torch.float32, **sizes):
    """A random model of the family with other sizes, where it has them."""
    prefix, fields = write_checkpoints.FAMILIES[case]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(write_checkpoints.FAMILIES, case,
                      (prefix, {**fields, **{name: size for name, size in sizes.items() if name in fields}}))
        return test_hf.tiny(case, dtype)


def tokens(rows: int = 2, length: int = 9):
    return torch.randint(0, 30, (rows, length), generator=torch.Generator().manual_seed(0))


def error(got, want) -> float:
    return ((got.float() - want.float()).norm() / want.float().norm()).item()


def blocks_of(model):
    return write_checkpoints.moe_blocks(model).values()
