# SPDX-License-Identifier: Apache-2.0
"""Models that transformers loads without their experts, which moekit has converted: for more experts than memory.

transformers lets quantisation methods see a model between its making, on the meta device, and its loading. There the
experts' parameters are taken away, so that nothing is read for them, and are put back afterwards, still on the meta
device, for `replace_moe(path=...)`."""
from __future__ import annotations

import os
import re

from torch import nn
from transformers.quantizers import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from ._blocks import block_configs, find_blocks, replace_moe
from ._files import require_converted

_METHOD = "moekit"


@register_quantization_config(_METHOD)
class MoekitConfig(QuantizationConfigMixin):
    """Loads a model without its experts and calls `replace_moe`: they are never in memory as parameters.

        config = moekit.hf.MoekitConfig(path=converted, memory_budget=24 << 30)
        model = AutoModelForCausalLM.from_pretrained(path, quantization_config=config)

    path: folder of `moekit convert`, made of the same checkpoint. options: those of `replace_moe`. The model that comes
    is as if `replace_moe(model, path=path, **options)` had been called for it. from_pretrained raises UnsupportedError
    for a path that is not converted, what `replace_moe` raises, and ValueError for a checkpoint that is quantised
    itself.
    """

    def __init__(self, path: str | os.PathLike, **options):
        self.quant_method, self.path, self.options = _METHOD, os.fspath(path), options


@register_quantizer(_METHOD)
class _WithoutExperts(HfQuantizer):
    requires_calibration = False
    is_trainable = False

    def validate_environment(self, *_args, **_kwargs) -> None:
        require_converted(self.quantization_config.path, "MoekitConfig leaves the experts out of memory")

    def _process_model_before_weight_loading(self, model: nn.Module, **_kwargs) -> None:
        info, _ = block_configs(model)
        self._taken = {}
        for name, block in find_blocks(model, info["expert_sets"]).values():
            experts = block.experts
            self._taken[experts] = dict(experts._parameters)
            experts._parameters.clear()
            experts._is_hf_initialized = True  # transformers' mark for modules whose parameters need no first values
            ignored = re.escape(f"{name}.experts.")
            model._keys_to_ignore_on_load_unexpected = {*(model._keys_to_ignore_on_load_unexpected or ()), ignored}

    def _process_model_after_weight_loading(self, model: nn.Module, **_kwargs) -> nn.Module:
        for experts, parameters in self._taken.items():
            experts._parameters.update(parameters)
        self.remove_quantization_config(model)
        replace_moe(model, path=self.quantization_config.path, **self.quantization_config.options)
        return model

    def is_serializable(self) -> bool:
        return True
