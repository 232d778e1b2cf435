# SPDX-License-Identifier: Apache-2.0
"""Expert load, layers x experts, as text."""
from __future__ import annotations

import numpy as np

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " .:-=+*#%@"


def heat_map(load: np.ndarray, layers, width: int = 100, encoding: str = "utf-8") -> str:
    """load [layers, experts]: tokens that each expert served. One row a layer, one character an expert (or a group of
    neighbours where there are more than `width`), scaled by the row's largest; then its largest share and its coefficient
    of variation."""
    blocks = _BLOCKS if encoding.lower().startswith("utf") else _ASCII
    load = np.asarray(load, dtype=np.float64)
    group = -(-load.shape[1] // width)
    padded = np.pad(load, ((0, 0), (0, -load.shape[1] % group)))
    cells = padded.reshape(len(load), -1, group).sum(axis=2)
    lines = [f"{'layer':>5}  experts 0-{load.shape[1] - 1}" + (f", {group} a character" if group > 1 else "")]
    for name, row, exact in zip(layers, cells, load):
        scaled = row / row.max() if row.max() > 0 else row
        bars = "".join(blocks[int(np.ceil(v * (len(blocks) - 1)))] for v in scaled)
        mean = exact.mean()
        spread = exact.std() / mean if mean > 0 else 0.0
        share = exact.max() / exact.sum() if exact.sum() > 0 else 0.0
        edge = "|"
        lines.append(f"{name:>5} {edge}{bars}{edge} busiest {share:5.1%}, spread {spread:.2f}")
    return "\n".join(lines)
