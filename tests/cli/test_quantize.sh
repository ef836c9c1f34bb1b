#!/bin/sh
# midashi quantize, and the folders that it writes.
# shellcheck disable=SC2317 # run_tests calls the functions by their names
. tests/cli/tap.sh
. tests/cli/model.sh

# quantize_into FOLDER [OPTION...]: the tiny model.
quantize_into() {
    run "$MIDASHI" quantize "$model" --output "$@"
}

# expect_same_embeddings MODEL MODEL [OPTION...]
expect_same_embeddings() {
    first=$1
    second=$2
    shift 2
    run "$MIDASHI" embed "$corpus" --model "$first" --output "$dir/first.npy" "$@"
    expect_code 0
    run "$MIDASHI" embed "$corpus" --model "$second" --output "$dir/second.npy" "$@"
    expect_code 0
    expect_same "$dir/first.npy" "$dir/second.npy"
}

expect_no_temporary_file() { # FOLDER
    [ -z "$(find "$1" -name '*.tmp-*')" ] || fail 'a temporary file stayed'
}

test_embeddings_are_the_same() {
    quantize_into "$dir/q"
    expect_code 0
    expect_match "$stderr" 'q: 0\.1 of 0\.1 million weights in NF4, 0 MB'
    expect_no_temporary_file "$dir/q"
    expect_same_embeddings "$model" "$dir/q"
    expect_same_embeddings "$model" "$dir/q" --pool last --layer -1
    MIDASHI_CPU=portable expect_same_embeddings "$model" "$dir/q" --pool last --layer 2
    run "$MIDASHI" info "$dir/q"
    expect_code 0
    expect_match "$stdout" '^files  .* values in F32, NF4$'
    run "$MIDASHI" topics "$corpus" --model "$dir/q" --topics 2 --output "$dir/out"
    expect_code 0
}

test_other_precisions_dequantise() {
    quantize_into "$dir/q"
    expect_code 0
    for precision in bf16 f32; do
        run "$MIDASHI" embed "$corpus" --model "$dir/q" --precision "$precision" --output "$dir/e.npy"
        expect_code 0
        expect_match "$stderr" "q: its weights are NF4; --precision $precision dequantises them"
    done
    run "$MIDASHI" embed "$corpus" --model "$dir/q" --output "$dir/e.npy"
    expect_no_match "$stderr" 'dequantises'
}

test_files_of_the_tokenizer_are_copied() {
    cp -r "$model" "$dir/model"
    mkdir "$dir/model/1_Pooling"
    for file in tokenizer_config.json special_tokens_map.json generation_config.json modules.json \
        1_Pooling/config.json; do
        printf '{"file": "%s"}' "$file" >"$dir/model/$file"
    done
    printf '[]' >"$dir/model/modules.json"
    echo 'not copied' >"$dir/model/README.md"
    run "$MIDASHI" quantize "$dir/model" --output "$dir/q" --json --quiet
    expect_code 0
    expect_lines "$stderr"
    expect_match "$stdout" '"quantised": '
    for file in tokenizer.json tokenizer_config.json special_tokens_map.json \
        generation_config.json modules.json 1_Pooling/config.json; do
        expect_same "$dir/model/$file" "$dir/q/$file"
    done
    expect_absent "$dir/q/README.md"
    # Another model into the same folder, where that is meant: what it has no use for goes.
    quantize_into "$dir/q"
    expect_error 2 'q: the folder holds a model; give another --output, or --force to replace it'
    expect_file "$dir/q/modules.json"
    quantize_into "$dir/q" --force
    expect_code 0
    expect_absent "$dir/q/modules.json"
    expect_absent "$dir/q/1_Pooling"
    expect_file "$dir/q/tokenizer.json"
    run "$MIDASHI" quantize tests/golden/gguf/whole.gguf --output "$dir/q" --force
    expect_code 0
    expect_absent "$dir/q/tokenizer.json"
    expect_file "$dir/q/tokenizer.gguf"
    expect_no_temporary_file "$dir/q"
}

# Its vocabulary comes along, and never counts as a model.
test_a_gguf_becomes_a_folder() {
    run "$MIDASHI" quantize tests/golden/gguf/whole.gguf --output "$dir/q"
    expect_code 0
    expect_same_embeddings tests/golden/gguf/whole.gguf "$dir/q" --pool last
    printf 'ab c\n' >"$dir/in"
    run "$MIDASHI" tokenize --model tests/golden/gguf/whole.gguf "$dir/in"
    cp "$stdout" "$dir/want"
    run "$MIDASHI" tokenize --model "$dir/q" "$dir/in"
    expect_same "$stdout" "$dir/want"
    rm "$dir/q/model.safetensors"
    run "$MIDASHI" embed "$corpus" --model "$dir/q" --output "$dir/e.npy"
    expect_error 66 'q: '
}

test_smollm2_embeds_as_before() {
    need_file models/smollm2-135m
    run "$MIDASHI" quantize models/smollm2-135m --output "$dir/q"
    expect_code 0
    expect_same_embeddings models/smollm2-135m "$dir/q"
}

test_folders_of_others_are_left_alone() {
    cp -r "$model" "$dir/model"
    run "$MIDASHI" quantize "$dir/model" --output "$dir/model" --force
    expect_error 2 "model: this is the model's own folder"
    quantize_into "$dir/model"
    expect_error 2 'model: the folder holds a model; give another'
    expect_same "$model/model.safetensors" "$dir/model/model.safetensors"
    mkdir "$dir/q"
    echo mine >"$dir/q/notes"
    quantize_into "$dir/q"
    expect_error 2 'q: the folder holds notes, which is none of the files'
    [ "$(ls "$dir/q")" = notes ] || fail 'something was written'
    quantize_into "$dir/q" --force
    expect_code 0
    expect_file "$dir/q/notes"
    quantize_into "$dir/model" --force
    expect_code 0
    expect_same_embeddings "$model" "$dir/model"
    run "$MIDASHI" quantize "$dir/model" --output "$dir/again"
    expect_error 65 'the weights are NF4 already'
    expect_absent "$dir/again"
    run "$MIDASHI" quantize "$model"
    expect_error 2 'give --output'
}

# A limit on the size of files stands for a full disk.
test_a_full_disk_leaves_nothing() {
    quantize_into "$dir/q"
    expect_code 0
    cp -r "$dir/q" "$dir/before"
    for folder in q new; do
        run sh -c "ulimit -f 40; exec '$MIDASHI' quantize '$model' --force --output '$dir/$folder'"
        expect_error 71 '(model\.safetensors|q|new): cannot write'
    done
    expect_absent "$dir/new"
    diff -r "$dir/before" "$dir/q" || fail 'the folder has changed'
}

# A model that cannot be loaded leaves no folder either.
test_broken_models_leave_nothing() {
    cp -r "$model" "$dir/model"
    size=$(wc -c <"$dir/model/model.safetensors")
    printf '\377\377\377\377' |
        dd of="$dir/model/model.safetensors" bs=1 seek=$((size - 8)) conv=notrunc 2>/dev/null
    run "$MIDASHI" quantize "$dir/model" --output "$dir/q"
    expect_error 65 'model\.norm\.weight: row 0 holds NaN'
    expect_absent "$dir/q"
    rm "$dir/model/tokenizer.json"
    run "$MIDASHI" quantize "$dir/model" --output "$dir/q"
    expect_error 66 'no tokenizer'
    expect_absent "$dir/q"
}

# Layers that a checkpoint quantised are used by other commands too, and its damage is named.
test_damage_of_a_folder_is_named() {
    quantize_into "$dir/q"
    expect_code 0
    LC_ALL=C sed 's/"nf4", "blocksize": 64/"nf4", "blocksize": 32/' "$dir/q/model.safetensors" >"$dir/m"
    cp "$dir/m" "$dir/q/model.safetensors"
    run "$MIDASHI" embed "$corpus" --model "$dir/q" --output "$dir/e.npy"
    expect_error 65 'quant_state\.bitsandbytes__nf4: blocksize 32 is not supported, only 64; use the'
    expect_absent "$dir/e.npy"
}

run_tests
