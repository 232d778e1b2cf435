#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# All tests. Sets up all it needs on a fresh Debian 12 machine (root or sudo).
#   bash scripts/test.sh          everything: 39 minutes on 2 cores when last timed from nothing
#   bash scripts/test.sh quick    release build, ctest and pytest only
#   bash scripts/test.sh PART...  some of: release python cuda asan tsan arm
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

parts=("$@")
case "${1:-all}" in
  all) parts=(release python cuda asan tsan arm) ;;
  quick) parts=(release python) ;;
esac
for part in "${parts[@]}"; do
  case "$part" in
    release | python | cuda | asan | tsan | arm) ;;
    *) fail "unknown part '$part': release python cuda asan tsan arm" ;;
  esac
done
wanted() { [[ " ${parts[*]} " == *" $1 "* ]]; }

summary=()
failures=0
# part HEADING COMMAND...: runs one part, notes its result and time, and goes on.
part() {
  local heading=$1 begin=$SECONDS status
  shift
  say "$heading"
  set +e  # not `("$@") || status=$?`: that would switch -e off inside as well
  (set -e && "$@")
  status=$?
  set -e
  if [ "$status" != 0 ]; then failures=$((failures + 1)); fi
  summary+=("$(printf '%-6s %5ds  %s' "$([ "$status" = 0 ] && echo ok || echo FAILED)" $((SECONDS - begin)) "$heading")")
  echo "--- $heading: $([ "$status" = 0 ] && echo ok || echo "failed ($status)"), $((SECONDS - begin)) s"
}

# The lines of passed tests go to the log only; failures and the closing lines are shown.
run_ctest() {
  local preset=$1
  shift
  "${prefix[@]}" ctest --preset "$preset" --timeout 900 --output-log "build/ctest-$preset.log" "$@" 2>&1 |
    grep -vE '^ +Start +[0-9]+: |Passed +[0-9.]+ sec *$'
}

# Warnings are errors in the release build only: at the sanitizers' optimisation level GCC warns of what is right.
build_and_ctest() {
  local preset=$1
  shift
  local release
  release=$([ "$preset" = release ] && echo ON || echo OFF)
  cmake --preset "$preset" --log-level=NOTICE -D MOEKIT_WERROR="$release" -D MOEKIT_BUILD_BENCHMARKS="$release"
  cmake --build --preset "$preset" -- --quiet
  run_ctest "$preset" "$@"
}
prefix=()

run_release() { build_and_ctest release --label-exclude '^cuda$' --parallel "$(nproc)"; }

# Without a device: kernels on the host, the library over a driver of our own, what nvcc made.
run_cuda() { build_and_ctest release --label-regex '^cuda$' --parallel "$(nproc)"; }

# Where the library was built for its own tests: nothing is compiled twice.
run_python() {
  if wanted release; then need_moekit build/release; else need_moekit; fi
  "$venv/bin/python" -m pytest -q -p no:cacheprovider python/tests
}

run_notebooks() { "$venv/bin/python" -m pytest -q -p no:cacheprovider --nbmake examples/*.ipynb; }

run_asan() { build_and_ctest asan --parallel 2; }

# ThreadSanitizer's runtime cannot place its shadow when the kernel randomises addresses widely.
run_tsan() {
  if setarch "$(uname -m)" -R true 2>/dev/null; then prefix=(setarch "$(uname -m)" -R); fi
  build_and_ctest tsan --parallel 2
}

# The house checks are of the sources and ran above. Fork tests: see the preset.
run_arm() {
  echo "not tested under qemu: Fork.*, ConvertProcess.* (it aborts when a forked child starts threads)"
  build_and_ctest aarch64 --label-exclude house --parallel "$(nproc)"
}

packages=("${BUILD_PACKAGES[@]}" libgtest-dev libbenchmark-dev libdnnl-dev git)
if wanted arm; then packages+=(g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user); fi
need_packages "${packages[@]}"
(need_packages ccache) || echo "no ccache: every build starts from nothing"
if wanted cuda; then (need_nvcc) || echo "not tested: the CUDA kernels as nvcc compiles them (no nvcc could be had)"; fi
if wanted python; then
  need_python scripts/requirements-build.txt
  need_python scripts/requirements-test.txt & packages_of_python=$!  # while the library compiles
fi

if wanted release; then part "Release build, C++ tests, house checks, installed tree" run_release; fi
if wanted python; then
  wait "$packages_of_python" || fail "the Python packages of the tests could not be installed"
  part "Python package and its tests" run_python
  if compgen -G 'examples/*.ipynb' >/dev/null; then part "Notebooks" run_notebooks; fi
fi
if wanted cuda; then part "CUDA backend without a device" run_cuda; fi
if wanted asan; then part "C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer" run_asan; fi
if wanted tsan; then part "C++ tests under ThreadSanitizer" run_tsan; fi
if wanted arm; then part "C++ tests for Arm64 under qemu (NEON kernels)" run_arm; fi

say "Summary"
printf '%s\n' "${summary[@]}"
echo "$((${#summary[@]} - failures)) parts passed, $failures failed"
[ "$failures" = 0 ]
