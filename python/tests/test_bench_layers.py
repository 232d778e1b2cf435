# SPDX-License-Identifier: Apache-2.0
"""What `moekit bench layer` measures: shapes, routings, peers in processes of their own, pictures."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moekit.bench import inputs, plots, remote, shapes, suite, timing
from moekit.cli import main

MOE = Path(__file__).parent / "bench_worker.py"


@given(st.sampled_from(sorted(shapes.SHAPES)), st.sets(st.sampled_from(shapes.FORMATS), min_size=1),
       st.integers(1, 200))
def test_experts_are_reduced_only_where_memory_asks_for_it(name, formats, gigabytes):
    whole, memory = shapes.SHAPES[name], gigabytes * 10**9
    try:
        s = shapes.that_fit(whole, formats, memory)
    except ValueError as error:
        assert "the limit is" in str(error)
        assert shapes.that_fit(whole, formats, 10**15) == whole
        return
    assert s._replace(experts=whole.experts) == whole and s.top_k <= s.experts <= whole.experts
    if s.experts < whole.experts:  # twice as many, or all, would not have fitted
        more = min(2 * s.experts, whole.experts)
        with pytest.raises(ValueError):
            shapes.that_fit(s._replace(experts=more, top_k=more), formats, memory)


def test_a_shape_that_does_not_fit_is_found_before_another_is_timed(monkeypatch, capsys):
    timed = []
    monkeypatch.setattr(suite, "run", lambda case, *_: timed.append(case))
    assert main(["bench", "layer", "--shape", "qwen3-30b,mixtral", "--memory", "1"]) == 3
    assert "of 4096 x 14336" in capsys.readouterr().err and not timed


@given(st.integers(1, 40), st.integers(2, 64), st.sampled_from(shapes.ROUTINGS), st.integers(0, 2**32 - 1), st.data())
def test_wanted_experts(tokens, experts, routing, seed, data):
    k = data.draw(st.integers(1, experts))
    s = shapes.Sizes(8, 8, experts, k)
    batches = inputs.wanted_experts(s, tokens, routing, np.random.default_rng(seed))
    assert batches
    for wanted in batches:
        assert wanted.shape == (tokens, k) and wanted.min() >= 0 and wanted.max() < experts
        assert all(len(set(row)) == k for row in wanted.tolist())
        if routing == "one":
            assert (wanted == wanted[0]).all()
    if routing == "uniform" and tokens * k <= experts // 4:  # rotates: no expert is met again before all others
        met = np.concatenate([wanted.ravel() for wanted in batches])
        assert len(set(met.tolist())) == len(met)


def test_zipf_routing_has_its_odds():
    s = shapes.Sizes(8, 8, 16, 1)
    wanted = np.concatenate(inputs.wanted_experts(s, 1000, "zipf", np.random.default_rng(0)))
    share = np.sort(np.bincount(wanted.ravel(), minlength=16))[::-1] / wanted.size
    odds = 1 / np.arange(1, 17)
    assert np.abs(share - odds / odds.sum()).max() < 0.02  # 8000 draws: five deviations of the largest share


def test_weights_of_experts_differ_and_every_one_is_set():
    import torch

    s = shapes.Sizes(64, 32, 16, 2)
    weights = {name: torch.full(shape, float("nan"), dtype=torch.bfloat16) for name, shape in inputs.weight_shapes(s).items()}
    inputs.fill_weights(s, weights)
    for tensor in weights.values():
        assert torch.isfinite(tensor).all()
        rows = tensor.reshape(-1, tensor.shape[-1])
        assert len(torch.unique(rows, dim=0)) == len(rows)
        assert rows.float().std().item() == pytest.approx(tensor.shape[-1] ** -0.5, rel=0.2)


@pytest.fixture
def own_peers(monkeypatch, tmp_path):
    """A folder of environments with this interpreter in them, and one program that is known to be right."""
    monkeypatch.setenv("PEERS_FOLDER", str(Path(remote.__file__).resolve().parent / "peers"))
    monkeypatch.setattr(remote, "PEERS", {"own": {"own": str(MOE)}, "absent": {"absent": "x.py"}, "failed": {"failed": "x.py"},
                                          "broken": {"broken": "ggml_worker.py"}})
    for name in ("own", "broken"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (tmp_path / name / "bin" / "python").chmod(0o755)
        (tmp_path / name / "ready").write_text("")
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "failed").write_text("ERROR: no matching distribution\n")
    return str(tmp_path)


def _loaded(workers, form="bfloat16"):
    import torch

    s = shapes.Sizes(32, 16, 8, 2)
    weights = {name: workers.tensor(name, shape) for name, shape in inputs.weight_shapes(s).items()}
    inputs.fill_weights(s, weights)
    facts, missing = workers.load(s, weights, form)
    wanted = inputs.wanted_experts(s, 5, "uniform", np.random.default_rng(0))
    torch.manual_seed(1)
    return s, weights, facts, missing, [inputs.steered(s, weights["router"], each) for each in wanted]


def test_a_peer_in_its_own_process(own_peers):
    with remote.workers(own_peers, 1) as workers:
        files = workers._files
        s, weights, facts, missing, batches = _loaded(workers)
        assert facts == {"own": {"weight_bytes": 4 * 8 * 3 * 32 * 16, "detail": "plain loops"}}
        assert workers.versions == {"own": "numpy loops"}
        assert missing["failed"] == "not installed: ERROR: no matching distribution"
        assert "bench_peers.sh" in missing["absent"] and "No module named 'libggml'" in missing["broken"]
        competitors, more = workers.competitors(facts, batches)
        assert not more and [c.name for c in competitors] == ["own"]
        peer = competitors[0]
        assert suite.error_of(peer.f(peer.inputs[0]), inputs.reference(s, weights, batches[0])) < 1e-3
        times = timing.interleaved(competitors, 0.0, turn=1e-4)
        assert times["own"]["samples"] == 5 and times["own"]["median_s"] > 0
    assert not files.exists()


def test_a_peer_that_dies_is_named_and_the_others_are_timed(own_peers):
    with remote.workers(own_peers, 1) as workers:
        *_, facts, _, batches = _loaded(workers)
        peer = workers.competitors(facts, batches)[0][0]
        own = timing.Competitor("moekit", lambda x: x, [1])
        failed = {}
        workers.peers[0]._process.kill()
        times = timing.interleaved([own, peer], 0.0, turn=1e-4, failed=failed)
        assert set(times) == {"moekit"} and failed == {"own": "its process ended by SIGKILL"}
        with pytest.raises(remote.PeerError):
            timing.interleaved([own, peer], 0.0, turn=1e-4)
        # The next format starts it again; one that it does not have is an answer.
        assert "own" in _loaded(workers)[2]
        *_, facts, missing, _ = _loaded(workers, "fp8")
        assert not facts and missing["own"] == "ValueError: no fp8 here"


def test_wrong_names_are_refused(capsys, tmp_path):
    for arguments in (["--shape", "qwen4"], ["--format", "int3"], ["--tokens", "0"], ["--tokens", "many"], ["--routing", "two"]):
        with pytest.raises(SystemExit) as stop:
            main(["bench", "layer", *arguments])
        assert stop.value.code == 2 and "expected" in capsys.readouterr().err
    assert main(["bench", "layer", "--peers", str(tmp_path / "none")]) == 3
    assert "bench_peers.sh" in capsys.readouterr().err


def test_pictures_and_generate(tmp_path, capsys):
    path = tmp_path / "run.json"
    assert main(["bench", "layer", "--quick", "--format", "bfloat16,int8", "--routing", "uniform,zipf", "--peers", str(tmp_path),
                 "--plots", str(tmp_path / "plots"), "--json", str(path)]) == 0
    out = capsys.readouterr().out
    drawn = sorted(p.name for p in (tmp_path / "plots").iterdir())
    assert drawn == ["roofline-tiny.png", *sorted(f"time-tiny-{d}-{r}.png" for d in ("bfloat16", "int8") for r in ("uniform", "zipf"))]
    assert all((tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG") and name in out for name in drawn)
    rows = json.loads(path.read_text())["rows"]
    assert {(r["shape"]["dtype"], r["shape"]["routing"]) for r in rows} == {(d, r) for d in ("bfloat16", "int8") for r in ("uniform", "zipf")}
    assert main(["bench", "generate", "--quick", "--format", "bfloat16,int8", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [(r["shape"]["phase"], r["shape"]["dtype"]) for r in rows] == [(p, d) for d in ("bfloat16", "int8") for p in ("prefill", "decode")]
    for row in rows:
        assert "moekit" in row["times"] and "transformers eager, bfloat16" in row["times"]
    out = capsys.readouterr().out
    assert "tokens/s" in out and out.count("2 layers of 8 experts, 2 a token, 64 -> 32 -> 64") == 1


def test_pictures_without_matplotlib(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["bench", "layer", "--quick", "--plots", str(tmp_path / "plots")]) == 3
    assert "pip install matplotlib" in capsys.readouterr().err and not (tmp_path / "plots").exists()
    assert plots.COLOURS[0] == "#000000"
