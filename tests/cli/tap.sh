# What the command-line tests share: running a program, expecting things of it, skipping by name.
#
# A test is a function whose name begins with test_. A test program looks like this:
#
#   . tests/cli/tap.sh
#
#   test_missing_corpus_is_exit_66() {
#       need_file models/smollm2-135m
#       run "$MIDASHI" embed "$dir/absent.tsv" --model models/smollm2-135m --output "$dir/e.npy"
#       expect_error 66 'absent\.tsv: .*no such file'
#       expect_absent "$dir/e.npy"
#   }
#
#   run_tests
#
# tests/run.sh starts it from the project's root with MIDASHI, the binary, and MIDASHI_TAP, the file
# for a line of TAP a test; it also runs by hand (sh tests/cli/test_X.sh, or with the names of some
# tests as arguments). Each test runs in a subshell under `set -eu`, in the project's root, with an
# empty folder $dir of its own and nothing on standard input; it ends at the first thing that is not
# as expected. All patterns are extended regular expressions (grep -E), one line at a time.
# shellcheck shell=sh

MIDASHI=${MIDASHI:-build/midashi}
scratch=$(mktemp -d)
tap_finish=:
trap 'tap_end' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
exec </dev/null
# Messages and sorting as written, whatever the user's language is.
LC_ALL=C.UTF-8
export LC_ALL
# On the CPU where a test says nothing: a GPU of this machine has other last bits.
MIDASHI_CUDA_DRIVER=/absent/libcuda.so.1
export MIDASHI_CUDA_DRIVER

# For what several tests share, such as a server: at_end COMMAND is evaluated when all is over.
at_end() { tap_finish="$1; $tap_finish"; }

tap_end() {
    eval "$tap_finish"
    rm -rf "$scratch"
}

# ---- Running --------------------------------------------------------------------------------

# run COMMAND...: leaves its exit code in $code and its output in the files $stdout and $stderr.
# An external command; one that hangs is ended after two minutes and leaves 124. Redirect the input
# as usual: run "$MIDASHI" tokenize --model M <FILE
run() {
    tap_command=$*
    stdout=$dir/.stdout
    stderr=$dir/.stderr
    code=0
    timeout "${RUN_SECONDS:-120}" "$@" >"$stdout" 2>"$stderr" || code=$?
}

# ---- Expecting ------------------------------------------------------------------------------

# fail LINE...: ends the test, with what the last run did.
fail() {
    printf '%s: %s\n' "$tap_test" "$*"
    if [ -n "${tap_command:-}" ]; then
        printf '  command: %s\n  exit code: %s\n' "$tap_command" "$code"
        tap_show stdout "$stdout"
        tap_show stderr "$stderr"
    fi
    exit 1
}

tap_show() {
    if [ -s "$2" ]; then
        printf '  %s:\n' "$1"
        head -n 20 "$2" | cut -c 1-300 | sed 's/^/    | /'
    fi
}

expect_code() { # CODE
    [ "$code" -eq "$1" ] || fail "expected exit code $1"
}

# A line of the file has the pattern: expect_match "$stdout" '^topic 1:'
expect_match() { # FILE PATTERN
    grep -q -E -e "$2" "$1" || fail "expected in $(basename "$1"): $2"
}

expect_no_match() { # FILE PATTERN
    if grep -q -E -e "$2" "$1"; then
        fail "not expected in $(basename "$1"): $2"
    fi
}

# The file holds these lines and nothing else; without lines, it is empty.
expect_lines() { # FILE LINE...
    tap_file=$1
    shift
    if [ $# -gt 0 ]; then
        printf '%s\n' "$@" >"$dir/.lines"
    else
        : >"$dir/.lines"
    fi
    cmp -s "$tap_file" "$dir/.lines" ||
        fail "$(basename "$tap_file") differs (< has, > expected):
$(diff "$tap_file" "$dir/.lines" | head -n 20)"
}

expect_line_count() { # FILE COUNT
    tap_count=$(wc -l <"$1")
    [ "$tap_count" -eq "$2" ] ||
        fail "expected $2 lines in $(basename "$1"), found $((tap_count))"
}

# An error as midashi has it: the exit code, nothing on standard output, and last on standard error
# one line with the pattern (progress may come before it).
expect_error() { # CODE PATTERN
    expect_code "$1"
    expect_lines "$stdout"
    tail -n 1 "$stderr" >"$dir/.error"
    grep -q -E -e "$2" "$dir/.error" || fail "expected as the last line of stderr: $2"
}

expect_same() { # FILE FILE
    cmp -s "$1" "$2" || fail "$1 and $2 differ"
}

expect_different() { # FILE FILE
    if cmp -s "$1" "$2"; then
        fail "$1 and $2 are the same"
    fi
}

expect_file() { # FILE, which is not empty
    [ -s "$1" ] || fail "expected a file: $1"
}

expect_absent() { # FILE OR FOLDER
    [ ! -e "$1" ] || fail "not expected to exist: $1"
}

# ---- Skipping -------------------------------------------------------------------------------

# skip REASON: ends the test as skipped.
skip() {
    printf 'skipped: %s: %s\n' "$tap_test" "$*"
    exit 77
}

need_command() { # COMMAND...
    for tap_need; do
        command -v "$tap_need" >/dev/null 2>&1 || skip "needs $tap_need"
    done
}

need_file() { # FILE OR FOLDER...
    for tap_need; do
        [ -e "$tap_need" ] || skip "needs $tap_need"
    done
}

# ---- All of them ----------------------------------------------------------------------------

# run_tests: every test of this program in its order, or those that its arguments name.
run_tests() {
    set +e
    tap_program=$0
    tap_names=${*:-$(sed -n 's/^\(test_[A-Za-z0-9_]*\)() *{.*/\1/p' "$tap_program")}
    tap_number=0
    tap_failed=0
    for tap_test in $tap_names; do
        tap_number=$((tap_number + 1))
        dir=$scratch/$tap_test
        mkdir -p "$dir"
        # Not part of a condition: there, the shell would ignore `set -e`.
        (
            set -eu
            "$tap_test"
        )
        case $? in
        0) tap_line "ok $tap_number - $tap_test" ;;
        77) tap_line "ok $tap_number - $tap_test # SKIP" ;;
        *)
            tap_line "not ok $tap_number - $tap_test"
            tap_failed=$((tap_failed + 1))
            ;;
        esac
        rm -rf "$dir"
    done
    [ "$tap_failed" -eq 0 ] || exit 1
    exit 0
}

tap_line() {
    if [ -n "${MIDASHI_TAP:-}" ]; then
        printf '%s\n' "$1" >>"$MIDASHI_TAP"
    else
        printf '%s\n' "$1"
    fi
}
