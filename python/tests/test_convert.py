# SPDX-License-Identifier: Apache-2.0
"""Converted models: `moekit convert`, loading what it wrote, and what users do to such folders."""
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import moekit
from moekit.cli import main

safetensors = pytest.importorskip("safetensors")


def outputs(path, layer=1, **kwargs):
    loaded = moekit.load_layer(path, layer, **kwargs)
    x = np.random.default_rng(3).standard_normal((9, loaded.hidden_size)).astype(np.float32)
    return loaded(x)


@pytest.fixture(scope="module")
def converted(model_path, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / "out"
    moekit.convert(model_path, out)
    return out


@pytest.mark.parametrize("dtype", ["auto", "float32", "int8", "int4", "fp8", "mxfp4"])
def test_the_same_bits_as_the_checkpoint(model_path, tmp_path, dtype):
    seen = []
    model = moekit.convert(os.fsencode(model_path), tmp_path / "out", dtype, progress=lambda *args: seen.append(args))
    assert seen == [(n, 4) for n in (1, 2, 3, 4)] and model["family"] == "qwen3_moe"
    for layer in range(4):
        expected = outputs(model_path, layer, dtype=dtype)
        for mmap in (True, False):
            np.testing.assert_array_equal(outputs(tmp_path / "out", layer, mmap=mmap), expected)


def test_layers_say_where_they_come_from(converted, monkeypatch):
    layer = moekit.load_layer(converted, 2)
    assert layer.family == "qwen3_moe" and layer.dtype == "bfloat16" and "mapped" in layer.explain()
    assert "read into memory" in moekit.load_layer(converted, 2, mmap=False).explain()
    monkeypatch.setenv("MOEKIT_MAP_FILES", "0")
    assert "read into memory" in moekit.load_layer(converted, 2).explain()


def test_files_are_safetensors(converted):
    file = next(converted.glob("layer-00003-*.safetensors"))
    with safetensors.safe_open(file, "numpy") as tensors:
        assert tensors.get_slice("router.weight").get_shape() == [16, 128]
        assert tensors.get_tensor("routed.panels").dtype == np.uint8
        assert not any(tensors.get_tensor(name).any() for name in tensors.keys() if name.startswith("padding."))
        assert tensors.metadata()["kind"] == "moekit packed layer"
    manifest = json.loads((converted / "moekit.json").read_text())
    assert [entry["layer"] for entry in manifest["layers"]] == [0, 1, 2, 3]
    assert sorted(p.name for p in converted.iterdir()) == sorted(["moekit.json", *(e["file"] for e in manifest["layers"])])


def test_another_dtype_is_told(converted):
    with pytest.raises(moekit.CheckpointError, match="converted to bfloat16, dtype 'int4' asked"):
        moekit.load_layer(converted, 0, "int4")


def test_command_line(model_path, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["convert", str(model_path), str(out), "--dtype", "int8", "--json"]) == 0
    f = json.loads(capsys.readouterr().out)
    assert [layer["format"] for layer in f["layers"]] == ["int8"] * 4
    assert f["bytes"] == sum(p.stat().st_size for p in out.glob("layer-*"))
    assert main(["convert", str(model_path), str(out)]) == 3
    assert "force replaces it" in capsys.readouterr().err
    assert main(["convert", str(model_path), str(out), "--force"]) == 0
    assert "layers 0-3, bfloat16" in capsys.readouterr().out
    assert main(["convert", str(model_path), str(model_path), "--force"]) == 3
    assert "is the folder of the checkpoint" in capsys.readouterr().err

    assert main(["inspect", str(out), "--json"]) == 0
    f = json.loads(capsys.readouterr().out)
    assert f["family"] == "qwen3_moe" and f["moe_layers"] == [0, 1, 2, 3] and f["dtype"] == "bfloat16"
    assert f["expert_bytes"] == 3 * 128 * 64 * 2 and f["fits"]
    assert main(["verify", str(out), "--json"]) == 0
    f = json.loads(capsys.readouterr().out)
    assert f["checksums"] == "agree" and f["agrees"] and len(f["layers"]) == 4


def test_verify_finds_damaged_data(converted, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(converted, out)
    file = next(out.glob("layer-00001-*"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    assert main(["verify", str(out)]) == 3
    error = capsys.readouterr().err
    assert "'routed.panels'" in error and "damaged" in error and file.name in error
    assert main(["verify", str(out), "--layer", "2"]) == 0


@pytest.mark.parametrize("spoil, message", [
    (lambda out: (out / "moekit.json").unlink(), "config.json"),
    (lambda out: (out / "moekit.json").write_text("{}"), "damaged or edited"),
    (lambda out: next(out.glob("layer-00001-*")).unlink(), "No such file"),
    (lambda out: os.truncate(next(out.glob("layer-00001-*")), 9000), "safetensors"),
    (lambda out: shutil.copy(next(out.glob("layer-00002-*")), next(out.glob("layer-00001-*"))), "was written with"),
])
def test_spoilt_folders(converted, tmp_path, spoil, message):
    out = tmp_path / "out"
    shutil.copytree(converted, out)
    spoil(out)
    with pytest.raises(moekit.CheckpointError, match=message):
        moekit.load_layer(out, 1)


def test_progress_may_stop_it(model_path, tmp_path):
    def stop(done, total):
        raise KeyError(done)

    with pytest.raises(KeyError):
        moekit.convert(model_path, tmp_path / "out", progress=stop)
    assert not (tmp_path / "out").exists()


def test_processes_share_the_pages(model_path, tmp_path):
    """Two processes that use the same converted layers are charged half of them each."""
    moekit.convert(model_path, tmp_path / "out")
    code = """if True:
        import sys, re, moekit, numpy as np
        layers = [moekit.load_layer(sys.argv[1], n) for n in range(4)]
        for layer in layers: layer(np.random.default_rng(0).standard_normal((64, 128)).astype(np.float32))
        print("ready", flush=True); sys.stdin.readline()
        text = open("/proc/self/smaps").read()
        blocks = [b for b in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", text) if sys.argv[1] in b.split("\\n")[0]]
        size = lambda key: sum(int(re.search(rf"^{key}: +(\\d+)", b, re.M).group(1)) for b in blocks)
        print(size("Rss"), size("Pss"), size("Private_Clean") + size("Private_Dirty"), flush=True); sys.stdin.readline()
    """
    two = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [p.stdout.readline() for p in two] == ["ready\n"] * 2
    seen = []
    for p in two:
        p.stdin.write("\n")
        p.stdin.flush()
        seen.append([int(word) for word in p.stdout.readline().split()])
    for p in two:
        p.communicate("\n", timeout=60)
    size = sum(p.stat().st_size for p in (tmp_path / "out").glob("layer-*")) // 1024
    for rss, pss, private in seen:
        assert rss > 0.8 * size and pss < 0.6 * rss and private < 0.1 * rss, seen


def test_interrupted_by_the_user(model_path, tmp_path):
    """Ctrl-C: the command ends with 130 and the folder is as it was."""
    out = tmp_path / "out"
    code = ("import sys, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "import os, moekit.cli.convert as c, moekit\n"
            "plain = c.convert\n"
            "def slow(*args, progress, **kw):\n"
            "    return plain(*args, progress=lambda d, t: (d == 1 and os.kill(os.getpid(), signal.SIGINT)), **kw)\n"
            "c.convert = slow\n"
            "from moekit.cli import main; sys.exit(main(['convert', sys.argv[1], sys.argv[2]]))")
    done = subprocess.run([sys.executable, "-c", code, str(model_path), str(out)], stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == 130, done.stderr
    assert not out.exists()


def test_more_experts_than_memory(converted):
    whole = moekit.load_layer(converted, 1)
    assert whole.cache_counts == (0, 0, 0) and whole.resident_nbytes == whole.nbytes
    layer = moekit.load_layer(converted, 1, memory_budget=whole.nbytes // 2)
    slots, hits, loads = layer.cache_counts
    assert 0 < slots < whole.config["router"]["num_experts"] and (hits, loads) == (0, 0)
    assert layer.resident_nbytes < layer.nbytes == whole.nbytes
    np.testing.assert_array_equal(outputs(converted, 1, memory_budget=whole.nbytes // 2), outputs(converted, 1))
    layer(np.ones((1, layer.hidden_size), np.float32))
    _, hits, loads = layer.cache_counts
    assert (hits, loads) == (0, layer.config["router"]["top_k"])
    layer(np.ones((1, layer.hidden_size), np.float32))
    assert layer.cache_counts == (slots, loads, loads)
    assert f"experts in memory: {slots} of" in layer.explain()


def test_budgets_that_cannot_be_kept(model_path, converted):
    with pytest.raises(ValueError, match="needs at least"):
        moekit.load_layer(converted, 1, memory_budget=1)
    with pytest.raises(moekit.UnsupportedError, match="moekit convert"):
        moekit.load_layer(model_path, 1, memory_budget=1 << 20)
    with pytest.raises(ValueError, match="memory_budget is -1"):
        moekit.load_layer(converted, 1, memory_budget=-1)
