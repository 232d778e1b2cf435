# SPDX-License-Identifier: Apache-2.0
"""Blocks whose weights come from checkpoint files, at the width in which they are published, instead of from the model.

transformers dequantises what it has no kernels for (on a CPU: FP8) before a module sees it. The files still have the
published form."""
from __future__ import annotations

import operator
import os
from typing import NamedTuple

import torch

from .. import CheckpointError, UnsupportedError, _core, budget
from ..layer import MemoryNeeds, MoeLayer


class Place(NamedTuple):
    """Where a block belongs."""
    layer: int
    experts: str  #: name of the expert set, "" where blocks have one


def local_path(path: str | os.PathLike) -> str:
    """The folder or file, or the snapshot of a model's name in the hub's local cache. Raises CheckpointError."""
    path = os.fspath(path)
    if os.path.exists(path):
        return path
    try:
        from huggingface_hub import snapshot_download

        return snapshot_download(path, local_files_only=True)
    except Exception as error:  # whatever the hub's library finds wrong with the name
        raise CheckpointError(f"[replace_moe] {path!r} is neither a file or folder nor in the hub's local cache") from error


def require_converted(path: str | None, why: str) -> None:
    """Raises UnsupportedError for a path without converted layers."""
    if path is None or not _core.is_converted(path):
        raise UnsupportedError(f"[replace_moe] {why}, which needs a converted checkpoint, path is {path!r}: run "
                               "`moekit convert CHECKPOINT FOLDER` once, and give path=FOLDER")


def budgets(path: str | None, places: list[Place], memory_budget: int) -> dict[Place, int]:
    """What each layer gets of the bytes for all of them; 0 is no limit. Raises UnsupportedError for what is not
    converted, ValueError for too little, CheckpointError."""
    if (memory_budget := operator.index(memory_budget)) < 0:
        raise ValueError(f"[replace_moe] memory_budget is {memory_budget} bytes, expected from 0 (no limit)")
    if memory_budget == 0:
        return dict.fromkeys(places, 0)
    require_converted(path, f"memory_budget is {memory_budget} bytes")
    return dict(zip(places, budget.divide([MemoryNeeds(*_core.memory_needs(path, *place)) for place in places],
                                          memory_budget)))


def load(path: str, place: Place, name: str, config: dict, dtype: str, int8_activations: bool, reproducible: bool,
         bf16_split: bool, memory_budget: int, shared: bool) -> MoeLayer:
    """The layer of this place, with or without shared experts; it must be of the model's configuration. Raises
    CheckpointError, UnsupportedError."""
    core = _core.load_layer(path, place.layer, dtype, int8_activations=int8_activations, reproducible=reproducible,
                            bf16_split=bf16_split, memory_budget=memory_budget, experts=place.experts, shared=shared)
    layer = MoeLayer._wrap(core, _core.inspect_model(path)["family"])
    if not shared:
        config = {**config, "shared": layer.config["shared"]}
    if different := list(_differences(config, layer.config)):
        raise CheckpointError(f"[replace_moe] {name}: layer {place.layer} of {path} is of another model: "
                              + ", ".join(f"{key} is {there}, in the model {here}" for key, here, there in different))
    return layer


def _differences(model: dict, file: dict, prefix: str = ""):
    for key in sorted({*model, *file}):
        here, there = model.get(key), file.get(key)
        if isinstance(here, dict) and isinstance(there, dict):
            yield from _differences(here, there, f"{prefix}{key}.")
        elif here != there:
            yield prefix + key, here, there


def element(layer: MoeLayer, shared: bool, index: int, part: str, shape: torch.Size) -> torch.dtype:
    """In what a layer unpacks a part: bfloat16 where it holds that, float32 otherwise."""
    try:
        layer._core.unpack(index, shared, {part: torch.empty(shape, dtype=torch.bfloat16)})
        return torch.bfloat16
    except ValueError:
        return torch.float32
