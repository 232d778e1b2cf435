#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The first run on an Ascend machine: the conformance suite and the backend's tests with the real CANN, timings of the
# layer, and of torch_npu's fused operators where torch_npu is installed. One JSON file.
#
#   source /usr/local/Ascend/ascend-toolkit/set_env.sh
#   bash scripts/ascend_first_run.sh [result.json]
#
# MOEKIT_FIRST_RUN_EXPERTS=64 takes fewer experts than 256 (11.3 GB of weights instead of 45 GB; whole groups of 8).
# MOEKIT_FIRST_RUN_SMALL=1 takes small dimensions: with MOEKIT_ASCEND_LIBRARY_PATH at the tests' double, to try the script.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
result=$(realpath -m "${1:-ascend_first_run.json}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -z "${MOEKIT_FIRST_RUN_NO_BUILD:-}" ]; then
  cmake --preset release && cmake --build --preset release --target moekit_conformance moekit_ascend_test moekit_ascend_timing || exit 1
fi
tests=build/release/tests

# Rows of other batches and jitter: on a device bits are not promised, so those tests are told apart below.
"$tests"/conformance/moekit_conformance --gtest_filter='On/*/ascend*:-On/Quantised*' \
  --gtest_output="json:$work/conformance.json" > "$work/conformance.log" 2>&1
"$tests"/ascend/moekit_ascend_test --gtest_output="json:$work/layers.json" > "$work/layers.log" 2>&1
size=()
[ -n "${MOEKIT_FIRST_RUN_SMALL:-}" ] && size=(small)
[ -n "${MOEKIT_FIRST_RUN_EXPERTS:-}" ] && size=("experts=$MOEKIT_FIRST_RUN_EXPERTS")
"$tests"/ascend/moekit_ascend_timing "${size[@]}" > "$work/moekit.json" 2> "$work/moekit.log"
if [ -z "${MOEKIT_FIRST_RUN_SMALL:-}" ]; then
  python3 scripts/ascend_torch_timing.py --experts "${MOEKIT_FIRST_RUN_EXPERTS:-256}" > "$work/torch_npu.json" 2> "$work/torch_npu.log"
fi
{ command -v npu-smi > /dev/null && npu-smi info; uname -a; env | grep -E '^ASCEND_|^MOEKIT_'; } > "$work/machine.log" 2>&1

python3 - "$work" "$result" <<'PYTHON'
import json, pathlib, sys
work, result = map(pathlib.Path, sys.argv[1:])

def load(name):
    try:
        return json.loads((work / name).read_text())
    except (OSError, ValueError):
        return None

def tests(name):
    report = load(f"{name}.json")
    log = (work / f"{name}.log").read_text(errors="replace")
    if report is None:
        return {"error": "the program did not finish", "log": log[-20000:]}
    cases = [(f"{suite['name']}.{case['name']}", case) for suite in report["testsuites"] for case in suite["testsuite"]]
    failed = {name: [f["failure"][:2000] for f in case["failures"]] for name, case in cases if case.get("failures")}
    skipped = [name for name, case in cases if case.get("result") == "SKIPPED"]
    return {"run": len(cases), "failed": failed, "skipped": skipped,
            "not_tested": [line for line in log.splitlines() if "not tested" in line]}

def timing(name):
    log = work / f"{name}.log"
    return load(f"{name}.json") or {"error": log.read_text(errors="replace")[-4000:] if log.exists() else "not run"}

summary = {"machine": (work / "machine.log").read_text(errors="replace"),
           "conformance": tests("conformance"), "layers": tests("layers"),
           "moekit": timing("moekit"), "torch_npu": timing("torch_npu")}
result.write_text(json.dumps(summary, indent=1) + "\n")
for name in ("conformance", "layers"):
    part = summary[name]
    print(f"{name}: {part.get('run', 0)} run, failed: {', '.join(part.get('failed', {})) or part.get('error', 'none')}")
print(f"written: {result}")
PYTHON
