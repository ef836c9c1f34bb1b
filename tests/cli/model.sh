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
