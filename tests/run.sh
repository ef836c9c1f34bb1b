#!/bin/sh
# Runs every test program and every command-line test of a build, from the project's root:
#   sh tests/run.sh [BUILD]      (default build)
# Ends with the line 'N passed, N failed, N skipped' and exits 1 when anything failed.
set -u
build=${1:-build}
log=$build/tests/log
# Check's own limit of 4 s a test is short for a sanitizer's build on a busy machine.
export CK_DEFAULT_TIMEOUT="${CK_DEFAULT_TIMEOUT:-60}"
export MIDASHI_BUILD="$build"
mkdir -p "$log"
rm -f "$log"/*
failed_programs=
for test in tests/test_*.c tests/softcuda/test_*.c tests/cli/test_*.sh; do
    [ -e "$test" ] || continue
    name=$(basename "$test")
    name=${name%.*}
    case $test in
    *.c) MIDASHI_TAP=$log/$name.tap "$build/tests/$name" >"$log/$name.out" 2>&1 ;;
    *.sh) MIDASHI_TAP=$log/$name.tap MIDASHI=$build/midashi sh "$test" >"$log/$name.out" 2>&1 ;;
    esac
    code=$?
    grep '^skipped: ' "$log/$name.out"
    if [ $code -ne 0 ] || [ ! -s "$log/$name.tap" ]; then
        failed_programs="$failed_programs $name"
        echo "--- $name (exit $code)"
        grep -v '^skipped: ' "$log/$name.out" | tail -n 40
    fi
done
ok=$(cat "$log"/*.tap 2>/dev/null | grep -c '^ok ')
failed=$(cat "$log"/*.tap 2>/dev/null | grep -c '^not ok ')
skipped=$(cat "$log"/*.out 2>/dev/null | grep -c '^skipped: ')
# A program that died without a 'not ok' of its own counts as one failure.
for name in $failed_programs; do
    grep -q '^not ok ' "$log/$name.tap" 2>/dev/null || failed=$((failed + 1))
done
echo "$((ok - skipped)) passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
