# SPDX-License-Identifier: Apache-2.0
"""ggml's mul_mat_id through the wheel of its libraries (libggml-python), as llama.cpp builds a softmax block: router,
softmax, top k, gate and up, SwiGLU, down, weights, sum. Quantised weights lie in the layout that its CPU backend repacks
them to, where it has one for them."""
import ctypes
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int64, c_size_t, c_void_p
from importlib.metadata import version
from pathlib import Path

import numpy as np

import wire

# ggml_type numbers of ggml.h. int4 is Q4_0 (groups of 32, float16 scales), int8 is Q8_0 (the same).
TYPES = {"float32": (0, "F32"), "bfloat16": (30, "BF16"), "int8": (8, "Q8_0"), "int4": (2, "Q4_0"), "mxfp4": (39, "MXFP4")}
F32 = 0


class Parameters(ctypes.Structure):
    _fields_ = [("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool)]


class Tensor(ctypes.Structure):  # ggml_tensor of ggml 0.20
    _fields_ = [("type", c_int), ("buffer", c_void_p), ("ne", c_int64 * 4), ("nb", c_size_t * 4), ("op", c_int),
                ("op_params", c_int * 16), ("flags", c_int), ("src", c_void_p * 10), ("view_src", c_void_p),
                ("view_offs", c_size_t), ("data", c_void_p), ("name", ctypes.c_char * 64), ("extra", c_void_p),
                ("padding", ctypes.c_char * 8)]


def fields(tensor):
    return ctypes.cast(tensor, POINTER(Tensor)).contents


class Ggml:
    def __init__(self):
        import libggml

        folder = Path(libggml.__file__).parent / "lib64"
        self.base = ctypes.CDLL(str(folder / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
        self.cpu = ctypes.CDLL(str(folder / "libggml-cpu.so"), mode=ctypes.RTLD_GLOBAL)
        self.backend = self.f("ggml_backend_cpu_init", c_void_p)()
        isa = [name for name in ("avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx_int8", "neon", "dotprod", "sve")
               if getattr(self.cpu, f"ggml_cpu_has_{name}")()]
        # The tensor's form is read here: another one would be read wrongly.
        if version("libggml-python").split(".")[:2] != ["0", "20"]:
            raise RuntimeError(f"libggml-python {version('libggml-python')}, expected 0.20")
        self.version = f"ggml {version('libggml-python')}, built for {', '.join(isa) or 'the baseline'}"
        self.pool = self.weights = self.work = None

    def f(self, name, result=c_void_p):
        """A function of either library; integers and pointers go as they are given."""
        library = self.base if hasattr(self.base, name) else self.cpu
        function = getattr(library, name)
        function.restype = result
        return function

    def context(self, tensors):
        size = self.f("ggml_tensor_overhead", c_size_t)() * tensors + self.f("ggml_graph_overhead", c_size_t)()
        init = self.f("ggml_init")
        init.argtypes = [Parameters]
        return c_void_p(init(Parameters(size, None, True)))

    def tensor(self, context, kind, *extents):
        return c_void_p(self.f(f"ggml_new_tensor_{len(extents)}d")(context, kind, *map(c_int64, extents)))

    def free(self, context, buffer):
        self.f("ggml_backend_buffer_free", None)(buffer)
        self.f("ggml_free", None)(context)

    def buffer_types(self):
        """The layouts of its own that the CPU backend offers, then plain memory."""
        device = c_void_p(self.f("ggml_backend_get_device")(c_void_p(self.backend)))
        registry = c_void_p(self.f("ggml_backend_dev_backend_reg")(device))
        address = self.f("ggml_backend_reg_get_proc_address")(registry, c_char_p(b"ggml_backend_dev_get_extra_bufts"))
        extra = ctypes.CFUNCTYPE(POINTER(c_void_p), c_void_p)(address)(device) if address else None
        out, i = [], 0
        while extra and extra[i]:
            out.append(c_void_p(extra[i]))
            i += 1
        return out, c_void_p(self.f("ggml_backend_cpu_buffer_type")())

    def pack(self, kind, bits):
        """[E, N, K] bfloat16 bits as ggml's blocks, expert by expert."""
        e, n, k = bits.shape
        row = self.f("ggml_row_size", c_size_t)(kind, c_int64(k))
        if kind == TYPES["bfloat16"][0]:
            return np.ascontiguousarray(bits).view(np.uint8).reshape(-1)
        out = np.empty(e * n * row, np.uint8)
        quantise = self.f("ggml_quantize_chunk", c_size_t)
        for i in range(e):
            values = np.ascontiguousarray(wire.to_float32(bits[i]))
            if kind == F32:
                out[i * n * row : (i + 1) * n * row] = values.view(np.uint8).reshape(-1)
            else:
                quantise(kind, values.ctypes.data_as(POINTER(c_float)), c_void_p(out.ctypes.data + i * n * row), c_int64(0),
                         c_int64(n), c_int64(k), None)
        return out

    def put(self, kind, name, bits, plain):
        """One tensor of all experts in a buffer of the first layout that takes it."""
        e, n, k = bits.shape
        data = self.pack(kind, bits)
        layouts, memory = self.buffer_types()
        quantised = kind not in (F32, TYPES["bfloat16"][0])
        for layout in ([] if plain or not quantised else layouts) + [memory]:
            context = self.context(1)
            tensor = self.tensor(context, kind, k, n, e)
            buffer = c_void_p(self.f("ggml_backend_alloc_ctx_tensors_from_buft")(context, layout))
            if not buffer:
                self.f("ggml_free", None)(context)
                continue
            # A layout that has no form for this type leaves `extra` null.
            if layout is not memory and not fields(tensor).extra:
                self.free(context, buffer)
                continue
            self.f("ggml_backend_tensor_set", None)(tensor, c_void_p(data.ctypes.data), c_size_t(0), c_size_t(data.nbytes))
            self.kept.append((context, buffer))
            return tensor, data.nbytes, self.f("ggml_backend_buft_name", c_char_p)(layout).decode()
        raise MemoryError(f"no buffer for {name}")

    def load(self, request):
        for context, buffer in getattr(self, "kept", []):
            self.free(context, buffer)
        self.kept, self.work = [], None
        if request["format"] not in TYPES:
            raise ValueError(f"no {request['format']} blocks")
        kind, name = TYPES[request["format"]]
        s, m = request["sizes"], wire.matrices(request)
        if kind not in (0, 30) and (s["hidden"] % 32 or s["intermediate"] % 32):
            raise ValueError("sizes are no multiples of 32")
        self.sizes, i = s, s["intermediate"]
        parts = {"gate": m["gate_up"][:, :i], "up": m["gate_up"][:, i:], "down": m["down"]}
        self.tensors, total, layouts = {}, 0, set()
        for part, bits in parts.items():
            self.tensors[part], size, layout = self.put(kind, part, bits, False)
            total += size
            layouts.add(layout)
        self.tensors["router"] = self.put(F32, "router", m["router"][None], True)[0]
        self.threads(request["threads"])
        return {"weight_bytes": total, "detail": f"{name} in {', '.join(sorted(layouts))}"}

    def threads(self, count):
        if self.pool is None:
            parameters = ctypes.create_string_buffer(4096)  # ggml_threadpool_params: 532 bytes in ggml 0.20
            self.f("ggml_threadpool_params_init", None)(parameters, count)
            self.pool = c_void_p(self.f("ggml_threadpool_new")(parameters))
            self.f("ggml_backend_cpu_set_threadpool", None)(c_void_p(self.backend), self.pool)
        self.f("ggml_backend_cpu_set_n_threads", None)(c_void_p(self.backend), count)

    def build(self, tokens):
        """The block's graph for `tokens` rows."""
        if self.work is not None:
            self.f("ggml_gallocr_free", None)(self.work[4])
            self.free(self.work[1], self.work[2])
            self.f("ggml_free", None)(self.work[3])
        s, t = self.sizes, self.tensors
        h, e, k = s["hidden"], s["experts"], s["top_k"]
        inputs = self.context(1)
        x = self.tensor(inputs, F32, h, tokens)
        buffer = c_void_p(self.f("ggml_backend_alloc_ctx_tensors")(inputs, c_void_p(self.backend)))
        c = self.context(64 + 4 * k)

        def op(name, *arguments):
            return c_void_p(self.f(f"ggml_{name}")(c, *arguments))

        probabilities = op("soft_max", op("mul_mat", t["router"], x))
        ids = op("argsort_top_k", probabilities, k)
        weights = op("get_rows", op("reshape_3d", probabilities, c_int64(1), c_int64(e), c_int64(tokens)), ids)
        weights = op("reshape_2d", weights, c_int64(k), c_int64(tokens))
        weights = op("reshape_3d", op("div", weights, op("sum_rows", weights)), c_int64(1), c_int64(k), c_int64(tokens))
        rows = op("reshape_3d", x, c_int64(h), c_int64(1), c_int64(tokens))
        hidden = op("swiglu_split", op("mul_mat_id", t["gate"], rows, ids), op("mul_mat_id", t["up"], rows, ids))
        experts = op("mul", op("mul_mat_id", t["down"], hidden, ids), weights)
        nb = fields(experts).nb
        y = None
        for i in range(k):
            view = op("view_2d", experts, c_int64(h), c_int64(tokens), c_size_t(nb[2]), c_size_t(i * nb[1]))
            y = view if y is None else op("add", y, view)
        graph = op("new_graph")
        self.f("ggml_build_forward_expand", None)(graph, y)
        allocator = c_void_p(self.f("ggml_gallocr_new")(c_void_p(self.f("ggml_backend_cpu_buffer_type")())))
        if not self.f("ggml_gallocr_alloc_graph", c_bool)(allocator, graph):
            raise MemoryError("no memory for the graph")
        self.work = (tokens, inputs, buffer, c, allocator, x, graph, y)

    def prepare(self, x):
        if self.work is None or self.work[0] != len(x):
            self.build(len(x))
        return np.ascontiguousarray(x, np.float32)

    def call(self, x):
        _, _, _, _, _, tensor, graph, y = self.work
        self.f("ggml_backend_tensor_set", None)(tensor, c_void_p(x.ctypes.data), c_size_t(0), c_size_t(x.nbytes))
        if self.f("ggml_backend_graph_compute", c_int)(c_void_p(self.backend), graph) != 0:
            raise RuntimeError("ggml_backend_graph_compute failed")
        return y

    def rest(self):
        self.f("ggml_threadpool_pause", None)(self.pool)

    def to_numpy(self, y):
        out = np.empty((self.work[0], self.sizes["hidden"]), np.float32)
        self.f("ggml_backend_tensor_get", None)(y, c_void_p(out.ctypes.data), c_size_t(0), c_size_t(out.nbytes))
        return out


wire.serve(Ggml)
