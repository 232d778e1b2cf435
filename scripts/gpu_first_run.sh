#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# On a machine with an NVIDIA GPU: everything that could not be proven without one, in one command, results in one JSON.
#   bash scripts/gpu_first_run.sh [FILE]       (default build/gpu_first_run.json)
# 1 the conformance kit: each primitive that the emulation imitates, on the device and on the host
# 2 the conformance suite and the Python tests on the device
# 3 compute-sanitizer over a part of the suite, where it is installed
# 4 times against cuBLAS' grouped product, torch's grouped_mm and vLLM's kernel, where installed, with graphs and without
# A step that fails does not stop those after it. MOEKIT_GPU_SETUP=0 leaves out what would be downloaded.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

out=${1:-build/gpu_first_run.json}
logs=build/gpu_first_run
mkdir -p "$logs"
rm -f "$logs"/*
unset MOEKIT_CUDA_LIBRARY_PATH  # the real driver

# step NAME COMMAND...: notes status and seconds; the output goes to a log and, at the end, to the terminal.
step() {
  local name=$1 begin=$SECONDS status=0
  shift
  say "$name"
  "$@" >"$logs/$name.log" 2>&1 || status=$?
  printf '{"step": "%s", "status": %d, "seconds": %d}\n' "$name" "$status" $((SECONDS - begin)) >>"$logs/steps.jsonl"
  tail -n 12 "$logs/$name.log"
  echo "--- $name: $([ "$status" = 0 ] && echo ok || echo "failed ($status)"), log $logs/$name.log"
}

setup() {
  need_packages "${BUILD_PACKAGES[@]}" libgtest-dev
  need_python scripts/requirements-test.txt
  need_nvcc
}

build() {
  cmake --preset release --log-level=NOTICE -D MOEKIT_WITH_CUDA=ON
  cmake --build --preset release --target moekit_cuda_kit moekit_conformance
}

# The suite runs on every backend that works here; a run that found no device is a failure.
conformance() {
  build/release/tests/conformance/moekit_conformance '--gtest_filter=On/*/cuda*' | tee "$logs/suite.txt"
  ! grep -q 'Running 0 tests' "$logs/suite.txt"
}

sanitizer() {
  command -v compute-sanitizer >/dev/null || {
    echo "not tested: compute-sanitizer is not installed"
    return 0
  }
  local tool
  for tool in memcheck racecheck initcheck synccheck; do
    MOEKIT_TEST_REDUCED=1 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      build/release/tests/conformance/moekit_conformance '--gtest_filter=On/FormTest*/cuda__silu:On/RuleTest*/cuda__sigmoid_groups_top2'
  done
}

python_tests() {
  need_moekit
  "$venv/bin/python" -m pytest -q -p no:cacheprovider python/tests/test_cuda.py
}

# The smallest question first: without a device the rest has no meaning.
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader >"$logs/device.txt" ||
  fail "nvidia-smi finds no device"
cat "$logs/device.txt"
if [ "${MOEKIT_GPU_SETUP:-1}" != 0 ]; then step setup setup; fi
step build build
step kit build/release/tests/cuda/kit/moekit_cuda_kit "$logs/kit.json"
step conformance conformance
step sanitizer sanitizer
step python python_tests
step bench "$venv/bin/python" scripts/gpu_bench.py --json "$logs/bench.json"

"$venv/bin/python" - "$logs" "$out" <<'PYTHON'
import json, pathlib, subprocess, sys
logs, out = map(pathlib.Path, sys.argv[1:])
load = lambda name: json.loads((logs / name).read_text()) if (logs / name).exists() else None
revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
steps = [json.loads(line) for line in (logs / "steps.jsonl").read_text().splitlines()]
report = {"revision": revision, "device": (logs / "device.txt").read_text().strip(), "steps": steps,
          "kit": load("kit.json"), "bench": load("bench.json"),
          "logs": {p.stem: p.read_text(errors="replace")[-4000:] for p in sorted(logs.glob("*.log"))}}
out.write_text(json.dumps(report, indent=2))
failed = [s["step"] for s in steps if s["status"]]
print(f"{out}: {len(steps) - len(failed)} steps passed, {len(failed)} failed {failed}")
sys.exit(bool(failed))
PYTHON
