# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of transformers' classes and what their blocks compute, for the tests of families."""
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "models"))
import write_checkpoints  # noqa: E402


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Case name to its folder and summary; each is written once."""
    root, done = tmp_path_factory.mktemp("families"), {}

    def write(case: str):
        if case not in done:
            done[case] = (root / case, write_checkpoints.write_family(case, root / case))
        return done[case]

    return write


def by_id(ids, weights) -> tuple[np.ndarray, np.ndarray]:
    """Ids and weights of each row by rising id: the order of a top-k without sorting means nothing."""
    ids, weights = np.asarray(ids), np.asarray(weights)
    order = np.argsort(ids, axis=1)
    return np.take_along_axis(ids, order, 1), np.take_along_axis(weights, order, 1)
