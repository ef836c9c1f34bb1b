#!/bin/sh
# --adapter of embed and topics, and midashi merge.
# shellcheck disable=SC2317 # run_tests calls the functions by their names
. tests/cli/tap.sh
. tests/cli/model.sh

# make_adapter FOLDER [MODEL [LABEL...]]: of rank 4, of the tiny model.
make_adapter() {
    make_folder=$1
    make_model=${2:-$model}
    shift $(($# < 2 ? $# : 2))
    "$(dirname "$MIDASHI")/tests/tool_adapter" "$make_model" "$make_folder" 4 plain "$@"
}

# embed_into FILE [OPTION...]
embed_into() {
    run "$MIDASHI" embed "$corpus" --model "$model" --output "$@"
    expect_code 0
}

test_an_adapter_changes_embeddings() {
    make_adapter "$dir/a"
    embed_into "$dir/base.npy"
    embed_into "$dir/a.npy" --adapter "$dir/a"
    expect_different "$dir/base.npy" "$dir/a.npy"
    embed_into "$dir/one.npy" --adapter "$dir/a" --threads 1 --batch-tokens 300
    expect_same "$dir/one.npy" "$dir/a.npy"
    # Without a head, auto is what it is without an adapter.
    embed_into "$dir/b.npy" --adapter "$dir/a" --pool last --layer -2 --prompt one-word
    expect_same "$dir/b.npy" "$dir/a.npy"
}

test_a_classifiers_auto_is_its_last_token() {
    make_adapter "$dir/c" "$model" sea food
    grep -q sea "$dir/c/labels.json" || fail 'no labels'
    embed_into "$dir/auto.npy" --adapter "$dir/c" --json
    expect_match "$stdout" '"pool": "last"'
    expect_match "$stdout" '"layer": 3'
    embed_into "$dir/last.npy" --adapter "$dir/c" --pool last --layer -1 --prompt none
    expect_same "$dir/auto.npy" "$dir/last.npy"
    embed_into "$dir/mean.npy" --adapter "$dir/c" --pool mean
    expect_different "$dir/auto.npy" "$dir/mean.npy"
    run "$MIDASHI" topics "$corpus" --model "$model" --adapter "$dir/c" --topics 2 --output "$dir/t"
    expect_code 0
    expect_match "$dir/t/run.json" '"normalise": "none"'
    expect_match "$dir/t/run.json" '"remove_components": 0'
    expect_match "$dir/t/run.json" '"prompt": "\{text\}"'
}

test_embeddings_are_used_again_with_the_same_adapter_only() {
    make_adapter "$dir/a"
    run "$MIDASHI" topics "$corpus" --model "$model" --topics 2 --output "$dir/t"
    expect_code 0
    expect_match "$dir/t/run.json" '"adapter": null'
    for again in no yes; do
        run "$MIDASHI" topics "$corpus" --model "$model" --adapter "$dir/a" --topics 2 --output "$dir/t"
        expect_code 0
        expect_match "$dir/t/run.json" "\"adapter\": \"$dir/a\""
        if [ $again = no ]; then
            expect_no_match "$stderr" 'used again'
        else
            expect_match "$stderr" 'used again'
        fi
    done
    # A copy elsewhere is the same adapter; another scale is another one.
    cp -r "$dir/a" "$dir/b"
    run "$MIDASHI" topics "$corpus" --model "$model" --adapter "$dir/b" --topics 2 --output "$dir/t"
    expect_code 0
    expect_match "$stderr" 'used again'
    sed 's/"lora_alpha": 8/"lora_alpha": 9/' "$dir/a/adapter_config.json" >"$dir/b/adapter_config.json"
    run "$MIDASHI" topics "$corpus" --model "$model" --adapter "$dir/b" --topics 2 --output "$dir/t"
    expect_code 0
    expect_no_match "$stderr" 'used again'
}

test_adapters_that_do_not_fit() {
    run "$MIDASHI" embed "$corpus" --model "$model" --adapter "$dir/absent" --output "$dir/e.npy"
    expect_error 66 'absent: No such file or directory; name the folder that PEFT'
    run "$MIDASHI" embed "$corpus" --model "$model" --adapter tests/golden/peft/plain --output "$dir/e.npy"
    expect_error 65 'q_proj\.lora_A\.weight: its shape is 4 x 32, .* another model'
    expect_absent "$dir/e.npy"
    run "$MIDASHI" topics "$corpus" --model "$model" --adapter tests/golden/peft/plain --topics 2 --output "$dir/t"
    expect_code 65
    expect_absent "$dir/t"
    make_adapter "$dir/a"
    sed 's/"use_dora": false/"use_dora": true/' "$dir/a/adapter_config.json" >"$dir/config"
    cp "$dir/config" "$dir/a/adapter_config.json"
    run "$MIDASHI" embed "$corpus" --model "$model" --adapter "$dir/a" --output "$dir/e.npy"
    expect_error 65 'use_dora: DoRA is not supported'
    embed_into "$dir/e.npy"
    run "$MIDASHI" topics "$corpus" --embeddings "$dir/e.npy" --adapter "$dir/a" --topics 2 --output "$dir/t"
    expect_error 2 'leave --layer, --prompt, --max-tokens and --adapter out'
}

# ---- merge ------------------------------------------------------------------------------------

test_merge_makes_a_model() {
    make_adapter "$dir/a"
    run "$MIDASHI" merge "$model" "$dir/a" --output "$dir/m"
    expect_code 0
    expect_match "$stderr" 'm: 21 matrices changed, 0\.1 million weights, 0 MB'
    expect_same "$model/tokenizer.json" "$dir/m/tokenizer.json"
    expect_match "$dir/m/config.json" '"merged_by": "midashi"'
    run "$MIDASHI" info "$dir/m"
    expect_code 0
    expect_match "$stdout" '^files  .* values in F32$'
    run "$MIDASHI" embed "$corpus" --model "$dir/m" --output "$dir/m.npy" --precision f32
    expect_code 0
    # Again over it only where that is meant; by any number of threads.
    cp "$dir/m/model.safetensors" "$dir/before"
    run "$MIDASHI" merge "$model" "$dir/a" --output "$dir/m" --quiet
    expect_error 2 'm: the folder holds a model; give another --output, or --force to replace it'
    run "$MIDASHI" merge "$model" "$dir/a" --output "$dir/m" --threads 1 --json --quiet --force
    expect_code 0
    expect_lines "$stderr"
    expect_match "$stdout" '"matrices": 21'
    expect_same "$dir/m/model.safetensors" "$dir/before"
    run "$MIDASHI" quantize "$dir/m" --output "$dir/q"
    expect_code 0
    expect_no_match "$dir/q/config.json" 'merged_by'
}

test_merge_of_a_classifier() {
    make_adapter "$dir/c" "$model" sea food
    run "$MIDASHI" merge "$model" "$dir/c" --output "$dir/m"
    expect_code 0
    expect_match "$stderr" 'the head for 2 labels is score\.weight, which classify does not read'
    expect_match "$stderr" '^give --pool last to embed as with the adapter$'
    embed_into "$dir/c.npy" --adapter "$dir/c" --precision f32 --json
    expect_match "$stdout" '"layer": 3'
    sed '/seconds/d; /output/d' "$stdout" >"$dir/adapter"
    run "$MIDASHI" embed "$corpus" --model "$dir/m" --output "$dir/m.npy" --pool last --precision f32 --json
    sed '/seconds/d; /output/d' "$stdout" >"$dir/merged" # the prompt shows in the number of tokens
    expect_same "$dir/adapter" "$dir/merged"
    run "$MIDASHI" classify "$corpus" --model "$dir/m"
    expect_error 2 'm: a model with a head for labels, which classify does not read; give the model that was merged, and its --adapter$'
    run "$MIDASHI" classify "$corpus" --model "$dir/m" --adapter "$dir/c"
    expect_code 0
    expect_match "$stderr" 'an adapter that was merged into it counts twice here$'
    run "$MIDASHI" classify "$corpus" --model "$model" --adapter "$dir/c"
    expect_code 0
    expect_no_match "$stderr" 'counts twice'
    run "$MIDASHI" classify "$corpus" --model "$model"
    expect_error 2 'which adapter\? give --adapter FOLDER, as train wrote it$'
    expect_match "$dir/m/config.json" 'LlamaForSequenceClassification'
    expect_match "$dir/m/config.json" '"food": 1'
    run "$MIDASHI" embed "$corpus" --model "$dir/m" --output "$dir/m.npy"
    expect_code 0
}

# What is quantised becomes BF16, and is not quantised any more.
test_merge_of_quantised_models() {
    run "$MIDASHI" quantize "$model" --output "$dir/q"
    expect_code 0
    make_adapter "$dir/a"
    run "$MIDASHI" merge "$dir/q" "$dir/a" --output "$dir/m"
    expect_code 0
    expect_no_match "$dir/m/config.json" 'quantiz'
    expect_match "$dir/m/config.json" '"dtype": "bfloat16"'
    run "$MIDASHI" info "$dir/m"
    expect_match "$stdout" '^files  .* values in .*BF16'
    make_adapter "$dir/g" tests/golden/gguf/whole.gguf
    run "$MIDASHI" merge tests/golden/gguf/whole.gguf "$dir/g" --output "$dir/m" --force
    expect_code 0
    expect_absent "$dir/m/tokenizer.json"
    expect_file "$dir/m/tokenizer.gguf"
    run "$MIDASHI" embed "$corpus" --model "$dir/m" --output "$dir/m.npy" --pool last
    expect_code 0
}

test_merge_leaves_folders_of_others_alone() {
    make_adapter "$dir/a"
    cp -r "$model" "$dir/model"
    run "$MIDASHI" merge "$dir/model" "$dir/a" --output "$dir/model" --force
    expect_error 2 "model: this is the model's own folder"
    run "$MIDASHI" merge "$model" "$dir/a" --output "$dir/a" --force
    expect_error 2 "a: this is the adapter's own folder"
    run "$MIDASHI" merge "$model" "$dir/a" --output "$dir/model"
    expect_error 2 'model: the folder holds a model; give another'
    expect_same "$model/model.safetensors" "$dir/model/model.safetensors"
    run "$MIDASHI" merge "$model" "$dir/a"
    expect_error 2 'give --output'
    run "$MIDASHI" merge "$model" --output "$dir/m"
    expect_error 2 'too few arguments'
    run "$MIDASHI" merge "$model" tests/golden/peft/plain --output "$dir/m"
    expect_error 65 'another model'
    expect_absent "$dir/m"
    run sh -c "ulimit -f 40; exec '$MIDASHI' merge '$model' '$dir/a' --output '$dir/m'"
    expect_error 71 'cannot write'
    expect_absent "$dir/m"
}

run_tests
