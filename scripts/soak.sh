#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Long runs by hand: every fuzz target (libFuzzer, AddressSanitizer, UBSan), then the C++ tests under AddressSanitizer
# in random order again and again.
#   bash scripts/soak.sh [MINUTES]     default 10: half for the fuzzers together, half for the tests
# Inputs found stay in build/fuzz/corpus and are used again; a crashing one is left in build/fuzz.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
minutes=${1:-10}
[[ $minutes =~ ^[1-9][0-9]*$ ]] || fail "minutes is '$minutes', a whole number from 1 on is expected"
half=$((minutes * 30))

need_packages "${BUILD_PACKAGES[@]}" libgtest-dev clang libclang-rt-14-dev
targets=()
for source in tests/*/fuzz_*.cpp; do [ ! -e "$source" ] || targets+=("$(basename "$source" .cpp)"); done

if [ ${#targets[@]} -gt 0 ]; then
  say "Fuzz targets: ${targets[*]}, $((half / ${#targets[@]})) s each"
  cmake -B build/fuzz -G Ninja --log-level=NOTICE -D CMAKE_CXX_COMPILER=clang++ -D CMAKE_BUILD_TYPE=RelWithDebInfo \
    -D MOEKIT_BUILD_FUZZERS=ON
  cmake --build build/fuzz --target "${targets[@]}"
  for target in "${targets[@]}"; do
    program=$(find build/fuzz -type f -name "$target" -perm -u+x)
    mkdir -p "build/fuzz/corpus/$target"
    # An input that takes over a second is a hang; memory is bounded by the parsers' own limits.
    "$program" -max_total_time=$((half / ${#targets[@]})) -timeout=1 -rss_limit_mb=2048 -print_final_stats=1 \
      -artifact_prefix="build/fuzz/$target-" "build/fuzz/corpus/$target"
  done
fi

say "C++ tests under AddressSanitizer, shuffled, for $half s"
cmake --preset asan --log-level=NOTICE
cmake --build --preset asan -- --quiet
MOEKIT_TEST_KILLS=1000 build/asan/tests/convert/convert_process_test --gtest_filter='*KilledAtAnyMoment'
end=$((SECONDS + half))
rounds=0
while [ $SECONDS -lt $end ]; do
  seed=$((RANDOM % 99999 + 1))
  # Not by the preset: it reduces the conformance suite.
  GTEST_SHUFFLE=1 GTEST_RANDOM_SEED=$seed UBSAN_OPTIONS=print_stacktrace=1 \
    ctest --test-dir build/asan --label-exclude house --quiet --timeout 7200 ||
    fail "round $((rounds + 1)) failed with GTEST_RANDOM_SEED=$seed (build/asan/Testing/Temporary/LastTest.log)"
  rounds=$((rounds + 1))
done
echo "$rounds rounds passed, 0 failed"
