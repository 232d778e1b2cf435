# SPDX-License-Identifier: Apache-2.0
"""Whole blocks: router, experts and shared expert in one call of moekit.

The block stays where it is in the model, with its names, its class and its hooks; its forward is exchanged and its
weights move. The router's weights are kept in torch as well: they are small, and its outputs can be asked for.
"""
from __future__ import annotations

import json
import os
import re
import tempfile
import types
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from .. import CheckpointError, UnsupportedError, _core
from ..layer import MoeLayer
from . import _calls, _conditions, _files, _moved, _quantised, _shared
from ._experts import expert_tensors
from ._files import Place
from ._layout import Layout

_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks)\.(\d+)\.(?!.*att)")
_ROUTER = re.compile(r"(?:gate|router)(?:\.(?:gate|wg))?\.(weight|bias)")
_SELECTION_BIAS = re.compile(r"(?:.*\.)?(?:e_score_correction_bias|expert_bias)")
_SHARED = re.compile(r"(shared_experts?|shared_mlp)\.(gate|up|down)_proj\.weight")
_SHARED_GATE = "shared_expert_gate.weight"


def find_blocks(model: nn.Module, sets: list[str]) -> dict[Place, tuple[str, nn.Module]]:
    """(name, block) of every module outside attention that holds `experts` beside a router. Where blocks keep several
    sets of experts apart, each is a block of its own under the set's name: the outer block then stays transformers',
    which sends every token to its set and adds the shared experts."""
    blocks: dict[Place, tuple[str, nn.Module]] = {}
    for name, module in model.named_modules():
        found = _LAYER.search(name + ".")
        if found and "experts" in module._modules:
            own = name.rpartition(".")[2]
            blocks.setdefault(Place(int(found[1]), own if own in sets else ""), (name, module))
    return blocks


class Parts:
    """The parts of routed and shared experts, in the form that `Moved` asks for."""

    def __init__(self, layout: Layout, count: int):
        self.layout, self.count = layout, count

    def __call__(self, tensors: dict):
        shared = {name[len("shared."):]: t for name, t in tensors.items() if name.startswith("shared.")}
        if shared:
            yield True, 0, shared
        if any(name in tensors for name in self.layout.names):
            for e in range(self.count):
                yield False, e, self.layout.expert(tensors, e)


def _gather(block: nn.Module, name: str):
    """(tensors for `MoeLayer.from_arrays`, slots that move, Parts). Every tensor of the block is accounted for."""
    _quantised.refuse_unknown(block)
    experts = block.experts
    layout = Layout.of(experts)
    count, _, _ = layout.sizes(experts._parameters)
    tensors, slots = expert_tensors(experts, layout, count), {part: _moved.Slot(experts, part) for part in layout.names}
    accounted = {f"experts.{part}" for part in layout.names}
    for key, tensor in [*block.named_parameters(), *block.named_buffers()]:
        if key in accounted or _quantised.is_scale(key):
            continue
        if found := _ROUTER.fullmatch(key):
            tensors[f"router.{found[1]}"] = tensor
        elif _SELECTION_BIAS.fullmatch(key):
            tensors["router.selection_bias"] = tensor.flatten()
        elif found := _SHARED.fullmatch(key):
            linear = block.get_submodule(f"{found[1]}.{found[2]}_proj")
            tensors[f"shared.0.{found[2]}"] = _quantised.weight_of(linear)
            slots[f"shared.{found[2]}"] = _moved.Slot(linear, "weight")
        elif key == _SHARED_GATE:
            gate = _quantised.weight_of(block.get_submodule("shared_expert_gate"))
            tensors["shared_gate"] = gate if isinstance(gate, torch.Tensor) else gate.dequantise()
        else:
            raise CheckpointError(f"[replace_moe] {name}.{key} {list(tensor.shape)} is not understood")
    return ({key: t.detach() if isinstance(t, torch.Tensor) else t for key, t in tensors.items()}, slots,
            Parts(layout, count))


def _silent(_self, hidden_states, *_args, **_kwargs):
    """Experts and shared experts of a replaced block, when its own forward runs for the router's outputs only."""
    return torch.zeros_like(hidden_states)


def _silenced(block: nn.Module) -> list[nn.Module]:
    """Children that moekit computes; also a quantised gate, which torch may have no code for."""
    return [child for name, child in block._modules.items()
            if re.fullmatch(r"experts|shared_experts?|shared_mlp", name)
            or name == "shared_expert_gate" and _quantised.is_quantised(child, "weight")]


def _own_forward(block: nn.Module, *args, **kwargs):
    return type(block).forward(block, *args, **kwargs)


def _forward(self: nn.Module, hidden_states: torch.Tensor, *args, **kwargs):
    """What replaces a block's forward: the same arguments and results."""
    reason = _conditions.why_not_tensors(self, hidden_states)
    if any(value is not None for value in (*args, *kwargs.values())):
        reason = reason or "the block was called with further arguments"
    moved = _moved.moved_of(self.experts)
    if reason is None and (moved is None or not moved.intact()):
        moved = _pack(self)
    if reason is not None:
        if moved is not None and moved.layer.cache_counts.slots:
            raise UnsupportedError(f"[moekit.hf] {self._moekit_block.name}: {reason}, and transformers' eager code "
                                   "would need all experts in memory, beyond the memory_budget")
        _calls.fall_back(type(self).__name__, reason)
        if moved is not None:
            moved.restore()
        for child in _silenced(self):
            child.__dict__.pop("forward", None)
        return _own_forward(self, hidden_states, *args, **kwargs)
    _calls.count(_calls.BLOCK)
    # ERNIE 4.5 VL picks the elements of a set's rows, which come flat, and asks for them flat.
    y = moved.layer(hidden_states.reshape(-1, moved.hidden) if hidden_states.ndim == 1 else hidden_states)
    if self._moekit_returns_more or _has_listener(self):
        rest = _own_forward(self, hidden_states)
        return (y.view_as(rest[0]), *rest[1:]) if isinstance(rest, tuple) else y
    return y


def _has_listener(block: nn.Module) -> bool:
    """Whether a hook waits for what the router (or another part that still runs) gives."""
    silenced = _silenced(block)
    return any(module._forward_hooks or module._forward_pre_hooks
               for name, child in block._modules.items() if child is not None and child not in silenced
               for module in child.modules())


class _Block(NamedTuple):
    """What replace_moe was asked to make of a block."""
    name: str
    config: dict
    dtype: str
    int8_activations: bool
    reproducible: bool
    bf16_split: bool


def _pack(block: nn.Module) -> _moved.Moved:
    """Packs the block and moves its weights. Raises CheckpointError, UnsupportedError; then nothing has changed."""
    with _moved.lock:
        if (moved := _moved.moved_of(block.experts)) is not None:
            moved.restore()
        name, config, dtype, int8_activations, reproducible, bf16_split = block._moekit_block
        tensors, slots, parts = _gather(block, name)
        parameters = {key: slot.owner._parameters[slot.name] for key, slot in slots.items()}
        quantised = [key for key, slot in slots.items() if _quantised.is_quantised(*slot)]
        if reason := _conditions.why_not_parameters(parameters, quantised):
            raise CheckpointError(f"[replace_moe] {name}: {reason}")
        for key in quantised:
            _quantised.refuse_dtype(f"{name}: {key}", parameters[key], dtype)
        if not any(key.startswith("shared.") for key in tensors):
            config = {**config, "shared": {"count": 0}}  # Granite's shared expert stands beside the block
        layer = MoeLayer.from_arrays(config, tensors, dtype=dtype, int8_activations=int8_activations,
                                     reproducible=reproducible, bf16_split=bf16_split)
        moved = _moved.Moved(layer, slots, parts, dtype)
        _silence(block)
        return moved


def _pack_from_files(block: nn.Module, path: str, place: Place, memory_budget: int) -> _moved.Moved:
    """Loads the block's layer and lets go of the module's own weights, which may be on the meta device. Raises
    CheckpointError, UnsupportedError; then nothing has changed."""
    with _moved.lock:
        if (moved := _moved.moved_of(block.experts)) is not None:
            moved.restore()
        name, config, dtype, int8_activations, reproducible, bf16_split = block._moekit_block
        _, slots, parts = _gather(block, name)
        if quantised := [key for key, slot in slots.items() if _quantised.is_quantised(*slot)]:
            raise UnsupportedError(f"[replace_moe] {name}: {quantised[0]} is quantised in the model already: call "
                                   "replace_moe(model) without a path")
        # Without shared slots the model computes the shared expert outside the block.
        beside = config["shared"]["count"] > 0 and not any(key.startswith("shared.") for key in slots)
        layer = _files.load(path, place, name, config, dtype, int8_activations, reproducible, bf16_split, memory_budget,
                            shared=not beside)
        moved = _moved.Moved(layer, slots, parts, None)
        _silence(block)
        # What is put in the place of these weights later is packed as it is.
        block.__dict__["_moekit_block"] = block._moekit_block._replace(dtype="auto")
        return moved


def _silence(block: nn.Module) -> None:
    for child in _silenced(block):
        child.__dict__["forward"] = types.MethodType(_silent, child)


def block_configs(model: nn.Module) -> tuple[dict, dict[Place, dict]]:
    """What the configuration says of the model, and the configuration of each of its blocks. Raises CheckpointError."""
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        path = Path(folder) / "config.json"
        fields = json.loads(path.read_text())
        fields.pop("quantization_config", None)  # of files: what the modules hold is seen from them
        path.write_text(json.dumps(fields))
        info = _core.inspect_model(folder)
        return info, {Place(layer, experts): _core.block_config(folder, layer, experts)
                      for layer in info["moe_layers"] for experts in info["expert_sets"] or [""]}


@torch.no_grad()
def replace_moe(model: nn.Module, dtype: str = "auto", *, int8_activations: bool = False, reproducible: bool = False,
                bf16_split: bool = False, path: str | os.PathLike | None = None,
                memory_budget: int = 0) -> dict[str, MoeLayer]:
    """Lets moekit compute whole Mixture-of-Experts blocks of a transformers model: router, experts, shared experts.

    Works for the families that `moekit.load_layer` knows, with or without transformers' experts hook; the model's
    `config` says which family it is. Weights move into the packed layers (see `moekit.hf`). Outputs keep their form,
    and `output_router_logits=True` still works: the router then runs a second time, in torch. Where blocks keep several
    expert sets apart (ERNIE 4.5 VL) each set is replaced, and their shared experts; the block around them stays
    transformers': it sends every token to its set, as the mask of token types says, and adds the shared experts.

    dtype: "auto" keeps the weights as the model has them, FP8 ones included. Or the name of a weight format ("int8",
    "int4", "fp8", "mxfp4", "bfloat16", ...) into which plain weights are converted while they move, block by block;
    what comes back from there (`restore`, `state_dict`) are the converted values in the parameters' dtype. Weights that
    are quantised already stay in their own format, any other is an UnsupportedError.

    int8_activations, reproducible, bf16_split: as for `moekit.load_layer`.

    path: the checkpoint that the model was loaded from (folder, GGUF file, folder of `moekit convert`, or a name in the
    hub's local cache). Blocks are then loaded from it with `moekit.load_layer(path, layer, dtype)`, at their published
    width, and the model's own expert weights are let go, block by block (shared experts that stand beside the blocks are
    packed from the model's): for checkpoints that transformers
    dequantises, as FP8 on a CPU. They may be on the meta device, never loaded. `state_dict` and `restore` give the
    dequantised weights in the parameters' dtype; after `restore`, or other changes of weights, blocks are packed from
    the parameters. A checkpoint of another configuration is a CheckpointError that says what differs; the router's
    weights are those of the checkpoint too.

    memory_budget: bytes of packed experts that may be in memory, of all blocks together; 0 is no limit. For a path that
    `moekit convert` wrote. Each layer keeps what all its calls need (shared experts, biases) and the same share of its
    experts, and reads others from the file when a call needs them, as in `moekit.load_layer(memory_budget=)`; results
    have the same bits. `memory(model)` tells what is held and was read, `moekit trace` which budget can pay. A call
    that would be left to transformers (gradients, training mode, ...) is an UnsupportedError then: eager code needs all
    weights. The ways back to parameters (`restore`, `state_dict`, `.to`) need memory for them, budget or not. For models
    that do not fit before they are replaced see `MoekitConfig`.

    Returns name of the block -> its layer. Raises CheckpointError (a ValueError) for a family or a tensor that is not
    known and for blocks that are not found; UnsupportedError, also for a budget without a converted path; ValueError
    for a budget that is too small, which names the smallest that will do; blocks already replaced then stay replaced, and
    `restore(model)` undoes them.
    """
    path = None if path is None else _files.local_path(path)
    info, configs = block_configs(model)
    blocks = find_blocks(model, info["expert_sets"])
    if missing := sorted({place.layer for place in configs if place not in blocks}):
        raise CheckpointError(f"[replace_moe] no block with experts in layers {missing} of {type(model).__name__}, "
                              f"family {info['family']}")
    budgets = _files.budgets(path, list(configs), memory_budget)
    layers = {}
    for place, config in configs.items():
        name, block = blocks[place]
        block.__dict__["_moekit_block"] = _Block(name, config, dtype, int8_activations, reproducible, bf16_split)
        moved = _pack(block) if path is None else _pack_from_files(block, path, place, budgets[place])
        probe = next(t for key, t in block.named_parameters() if _ROUTER.fullmatch(key))
        hidden = torch.zeros(1, 1, config["expert"]["input"], dtype=probe.dtype)
        block.__dict__["_moekit_returns_more"] = isinstance(_own_forward(block, hidden), tuple)
        block.__dict__["forward"] = types.MethodType(_forward, block)
        layers[name] = moved.layer
        if config["shared"]["count"] and [place.experts] == info["expert_sets"][-1:]:  # once for all sets of a layer
            beside = name.rpartition(".")[0] + ".shared_experts"
            layers[beside] = _shared.replace_shared(model.get_submodule(beside), beside, config["shared"]["expert"],
                                                    dtype, int8_activations, reproducible, bf16_split)
    return layers


def restore_block(block: nn.Module) -> None:
    """Undoes replace_moe for one block, apart from its weights."""
    for key in ("forward", "_moekit_block", "_moekit_returns_more"):
        block.__dict__.pop(key, None)
    for child in _silenced(block):
        child.__dict__.pop("forward", None)
