# SPDX-License-Identifier: Apache-2.0
"""When a call is left to transformers: what has to be true of modules and tensors for moekit to compute it."""
from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

DTYPES = (torch.float32, torch.bfloat16)


def why_not_tensors(module: nn.Module, *tensors: torch.Tensor) -> str | None:
    """What about this call is not moekit's to compute, None when it is. The first tensor is the hidden states."""
    if module.training:
        return "the module is in training mode"
    if torch.is_grad_enabled() and (any(t.requires_grad for t in tensors)
                                    or any(p.requires_grad for p in module.parameters())):
        return "gradients are enabled (use torch.no_grad())"
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    x = tensors[0]
    for tensor in tensors:
        if tensor.device.type != "cpu" or tensor.layout != torch.strided:
            return f"a tensor is {tensor.layout} on {tensor.device}"
    if x.dtype not in DTYPES:
        return f"hidden states have dtype {x.dtype}"
    return None


def why_not_parameters(parameters: dict[str, torch.Tensor], quantised: Collection[str] = ()) -> str | None:
    """What about these parameters cannot be packed, None when they can. `quantised`: those of codes."""
    for name, parameter in parameters.items():
        if type(parameter) not in (nn.Parameter, torch.Tensor):
            return f"{name} is a {type(parameter).__name__}"
        if parameter.device.type != "cpu":
            return f"{name} is on {parameter.device}"
        if name not in quantised and parameter.dtype not in DTYPES:
            return f"{name} has dtype {parameter.dtype}"
    if len({parameter.dtype for name, parameter in parameters.items() if name not in quantised}) > 1:
        return "parameters have several dtypes"
    return None
