#!/bin/sh
# Broken input and impossible wishes: one line, the right exit code, nothing half-written.
# shellcheck disable=SC2317 # run_tests calls the functions by their names
. tests/cli/tap.sh
. tests/cli/model.sh

# topics_of CORPUS [OPTION...]: topics into $dir/out.
topics_of() {
    topics_corpus=$1
    shift
    run "$MIDASHI" topics "$topics_corpus" --model "$model" --topics 2 --output "$dir/out" "$@"
}

test_missing_corpus() {
    topics_of "$dir/absent.tsv"
    expect_error 66 'absent\.tsv: '
    expect_absent "$dir/out"
}

test_empty_corpus() {
    : >"$dir/c.tsv"
    topics_of "$dir/c.tsv"
    expect_error 65 'c\.tsv: .*no texts'
    printf 'label\ttext\n' >"$dir/c.tsv"
    topics_of "$dir/c.tsv"
    expect_error 65 'c\.tsv: .*no texts'
}

test_invalid_utf8() {
    printf 'label\ttext\na\tgood\na\tbad \377 byte\n' >"$dir/c.tsv"
    topics_of "$dir/c.tsv"
    expect_error 65 'c\.tsv: .*row 2.*byte 24'
}

test_wrong_column() {
    topics_of "$corpus" --text body
    expect_error 2 'body.*label.*text'
    topics_of "$corpus" --text 7
    expect_error 2 '7'
}

test_truncated_gzip() {
    need_command gzip
    cp "$corpus" "$dir/c.tsv"
    gzip "$dir/c.tsv"
    topics_of "$dir/c.tsv.gz"
    expect_code 0
    rm -r "$dir/out"
    head -c 200 "$dir/c.tsv.gz" >"$dir/cut.tsv.gz"
    topics_of "$dir/cut.tsv.gz"
    expect_error 65 'cut\.tsv\.gz: .*(truncated|ends)'
}

test_missing_model() {
    run "$MIDASHI" topics "$corpus" --model "$dir/absent" --output "$dir/out"
    expect_error 66 'absent: no such file or folder; name a model.*fetch-model'
    run "$MIDASHI" info "$dir/absent"
    expect_error 66 'absent: no such file or folder; name a model.*fetch-model'
    run "$MIDASHI" tokenize --model "$dir/absent"
    expect_error 66 'absent: no such file'
    run "$MIDASHI" topics "$corpus" --output "$dir/out"
    expect_error 2 'give --model'
    expect_absent "$dir/out"
}

# broken_model: a copy of the tiny model in $dir/model, for breaking.
broken_model() {
    cp -r "$model" "$dir/model"
}

expect_model_error() { # CODE PATTERN
    run "$MIDASHI" embed "$corpus" --model "$dir/model" --layer -1 --output "$dir/e.npy"
    expect_error "$1" "$2"
    expect_absent "$dir/e.npy"
    [ -z "$(find "$dir" -name '*.tmp-*')" ] || fail 'a temporary file stayed'
}

test_damaged_safetensors_header() {
    broken_model
    printf '\377\377\377\377\377\377\377\177' |
        dd of="$dir/model/model.safetensors" bs=1 conv=notrunc 2>/dev/null
    expect_model_error 65 'model\.safetensors: '
}

test_truncated_safetensors() {
    broken_model
    head -c 100000 "$model/model.safetensors" >"$dir/model/model.safetensors"
    expect_model_error 65 'model\.safetensors: '
}

test_missing_tensor() {
    broken_model
    sed 's/model\.layers\.1\.mlp\.up_proj/model.layers.1.mlp.xx_proj/' "$model/model.safetensors" \
        >"$dir/model/model.safetensors"
    expect_model_error 65 'model\.layers\.1\.mlp\.up_proj\.weight'
}

test_weights_that_are_not_finite() {
    broken_model
    # The last four bytes of the file are a value of the final norm: make it NaN.
    size=$(wc -c <"$model/model.safetensors")
    printf '\377\377\377\177' |
        dd of="$dir/model/model.safetensors" bs=1 seek=$((size - 4)) conv=notrunc 2>/dev/null
    expect_model_error 65 'model\.norm\.weight.*NaN'
}

test_unsupported_architecture() {
    broken_model
    sed 's/LlamaForCausalLM/BertModel/' "$model/config.json" >"$dir/model/config.json"
    expect_model_error 65 'BertModel.*LlamaForCausalLM'
}

test_config_that_contradicts_the_tensors() {
    broken_model
    sed 's/"intermediate_size": 80/"intermediate_size": 96/' "$model/config.json" \
        >"$dir/model/config.json"
    expect_model_error 65 '(gate|up|down)_proj.*96'
}

test_more_topics_than_texts() {
    topics_of "$corpus" --topics 61
    expect_error 2 '60 texts'
    expect_absent "$dir/out"
}

test_empty_vocabulary_names_the_flag() {
    topics_of "$corpus" --min-df 50
    expect_error 65 '--min-df'
    printf 'the and of\nof a\n' >"$dir/c.txt"
    topics_of "$dir/c.txt" --language en
    expect_error 65 'no words to name topics with: .*--keep-single'
}

test_unwritable_output() {
    run "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/no/such/e.npy"
    expect_error 66 'e\.npy|no/such'
    : >"$dir/file"
    run "$MIDASHI" topics "$corpus" --model "$model" --topics 2 --output "$dir/file"
    expect_error 65 'file: not a folder'
    [ "$(id -u)" -ne 0 ] || skip 'the rest needs a user that is not root'
    mkdir "$dir/locked"
    chmod a-w "$dir/locked"
    run "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/locked/e.npy"
    expect_error 71 'locked'
}

# A limit on the size of files stands in for a full disk: a write fails part of the way.
test_full_disk() {
    run sh -c "ulimit -f 8; exec \"\$@\"" sh "$MIDASHI" embed "$corpus" --model "$model" \
        --output "$dir/e.npy"
    expect_error 71 'e\.npy: '
    expect_absent "$dir/e.npy"
    [ -z "$(find "$dir" -name '*.tmp-*')" ] || fail 'a temporary file stayed'
    [ -e /dev/full ] || skip 'the rest needs /dev/full'
    code=0
    "$MIDASHI" devices >/dev/full 2>"$dir/error" || code=$?
    expect_code 71
    expect_match "$dir/error" 'standard output: cannot write'
}

# Labels and centres belong together: where one cannot be written, the other is not there either, and
# of an earlier run both stay.
test_cluster_writes_both_or_none() {
    {
        printf '\223NUMPY\001\000v\000%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': (800, 2), }"
        head -c 6400 /dev/zero | tr '\0' '?' # each number is 0.75
    } >"$dir/e.npy"
    set -- cluster "$dir/e.npy" --topics 1 --centres "$dir/c.npy"
    run "$MIDASHI" "$@" --output "$dir/absent/l.npy"
    expect_error 66 'l\.npy: cannot write: its folder is not there'
    expect_absent "$dir/c.npy"
    # 3 KB of labels reach the disk, and its limit of 1 KB (2 in some shells), when they are flushed.
    run sh -c "ulimit -f 2; exec \"\$@\"" sh "$MIDASHI" "$@" --output "$dir/l.npy"
    expect_error 71 'l\.npy: cannot write'
    expect_absent "$dir/c.npy"
    expect_absent "$dir/l.npy"
    echo old | tee "$dir/c.npy" >"$dir/l.npy"
    run sh -c "ulimit -f 2; exec \"\$@\"" sh "$MIDASHI" "$@" --output "$dir/l.npy"
    expect_error 71 'l\.npy: cannot write'
    expect_lines "$dir/c.npy" old
    expect_lines "$dir/l.npy" old
    [ -z "$(find "$dir" -name '*.tmp-*')" ] || fail 'a temporary file stayed'
    run "$MIDASHI" "$@" --output "$dir/l.npy"
    expect_code 0
    [ "$(wc -c <"$dir/c.npy")" -eq $((128 + 8)) ] || fail 'centres'
    [ "$(wc -c <"$dir/l.npy")" -eq $((128 + 3200)) ] || fail 'labels'
}

# A slip in --output must not cost the corpus or the embeddings.
test_no_input_is_overwritten() {
    cp "$corpus" "$dir/c.tsv"
    ln -s c.tsv "$dir/link.tsv"
    for output in "$dir/c.tsv" "$dir/../$(basename "$dir")/c.tsv" "$dir/link.tsv"; do
        run "$MIDASHI" embed "$dir/c.tsv" --model "$model" --output "$output"
        expect_error 2 '--output .*: would overwrite .*c\.tsv; name another file'
        expect_same "$dir/c.tsv" "$corpus"
    done
    run "$MIDASHI" embed "$dir/c.tsv" --model "$model" --output "$dir/a.npy"
    expect_code 0
    cp "$dir/a.npy" "$dir/b.npy"
    for options in '--output b.npy' '--output l.npy --centres a.npy' '--output l.npy --centres l.npy'; do
        # shellcheck disable=SC2086
        run env -C "$dir" "$(realpath "$MIDASHI")" cluster a.npy b.npy --topics 2 $options
        expect_error 2 'would overwrite [abl]\.npy; name another file'
        expect_same "$dir/a.npy" "$dir/b.npy"
        expect_absent "$dir/l.npy"
    done
    # Somebody else's embeddings; labels are replaced.
    cp "$dir/b.npy" "$dir/theirs.npy"
    run "$MIDASHI" cluster "$dir/a.npy" --topics 2 --output "$dir/theirs.npy"
    expect_error 2 'theirs\.npy: would overwrite an array of \(60, [0-9]+\), no labels; name another file'
    expect_same "$dir/theirs.npy" "$dir/b.npy"
    for topics in 2 3; do
        run "$MIDASHI" cluster "$dir/a.npy" --topics "$topics" --output "$dir/l.npy" --centres "$dir/c.npy"
        expect_code 0
    done
    for options in '--output -' '--output l.npy --centres -'; do
        # shellcheck disable=SC2086
        run env -C "$dir" "$(realpath "$MIDASHI")" cluster a.npy --topics 2 $options
        expect_error 2 '--(output|centres) -: arrays go to files only; name one'
    done
    run "$MIDASHI" embed "$corpus" --model "$model" --output -
    expect_error 2 '--output -: arrays go to files only'
}

test_a_foreign_folder_is_left_alone() {
    mkdir "$dir/out"
    echo important >"$dir/out/thesis.txt"
    topics_of "$corpus"
    expect_error 2 'thesis\.txt.*--force'
    topics_of "$corpus" --force
    expect_code 0
    expect_lines "$dir/out/thesis.txt" important
}

# embed_and_signal NAME: embeds a corpus for seconds, and sends the signal when it is at it.
embed_and_signal() {
    awk 'NR == 1 {print} NR > 1 {for (i = 0; i < 2000; i++) print}' "$corpus" >"$dir/long.tsv"
    "$MIDASHI" embed "$dir/long.tsv" --model "$model" --output "$dir/e.npy" 2>"$dir/error" &
    pid=$!
    tries=0
    until ls "$dir"/e.npy.tmp-* >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || fail 'no temporary file appeared'
        sleep 0.05
    done
    kill -"$1" "$pid"
    code=0
    wait "$pid" || code=$?
    [ -z "$(find "$dir" -name '*.tmp-*')" ] || fail 'a temporary file stayed'
}

# Ctrl-C while embedding: exit 130, and neither the file nor a piece of it.
test_interrupt_leaves_no_half_file() {
    embed_and_signal TERM # a background job of sh ignores SIGINT; both are handled alike
    expect_code 130
    expect_match "$dir/error" '^midashi: interrupted'
    expect_absent "$dir/e.npy"
}

test_a_closed_terminal_leaves_no_half_file() {
    embed_and_signal HUP
    expect_code 129
    expect_no_match "$dir/error" '^midashi: '
    expect_absent "$dir/e.npy"
    # Under nohup it goes on.
    trap '' HUP
    embed_and_signal HUP
    expect_code 0
    expect_file "$dir/e.npy"
}

test_a_closed_pipe_ends_quietly() {
    yes 'a line of text' | head -n 200000 >"$dir/in"
    "$MIDASHI" tokenize --model "$model" "$dir/in" 2>"$dir/error" | head -n 1 >"$dir/first"
    expect_line_count "$dir/first" 1
    expect_lines "$dir/error"
}

test_misspelled_names() {
    for slip in --topic:--topics --topcs=3:--topics -topics:--topics --tol:--tolerance \
        --normalize:--normalise --output-dir:--output --max_tokens:--max-tokens \
        -k:--topics --k=3:--topics --clusters:--topics --n_clusters:--topics --n_init:--restarts; do
        topics_of "$corpus" "${slip%:*}"
        expect_error 2 "has no option ${slip%:*}; did you mean ${slip#*:}\?"
    done
    # What other programs for training call them.
    for slip in --lr:--learning-rate --epochs=3:--steps --max_steps:--steps --lora_r:--rank \
        --batch-size:--batch; do
        run "$MIDASHI" train "$corpus" --model "$model" --output "$dir/a" "${slip%:*}"
        expect_error 2 "midashi train has no option ${slip%:*}; did you mean ${slip#*:}\?$"
    done
    run "$MIDASHI" classify "$corpus" --lr 1
    expect_error 2 'has no option --lr; see midashi classify --help'
    # Nothing is near these: no guess is better than a wild one.
    for word in --foo --- -x --centres; do
        topics_of "$corpus" "$word"
        expect_error 2 "has no option $word; see midashi topics --help"
    done
    for slip in topicz:topics topic:topics clust:cluster tokenise:tokenize --embed:embed; do
        run "$MIDASHI" "${slip%:*}"
        expect_error 2 "no command ${slip%:*}; did you mean ${slip#*:}\?"
    done
    run "$MIDASHI" corpus.csv
    expect_error 2 'no command corpus\.csv; see midashi --help'
    run "$MIDASHI" help frobnicate
    expect_error 2 'no command frobnicate'
}

test_a_forgotten_value() {
    topics_of "$corpus" --layer
    expect_error 2 '--layer needs a value: auto\|N$'
    for value in '' --topics --topics=3 --help; do
        run "$MIDASHI" topics "$corpus" --model "$value" 3 --output "$dir/out"
        expect_error 2 '--model needs a value'
    done
    run "$MIDASHI" topics "$corpus" --model=
    expect_error 2 '--model needs a value'
    # Behind a '=' it is meant.
    run "$MIDASHI" topics "$corpus" --model=--topics
    expect_error 66 '^midashi: --topics: no such file'
    run "$MIDASHI" topics '' --model "$model"
    expect_error 2 'an argument is empty; usage: midashi topics'
}

test_wrong_options() {
    topics_of "$corpus" --topics
    expect_error 2 '--topics needs a value'
    for value in 0 -1 x 1.5 1e3 99999999999 ' 3' ''; do
        topics_of "$corpus" --topics "$value"
        expect_error 2 '--topics'
    done
    for value in nan inf 0x1 -1 ' 1'; do
        topics_of "$corpus" --tolerance "$value"
        expect_error 2 '--tolerance'
    done
    topics_of "$corpus" --memory 1K
    expect_error 2 '--memory does nothing without --finetune; midashi cluster has it for clustering$'
    topics_of "$corpus" --pool max
    expect_error 2 '--pool max'
    topics_of "$corpus" --layer 4
    expect_error 2 '3 layers'
    topics_of "$corpus" --prompt 'no slot'
    expect_error 2 '\{text\}'
    topics_of "$corpus" --precision int8
    expect_error 2 'nf4, bf16 or f32'
    topics_of "$corpus" --device cuda
    expect_error 71 'cuda'
    topics_of "$corpus" --header --no-header
    expect_error 2 'contradict'
    topics_of "$corpus" --language tlh
    expect_error 2 '^midashi: --language tlh: not a language code; .*en, '
    expect_line_count "$stderr" 1 # before the embedding, which can take an hour
    expect_absent "$dir/out"
    run "$MIDASHI" tokenize --model "$model" "$dir"
    expect_error 65 ': a folder; name a file of texts'
    run "$MIDASHI" tokenize --model "$model" "$dir/absent"
    expect_error 66 'absent: no such file; check the path'
    run "$MIDASHI" cluster "$corpus" --output "$dir/l.npy"
    expect_error 65 'corpus\.tsv: byte 0: not a \.npy file; midashi embed'
    run "$MIDASHI" topics "$corpus" "$corpus" --model "$model"
    expect_error 2 'one argument too many'
    MIDASHI_CPU=sse9 run "$MIDASHI" devices
    expect_error 2 'MIDASHI_CPU=sse9'
}

# From the least address space in which the program starts, up to what topics need.
test_little_memory() {
    kilobytes=20000
    until sh -c "ulimit -v $kilobytes && exec \"\$1\" --version" sh "$MIDASHI" >/dev/null 2>&1; do
        kilobytes=$((kilobytes + 1000))
        [ $kilobytes -le 200000 ] || skip 'needs a build without sanitizers: they reserve memory'
    done
    refused=0
    while :; do
        rm -rf "$dir/out"
        run sh -c "ulimit -v $kilobytes; exec \"\$@\"" sh "$MIDASHI" topics "$corpus" \
            --model "$model" --topics 2 --threads 2 --output "$dir/out"
        [ "$code" -ne 0 ] || break
        expect_error 71 'memory|thread'
        expect_absent "$dir/out/run.json"
        find "$dir/out" -name '*.tmp-*' >"$dir/left" 2>/dev/null || :
        expect_lines "$dir/left"
        refused=$((refused + 1))
        kilobytes=$((kilobytes + 500))
    done
    [ $refused -ge 5 ] || fail "only $refused runs were short of memory"
}

run_tests "$@"
