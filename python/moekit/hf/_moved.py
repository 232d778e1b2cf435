# SPDX-License-Identifier: Apache-2.0
"""Weights that moved from a module's parameters into a packed layer, and the way back.

While they are moved, the parameter is a placeholder on the meta device: shape and dtype without memory. The module
still gives its state_dict (unpacked for the occasion), takes one, and can be converted or moved (`.to`): the weights
return first. The Parameter object itself is kept, so that an optimizer made before still refers to it after.
"""
from __future__ import annotations

import threading
import types
from typing import Callable, Iterator, NamedTuple

import torch
from torch import nn

from ..layer import MoeLayer
from . import _files, _quantised

lock = threading.RLock()  # held while weights move, either way

_KEY = "_moekit"  # where a module keeps what holds its weights


class Slot(NamedTuple):
    owner: nn.Module
    name: str


class Moved:
    """slots: key -> parameter. parts(tensors): for tensors by key, (shared, index, parts of that expert) of all
    experts; the keys that are absent from `tensors` are left out of the parts. dtype: what the layer was packed with;
    None for a layer of files."""

    def __init__(self, layer: MoeLayer, slots: dict[str, Slot], parts: Callable[[dict], Iterator], dtype: str | None = "auto"):
        self.layer, self.slots, self.parts, self.dtype = layer, slots, parts, dtype
        config = layer.config  # asked once: it is made anew each time
        self.router, self.hidden = config["router"], config["expert"]["input"]
        self._elements: dict[tuple[bool, str], torch.dtype] = {}  # of a layer of files
        self._kept: dict[str, nn.Parameter] = {}
        with lock:
            for key, (owner, name) in slots.items():
                parameter = owner._parameters[name]
                owner._parameters[name] = nn.Parameter(torch.empty_like(parameter, device="meta"),
                                                       requires_grad=parameter.requires_grad)
                parameter.data = parameter.data.new_empty(0)
                self._kept[key] = parameter
            for owner in self._owners():
                _watch(owner, self)

    def _owners(self) -> list[nn.Module]:
        return list({id(slot.owner): slot.owner for slot in self.slots.values()}.values())

    def intact(self) -> bool:
        """Whether every parameter is still the placeholder: nobody put another in its place."""
        return all(owner._parameters.get(name) is not None and owner._parameters[name].is_meta
                   for owner, name in self.slots.values())

    def unpack(self, keys: list[str]) -> dict[str, torch.Tensor]:
        """The weights of some slots as new tensors: bit for bit those that were moved, or (where `dtype` converted
        them) what they became, in the parameters' dtype."""
        out = {key: torch.empty_like(self.slots[key].owner._parameters[self.slots[key].name], device="cpu",
                                     requires_grad=False) for key in keys}
        with torch.no_grad():
            for shared, index, parts in self.parts(out):
                target = {name: self._target(shared, index, name, part) for name, part in parts.items()}
                self.layer._core.unpack(index, shared, target)
                for name, part in parts.items():
                    if part.dtype == torch.int8:
                        _quantised.from_codes(target[name], part)
                    elif target[name].data_ptr() != part.data_ptr():
                        part.copy_(target[name] if part.dtype != torch.float8_e4m3fn
                                   else target[name].view(part.dtype))
        return out

    def _target(self, shared: bool, index: int, name: str, part: torch.Tensor) -> torch.Tensor:
        """What the layer gives for a part: the part itself where rows are contiguous and its dtype is the packed one."""
        packed = {"auto": part.dtype, "bfloat16": torch.bfloat16, "bf16z": torch.bfloat16}
        shape, dtype = part.shape, packed.get(self.dtype, torch.float32)
        if part.dtype == torch.int8:  # two codes a byte
            return torch.empty((shape[0], shape[1] * 2), dtype=torch.uint8)
        if part.dtype == torch.float8_e4m3fn:
            dtype, part = torch.uint8, part.view(torch.uint8)
        if name.endswith("bias"):
            return torch.empty(shape, dtype=torch.float32)
        if self.dtype is None:
            if (shared, name) not in self._elements:
                self._elements[shared, name] = _files.element(self.layer, shared, index, name, shape)
            dtype = self._elements[shared, name]
        if dtype == part.dtype and part.stride(-1) == 1:
            return part
        return torch.empty(shape, dtype=dtype)

    def restore(self) -> None:
        """Puts the weights back into their parameters; those that somebody replaced meanwhile stay as they are."""
        with lock:
            gone = [key for key, (owner, name) in self.slots.items()
                    if owner._parameters.get(name) is not None and owner._parameters[name].is_meta]
            for key, tensor in self.unpack(gone).items():
                owner, name = self.slots[key]
                parameter = self._kept[key]
                if parameter.is_meta:  # never had memory, and cannot get any
                    parameter = nn.Parameter(tensor, requires_grad=False)
                else:
                    parameter.data = tensor
                parameter.requires_grad_(owner._parameters[name].requires_grad)
                owner._parameters[name] = parameter
            for owner in self._owners():
                owner.__dict__.pop(_KEY, None)
                owner.__dict__.pop("_apply", None)

    def __deepcopy__(self, memo):
        """A copy of the modules shares the layer, which never changes."""
        from copy import deepcopy

        copy = memo[id(self)] = object.__new__(Moved)
        copy.layer, copy.dtype, copy._elements = self.layer, self.dtype, self._elements
        copy.router, copy.hidden = self.router, self.hidden
        copy._kept = {key: nn.Parameter(p.data.new_empty(0), requires_grad=p.requires_grad)
                      for key, p in self._kept.items()}
        copy.parts = deepcopy(self.parts, memo)
        copy.slots = {key: Slot(deepcopy(owner, memo), name) for key, (owner, name) in self.slots.items()}
        return copy

    def __reduce__(self):
        raise TypeError("[moekit.hf] a model whose weights are packed cannot be pickled: call moekit.hf.restore(model) "
                        "first, or save its state_dict() or use save_pretrained(), which unpack")


def moved_of(module: nn.Module) -> Moved | None:
    return module.__dict__.get(_KEY)


def _watch(owner: nn.Module, moved: Moved) -> None:
    owner.__dict__[_KEY] = moved
    owner.__dict__["_apply"] = types.MethodType(_apply, owner)
    if _give not in owner._state_dict_hooks.values():
        owner._register_state_dict_hook(_give)
        owner.register_load_state_dict_pre_hook(_take)


def _apply(owner: nn.Module, fn, recurse: bool = True):
    """nn.Module._apply, behind .to(), .half(), .cuda(): works on real weights."""
    if (moved := moved_of(owner)) is not None:
        moved.restore()
    return type(owner)._apply(owner, fn, recurse)


def _give(owner, state_dict, prefix, _metadata):
    moved = moved_of(owner)
    if moved is None:
        return
    wanted = {key: prefix + slot.name for key, slot in moved.slots.items()
              if slot.owner is owner and getattr(state_dict.get(prefix + slot.name), "is_meta", False)}
    for key, tensor in moved.unpack(list(wanted)).items():
        state_dict[wanted[key]] = tensor


def _take(owner, state_dict, prefix, *_rest):
    moved = moved_of(owner)
    if moved is not None and any(prefix + slot.name in state_dict for slot in moved.slots.values()
                                 if slot.owner is owner):
        moved.restore()
