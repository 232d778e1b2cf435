# SPDX-License-Identifier: Apache-2.0
"""How transformers keeps the weights of experts: names and shapes of the parameters, and the parts of one expert."""
from __future__ import annotations

from typing import NamedTuple

import torch

from .. import CheckpointError


class Layout(NamedTuple):
    """Of a module under transformers' `use_experts_implementation`: stacked parameters [E, ...].

    up: "gate_up_proj" [E, 2I, H] or "up_proj" [E, I, H]; down: "down_proj" [E, H, I]; transposed: the last two
    dimensions the other way round. Gate and up rows are one after the other, or alternate when not concatenated.
    """

    gated: bool
    bias: bool
    transposed: bool
    concatenated: bool

    @classmethod
    def of(cls, experts) -> "Layout":
        """Of a module: what the hook's decorator says, or else what names and shapes of its parameters say. Raises
        CheckpointError when there is no down_proj beside gate_up_proj or up_proj."""
        if hasattr(experts, "is_concatenated"):
            return cls(experts.has_gate, experts.has_bias, experts.is_transposed, experts.is_concatenated)
        parameters = experts._parameters
        gated = "gate_up_proj" in parameters
        up, down = (parameters.get(name) for name in ("gate_up_proj" if gated else "up_proj", "down_proj"))
        if up is None or down is None or up.ndim != 3 or down.ndim != 3:
            raise CheckpointError(f"[moekit.hf] {type(experts).__name__} has parameters {sorted(parameters)}, expected "
                                  "stacked gate_up_proj or up_proj, and down_proj")
        return cls(gated, "down_proj_bias" in parameters, up.shape[1] == down.shape[2] != down.shape[1], True)

    @property
    def up(self) -> str:
        return "gate_up_proj" if self.gated else "up_proj"

    @property
    def names(self) -> list[str]:
        """Names of the parameters."""
        names = [self.up, "down_proj"]
        return names + [name + "_bias" for name in names] if self.bias else names

    def sizes(self, parameters: dict) -> tuple[int, int, int]:
        """(E, H, I). Raises CheckpointError when the shapes do not fit together."""
        shapes = {name: tuple(parameters[name].shape) for name in self.names}
        for name in (self.up, "down_proj"):
            if parameters[name].dtype == torch.int8:  # two codes a byte
                shapes[name] = (*shapes[name][:-1], shapes[name][-1] * 2)
        up, down = shapes[self.up], shapes["down_proj"]
        if len(up) == 3 and len(down) == 3:
            count, hidden, inner = (down[0], down[2], down[1]) if self.transposed else down
            width = inner * 2 if self.gated else inner
            expected = {self.up: (count, hidden, width) if self.transposed else (count, width, hidden),
                        "down_proj": down, self.up + "_bias": (count, width), "down_proj_bias": (count, hidden)}
            if all(expected[name] == shape for name, shape in shapes.items()):
                return count, hidden, inner
        raise CheckpointError(f"[moekit.hf] parameters of the experts have shapes {shapes}")

    def expert(self, parameters: dict, index: int) -> dict:
        """Views of one expert's parts, named as in `MoeLayer.from_arrays`: gate, up [I, H], down [H, I] and biases;
        without those of absent parameters."""
        parts = {}
        for name in self.names:
            if name not in parameters:
                continue
            suffix, view = "_bias" if name.endswith("_bias") else "", parameters[name][index]
            if self.transposed and not suffix:
                view = view.t()
            parts.update({"down" + suffix: view} if name.startswith("down") else self._split(suffix, view))
        return parts

    def _split(self, suffix: str, rows: torch.Tensor) -> dict:
        if not self.gated:
            return {"up" + suffix: rows}
        half = rows.shape[0] // 2
        gate, up = (rows[:half], rows[half:]) if self.concatenated else (rows[::2], rows[1::2])
        return {"gate" + suffix: gate, "up" + suffix: up}
