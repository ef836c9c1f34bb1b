#!/bin/sh
# Makes a corpus small enough for the study: ROWS rows spread evenly over a .tsv with a
# header, in their order.
#   sh tools/quality/sample.sh CORPUS.tsv ROWS >SAMPLE.tsv
set -eu
[ $# -eq 2 ] || { echo "usage: sample.sh CORPUS.tsv ROWS" >&2; exit 2; }
total=$(($(wc -l <"$1") - 1))
awk -v rows="$2" -v total="$total" '
    NR == 1 || rows >= total { print; next }
    int((NR - 1) * rows / total) > int((NR - 2) * rows / total)' "$1"
