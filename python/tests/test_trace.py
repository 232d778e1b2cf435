# SPDX-License-Identifier: Apache-2.0
"""Recorded routing, and what caches of experts would make of it."""
import functools
import json
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import moekit
from moekit import cache, trace
from moekit.cli import main

MODEL = Path(__file__).resolve().parents[2] / "examples" / "models" / "qwen3_moe_bytes"

sequences = st.lists(st.integers(0, 5), max_size=40)


def plain_lru(sequence, slots):
    held, hits = OrderedDict(), 0
    for expert in sequence:
        if expert in held:
            hits += 1
            held.move_to_end(expert)
            continue
        if len(held) == slots:
            held.popitem(last=False)
        held[expert] = None
    return hits


def most_hits(sequence, slots):
    """The best of all choices of what to give up."""
    @functools.lru_cache(maxsize=None)
    def best(i, held):
        if i == len(sequence):
            return 0
        expert = sequence[i]
        if expert in held:
            return 1 + best(i + 1, held)
        if len(held) < slots:
            return best(i + 1, held | {expert})
        return max(best(i + 1, held - {victim} | {expert}) for victim in held)
    return best(0, frozenset())


@given(sequences)
def test_policies_against_plain_ones(sequence):
    sizes = [1, 2, 3, 5, 6, 9]
    lru = cache.lru_hits(sequence, sizes)
    optimal = [cache.optimal_hits(sequence, n) for n in sizes]
    assert lru == [plain_lru(sequence, n) for n in sizes]
    assert all(o >= h for o, h in zip(optimal, lru))
    assert lru == sorted(lru) and optimal == sorted(optimal)
    # Everything fits: only the first use of each misses.
    assert lru[-2:] == optimal[-2:] == [len(sequence) - len(set(sequence))] * 2


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), max_size=14), st.integers(1, 4))
def test_optimal_against_brute_force(sequence, slots):
    assert cache.optimal_hits(sequence, slots) == most_hits(tuple(sequence), slots)


def test_a_call_needs_an_expert_once_and_none_for_skips():
    assert cache.needed([[[3, 1], [1, -1]], [[-1, -1]], [[2, 3]]]) == [1, 3, 2, 3]


def _layer(seed=0, experts=6, k=2):
    random = np.random.default_rng(seed)
    draw = lambda *shape: random.standard_normal(shape, dtype=np.float32)  # noqa: E731
    return moekit.MoeLayer.from_arrays(
        {"router": {"num_experts": experts, "top_k": k}, "expert": {"input": 8, "intermediate": 4, "output": 8}},
        {"router.weight": draw(experts, 8), "experts.gate": draw(experts, 4, 8), "experts.up": draw(experts, 4, 8),
         "experts.down": draw(experts, 8, 4)})


def test_a_recording_has_the_routing_and_changes_no_result(tmp_path):
    first, second, path = _layer(0), _layer(1, experts=9, k=3), tmp_path / "run.routes"
    xs = [np.random.default_rng(i).standard_normal((i, 8), dtype=np.float32) for i in (1, 5, 3)]
    expected = [(layer, layer(x, return_routing=True)) for x in xs for layer in (first, second, first)]
    with trace.record(path, names={"the second": second}):
        got = [layer(x) for x in xs for layer in (first, second, first)]
        with pytest.raises(RuntimeError, match="under way"), trace.record(tmp_path / "other"):
            pass
        y, routing = first(xs[0], return_routing=True)
    first(xs[0])  # not recorded any more
    assert y.tobytes() == expected[0][1][0].tobytes() and (routing.expert_ids == expected[0][1][1].expert_ids).all()
    for y, (_, (want, _)) in zip(got, expected):
        assert type(y) is type(want) and y.tobytes() == want.tobytes()
    run = trace.load(path)
    assert [layer[:3] for layer in run.layers] == [("layer 0", 6, 2), ("the second", 9, 3)]
    assert [layer.needs for layer in run.layers] == [first.memory_needs, second.memory_needs]
    assert len(run.calls) == 10
    for (number, ids), (layer, (_, routing)) in zip(run.calls, expected):
        assert number == (layer is second) and ids == routing.expert_ids.tolist()


def test_threads_write_whole_lines(tmp_path):
    layer, path = _layer(), tmp_path / "run.routes"
    x = np.ones((20, 8), np.float32)
    with trace.record(path):
        threads = [threading.Thread(target=lambda: [layer(x) for _ in range(50)]) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert len(trace.load(path).calls) == 200


def test_what_a_killed_run_left_is_read(tmp_path):
    layer, path = _layer(), tmp_path / "run.routes"
    with trace.record(path):
        layer(np.ones((2, 8), np.float32))
        layer(np.ones((2, 8), np.float32))
    text = path.read_text()
    path.write_text(text[:-3])
    assert len(trace.load(path).calls) == 1


HEADER = '{"kind":"moekit routing trace","version":2}\n'
LAYER = '{"layer":0,"name":"a","experts":4,"top_k":2,"expert_bytes":16,"always_bytes":0}\n'


@pytest.mark.parametrize("text,said", [
    ("", "empty"), ("{}\n", "line 1"), ('{"kind":"moekit routing trace","version":1}\n', "version 2"), ("no json\n", "line 1"),
    (HEADER + "[0,[[1,2]]]\n", "of 0 layers"), (HEADER + LAYER + "[1,[[1,2]]]\n", "of 1 layers"),
    (HEADER + LAYER + "[0,[[1]]]\n", "rows of 2 ids"), (HEADER + LAYER + "[0,[[1,-2]]]\n", "ids from -1"),
    (HEADER + LAYER + "[0,[[1,true]]]\n", "rows of 2 ids"), (HEADER + LAYER + "7\n", "line 3"),
    (HEADER + LAYER + LAYER, "expected 1"), (HEADER + LAYER.replace('"experts":4', '"experts":"4"'), "expected counts"), (HEADER, "no calls"),
])
def test_a_file_that_is_no_trace_is_refused(text, said, tmp_path, capsys):
    path = tmp_path / "run.routes"
    path.write_text(text)
    assert main(["trace", str(path)]) == 3
    assert said in capsys.readouterr().err


def _write(path, calls, experts=16):
    lines = [HEADER, json.dumps({"layer": 0, "name": "a", "experts": experts, "top_k": 2, "expert_bytes": 100, "always_bytes": 7}) + "\n"]
    path.write_text("".join(lines + [json.dumps([0, rows]) + "\n" for rows in calls]))


def test_verdicts(tmp_path, capsys):
    random, path = np.random.default_rng(0), tmp_path / "run.routes"

    def verdict(calls, *more):
        _write(path, calls)
        assert main(["trace", str(path), "--json", *more]) == 0
        return json.loads(capsys.readouterr().out)

    few = verdict([[random.permutation(4)[:2].tolist()] for _ in range(300)])
    assert few["verdict"].startswith("a cache helps") and few["needed"] == 600
    full = few["rates"][-1]
    assert full["slots"] == 16 and full["lru"] == full["optimal"] == pytest.approx(596 / 600) and full["memory_budget"] == 1607
    # In turn through ten experts: LRU gives up just what comes next.
    turn = verdict([[[i % 10, (i + 1) % 10]] for i in range(0, 600, 2)])
    assert turn["verdict"].startswith("LRU does not help") and turn["rates"][0]["lru"] == 0
    even = verdict([[random.permutation(16)[:2].tolist()] for _ in range(600)], "--slots", "4")
    assert even["verdict"].startswith(("LRU does not help", "no cache helps")) and [r["slots"] for r in even["rates"]] == [4]
    assert main(["trace", str(path), "--slots", "0"]) == 3 and "--slots" in capsys.readouterr().err


def test_a_model_is_recorded(tmp_path, capsys):
    out = tmp_path / "run.routes"
    assert main(["trace", str(MODEL), "--out", str(out), "--new", "4"]) == 0
    text = capsys.readouterr().out
    assert "4 layers" in text and "LRU" in text
    run = trace.load(out)
    assert [layer.name for layer in run.layers] == [f"model.layers.{i}.mlp" for i in range(4)]
    assert [len(rows) for _, rows in run.calls[4:]] == [1] * 12  # after the prompt three more tokens are read
    assert main(["trace", str(MODEL)]) == 3 and "--out" in capsys.readouterr().err


def test_budgets_are_those_that_give_the_slots(tmp_path, capsys):
    """Of the converted layers, which are smaller than those of the model."""
    hf, transformers = pytest.importorskip("moekit.hf"), pytest.importorskip("transformers")
    out, converted = tmp_path / "run.routes", tmp_path / "converted"
    moekit.convert(MODEL, converted, dtype="int8")
    asked = ["trace", str(MODEL), "--path", str(converted), "--out", str(out), "--new", "4", "--slots", "1,3"]
    assert main([*asked, "--json"]) == 0
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL)
    for rate in json.loads(capsys.readouterr().out)["rates"]:
        layers = hf.replace_moe(model, path=converted, memory_budget=rate["memory_budget"])
        assert {layer.cache_counts.slots for layer in layers.values()} == {rate["slots"]}
    assert main(["trace", str(out), "--slots", "3"]) == 0 and str(rate["memory_budget"]) in capsys.readouterr().out
    assert main(["trace", str(out), "--path", str(converted)]) == 3 and "--path" in capsys.readouterr().err
