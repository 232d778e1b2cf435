# SPDX-License-Identifier: Apache-2.0
"""kt-kernel's MoE classes, on one NUMA node: bfloat16, and int8 and int4 quantised as it loads them."""
import torch

import torch_rows
import wire


class KtKernel:
    # Its own choice in kt_kernel/utils/amx.py, except that classes built for AMX are left alone where there is none.
    CLASSES = {"bfloat16": ("AMXBF16_MOE", "AVX2BF16_MOE"), "int8": ("AMXInt8_MOE",), "int4": ("AMXInt4_MOE",)}
    MOST_TOKENS = 4096

    def __init__(self):
        import kt_kernel
        import kt_kernel_ext

        self.ext = kt_kernel_ext
        self.amx = torch.cpu._is_amx_tile_supported()
        self.version = f"kt-kernel {kt_kernel.__version__}, built for {kt_kernel.__cpu_variant__}"
        self.pool = self.moe = None

    def load(self, request):
        self.moe = None
        names = [name for name in self.CLASSES.get(request["format"], ())
                 if hasattr(self.ext.moe, name) and (self.amx or not name.startswith("AMX"))]
        if not names:
            raise ValueError(f"no {request['format']} experts that run without AMX")
        if self.pool is None:
            config = self.ext.WorkerPoolConfig()
            config.subpool_count, config.subpool_numa_map, config.subpool_thread_count = 1, [0], [request["threads"]]
            self.pool = self.ext.CPUInfer(config)
        s, self.tensors = request["sizes"], torch_rows.tensors(request)
        self.router, self.top_k = self.tensors["router"], s["top_k"]
        e, h, i = s["experts"], s["hidden"], s["intermediate"]
        parts = {"gate": self.tensors["gate_up"][:, :i].contiguous(), "up": self.tensors["gate_up"][:, i:].contiguous(),
                 "down": self.tensors["down"]}
        self.on_device = torch.zeros(e, dtype=torch.bool)  # read at every call
        config = self.ext.moe.MOEConfig(e, s["top_k"], h, i, self.on_device.data_ptr())
        config.layer_idx, config.pool, config.max_len = 0, self.pool.backend_, self.MOST_TOKENS
        for part, tensor in parts.items():
            if request["format"] == "bfloat16":
                setattr(config, f"{part}_projs", [[matrix.data_ptr() for matrix in tensor]])
                setattr(config, f"{part}_scales", [[0] * e])
            else:
                setattr(config, f"{part}_proj", tensor.data_ptr())
        self.moe = getattr(self.ext.moe, names[0])(config)
        order = torch.arange(e, dtype=torch.int64)
        self.pool.submit(self.moe.load_weights_task(order.data_ptr()))
        self.pool.sync()
        bits = {"bfloat16": 16, "int8": 8, "int4": 4}[request["format"]]
        return {"weight_bytes": e * 3 * h * i * bits // 8, "detail": names[0]}

    def prepare(self, x):
        if len(x) > self.MOST_TOKENS:
            raise ValueError(f"{len(x)} tokens, set up for {self.MOST_TOKENS}")
        return torch_rows.rows(x), torch.empty(x.shape, dtype=torch.bfloat16), torch.tensor([len(x)], dtype=torch.int32)

    def call(self, inputs):
        x, y, count = inputs
        ids, weights = torch_rows.route(x, self.router, self.top_k)
        self.pool.submit(self.moe.forward_task(count.data_ptr(), self.top_k, ids.data_ptr(), weights.data_ptr(),
                                               x.data_ptr(), y.data_ptr(), False))
        self.pool.sync()
        return y

    def to_numpy(self, y):
        return y.float().numpy()


wire.serve(KtKernel)
