#!/bin/sh
# What a terminal shows: the table of topics within its columns, progress in place.
# shellcheck disable=SC2317 # run_tests calls the functions by their names
. tests/cli/tap.sh
. tests/cli/model.sh

# on_terminal COLUMNS COMMAND: runs a shell command on a terminal of its own, and leaves what it
# showed in $stdout, without carriage returns.
on_terminal() {
    need_command script stty
    RUN_SECONDS=60 run script -qec "stty columns $1; TERM=xterm; export TERM; $2" "$dir/typescript"
    expect_code 0
    tr -d '\r' <"$stdout" >"$dir/shown"
    mv "$dir/shown" "$stdout"
}

test_topics_fit_the_terminal() {
    # Two themes of twelve words, six of them in each text.
    awk 'BEGIN {
        split("harbour anchor captain island lighthouse sailor voyage current compass channel mooring fishing", word)
        split("kitchen butter recipe pastry cinnamon chocolate dough oven flavour pepper sugar bakery", other)
        for (i = 0; i < 60; i++)
            for (j = 0; j < 6; j++) {
                k = (i * 5 + j * (1 + i % 3)) % 12 + 1
                printf "%s%s", i % 2 ? word[k] : other[k], j < 5 ? " " : "\n"
            }
    }' >"$dir/c.txt"
    command="$MIDASHI topics $dir/c.txt --model $model --topics 2 --output $dir/out --quiet"
    run sh -c "$command"
    grep '^    [01] ' "$stdout" >"$dir/whole"
    awk 'NF == 12 && length($0) > 60 { n++ } END { exit n != 2 }' "$dir/whole" ||
        fail 'ten words, more than 60 columns of them, were expected where there is no terminal'
    for columns in 60 40; do
        on_terminal "$columns" "$command"
        grep '^    [01] ' "$stdout" >"$dir/fitted"
        expect_no_match "$dir/fitted" ".{$((columns + 1))}"
        # As many whole words of each line as there is room for.
        awk -v columns="$columns" '
            NR == FNR { whole[FNR] = $0; next }
            { next_word = substr(whole[FNR], length($0) + 2); sub(/ .*/, "", next_word)
              if (index(whole[FNR] " ", $0 " ") != 1 || length($0 " " next_word) <= columns) exit 1
              n++ }
            END { exit n != 2 }' "$dir/whole" "$dir/fitted" || fail 'not the words that fit'
    done
    # One word at least.
    on_terminal 5 "$command"
    [ "$(grep -c -E '^    [01] +[0-9]+  [a-z]+$' "$stdout")" -eq 2 ] || fail 'not a word a topic'
}

# Kana and Han take two columns each.
test_wide_characters_fit_the_terminal() {
    need_command python3
    awk 'BEGIN { for (i = 0; i < 12; i++) print "天気予報と台風、映画館と音楽祭、サッカーと選手権、料理と野菜" }' \
        >"$dir/c.txt"
    command="$MIDASHI topics $dir/c.txt --model $model --topics 1 --output $dir/out --quiet"
    run sh -c "$command"
    if grep -q MeCab "$stderr"; then
        skip 'needs the MeCab dictionary'
    fi
    on_terminal 40 "$command"
    python3 - "$stdout" <<'END' || fail 'the words are wider than the terminal, or too few'
import sys, unicodedata
rows = [line.rstrip("\n") for line in open(sys.argv[1], encoding="utf-8") if line[:5].strip() == "0"]
wide = [sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in row) for row in rows]
assert len(rows) == 1 and 30 < wide[0] <= 40, (rows, wide)
END
}

# repeat TIMES FILE: the corpus TIMES over.
repeat() {
    awk -v times="$1" 'NR == 1 { print } NR > 1 { for (i = 0; i < times; i++) print }' "$corpus" >"$2"
}

# Small batches, so that the work lasts long enough for a rate and a time left.
test_progress_is_drawn_in_place() {
    repeat 400 "$dir/c.tsv"
    command="$MIDASHI embed $dir/c.tsv --model $model --output $dir/e.npy --batch-tokens 64"
    on_terminal 80 "$command --threads 1"
    esc=$(printf '\033')
    expect_match "$stdout" "$esc\[Kembed: 0 of 24000 texts"
    expect_match "$stdout" "$esc\[Kembed: 24000 of 24000 texts, [0-9]+ s$"
    expect_no_match "$stdout" '[0-9]e[+-][0-9]' # 2e+04 a second
    # A line never wraps, since it could not be drawn over then.
    repeat 10 "$dir/c.tsv"
    on_terminal 20 "$command"
    tr "$esc" '\n' <"$stdout" | grep 'embed:' >"$dir/lines"
    expect_no_match "$dir/lines" '^\[K.{20}'
    # Elsewhere it is lines, and few of them.
    run sh -c "$command"
    expect_match "$stderr" '^embed: 600 of 600 texts, [0-9]+ s$'
    expect_no_match "$stderr" "$esc"
}

# The iterations of k-means come between; a stage begins once, and its line is drawn over to the end.
test_progress_of_k_means() {
    repeat 400 "$dir/c.tsv"
    on_terminal 80 "$MIDASHI topics $dir/c.tsv --model $model --restarts 3 --output $dir/out"
    esc=$(printf '\033')
    expect_no_match "$stdout" 'of 3 restarts$'
    tr "$esc" '\n' <"$stdout" | grep '^\[Kcluster:' >"$dir/lines"
    [ "$(head -n 1 "$dir/lines")" = '[Kcluster: 0 of 3 restarts' ] || fail 'the stage has no beginning'
    expect_match "$dir/lines" '^\[Kcluster: 3 of 3 restarts, [0-9]+ s$'
    parts=$(for _ in $(seq 40); do printf '%s ' "$dir/out/embeddings.npy"; done) # what takes a while
    on_terminal 80 "$MIDASHI cluster $parts --output $dir/l.npy --restarts 3"
    expect_match "$stdout" "$esc\[Kcluster: restart [0-9] of 3, (iteration [0-9]+|centre [0-9]+ of 20), inertia "
}

# All of it, time left and rate too.
test_progress_of_training_fits_the_terminal() {
    on_terminal 80 "$MIDASHI train $corpus --model $model --output $dir/a --steps 100 --evaluate-every 50"
    esc=$(printf '\033')
    tr "$esc" '\n' <"$stdout" | grep '^\[Kstep ' >"$dir/lines"
    expect_match "$dir/lines" '^\[Kstep [0-9]+ of 100, [0-9]+ s left, loss [0-9.]{6}, accuracy [0-9.]{4}, [0-9]+ tokens/s$'
    expect_no_match "$dir/lines" '^\[K.{80}'
}

run_tests "$@"
