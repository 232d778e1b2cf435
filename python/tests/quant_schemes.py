# SPDX-License-Identifier: Apache-2.0
"""Published ways of quantising a weight, for the tests: each writes the tensors of a matrix as its tool does, and reads
them back with an independent reader (transformers, compressed-tensors, or the published formula in NumPy).

A scheme is a function of a float32 weight [N, K] that answers (suffixes, weight): tensors by the suffix of their name
below the module ("weight_scale_inv", ...), and the dequantised float32 weight."""
from __future__ import annotations

import numpy as np
import torch
from compressed_tensors.compressors import (FloatQuantizationCompressor, IntQuantizationCompressor,
                                            MXFP4PackedCompressor, MXFP8QuantizationCompressor, NVFP4PackedCompressor,
                                            PackedQuantizationCompressor)
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize
from torch.nn.functional import pad
from transformers.integrations.finegrained_fp8 import Fp8Dequantize

E2M1 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def up(n: int, to: int) -> int:
    return -(-n // to) * to


# ---- transformers' fine-grained FP8 ---------------------------------------------------------------------------------

def fp8_block(block=(128, 128), scale_dtype=torch.float32, suffix="weight_scale_inv"):
    """e4m3 in blocks, the last of which are partial; read by transformers from whole blocks."""

    def scheme(w: torch.Tensor):
        (n, k), (bn, bk) = w.shape, block
        whole = pad(w, (0, up(k, bk) - k, 0, up(n, bn) - n))
        blocks = whole.reshape(whole.shape[0] // bn, bn, whole.shape[1] // bk, bk)
        scale = (blocks.abs().amax(dim=(1, 3)) / 448).clamp(min=1e-9)
        if scale_dtype != torch.float32:
            scale = torch.exp2(torch.ceil(torch.log2(scale))).to(torch.float8_e8m0fnu)
        codes = (blocks / scale.float()[:, None, :, None]).reshape(whole.shape).to(torch.float8_e4m3fn)
        read = Fp8Dequantize(None)._dequantize_one(codes, scale, torch.float32)[:n, :k]
        if scale_dtype == torch.uint8:
            scale = scale.view(torch.uint8)
        return {"weight": codes[:n, :k].contiguous(), suffix: scale}, read.numpy()

    return scheme


def deepseek_v4_fp4(w: torch.Tensor):
    """Two codes an int8, exponents of 32 under `.scale`."""
    n, k = w.shape
    exponent = torch.floor(torch.log2(w.reshape(n, k // 32, 32).abs().amax(-1))) - 2
    codes = np.abs((w.reshape(n, k // 32, 32) / torch.exp2(exponent)[..., None]).numpy()[..., None] - E2M1).argmin(-1)
    codes = codes.reshape(n, k).astype(np.uint8)
    packed = torch.from_numpy(codes[:, 0::2] | codes[:, 1::2] << 4).view(torch.int8)
    scale = (exponent + 127).to(torch.uint8).view(torch.float8_e8m0fnu)
    return {"weight": packed, "scale": scale}, Fp8Dequantize(None)._dequantize_one(packed, scale, torch.float32).numpy()


# ---- compressed-tensors ---------------------------------------------------------------------------------------------

def _compressed(compressor, args: dict, scales, scale_dtype=torch.bfloat16):
    """`scales(w)` answers (scale, zero point or None), in float32."""
    arguments = QuantizationArgs(**args)
    scheme = QuantizationScheme(targets=["Linear"], weights=arguments)

    def write(w: torch.Tensor):
        scale, zero = scales(w)
        scale = scale.to(scale_dtype)
        state = {"weight": w, "weight_scale": scale.float()}
        if zero is not None:
            state["weight_zero_point"] = zero.to(torch.int8)
        out = compressor.compress(state, scheme)
        # The reader computes in the dtype of the scales: float32, as is promised here.
        read = compressor.decompress({**out, "weight_scale": scale.float()}, scheme)["weight"]
        out["weight_scale"] = scale
        return {name: tensor.contiguous() for name, tensor in out.items()}, read.float().numpy()

    return write


def _symmetric(bits: int, group: int | None):
    def scales(w):
        parts = w.reshape(w.shape[0], -1, group or w.shape[1])
        return parts.abs().amax(-1) / (2 ** (bits - 1) - 0.5), None

    return scales


def _asymmetric(bits: int, group: int | None):
    def scales(w):
        parts = w.reshape(w.shape[0], -1, group or w.shape[1])
        low, high = parts.amin(-1).clamp(max=0), parts.amax(-1).clamp(min=0)
        scale = (high - low) / (2**bits - 1)
        return scale, torch.round(-low / scale) - 2 ** (bits - 1)

    return scales


def packed(bits: int, group: int | None, symmetric: bool = True, scale_dtype=torch.bfloat16):
    args = dict(num_bits=bits, type="int", symmetric=symmetric, strategy="group" if group else "channel",
                group_size=group)
    return _compressed(PackedQuantizationCompressor, args, (_symmetric if symmetric else _asymmetric)(bits, group),
                       scale_dtype)


def int8_channel(symmetric: bool = True, scale_dtype=torch.bfloat16):
    args = dict(num_bits=8, type="int", symmetric=symmetric, strategy="channel")
    return _compressed(IntQuantizationCompressor, args, (_symmetric if symmetric else _asymmetric)(8, None),
                       scale_dtype)


def _largest(w: torch.Tensor) -> torch.Tensor:
    return w.abs().amax(-1, keepdim=True)


fp8_channel = _compressed(FloatQuantizationCompressor, dict(num_bits=8, type="float", strategy="channel"),
                          lambda w: (_largest(w) / 448, None))
fp8_tensor = _compressed(FloatQuantizationCompressor, dict(num_bits=8, type="float", strategy="tensor"),
                         lambda w: (w.abs().max().reshape(1) / 448, None), torch.float32)
fp8_block_compressed = _compressed(
    FloatQuantizationCompressor, dict(num_bits=8, type="float", strategy="block", block_structure=[16, 16]),
    lambda w: (pad(w, (0, up(w.shape[1], 16) - w.shape[1], 0, up(w.shape[0], 16) - w.shape[0])).reshape(
        up(w.shape[0], 16) // 16, 16, up(w.shape[1], 16) // 16, 16).abs().amax(dim=(1, 3)) / 448, None), torch.float32)


def _mx(compressor, bits: int, largest_exponent: int):
    """Exponents of 32, which the compressor turns into bytes."""
    arguments = QuantizationArgs(num_bits=bits, type="float", strategy="group", group_size=32,
                                 scale_dtype=torch.uint8, zp_dtype=torch.uint8)
    scheme = QuantizationScheme(targets=["Linear"], weights=arguments)

    def write(w: torch.Tensor):
        parts = w.reshape(w.shape[0], -1, 32)
        scale = torch.exp2(torch.floor(torch.log2(parts.abs().amax(-1))) - largest_exponent)
        out = compressor.compress({"weight": w, "weight_scale": scale}, scheme)
        codes = unpack_fp4_from_uint8(out["weight_packed"], *w.shape) if bits == 4 else out["weight"]
        exponents = torch.exp2(out["weight_scale"].float() - 127)
        read = dequantize(codes.float(), exponents, args=arguments, dtype=torch.float32)
        return {name: tensor.contiguous() for name, tensor in out.items()}, read.numpy()

    return write


mxfp4_compressed = _mx(MXFP4PackedCompressor, 4, 2)
mxfp8_compressed = _mx(MXFP8QuantizationCompressor, 8, 8)


def nvfp4(w: torch.Tensor):
    """compressed-tensors: the tensor's scale divides."""
    arguments = QuantizationArgs(num_bits=4, type="float", strategy="tensor_group", group_size=16,
                                 scale_dtype=torch.float8_e4m3fn, zp_dtype=torch.float8_e4m3fn)
    scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
    divisor = (448 * 6 / w.abs().max()).reshape(1).float()
    scale = (w.reshape(w.shape[0], -1, 16).abs().amax(-1) * divisor / 6).to(torch.float8_e4m3fn)
    out = NVFP4PackedCompressor.compress(
        {"weight": w, "weight_scale": scale.float(), "weight_global_scale": divisor}, scheme)
    codes = unpack_fp4_from_uint8(out["weight_packed"], *w.shape).float()
    read = dequantize(codes, scale.float(), args=arguments, global_scale=divisor, dtype=torch.float32)
    out["input_global_scale"] = torch.tensor([0.5])
    return {name: tensor.contiguous() for name, tensor in out.items()}, read.numpy()


def nvfp4_modelopt(w: torch.Tensor):
    """ModelOpt: the same codes under `weight`, the tensor's scale multiplies."""
    out, _ = nvfp4(w)
    factor = 1 / out["weight_global_scale"]
    codes = E2M1[np.stack([out["weight_packed"] & 15, out["weight_packed"] >> 4], -1).reshape(w.shape)]
    scale = out["weight_scale"].float().numpy() * factor.numpy()
    return ({"weight": out["weight_packed"], "weight_scale": out["weight_scale"],
             "weight_scale_2": factor.reshape(()), "input_scale": torch.tensor(0.25)},
            codes * np.repeat(scale, 16, axis=1))


# ---- GPTQ and AWQ, by the published formulas ------------------------------------------------------------------------

def _pack_words(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes along the last axis, lowest bits first."""
    slots = 32 // bits
    parts = codes.reshape(*codes.shape[:-1], -1, slots).astype(np.uint32)
    return np.bitwise_or.reduce(parts << (np.arange(slots, dtype=np.uint32) * bits), axis=-1).view(np.int32)


def _integers(w: np.ndarray, bits: int, group: int, order: np.ndarray):
    """Codes [K, N], zero points [G, N] from 1 to 2^bits, scales [G, N], of columns in groups `order` [K]."""
    groups = w.shape[1] // group
    codes = np.zeros((w.shape[1], w.shape[0]), np.uint32)
    zeros, scales = np.zeros((groups, w.shape[0]), np.int64), np.zeros((groups, w.shape[0]), np.float16)
    for g in range(groups):
        part = w[:, order == g]
        low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
        scales[g] = np.maximum((high - low) / (2**bits - 1), 1e-4)
        zeros[g] = np.clip(np.round(-low / scales[g].astype(np.float32)), 1, 2**bits)
        codes[order == g] = np.clip(np.round(part / scales[g].astype(np.float32)[:, None]) + zeros[g][:, None], 0,
                                    2**bits - 1).T
    zeros[0, 0] = 2**bits  # stored as all ones by the first version
    return codes, zeros, scales


def gptq(bits: int = 4, group: int = 16, act_order: bool = False, version: int = 1, g_idx: bool = True):
    """w = (q - z) s, where the first version stores z - 1."""

    def scheme(w: torch.Tensor):
        n, k = w.shape
        size = group if group > 0 else k
        order = np.arange(k) // size
        if act_order:
            order = np.random.default_rng(k).permutation(order)
        codes, zeros, scales = _integers(w.numpy(), bits, size, order)
        if version == 2:
            zeros[0, 0] = 2**bits - 1
        stored = zeros - 1 if version == 1 else zeros
        out = {"qweight": _pack_words(codes.T, bits).T, "qzeros": _pack_words(stored, bits), "scales": scales,
               "g_idx": order.astype(np.int32)}
        if not g_idx:
            del out["g_idx"]
        read = ((codes.astype(np.float32) - zeros[order].astype(np.float32)) * scales[order].astype(np.float32)).T
        return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in out.items()}, read

    return scheme


def awq(group: int = 16):
    def scheme(w: torch.Tensor):
        order = np.arange(w.shape[1]) // group
        codes, zeros, scales = _integers(w.numpy(), 4, group, order)
        zeros = np.minimum(zeros, 15)
        turn = [0, 2, 4, 6, 1, 3, 5, 7]  # nibble i holds this column of eight
        mix = lambda a: a.reshape(a.shape[0], -1, 8)[:, :, turn].reshape(a.shape)  # noqa: E731
        out = {"qweight": _pack_words(mix(codes), 4), "qzeros": _pack_words(mix(zeros), 4), "scales": scales}
        read = ((codes.astype(np.float32) - zeros[order].astype(np.float32)) * scales[order].astype(np.float32)).T
        return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in out.items()}, read

    return scheme


def plain(w: torch.Tensor):
    short = w.bfloat16()
    return {"weight": short}, short.float().numpy()
