# SPDX-License-Identifier: Apache-2.0
"""Mixture-of-Experts inference.

    layer = moekit.load_layer("path/to/checkpoint", layer=3)
    y = layer(x)                                  # NumPy, ml_dtypes, DLPack or torch array in, the same kind out
    y, routing = layer(x, return_routing=True)

    moe = moekit.MoE(num_experts=4, input_dim=10, output_dim=5)   # the dense softmax module
    y = moe(x)

`moekit.torch` holds the nn.Module; importing `moekit` never imports torch.
"""
from ._core import CheckpointError, DeviceError, UnsupportedError, __version__, get_num_threads, set_num_threads
from .layer import MoeLayer, Routing, load_layer
from .moe import MoE
from .quantised import QuantTensor

__all__ = [
    "CheckpointError",
    "DeviceError",
    "MoE",
    "MoeLayer",
    "QuantTensor",
    "Routing",
    "UnsupportedError",
    "__version__",
    "get_num_threads",
    "load_layer",
    "set_num_threads",
]
