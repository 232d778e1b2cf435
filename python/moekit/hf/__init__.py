# SPDX-License-Identifier: Apache-2.0
"""moekit in transformers. Importing this module registers the experts implementation "moekit":

    import moekit.hf
    model = AutoModelForCausalLM.from_pretrained(path, experts_implementation="moekit")

Every family with transformers' experts hook then computes its experts with moekit on the CPU; router and shared
experts stay in torch. `replace_moe(model)` takes whole blocks instead, router and shared experts included.

The weights of a module move into a packed layer on its first call: they are held once (twice for one module while it
is packed). Parameters are placeholders on the meta device from then on. `state_dict` and `save_pretrained` unpack the
weights, bit for bit, for as long as the result lives; `load_state_dict`, `.to` and training put them back first;
`restore(model)` does so on request. Pickling a packed model is an error that says so.

In training mode, with gradients enabled, under autocast, on other devices and for forms that moekit does not know, the
call is computed by transformers' eager code, with a warning the first time. `calls()` tells how often each happened.

Quantised weights: FP8 experts (transformers' FineGrainedFP8, blocks or one scale a tensor, float32 or ue8m0 scales; its
"fp4" too) are registered under the same name, and replace_moe takes FP8 shared experts with them. Weights stay at their
published width. Activations are not quantised, whatever `activation_scheme` says: results are those of the
dequantised weights, and differ from eager FP8 code by the rounding of activations to e4m3 that it does and moekit does
not. `replace_moe(model, dtype="int8")` quantises plain weights while it moves them. Other quantised modules are an
UnsupportedError that names the class.

Checkpoints that transformers dequantises while it loads them (FP8 on a CPU, and others with `dequantize=True`):
`replace_moe(model, path=path)` takes the blocks from the files, at their published width, and lets go of the
dequantised weights.

More experts than memory: `replace_moe(model, path=converted, memory_budget=...)` keeps to a budget, and
`from_pretrained(path, quantization_config=MoekitConfig(converted, memory_budget=...))` never has the experts in memory.
"""
from __future__ import annotations

from torch import nn
from transformers.integrations.finegrained_fp8 import ALL_FP8_EXPERTS_FUNCTIONS
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from . import _moved
from ._blocks import replace_moe, restore_block
from ._calls import calls, reset_calls
from ._experts import experts_forward
from ._loading import MoekitConfig
from ._memory import memory
from ._shared import restore_shared

__all__ = ["MoekitConfig", "calls", "memory", "replace_moe", "reset_calls", "restore"]

ALL_EXPERTS_FUNCTIONS.register("moekit", experts_forward)
ALL_FP8_EXPERTS_FUNCTIONS.register("moekit", experts_forward)


def restore(model: nn.Module) -> None:
    """Puts all weights back into the model's parameters, bit for bit, and undoes `replace_moe`. With the experts
    implementation "moekit" they move again on the next call that moekit computes. Weights that
    `replace_moe(model, dtype=...)` converted come back as what they became."""
    for module in model.modules():
        if (moved := _moved.moved_of(module)) is not None:
            moved.restore()
        if "_moekit_block" in module.__dict__:
            restore_block(module)
        if "_moekit_shared" in module.__dict__:
            restore_shared(module)
