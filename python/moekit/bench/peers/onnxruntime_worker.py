# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's MoE (float32) and QMoE (int8 by row, int4 in groups of 32) operators, with the router's matmul in the
graph. Their CPU kernels take float32 rows; weights pass as external initialisers."""
import numpy as np

import wire


def codes_of(weights, bits, block):
    """[N, K] float32 to QMoE's codes [N, K * bits / 8] and scales [N, K / block] ([N] for block 0): unsigned with the
    zero at 2^(bits - 1), even k in the low nibble. The value of largest magnitude becomes the lowest code, as ONNX
    Runtime's own quantiser has it."""
    n, k = weights.shape
    groups = weights.reshape(n, -1, block or k)
    half = 1 << (bits - 1)
    largest = np.take_along_axis(groups, np.abs(groups).argmax(-1)[..., None], -1)[..., 0]
    scales = np.where(largest == 0, 1e-30, largest) / -half
    codes = (np.clip(np.rint(groups / scales[..., None]), -half, half - 1) + half).astype(np.uint8).reshape(n, k)
    if bits == 4:
        codes = codes[:, 0::2] | codes[:, 1::2] << 4
    return codes, scales.astype(np.float32).reshape(n, -1) if block else scales.astype(np.float32).reshape(n)


class OnnxRuntime:
    FORMATS = {"float32": 0, "int8": 8, "int4": 4}

    def __init__(self):
        import onnx
        import onnxruntime

        self.onnx, self.ort = onnx, onnxruntime
        self.version = f"onnxruntime {onnxruntime.__version__}"
        self.session = None

    def load(self, request):
        self.session = None
        if request["format"] not in self.FORMATS:
            raise ValueError(f"no {request['format']} experts on the CPU")
        bits, s = self.FORMATS[request["format"]], request["sizes"]
        block = 32 if bits == 4 else 0
        if block and (s["hidden"] % block or s["intermediate"] % block):
            raise ValueError("sizes are no multiples of 32")
        m = wire.matrices(request)
        arrays = {"router": np.ascontiguousarray(wire.to_float32(m["router"]).T)}
        experts, up = s["experts"], 2 * s["intermediate"]
        # Gate and up rows in turn (swiglu_fusion = 1): the only form that both operators have on the CPU.
        def fused(e):
            w = wire.to_float32(m["gate_up"][e])
            return np.ascontiguousarray(w.reshape(2, up // 2, -1).transpose(1, 0, 2)).reshape(up, -1)
        for name, expert in (("fc1", fused), ("fc2", lambda e: wire.to_float32(m["down"][e]))):
            for e in range(experts):
                parts = codes_of(expert(e), bits, block) if bits else (expert(e),)
                for part, values in zip(("weights", "scales"), parts):
                    whole = arrays.setdefault(f"{name}_{part}", np.empty((experts, *values.shape), values.dtype))
                    whole[e] = values
        self.arrays = arrays
        self.session = self._session(s, bits, block, request["threads"])
        return {"weight_bytes": sum(a.nbytes for n, a in arrays.items() if n != "router"),
                "detail": f"QMoE, {bits} bits" + (f", groups of {block}" if block else ", a scale a row") if bits else "MoE"}

    def _session(self, s, bits, block, threads):
        helper, tensor = self.onnx.helper, self.onnx.TensorProto
        shape = ["T", s["hidden"]]
        names = ["fc1_weights", "fc1_scales", "", "fc2_weights", "fc2_scales"] if bits else ["fc1_weights", "", "fc2_weights"]
        attributes = {"k": s["top_k"], "activation_type": "swiglu", "swiglu_fusion": 1, "normalize_routing_weights": 1,
                      "activation_alpha": 1.0, "activation_beta": 0.0}
        if bits:
            attributes.update(expert_weight_bits=bits, quant_type="int", weights_prepacked=0)
        if block:
            attributes["block_size"] = block
        nodes = [helper.make_node("MatMul", ["x", "router"], ["logits"]),
                 helper.make_node("QMoE" if bits else "MoE", ["x", "logits", *names], ["y"], domain="com.microsoft",
                                  **attributes)]
        initialisers = []
        for name, array in self.arrays.items():
            proto = tensor(name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape,
                           data_location=tensor.EXTERNAL)
            proto.external_data.add(key="location", value=name)
            initialisers.append(proto)
        graph = helper.make_graph(nodes, "moe", [helper.make_tensor_value_info("x", tensor.FLOAT, shape)],
                                  [helper.make_tensor_value_info("y", tensor.FLOAT, shape)], initialisers)
        model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17),
                                                                     helper.make_opsetid("com.microsoft", 1)])
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads of a session that is not at work leave the processor to the next competitor.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3
        options.add_external_initializers(list(self.arrays),
                                          [self.ort.OrtValue.ortvalue_from_numpy(a) for a in self.arrays.values()])
        return self.ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def prepare(self, x):
        return {"x": x}

    def call(self, x):
        return self.session.run(None, x)[0]

    def to_numpy(self, y):
        return y


wire.serve(OnnxRuntime)
