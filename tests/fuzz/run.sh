#!/bin/sh
# Builds every fuzzer (tests/fuzz/fuzz_NAME.c) and runs each for a while, from the project's root:
#   sh tests/fuzz/run.sh FOLDER SECONDS [NAME...]
# FOLDER takes the build, a corpus for each fuzzer that grows from run to run, and findings. The
# first inputs are tests/fuzz/seeds/NAME. Exits 1 when an input breaks something; the input and the
# command that runs it again are named.
set -u
if [ $# -lt 2 ]; then
    echo "usage: sh tests/fuzz/run.sh FOLDER SECONDS [NAME...]" >&2
    exit 2
fi
folder=$1
seconds=$2
shift 2
clang=${FUZZ_CC:-clang}
if ! command -v "$clang" >/dev/null 2>&1; then
    echo "tests/fuzz/run.sh: $clang is not here; fuzzing needs clang with libFuzzer" >&2
    exit 1
fi
if [ $# -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        name=${source#tests/fuzz/fuzz_}
        set -- "$@" "${name%.c}"
    done
fi
make -j2 BUILD="$folder" CC="$clang" fuzzers \
    SANITIZE="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all" || exit 1

mkdir -p "$folder/findings"
failed=0
for name in "$@"; do
    fuzzer=$folder/fuzz/fuzz_$name
    corpus=$folder/corpus/$name
    log=$folder/$name.log
    mkdir -p "$corpus"
    "$fuzzer" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$folder/findings/$name-" "$corpus" "tests/fuzz/seeds/$name" \
        >"$log" 2>&1
    code=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ $code -eq 0 ]; then
        echo "fuzz_$name: ${runs:-?} inputs in $seconds s, nothing found"
        continue
    fi
    failed=1
    echo "fuzz_$name: FAILED (exit $code); the end of $log:"
    tail -n 40 "$log"
    input=$(sed -n 's/.*Test unit written to //p' "$log")
    [ -n "$input" ] && echo "run it again: $fuzzer $input"
done
exit $failed
