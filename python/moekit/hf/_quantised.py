# SPDX-License-Identifier: Apache-2.0
"""Weights that transformers keeps quantised: experts and linear layers of FP8 checkpoints.

A weight has its scales beside it, as `<name>_scale_inv` (multiplied): a grid for e4m3 in blocks of the module's
`block_size`, one number where it has none; or, for e2m1 codes two a byte in int8 ("fp4"), one for 32 weights of a row.
The codes move into packed layers; the scales are small, and stay in torch too.
"""
from __future__ import annotations

import torch
from torch import nn

from .. import UnsupportedError
from ..quantised import QuantTensor
from ._layout import Layout

_SUFFIX = "_scale_inv"
_SHORT = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.float8_e4m3fn, torch.float8_e5m2)


def is_quantised(module: nn.Module, name: str) -> bool:
    """Whether this parameter is of codes that the module's scales belong to."""
    weight = module._parameters.get(name)
    return (weight is not None and weight.dtype in (torch.float8_e4m3fn, torch.int8)
            and module._parameters.get(name + _SUFFIX) is not None)


def refuse_unknown(block: nn.Module) -> None:
    """Raises UnsupportedError naming the class that keeps weights in a form that is not known here."""
    for module in block.modules():
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            known = is_quantised(module, name) or name.endswith(_SUFFIX)
            if tensor is not None and tensor.dtype in _SHORT and tensor.ndim > 1 and not known:
                raise UnsupportedError(
                    f"[moekit.hf] {type(module).__name__} keeps {name} {list(tensor.shape)} in {tensor.dtype}, which "
                    "moekit reads from checkpoints (moekit.load_layer) but not from this module: load the model "
                    "dequantised, and let replace_moe(model, dtype=...) quantise")


def is_scale(key: str) -> bool:
    """Names of what stands beside quantised weights: their scales, and those of activations (not used)."""
    return key.endswith((_SUFFIX, "_activation_scale", ".activation_scale"))


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """8 bit floats as bytes, which every array protocol knows."""
    tensor = tensor.detach()
    return tensor.view(torch.uint8) if tensor.is_floating_point() and tensor.element_size() == 1 else tensor


def _quant_tensor(codes: torch.Tensor, scales: torch.Tensor, block, rows: int) -> QuantTensor:
    """A matrix or a stack of them with `rows` rows each."""
    if codes.dtype == torch.int8:
        return QuantTensor(codes.detach(), _bytes(scales), format="mxfp4")
    group, share = (0, rows) if block is None else (block[1], block[0])
    return QuantTensor(_bytes(codes), _bytes(scales), format="fp8", group=group, scale_rows=share)


def linear_weight(linear: nn.Module) -> QuantTensor:
    """The weight of an FP8 linear layer."""
    return _quant_tensor(linear.weight, linear.weight_scale_inv, getattr(linear, "block_size", None),
                         linear.weight.shape[0])


def weight_of(linear: nn.Module):
    """The weight of a linear layer, plain or FP8."""
    return linear_weight(linear) if is_quantised(linear, "weight") else linear.weight.detach()


def refuse_dtype(name: str, codes: torch.Tensor, dtype: str) -> None:
    """Raises UnsupportedError for a dtype from which quantised weights could not come back."""
    own = "mxfp4" if codes.dtype == torch.int8 else "fp8"
    if dtype not in ("auto", own):
        raise UnsupportedError(f"[replace_moe] {name} is {own}, and its codes could not come back from dtype {dtype!r}: "
                               f"expected 'auto' or {own!r}")


def expert_tensors(experts: nn.Module, layout: Layout) -> dict[str, QuantTensor]:
    """The matrices of all experts, named as in `MoeLayer.from_arrays`. Raises CheckpointError for scales of another
    shape."""
    parameters, tensors = experts._parameters, {}
    block = getattr(experts, "block_size", None)
    count, width = parameters[layout.up].shape[:2]

    def scales_of(name):
        return parameters[name + _SUFFIX]

    down = _quant_tensor(parameters["down_proj"], scales_of("down_proj"), block, parameters["down_proj"].shape[1])
    up_codes, up_scales = parameters[layout.up], scales_of(layout.up)
    if not layout.gated:
        up = _quant_tensor(up_codes, up_scales, block, width)
        pairs = [{"up": up[e]} for e in range(count)]
    else:
        half = width // 2
        share = 1 if up_codes.dtype == torch.int8 else half if block is None else block[0]
        # Checkpoints have scales a projection: the grid of the fused weight is theirs one after the other, so that the
        # last blocks of the gate may be partial. Otherwise its blocks run through both.
        own = layout.concatenated and up_scales.shape[1] == 2 * -(-half // share)
        if own:
            both = _quant_tensor(up_codes.view(2 * count, half, -1),
                                 up_scales.view(2 * count, up_scales.shape[1] // 2, -1), block, half)
            pairs = [{"gate": both[2 * e], "up": both[2 * e + 1]} for e in range(count)]
        else:
            both = _quant_tensor(up_codes, up_scales, block, width)
            first, step = (half, 1) if layout.concatenated else (1, 2)
            pairs = [{"gate": both[e].rows(0, half, step), "up": both[e].rows(first, half, step)}
                     for e in range(count)]
    for e, parts in enumerate(pairs):
        parts["down"] = down[e]
        tensors.update({f"experts.{e}.{part}": tensor for part, tensor in parts.items()})
    return tensors


def from_codes(codes: torch.Tensor, part: torch.Tensor) -> None:
    """Codes one a byte [N, K] to a parameter of two a byte [N, K / 2]: even k in the low half."""
    part.copy_((codes[:, ::2] | codes[:, 1::2] << 4).view(torch.int8))
