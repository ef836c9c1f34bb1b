#!/bin/sh
# Installs what is missing, builds, and runs all tests:   sh tools/check.sh
#
# Downloads no model: tests that want one, or other data that is not here, are skipped by name. The
# last line is 'N passed, N failed, N skipped', the exit code 1 when anything failed. Where CI is
# set, a compiler's warning is an error.
set -eu
cd "$(dirname "$0")/.."
. tools/common.sh

case ${1:-} in
-h | --help)
    usage_of tools/check.sh
    exit 0
    ;;
?*) wrong_usage "tools/check.sh: $1: no such option" ;;
esac

sh tools/setup.sh
run_make -j"$(processors)" WERROR="${CI:+1}" tests
# What `make check` does next; not by make, whose own last word would follow the count.
exec sh tests/run.sh "${BUILD:-build}"
