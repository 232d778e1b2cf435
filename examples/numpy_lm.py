# SPDX-License-Identifier: Apache-2.0
"""A byte-level language model runtime in plain NumPy (float32).

It reads a Hugging Face checkpoint folder (config.json and safetensors) of type
qwen3_moe or deepseek_v3 and runs everything but the Mixture-of-Experts layers;
each of those is a callable ``f(x: float32 [T, H]) -> float32 [T, H]`` that the
caller makes (with its routing and, if any, its shared expert):

    lm = NumpyLM(path, moe_layer_factory)   # factory(path, layer_index) -> callable
    lm.moe_layer_indices                    # the layers the factory was asked for
    lm.logits(b"some bytes")                # float32 [T, vocab]
    cache = lm.new_cache(); lm.logits(more, cache)   # goes on after the cached bytes
    lm.generate(prompt, n, temperature, seed) -> bytes     # prompt not included
    lm.stream(prompt, n, temperature, seed)   # the same, one byte value at a time
    bits_per_byte(lm, data, window=256) -> float

One sequence at a time. Scaled RoPE variants and sliding windows are refused.
"""
from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

_DTYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
_SKIP = re.compile(r"\.mlp\.(experts|shared_experts|gate)\.")  # the caller's part


def read_safetensors(path, skip=None) -> dict[str, np.ndarray]:
    """The float tensors of one file as float32, those whose name matches `skip` left out."""
    tensors = {}
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        for name, info in header.items():
            if name == "__metadata__" or (skip and skip.search(name)):
                continue
            if info["dtype"] not in _DTYPES:
                raise ValueError(f"{path}: {name} has dtype {info['dtype']}")
            begin, end = info["data_offsets"]
            file.seek(8 + size + begin)
            raw = np.frombuffer(file.read(end - begin), _DTYPES[info["dtype"]])
            if info["dtype"] == "BF16":  # the upper half of a float32
                raw = (raw.astype(np.uint32) << 16).view(np.float32)
            tensors[name] = raw.astype(np.float32).reshape(info["shape"])
    return tensors


def rms_norm(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(eps)) * weight


def silu(x):
    return x / (1 + np.exp(-np.clip(x, -80, None)))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rotate(x, cos, sin, interleaved: bool):
    """RoPE of x [T, heads, D] by cos, sin [T, D/2].

    Pairs are (i, i + D/2), or (2i, 2i + 1) when interleaved; the result has the halves
    one after the other in both cases, as in transformers.
    """
    half = x.shape[-1] // 2
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
    c, s = cos[:, None], sin[:, None]
    return np.concatenate([a * c - b * s, b * c + a * s], axis=-1)


def attend(q, k, v, scale):
    """Causal attention of the last T positions: q [T, N, D], k [S, G, D], v [S, G, E]."""
    t, n, d = q.shape
    s, groups, _ = k.shape
    q = q.reshape(t, groups, n // groups, d)
    scores = np.einsum("tgrd,sgd->grts", q, k, optimize=True) * np.float32(scale)
    hidden = np.arange(s) > np.arange(s - t, s)[:, None]
    scores[:, :, hidden] = -np.inf
    return np.einsum("grts,sge->tgre", softmax(scores), v, optimize=True).reshape(t, -1)


class Cache:
    """Per layer two growing arrays: keys and values, or MLA's latent and rotary key."""

    def __init__(self, layers: int):
        self.length = 0
        self._arrays = [None] * layers

    def extend(self, layer: int, first, second):
        old = self._arrays[layer]
        if old is not None:
            first, second = np.concatenate([old[0], first]), np.concatenate([old[1], second])
        self._arrays[layer] = (first, second)
        return first, second


class NumpyLM:
    def __init__(self, path, moe_layer_factory):
        self.path = Path(path)
        self.config = c = json.loads((self.path / "config.json").read_text())
        self.kind = c["model_type"]
        if self.kind not in ("qwen3_moe", "deepseek_v3"):
            raise ValueError(f"model_type {self.kind} is not supported")
        if c.get("hidden_act", "silu") != "silu" or c.get("sliding_window"):
            raise ValueError("only silu without a sliding window is supported")
        rope = c.get("rope_parameters") or c.get("rope_scaling") or {}
        if rope.get("rope_type", "default") != "default":
            raise ValueError(f"RoPE of type {rope['rope_type']} is not supported")
        self._w: dict[str, np.ndarray] = {}
        for file in sorted(self.path.glob("*.safetensors")):
            self._w.update(read_safetensors(file, _SKIP))
        self._eps = c.get("rms_norm_eps", 1e-6)
        heads = c["num_attention_heads"]
        head_dim = c.get("head_dim") or c["hidden_size"] // heads
        rotary = c["qk_rope_head_dim"] if self.kind == "deepseek_v3" else head_dim
        theta = rope.get("rope_theta") or c.get("rope_theta", 10000.0)
        steps = np.arange(0, rotary, 2, dtype=np.float32) / np.float32(rotary)
        self._frequencies = np.float32(1) / np.float32(theta) ** steps
        self.moe_layer_indices = [i for i in range(c["num_hidden_layers"]) if self._is_moe(i)]
        self.moe_layers = {i: moe_layer_factory(path, i) for i in self.moe_layer_indices}

    def _is_moe(self, i: int) -> bool:
        c = self.config
        if self.kind == "deepseek_v3":
            return i >= c["first_k_dense_replace"]
        return (i not in (c.get("mlp_only_layers") or [])
                and (i + 1) % c.get("decoder_sparse_step", 1) == 0)

    def new_cache(self) -> Cache:
        return Cache(self.config["num_hidden_layers"])

    def _linear(self, x, name):
        y = x @ self._w[name + ".weight"].T
        bias = self._w.get(name + ".bias")
        return y if bias is None else y + bias

    def _norm(self, x, name, eps=None):
        return rms_norm(x, self._w[name + ".weight"], self._eps if eps is None else eps)

    def _grouped_query(self, x, i, cos, sin, cache):
        c, p, t = self.config, f"model.layers.{i}.self_attn.", len(x)
        dim = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
        q = self._norm(self._linear(x, p + "q_proj").reshape(t, -1, dim), p + "q_norm")
        k = self._norm(self._linear(x, p + "k_proj").reshape(t, -1, dim), p + "k_norm")
        v = self._linear(x, p + "v_proj").reshape(t, -1, dim)
        k, v = cache.extend(i, rotate(k, cos, sin, False), v)
        return self._linear(attend(rotate(q, cos, sin, False), k, v, dim ** -0.5), p + "o_proj")

    def _latent(self, x, i, cos, sin, cache):
        """Multi-head latent attention; its two inner norms have a fixed eps of 1e-6."""
        c, p, t = self.config, f"model.layers.{i}.self_attn.", len(x)
        heads, nope, rope = c["num_attention_heads"], c["qk_nope_head_dim"], c["qk_rope_head_dim"]
        interleaved = c.get("rope_interleave", True)
        if c.get("q_lora_rank") is None:
            q = self._linear(x, p + "q_proj")
        else:
            low = self._norm(self._linear(x, p + "q_a_proj"), p + "q_a_layernorm", 1e-6)
            q = self._linear(low, p + "q_b_proj")
        q = q.reshape(t, heads, nope + rope)
        q = np.concatenate([q[..., :nope], rotate(q[..., nope:], cos, sin, interleaved)], -1)
        both = self._linear(x, p + "kv_a_proj_with_mqa")
        rank = c["kv_lora_rank"]
        latent = self._norm(both[:, :rank], p + "kv_a_layernorm", 1e-6)
        k_rope = rotate(both[:, None, rank:], cos, sin, interleaved)
        latent, k_rope = cache.extend(i, latent, k_rope)
        kv = self._linear(latent, p + "kv_b_proj").reshape(len(latent), heads, -1)
        k = np.concatenate([kv[..., :nope], np.repeat(k_rope, heads, axis=1)], -1)
        out = attend(q, k, kv[..., nope:], (nope + rope) ** -0.5)
        return self._linear(out, p + "o_proj")

    def _mlp(self, x, p):
        return self._linear(silu(self._linear(x, p + "gate_proj"))
                            * self._linear(x, p + "up_proj"), p + "down_proj")

    def logits(self, tokens, cache: Cache | None = None) -> np.ndarray:
        """float32 [T, vocab] for the T `tokens` (bytes or integers), which follow the cached
        ones; the cache then holds them too."""
        tokens = np.asarray(list(tokens), dtype=np.int64)
        if tokens.ndim != 1 or len(tokens) == 0:
            raise ValueError("tokens must be a non-empty flat sequence")
        cache = self.new_cache() if cache is None else cache
        positions = np.arange(cache.length, cache.length + len(tokens), dtype=np.float32)
        angles = positions[:, None] * self._frequencies
        cos, sin = np.cos(angles), np.sin(angles)
        attention = self._latent if self.kind == "deepseek_v3" else self._grouped_query
        x = self._w["model.embed_tokens.weight"][tokens]
        for i in range(self.config["num_hidden_layers"]):
            p = f"model.layers.{i}."
            x = x + attention(self._norm(x, p + "input_layernorm"), i, cos, sin, cache)
            h = np.ascontiguousarray(self._norm(x, p + "post_attention_layernorm"))
            x = x + (self.moe_layers[i](h) if i in self.moe_layers else self._mlp(h, p + "mlp."))
        cache.length += len(tokens)
        x = self._norm(x, "model.norm")
        tied = self.config.get("tie_word_embeddings") or "lm_head.weight" not in self._w
        return self._linear(x, "model.embed_tokens" if tied else "lm_head")

    def stream(self, prompt: bytes, n: int, temperature: float = 0.8, seed: int = 0):
        """Yield n byte values; the most probable ones when the temperature is 0."""
        random, cache = np.random.default_rng(seed), self.new_cache()
        last = self.logits(prompt, cache)[-1]
        for step in range(n):
            if temperature > 0:
                p = softmax(last.astype(np.float64) / temperature)
                token = int(np.searchsorted(np.cumsum(p), random.random(), side="right"))
                token = min(token, len(p) - 1)
            else:
                token = int(np.argmax(last))
            yield token
            if step + 1 < n:
                last = self.logits([token], cache)[-1]

    def generate(self, prompt: bytes, n: int, temperature: float = 0.8, seed: int = 0) -> bytes:
        """n new bytes after the prompt (which is not repeated)."""
        return bytes(self.stream(prompt, n, temperature, seed))


def bits_per_byte(lm: NumpyLM, data: bytes, window: int = 256) -> float:
    """Mean -log2 p of bytes 1..window-1 of every whole non-overlapping window."""
    count, nats = len(data) // window, 0.0
    if count == 0 or window < 2:
        raise ValueError("the data must hold at least one window of two bytes or more")
    for i in range(count):
        piece = data[i * window:(i + 1) * window]
        scores = lm.logits(piece)[:-1].astype(np.float64)
        top = scores.max(axis=-1)
        total = top + np.log(np.exp(scores - top[:, None]).sum(axis=-1))
        nats += float((total - scores[np.arange(window - 1), list(piece[1:])]).sum())
    return nats / (count * (window - 1)) / float(np.log(2))
