# SPDX-License-Identifier: Apache-2.0
"""`moekit bench` runs and its files have their fields. Nothing here judges a time."""
import json

import numpy as np
import pytest

from moekit.bench import remote, report, suite, timing
from moekit.cli import main


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "run.json"
    no_peers = tmp_path_factory.mktemp("peers")  # whatever .peers holds
    assert main(["bench", "--quick", "--threads", "2", "--json", str(path), "--peers", str(no_peers)]) == 0
    return path


def test_a_run_has_its_fields(quick_run):
    run = json.loads(quick_run.read_text())
    assert run["quick"] is True
    machine = run["machine"]
    assert machine["cpu"] and machine["threads"] == 2 and set(machine["kernels"]) == {"float32", "bfloat16", "int8"}
    assert {"commit", "uncommitted_changes", "moekit", "python", "platform", "load_average"} <= set(machine)
    assert machine["versions"]["torch"] and machine["versions"]["numpy"]
    limits = run["limits"]
    assert limits["dram"] > 0 and limits["fp32"] > 0 and limits["bf16"] >= 0 and limits["threads"] == 2
    assert {peak["isa"] for peak in limits["peaks"]} >= {"generic"}
    assert {row["suite"] for row in run["rows"]} == {"dropin", "layer"}
    assert len({json.dumps(row["shape"]) for row in run["rows"]}) == len(run["rows"]) == 6
    for row in run["rows"]:
        assert row["ratio_over"] in row["times"] and row["weight_bytes"] > 0 and row["flops"] > 0
        for name, t in row["times"].items():
            assert 0 < t["least_s"] <= t["q1_s"] <= t["median_s"] <= t["q3_s"] and t["samples"] >= 5
            assert row["errors"][name] <= suite.LARGEST_ERROR[row["shape"]["dtype"]]
            rate = row["rates"][name]
            assert rate["bytes_per_s"] == pytest.approx(row["bytes_of"][name] / t["median_s"])
            assert 0 < rate["of_dram"] == pytest.approx(rate["bytes_per_s"] / row["limits"]["dram"])
            assert 0 < rate["of_peak"] == pytest.approx(rate["flops_per_s"] / row["limits"]["peak"])
        for name, ratio in row["ratios"].items():
            assert ratio == pytest.approx(row["times"][name]["median_s"] / row["times"][row["ratio_over"]]["median_s"])


def test_every_competitor_is_timed_or_named(quick_run):
    expected = {"dropin": {"moekit.torch.MoE", "moekit.MoE (NumPy)", "torch eager", "torch.compile"},
                "layer": {"moekit", "transformers eager", "transformers batched_mm", "transformers grouped_mm", *remote.NAMES}}
    for row in json.loads(quick_run.read_text())["rows"]:
        assert set(row["times"]) | set(row["not_measured"]) == expected[row["suite"]]
        assert not set(row["times"]) & set(row["not_measured"])
        assert all(row["not_measured"].values())


def test_an_interrupted_run_keeps_its_cases(tmp_path, monkeypatch, capsys):
    run_case, path = suite.run, tmp_path / "run.json"

    def interrupted(case, seconds, limits, done=[]):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(case)
        return run_case(case, seconds, limits)

    monkeypatch.setattr(suite, "run", interrupted)
    assert main(["bench", "dropin", "--quick", "--json", str(path)]) == 130
    run = json.loads(path.read_text())
    assert len(run["rows"]) == 2 and all(row["rates"] for row in run["rows"])
    assert "interrupted" in run["not_measured"]["dropin"] and "interrupted" in capsys.readouterr().out


def test_comparison_with_an_old_run(quick_run, tmp_path, capsys):
    assert main(["bench", "dropin", "--quick", "--threads", "2", "--compare", str(quick_run)]) == 0
    assert "against the old run" in capsys.readouterr().out
    other = json.loads(quick_run.read_text())
    other["machine"]["cpu"] = "another processor"
    path = tmp_path / "other.json"
    path.write_text(json.dumps(other))
    assert main(["bench", "dropin", "--quick", "--threads", "2", "--compare", str(path)]) == 3
    assert "another processor" in capsys.readouterr().err
    assert main(["bench", "dropin", "--quick", "--threads", "2", "--compare", str(path), "--force", "--json", "-"]) == 0
    compared = json.loads(capsys.readouterr().out)["compared"]
    assert len(compared) == 4 and all(c["speedup"]["moekit.torch.MoE"] > 0 for c in compared)


@pytest.mark.parametrize("text", ["[]", "{}", '{"rows": 1, "machine": {}}', "not json"])
def test_a_file_that_is_no_run_is_refused(text, tmp_path, capsys):
    path = tmp_path / "x.json"
    path.write_text(text)
    assert main(["bench", "--quick", "--compare", str(path)]) == 3
    assert capsys.readouterr().err


def _case(competitors):
    return suite.Case("dropin", {"experts": 1, "input": 1, "output": 1, "batch": 1, "dtype": "float32"}, competitors,
                      np.ones((1, 1)), lambda y: y, 1.0, 1.0, {})


class _Limits:
    """Slower from call to call."""

    def __init__(self):
        self.calls = 0

    def now(self, dtype):
        assert dtype == "float32"
        self.calls += 1
        return {"dram": 100.0 / self.calls, "peak": 1000.0 / self.calls}


def test_limits_are_the_medians_of_the_same_rounds():
    limits = _Limits()
    row = suite.run(_case([timing.Competitor("moekit", lambda x: x, [np.ones((1, 1))])]), 0.0, limits)
    assert limits.calls == row["times"]["moekit"]["samples"] == 5
    assert row["limits"] == {"dram": 100.0 / 3, "peak": 1000.0 / 3}
    assert row["rates"]["moekit"]["of_dram"] == pytest.approx(1.0 / row["times"]["moekit"]["median_s"] / (100.0 / 3))


def test_wrong_and_failing_peers_are_named_and_not_timed():
    def fails(x):
        raise RuntimeError("no such kernel")

    row = suite.run(_case([timing.Competitor("moekit", lambda x: x, [np.ones((1, 1))]),
                           timing.Competitor("off", lambda x: x + 1e-3, [np.ones((1, 1))]),
                           timing.Competitor("not finite", lambda x: x * np.nan, [np.ones((1, 1))]),
                           timing.Competitor("broken", fails, [None])]), 0.0, _Limits())
    assert set(row["times"]) == {"moekit"} and set(row["not_measured"]) == {"off", "not finite", "broken"}
    assert "no such kernel" in row["not_measured"]["broken"] and not suite.wrong(row)


def test_a_wrong_result_of_moekit_is_reported():
    row = suite.run(_case([timing.Competitor("moekit", lambda x: x + 1, [np.ones((1, 1))])]), 0.0, _Limits())
    assert suite.wrong(row) and row["times"] == {}
    facts = {"machine": {"cpu": "c", "threads": 1, "kernels": {}, "load_average": 0.0, "commit": None, "moekit": "0",
                         "uncommitted_changes": None, "python": "3", "versions": {"torch": None}},
             "quick": False, "limits": {"dram": 1.0, "fp32": 1.0, "bf16": 0.0}, "rows": [row],
             "not_measured": {"layer": "no torch"}}
    text = report.render(facts)
    assert "not run: moekit (wrong result" in text and "torch not installed" in text and "no torch" in text


def test_competitors_take_turns_over_all_inputs():
    seen = []
    times = timing.interleaved([timing.Competitor("a", lambda x: seen.append(("a", x)), [0, 1, 2]),
                                timing.Competitor("b", lambda x: seen.append(("b", x)), [0, 1, 2])], 0.0, turn=1e-5)
    assert set(times) == {"a", "b"} and all(t["samples"] == 5 for t in times.values())
    for name in "ab":
        inputs = [x for who, x in seen if who == name]
        assert inputs == [i % 3 for i in range(len(inputs))]
    turns = [who for i, (who, _) in enumerate(seen) if i == 0 or seen[i - 1][0] != who]
    assert turns[-10:] == ["a", "b"] * 5
