# SPDX-License-Identifier: Apache-2.0
"""A peer in numpy loops, to test the pipe with. PEERS_FOLDER: where wire.py is."""
import os
import sys

import numpy as np

sys.path.insert(0, os.environ["PEERS_FOLDER"])
import wire  # noqa: E402


class Loops:
    version = "numpy loops"

    def load(self, request):
        print("what libraries print does not get into the pipe")
        if request["format"] != "bfloat16":
            raise ValueError(f"no {request['format']} here")
        self.k = request["sizes"]["top_k"]
        self.weights = {name: wire.to_float32(bits).astype(np.float64) for name, bits in wire.matrices(request).items()}
        return {"weight_bytes": 4 * sum(w.size for name, w in self.weights.items() if name != "router"), "detail": "plain loops"}

    def prepare(self, x):
        return x.astype(np.float64)

    def call(self, x):
        y = np.zeros_like(x)
        for t, row in enumerate(x):
            logits = self.weights["router"] @ row
            ids = np.argsort(-logits)[: self.k]
            weights = np.exp(logits[ids] - logits[ids].max())
            for e, weight in zip(ids, weights / weights.sum()):
                gate, up = np.split(self.weights["gate_up"][e] @ row, 2)
                y[t] += weight * (self.weights["down"][e] @ (gate / (1 + np.exp(-gate)) * up))
        return y

    def to_numpy(self, y):
        return y


wire.serve(Loops)
