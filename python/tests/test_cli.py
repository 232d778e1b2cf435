# SPDX-License-Identifier: Apache-2.0
"""The `moekit` command as a user starts it."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from moekit.cli.heatmap import heat_map
from moekit.cli.inspect import amount, ranges


def moekit(*arguments, env=None):
    return subprocess.run([sys.executable, "-m", "moekit", *map(str, arguments)], text=True, encoding="utf-8",
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300,
                          env={**os.environ, "PYTHONIOENCODING": "utf-8", **(env or {})})


def facts(*arguments, code=0, **kwargs):
    done = moekit(*arguments, "--json", **kwargs)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_doctor():
    f = facts("doctor")
    assert {b["name"] for b in f["backends"]} >= {"cpu", "reference"}
    assert f["isas"][-1]["name"] == "generic" and f["isas"][-1]["usable"]
    for dtype in ("float32", "bfloat16", "int8"):
        assert sum(dtype in isa["chosen_for"] for isa in f["isas"]) == 1
    assert all(isa["reason"] for isa in f["isas"])
    assert f["threads"]["layers_use"] >= 1 and f["memory"]["total"] > 0
    text = moekit("doctor").stdout
    for word in ("processor", "AMX", "threads", "NUMA", "huge pages", "oneDNN", "backends", "generic"):
        assert word in text


def test_doctor_sees_the_environment():
    f = facts("doctor", env={"MOEKIT_ISA": "generic", "MOEKIT_NUM_THREADS": "1"})
    assert f["isas"][-1]["chosen_for"] == ["float32", "bfloat16", "int8"] and "MOEKIT_ISA" in f["isas"][-1]["reason"]
    assert f["threads"]["layers_use"] == 1
    assert "nonsense" in facts("doctor", env={"MOEKIT_ISA": "nonsense"}, code=3)["error"]


def test_inspect(model_path):
    f = facts("inspect", model_path)
    assert f["family"] == "qwen3_moe" and f["moe_layers"] == [0, 1, 2, 3] and f["fits"] is True
    assert f["expert_bytes"] == 3 * 128 * 64 * 2 and f["layer_bytes"] == 16 * f["expert_bytes"]
    assert f["experts_bytes"] == 4 * f["layer_bytes"] and f["dtype"] == "bfloat16"
    text = moekit("inspect", model_path).stdout
    assert "softmax over 16, top 4, weights renormalised" in text and "0-3" in text and "48 KiB an expert" in text


def test_verify(model_path):
    f = facts("verify", model_path, "--tokens", 17)
    assert f["agrees"] and [r["layer"] for r in f["layers"]] == [0, 1, 2, 3]
    assert all(0 <= r["nmse"] <= r["limit"] for r in f["layers"])
    text = moekit("verify", model_path, "--layer", 2, "--dtype", "float32").stdout
    assert "all layers agree" in text and "float32" in text


def test_verify_tells_a_difference(model_path, monkeypatch, capsys):
    from moekit import cli
    from moekit.cli import verify

    monkeypatch.setitem(verify.LIMITS, "bfloat16", 0.0)
    assert cli.main(["verify", str(model_path), "--layer", "0"]) == cli.EXIT_DIFFERS
    assert "DIFFER" in capsys.readouterr().out


def test_demo(model_path):
    f = facts("demo", "-n", 24, "--seed", 3)
    assert f["bytes"] == 24 and f["tokens_per_second"] > 0 and f["model"] == model_path.name
    assert f["agreement"]["greedy_text_agrees"] in (True, False)
    assert all(r["agrees"] for r in f["agreement"]["layers"])
    prompt = len(f["prompt"].encode())
    assert all(sum(load) == 4 * (prompt + 23) for load in f["load"].values())  # top 4; the last byte is not fed back
    assert facts("demo", "-n", 24, "--seed", 3)["text"] == f["text"]
    done = moekit("demo", "-n", 24, "--seed", 3)
    assert done.stdout.startswith(f["prompt"] + f["text"][:10]) and "tokens/s" in done.stdout
    assert "expert load" in done.stdout and "agreement" in done.stdout


def test_demo_without_torch():
    code = "import sys; from moekit.cli import main; main(['demo', '-n', '2', '--json']); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("arguments, code, message", [
    ((), 2, "usage"), (("fly",), 2, "invalid choice"), (("inspect",), 2, "path"),
    (("inspect", "/no/such/folder"), 3, "/no/such/folder: No such file"),
    (("verify", "/no/such/folder"), 3, "/no/such/folder: No such file"),
    (("demo", "--model", "nobody"), 3, "qwen3_moe_bytes"), (("demo", "-n", "0"), 3, "--bytes"),
])
def test_errors_and_exit_codes(arguments, code, message):
    done = moekit(*arguments)
    assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr
    if code == 3:
        assert facts(*arguments, code=3)["error"]


def test_help_documents_exit_codes():
    for arguments in (["--help"], ["verify", "--help"]):
        assert "exit codes" in moekit(*arguments).stdout
    assert moekit("--version").stdout.startswith("moekit 0.")


def test_heat_map_and_amounts():
    text = heat_map(np.array([[0, 1, 8], [0, 0, 0]]), [3, 4])
    assert "▁" in text and "█" in text and "busiest 88.9%" in text
    assert heat_map(np.ones((1, 300)), [0], width=100).count("█") == 100
    assert heat_map(np.ones((1, 3)), [0], encoding="ascii").isascii()
    assert amount(0) == "0 B" and amount(1536) == "1.5 KiB" and amount(5 * 2**40) == "5120 GiB"
    assert ranges([]) == "" and ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"
