# SPDX-License-Identifier: Apache-2.0
"""Quantised checkpoints that cannot be used: the error names the tensor or the field, what was seen and what is known."""
from __future__ import annotations

import json
import re

import numpy as np
import pytest

import moekit

torch = pytest.importorskip("torch")
pytest.importorskip("compressed_tensors")
import quant_checkpoints as qc  # noqa: E402
import quant_schemes as qs  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from test_quantised import AWQ, CASES, FP8, INT4, compressed, gptq  # noqa: E402

E1 = "model.layers.0.mlp.experts.1."
# A case of each kind of tensors.
KINDS = ["fp8", "mxfp8 of transformers", "packed int4, zero points", "int8 channels, zero points", "nvfp4",
         "nvfp4 modelopt", "mxfp4 compressed", "gptq act-order", "awq"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Config and tensors of a case."""
    root = tmp_path_factory.mktemp("errors")

    def read(case: str):
        folder = root / case.replace(" ", "_")
        if not folder.exists():
            family, scheme, sizes, config, _, shared = CASES[case]
            qc.write(folder, family, scheme, sizes, config, shared)
        return json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")

    return read


def refused(folder, config, tensors, pattern: str, **options) -> None:
    qc.save(folder, config, tensors)
    with pytest.raises(moekit.CheckpointError, match=pattern):
        moekit.load_layer(folder, 0, **options)


@pytest.mark.parametrize("case", KINDS)
def test_every_tensor_is_needed(parts, tmp_path, case):
    config, tensors = parts(case)
    needed = [n for n in tensors if n.startswith(E1 + "up_proj.") and not re.search("weight_shape|g_idx|input|zero_p", n)]
    assert len(needed) >= 2
    for name in needed:
        refused(tmp_path, config, {n: t for n, t in tensors.items() if n != name}, re.escape(name))
    refused(tmp_path, config, {**tensors, E1 + "up_proj.stray": torch.ones(2)}, re.escape(E1 + "up_proj.stray"))


@pytest.mark.parametrize("case", KINDS)
def test_every_shape_is_checked(parts, tmp_path, case):
    """Rows or columns that are missing, or too many, of any tensor of a matrix."""
    config, tensors = parts(case)
    for name, tensor in tensors.items():
        if not name.startswith(E1 + "down_proj.") or re.search("input", name) or tensor.ndim == 0:
            continue
        for axis in range(tensor.ndim):
            extent = tensor.shape[axis]
            bytes_ = tensor.view(torch.uint8) if tensor.dtype.itemsize == 1 else tensor
            for wrong in (bytes_.narrow(axis, 0, extent - 1), torch.cat([bytes_, bytes_.narrow(axis, 0, 1)], axis)):
                refused(tmp_path, config, {**tensors, name: wrong.contiguous().view(tensor.dtype)}, re.escape(name))
        refused(tmp_path, config, {**tensors, name: tensor[None].expand(2, *tensor.shape).contiguous()},
                re.escape(name))
        if tensor.dtype == torch.int64:
            continue  # any integers do
        refused(tmp_path, config, {**tensors, name: torch.zeros(tensor.shape, dtype=torch.int16)}, re.escape(name))


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("case, suffix", [("fp8", "weight_scale_inv"), ("packed int4, zero points", "weight_scale"),
                                          ("gptq", "scales"), ("awq", "scales"), ("nvfp4", "weight_global_scale"),
                                          ("nvfp4", "weight_scale"), ("mxfp4 compressed", "weight_scale"),
                                          ("fp8 tensors", "weight_scale")])
def test_scales_that_are_no_numbers(parts, tmp_path, case, suffix, backend):
    config, tensors = parts(case)
    name = f"{E1}up_proj.{suffix}"
    spoilt = tensors[name].clone()
    flat = spoilt.reshape(-1)
    if spoilt.dtype.itemsize == 1:  # e4m3's and e8m0's NaN
        flat.view(torch.uint8)[-1] = 0x7F if spoilt.dtype == torch.float8_e4m3fn else 0xFF
    else:
        flat[-1] = float("nan")
    refused(tmp_path, config, {**tensors, name: spoilt}, re.escape(name) + "|is nan", backend=backend)
    layer = moekit.load_layer(tmp_path, 0, backend=backend, nonfinite_scales=True)
    assert np.isnan(layer(np.ones((1, layer.hidden_size), np.float32))).any() or True
    into = {"up": np.zeros((layer.config["expert"]["intermediate"], layer.hidden_size), np.float32)}
    layer._core.unpack(1, False, into)
    assert np.isnan(into["up"]).any() and not np.isnan(into["up"]).all() or suffix in ("weight_global_scale",) \
        or case == "fp8 tensors"
    if spoilt.dtype.itemsize > 1:
        flat[-1] = float("inf")
        refused(tmp_path, config, {**tensors, name: spoilt}, "is inf", backend=backend)


def test_group_indices(parts, tmp_path):
    config, tensors = parts("gptq act-order")
    name = E1 + "up_proj.g_idx"
    for wrong in (-1, 5, 2**31 - 1):
        spoilt = tensors[name].clone()
        spoilt[7] = wrong
        refused(tmp_path, config, {**tensors, name: spoilt}, rf"{re.escape(name)}: column 7 is of group {wrong}")


def test_noted_shape(parts, tmp_path):
    config, tensors = parts("packed int4, zero points")
    name = E1 + "up_proj.weight_shape"
    refused(tmp_path, config, {**tensors, name: torch.tensor([48, 72])}, re.escape(name) + r"' holds \[48, 72\]")


def test_truncated_file(parts, tmp_path):
    config, tensors = parts("fp8")
    qc.save(tmp_path, config, tensors)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(moekit.CheckpointError, match="model.safetensors"):
        moekit.load_layer(tmp_path, 0)


@pytest.mark.parametrize("config, pattern", [
    (dict(quant_method="bitsandbytes", load_in_4bit=True), "quant_method \"bitsandbytes\", known are fp8, compressed-t"),
    (dict(bits=4), "quant_method missing, known are"),
    ("fp8", "quantization_config is \"fp8\", expected an object"),
    (dict(FP8, fmt="e5m2"), "quantization_config.fmt is \"e5m2\", expected one of e4m3"),
    (dict(FP8, weight_block_size=[128]), "weight_block_size is"),
    (dict(FP8, weight_block_size=[128, 0]), "weight_block_size is .*expected two positive integers"),
    (dict(FP8, activation_scheme="other"), "activation_scheme is \"other\""),
    (gptq() | dict(bits=3), "bits is 3, expected one of 4, 8"),
    (gptq(checkpoint_format="marlin"), "checkpoint_format is \"marlin\", expected one of gptq, gptq_v2"),
    (gptq(is_marlin_format=True), "is_marlin_format is true"),
    (gptq() | dict(group_size="16"), "group_size is \"16\""),
    (dict(AWQ, version="gemv"), "version is \"gemv\", expected one of gemm"),
    (dict(AWQ, bits=8), "bits is 8, expected one of 4"),
    (dict(AWQ, zero_point=False), "zero_point is false"),
    (compressed("marlin-24", **INT4), "format is \"marlin-24\", expected one of pack-quantized"),
    (compressed("pack-quantized", **dict(INT4, num_bits=3)), "config_groups.group_0.weights.num_bits is 3, expected one"),
    (compressed("pack-quantized", **dict(INT4, type="nf")), "weights.type is \"nf\""),
    (compressed("pack-quantized", **dict(INT4, strategy="token")), "strategy is \"token\""),
    (compressed("pack-quantized", **INT4) | dict(sparsity_config=dict(format="sparse-24-bitmask")), "sparsity_config.for"),
    (compressed("pack-quantized", **INT4) | dict(transform_config=dict(config_groups=dict(a=dict(type="hadamard")))),
     "transform_config is"),
    (dict(quant_method="modelopt", quant_algo="W4A16_AWQ"), "quant_algo is \"W4A16_AWQ\", expected one of fp8"),
])
def test_configs_that_are_not_understood(parts, tmp_path, config, pattern):
    """Even where the tensors are plain: the scheme may change what the block computes."""
    qc.write(tmp_path, "qwen3_moe", qs.plain, quantization=config)
    with pytest.raises(moekit.CheckpointError, match=pattern) as error:
        moekit.load_layer(tmp_path, 0)
    assert "config.json" in str(error.value)


def test_sizes_that_the_config_denies(parts, tmp_path):
    config, tensors = parts("gptq")
    refused(tmp_path, {**config, "quantization_config": gptq() | dict(group_size=32)}, tensors,
            r"scales' has shape \[5, 48\], expected groups of 32 columns")
    config, tensors = parts("fp8 blocks of 64 x 32")
    refused(tmp_path, {**config, "quantization_config": FP8}, tensors, r"in blocks of 128 x 128")
