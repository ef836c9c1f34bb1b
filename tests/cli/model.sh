# What the tests that run a model share: a tiny random one, and a small corpus.
# shellcheck shell=sh disable=SC2154 # tap.sh sets scratch

model=$scratch/tiny
"$(dirname "$MIDASHI")/tests/tool_tiny_model" "$model"

# A corpus of 60 texts in two themes, with labels, in $scratch/corpus.tsv.
corpus=$scratch/corpus.tsv
awk 'BEGIN {
    print "label\ttext"
    split("harbour sail tide anchor boat captain wave island", sea)
    split("oven flour bread yeast butter recipe dough kitchen", food)
    for (i = 0; i < 60; i++)
        if (i % 2) printf "sea\t%s and %s near the %s\n", sea[i % 8 + 1], sea[(i * 3 + 2) % 8 + 1], sea[(i * 5 + 4) % 8 + 1]
        else printf "food\t%s with %s in the %s\n", food[i % 7 + 1], food[(i * 3 + 2) % 8 + 1], food[(i * 5 + 4) % 8 + 1]
}' >"$corpus"

# Two folders that topics wrote over that corpus put nearly all texts together alike, whatever the
# topics' numbers: their mutual information is 0.98 of their entropy or more.
expect_near_topics() {
    need_command python3
    python3 - "$1/documents.csv" "$2/documents.csv" <<'PYTHON' || fail 'other topics'
import csv, math, sys
from collections import Counter

a, b = ([row["topic"] for row in csv.DictReader(open(path))] for path in sys.argv[1:])
assert len(a) == len(b) == 60 and len(set(a)) == 2


def entropy(values):
    return -sum(n / 60 * math.log(n / 60) for n in Counter(values).values())


shared = entropy(a) + entropy(b) - entropy(list(zip(a, b)))
assert 2 * shared / (entropy(a) + entropy(b)) >= 0.98
PYTHON
}
