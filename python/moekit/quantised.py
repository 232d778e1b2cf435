# SPDX-License-Identifier: Apache-2.0
"""Quantised weights as arrays: codes, scales, and what they mean."""
from __future__ import annotations

from typing import Any, Optional, Sequence

from . import _core


class QuantTensor:
    """One quantised matrix [N, K] (N rows of outputs), or a stack [E, N, K] of equal ones, for
    `MoeLayer.from_arrays`. The arrays are used where they lie, and kept alive, when they are in C order.

    With s = scale (times or over row_scale), all in float32, round to nearest even (C++: QuantTensors, WeightFormat):

        w[n, k] = (value(code[n, k]) - zero[n, g]) * s[n // scale_rows, g],   g = k // group, or column_groups[k]

    codes, scales: arrays of any kind that a layer takes; 8 bit floats as such (torch, ml_dtypes) or as their bytes.
    format: name of the weight format, which gives the defaults of the rest:

        "fp8"    e4m3, one a byte, 128 x 128 blocks           "mxfp8"  e4m3, one a byte, groups of 32
        "int8"   one a byte, a scale a row                    "int4"   q + 8 in words, groups of 32
        "mxfp4"  e2m1 nibbles, groups of 32                   "nvfp4"  e2m1 nibbles, groups of 16, e4m3 scales

    group: weights of a row that share a scale, 0: the whole row. scale_rows: rows that share their scales.
    scales: [.., ceil(N / scale_rows), groups], for "gptq" and "awq" [groups, N]; float32, bfloat16, float16, e4m3, or
        e8m0 (uint8 means e8m0: 2^(b - 127)). A last dimension of 1 may be absent.
    packing: where code (n, k) lies.
        "bytes"    [.., N, K] float8_e4m3fn, int8, or uint8 for e4m3
        "nibbles"  [.., N, K / 2] uint8 or int8, even k in the low half; [.., N, groups, 16] as gpt-oss has it
        "words"    [.., N, ceil(K / slots)] int32, lowest bits first along K, as compressed-tensors has them
        "gptq"     [K / 8, N] int32, lowest bits first along K        "awq"  [K, N / 8] int32, order 0 2 4 6 1 3 5 7
    shape: [N, K] or [E, N, K], where the last word or byte of a row is not full; otherwise the codes tell.
    zeros: zero points a group, packed as the packing does: int8 [.., N, groups] beside bytes and nibbles. zero: one for
        all (8 of "int4" unless given). zero_add: added to stored zero points, 1 for GPTQ's first version.
    row_scales: float32, one, or one a matrix, that multiplies the scales; divides them with row_scales_divide.
    column_groups: [K] integers, GPTQ's g_idx.

    Raises CheckpointError naming the array that does not fit, ValueError, TypeError. Whether scales are finite is seen
    when a layer is made of it.
    """

    __slots__ = ("_core",)

    def __init__(self, codes: Any, scales: Any, *, format: str, packing: Optional[str] = None,
                 shape: Optional[Sequence[int]] = None, group: Optional[int] = None, scale_rows: Optional[int] = None,
                 zeros: Any = None, zero: Optional[int] = None, zero_add: int = 0, row_scales: Any = None,
                 row_scales_divide: bool = False, column_groups: Any = None):
        self._core = _core.QuantSelection(format, codes, scales, packing, None if shape is None else list(shape), group,
                                          scale_rows, zeros, zero, zero_add, row_scales, row_scales_divide,
                                          column_groups)

    @classmethod
    def _wrap(cls, core) -> "QuantTensor":
        self = object.__new__(cls)
        self._core = core
        return self

    def __getitem__(self, index: int) -> "QuantTensor":
        """Matrix `index` of a stack; nothing is copied. Raises IndexError, TypeError for one matrix."""
        return self._wrap(self._core.item(index))

    def rows(self, first: int, count: int, step: int = 1) -> "QuantTensor":
        """Rows first, first + step, ... (`count` of them) of every matrix: the gate's or the up-projection's share of a
        fused one. Nothing is copied. Raises ValueError."""
        return self._wrap(self._core.rows(first, count, step))

    def dequantise(self):
        """The weights as a new NumPy array of float32, bit for bit what layers compute with."""
        return self._core.dequantise()

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, K] or [E, N, K]."""
        return self._core.shape

    @property
    def format(self) -> str:
        return self._core.format

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"QuantTensor({list(self.shape)}, {self._core.describe()})"
