#!/bin/sh
# Models as they lie on the disk: in shards, in the Hugging Face cache, and what is no model.
# shellcheck disable=SC2317 # run_tests calls the functions by their names
. tests/cli/tap.sh
. tests/cli/model.sh

# embed_with MODEL FILE: the corpus into $dir/FILE.
embed_with() {
    run "$MIDASHI" embed "$corpus" --model "$1" --layer -1 --output "$dir/$2"
}

# refuse MODEL CODE PATTERN: embed names what is wrong and writes nothing.
refuse() {
    embed_with "$1" refused.npy
    expect_error "$2" "$3"
    expect_absent "$dir/refused.npy"
}

test_shards_give_the_bytes_of_the_single_file() {
    "$(dirname "$MIDASHI")/tests/tool_tiny_model" "$dir/shards" 4
    embed_with "$model" one.npy
    expect_code 0
    embed_with "$dir/shards" many.npy
    expect_code 0
    expect_same "$dir/one.npy" "$dir/many.npy"
    refuse "$dir/shards/model-00001-of-00004.safetensors" 65 'one shard .* name the folder, .*/shards$'
    sed 's/model-00003-of-00004/..\/model-00003-of-00004/' \
        "$dir/shards/model.safetensors.index.json" >"$dir/index"
    cp "$dir/shards/model.safetensors.index.json" "$dir/kept"
    cp "$dir/index" "$dir/shards/model.safetensors.index.json"
    refuse "$dir/shards" 65 'index\.json: weight_map: .*plain name'
    cp "$dir/kept" "$dir/shards/model.safetensors.index.json"
    rm "$dir/shards/model-00003-of-00004.safetensors"
    refuse "$dir/shards" 66 'model-00003-of-00004\.safetensors: no such file, .*fetch it again'
}

test_any_name_of_the_one_safetensors() {
    cp -r "$model" "$dir/model"
    mv "$dir/model/model.safetensors" "$dir/model/tiny-v2.safetensors"
    : >"$dir/model/adapter_model.safetensors"
    embed_with "$dir/model" e.npy
    expect_code 0
    embed_with "$model" want.npy
    expect_same "$dir/e.npy" "$dir/want.npy"
    embed_with "$dir/model/tiny-v2.safetensors" file.npy
    expect_code 0
    expect_same "$dir/file.npy" "$dir/want.npy"
}

test_what_is_no_model_is_named() {
    mkdir "$dir/adapter" "$dir/pickles" "$dir/onnx" "$dir/loop"
    echo '{"base_model_name_or_path": "acme/base"}' >"$dir/adapter/adapter_config.json"
    : >"$dir/adapter/adapter_model.safetensors"
    refuse "$dir/adapter" 65 'adapter: an adapter .*acme/base'
    cp "$model/config.json" "$model/tokenizer.json" "$dir/pickles"
    : >"$dir/pickles/pytorch_model.bin"
    refuse "$dir/pickles" 66 'pickles: .*pickled weights .*never read'
    cp "$model/config.json" "$model/tokenizer.json" "$dir/onnx"
    : >"$dir/onnx/model.onnx"
    refuse "$dir/onnx" 66 'onnx: .*an ONNX model'
    refuse "$model/tokenizer.json" 65 "tokenizer\.json: this is a tokenizer's file, not a model"
    refuse "$model/config.json" 65 'config\.json: this is a description'
    ln -s loop "$dir/loop/loop"
    refuse "$dir/loop/loop" 71 'loop: Too many levels of symbolic links'
    mkfifo "$dir/fifo"
    refuse "$dir/fifo" 65 'fifo: this is a pipe; name a regular file'
}

test_folders_in_the_place_of_files() {
    for file in config.json model.safetensors tokenizer.json tokenizer_config.json; do
        rm -rf "$dir/model"
        cp -r "$model" "$dir/model"
        rm -f "$dir/model/$file"
        mkdir "$dir/model/$file"
        refuse "$dir/model" 65 "$file: this is a folder; name a regular file"
    done
    rm -rf "$dir/model"
    cp -r "$model" "$dir/model"
    rm "$dir/model/model.safetensors"
    mkdir "$dir/model/model.safetensors.index.json"
    refuse "$dir/model" 65 'index\.json: this is a folder'
}

test_files_that_may_not_be_read() {
    [ "$(id -u)" -ne 0 ] || skip 'needs a user that is not root'
    for file in config.json model.safetensors tokenizer.json; do
        rm -rf "$dir/model"
        cp -r "$model" "$dir/model"
        chmod a-r "$dir/model/$file"
        refuse "$dir/model" 71 "$file: Permission denied"
    done
}

test_quantised_models_are_named() {
    cp -r "$model" "$dir/model"
    for method in gptq:GPTQ awq:AWQ fp8:FP8 compressed-tensors:compressed eetq:EETQ hqq:HQQ; do
        sed "s/^{/{\"quantization_config\": {\"quant_method\": \"${method%%:*}\"}, /" \
            "$model/config.json" >"$dir/model/config.json"
        refuse "$dir/model" 65 "config\.json: quantization_config: .*${method#*:}.*are not read; use"
    done
    sed 's/^{/{"text_config": {}, /' "$model/config.json" >"$dir/model/config.json"
    refuse "$dir/model" 65 'config\.json: text_config: .*images'
}

test_infinite_weights() {
    # The first bytes of the data are the embeddings' first row.
    cp -r "$model" "$dir/model"
    size=$(wc -c <"$model/model.safetensors")
    for place in 4000 100000; do
        cp "$model/model.safetensors" "$dir/model/model.safetensors"
        printf '\000\000\200\177' | dd of="$dir/model/model.safetensors" bs=1 \
            seek=$((size - 4 * (size / 4 - place / 4))) conv=notrunc 2>/dev/null
        refuse "$dir/model" 65 'model\.safetensors: tensor .*: row [0-9]+ holds NaN or an infinity'
    done
}

# ---- sentence-transformers ------------------------------------------------------------------

# sentence_model POOLING [NORMALISE]: the tiny model in $dir/st, with 1_Pooling/config.json.
sentence_model() {
    rm -rf "$dir/st"
    cp -r "$model" "$dir/st"
    mkdir "$dir/st/1_Pooling"
    echo "$1" >"$dir/st/1_Pooling/config.json"
    {
        echo '[{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},'
        echo ' {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}'
        [ -z "${2:-}" ] ||
            echo ', {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}'
        echo ']'
    } >"$dir/st/modules.json"
}

test_pooling_of_sentence_transformers() {
    st() { run "$MIDASHI" embed "$corpus" --model "$dir/st" --output "$dir/st.npy" "$@"; }
    for pooling in '{"pooling_mode": "lasttoken", "embedding_dimension": 48}:last' \
        '{"pooling_mode_mean_tokens": false, "pooling_mode_lasttoken": true}:last' \
        '{"pooling_mode_mean_tokens": true}:mean-all' '{"pooling_mode": "mean"}:mean-all'; do
        sentence_model "${pooling%:*}"
        st
        expect_code 0
        run "$MIDASHI" embed "$corpus" --model "$model" --pool "${pooling##*:}" \
            --output "$dir/want.npy"
        expect_code 0
        expect_same "$dir/st.npy" "$dir/want.npy"
    done
    # What is given is done, whatever the folder says.
    st --pool last
    run "$MIDASHI" embed "$corpus" --model "$model" --pool last --output "$dir/want.npy"
    expect_same "$dir/st.npy" "$dir/want.npy"
    sentence_model '{"pooling_mode": "lasttoken"}' normalise
    run "$MIDASHI" topics "$corpus" --model "$dir/st" --topics 2 --output "$dir/out"
    expect_code 0
    expect_match "$dir/out/run.json" '"pool": "last"'
    expect_match "$dir/out/run.json" '"normalise": "l2"'
    expect_match "$dir/out/run.json" '"layer": 3'
    for mode in cls max weightedmean mean_sqrt_len_tokens; do
        sentence_model "{\"pooling_mode\": \"$mode\"}"
        st
        expect_error 2 "asks for pooling by $mode, which is not built; give --pool mean"
    done
}

# ---- The cache ------------------------------------------------------------------------------

# snapshot CACHE ORG--NAME COMMIT [MODEL]: a model's files as huggingface_hub keeps them, in blobs,
# with links to them in snapshots/COMMIT.
snapshot() {
    repository=$1/models--$2
    mkdir -p "$repository/blobs" "$repository/refs" "$repository/snapshots/$3"
    for file in "${4:-$model}"/*; do
        blob=$(cksum <"$file" | tr -d ' ')
        cp "$file" "$repository/blobs/$blob"
        ln -s "../../blobs/$blob" "$repository/snapshots/$3/$(basename "$file")"
    done
}

# Where info finds the model, in this environment.
expect_path() { # PATH MODEL [VARIABLE=VALUE...]
    want=$1
    name=$2
    shift 2
    run env -u HF_HUB_CACHE -u HUGGINGFACE_HUB_CACHE -u HF_HOME -u XDG_CACHE_HOME "$@" \
        "$MIDASHI" info "$name"
    expect_code 0
    [ "$(head -n 1 "$stdout")" = "$want" ] || fail "expected the path $want"
}

one=1111111111111111111111111111111111111111
two=2222222222222222222222222222222222222222

test_models_of_the_cache() {
    for place in hub home/hub xdg/huggingface/hub user/.cache/huggingface/hub legacy; do
        snapshot "$dir/$place" acme--tiny "$one"
        printf %s "$one" >"$dir/$place/models--acme--tiny/refs/main"
    done
    there=models--acme--tiny/snapshots/$one
    user=HOME=$dir/user
    expect_path "$dir/hub/$there" acme/tiny "$user" XDG_CACHE_HOME="$dir/xdg" \
        HF_HOME="$dir/home" HUGGINGFACE_HUB_CACHE="$dir/legacy" HF_HUB_CACHE="$dir/hub"
    expect_path "$dir/legacy/$there" acme/tiny "$user" HF_HOME="$dir/home" \
        HUGGINGFACE_HUB_CACHE="$dir/legacy"
    expect_path "$dir/home/hub/$there" acme/tiny "$user" XDG_CACHE_HOME="$dir/xdg" \
        HF_HOME="$dir/home"
    expect_path "$dir/xdg/huggingface/hub/$there" acme/tiny "$user" XDG_CACHE_HOME="$dir/xdg"
    expect_path "$dir/user/.cache/huggingface/hub/$there" acme/tiny "$user" HF_HOME=
    expect_path "$dir/user/.cache/huggingface/hub/$there" acme/tiny "$user" \
        'HF_HUB_CACHE=~/.cache/huggingface/hub'
    # Every command finds it; the bytes are those of the folder.
    HF_HUB_CACHE=$dir/hub
    export HF_HUB_CACHE
    embed_with acme/tiny named.npy
    expect_code 0
    embed_with "$model" want.npy
    expect_same "$dir/named.npy" "$dir/want.npy"
    printf 'ab\n' >"$dir/in"
    run "$MIDASHI" tokenize --model acme/tiny "$dir/in"
    expect_lines "$stdout" '256 97 98'
    run "$MIDASHI" topics "$corpus" --model acme/tiny --topics 2 --output "$dir/out"
    expect_code 0
    expect_match "$dir/out/run.json" '"model": "acme/tiny"'
    expect_match "$dir/out/run.json" "\"model_path\": \"$dir/hub/$there\""
    # The cache's folder of the model stands for its snapshot.
    expect_path "$dir/hub/$there" "$dir/hub/models--acme--tiny"
}

test_revisions_of_the_cache() {
    HF_HUB_CACHE=$dir/hub
    repository=$dir/hub/models--acme--tiny
    snapshot "$dir/hub" acme--tiny "$one"
    snapshot "$dir/hub" acme--tiny "$two"
    mkdir -p "$repository/refs/refs/pr"
    printf %s "$one" >"$repository/refs/main"
    printf %s "$two" >"$repository/refs/v2"
    printf %s "$two" >"$repository/refs/refs/pr/1"
    at() { expect_path "$repository/snapshots/$1" "acme/tiny$2" HF_HUB_CACHE="$HF_HUB_CACHE"; }
    at "$one" ''
    at "$two" @v2
    at "$two" @refs/pr/1
    at "$one" "@$one"
    at "$two" "@$two"
    # Without a reference: the newest that has a config.json.
    rm "$repository/refs/main"
    mkdir "$repository/snapshots/3333"
    touch -d '2020-01-01' "$repository/snapshots/$two"
    touch -d '2021-01-01' "$repository/snapshots/$one"
    at "$one" ''
    touch -d '2022-01-01' "$repository/snapshots/$two"
    at "$two" ''
    # A reference to what is not there, or that leads elsewhere, does not count.
    printf %s 4444 >"$repository/refs/main"
    at "$two" ''
    printf '../../../%s' "$one" >"$repository/refs/main"
    at "$two" ''
    export HF_HUB_CACHE
    refuse acme/tiny@v3 66 '^midashi: acme/tiny@v3: .*--revision v3'
    rm -r "$repository/snapshots/$one" "$repository/snapshots/$two"
    refuse acme/tiny 66 'acme/tiny: .*models--acme--tiny holds no whole snapshot; .*fetch-model\.sh acme/tiny'
}

test_a_shard_that_the_cache_lost() {
    HF_HUB_CACHE=$dir/hub
    export HF_HUB_CACHE
    "$(dirname "$MIDASHI")/tests/tool_tiny_model" "$dir/shards" 3
    snapshot "$dir/hub" acme--tiny "$one" "$dir/shards"
    embed_with acme/tiny e.npy
    expect_code 0
    embed_with "$model" want.npy
    expect_same "$dir/e.npy" "$dir/want.npy"
    link=$dir/hub/models--acme--tiny/snapshots/$one/model-00002-of-00003.safetensors
    rm "$(dirname "$link")/$(readlink "$link")"
    refuse acme/tiny 66 'model-00002-of-00003\.safetensors: no such file, .*fetch it again'
}

test_names_of_fetched_models() {
    HF_HUB_CACHE=$dir/none
    export HF_HUB_CACHE
    mkdir -p "$dir/here/models/acme"
    cp -r "$model" "$dir/here/models/acme/tiny"
    cp -r "$model" "$dir/here/models/other"
    program=$(cd "$(dirname "$MIDASHI")" && pwd)/$(basename "$MIDASHI")
    for pair in acme/tiny:models/acme/tiny other:models/other anyone/other:models/other; do
        # shellcheck disable=SC2016 # for the inner shell
        run sh -c 'cd "$1" && "$2" info "$3"' sh "$dir/here" "$program" "${pair%%:*}"
        expect_code 0
        expect_match "$stdout" "^${pair#*:}\$"
    done
}

test_models_that_are_nowhere() {
    HF_HUB_CACHE=$dir/none
    export HF_HUB_CACHE
    refuse acme/tiny 66 "^midashi: acme/tiny: no such file .*cache \($dir/none\); .*sh tools/fetch-model\.sh acme/tiny\$"
    # What the script would refuse is not advised.
    refuse smollm2 66 'sh tools/fetch-model\.sh fetches smollm2-135m, or ORG/NAME of the hub$'
    program=$(cd "$(dirname "$MIDASHI")" && pwd)/$(basename "$MIDASHI")
    # shellcheck disable=SC2016 # for the inner shell
    run sh -c 'cd "$1" && "$2" info smollm2-135m' sh "$dir" "$program"
    expect_error 66 'fetch it: sh tools/fetch-model\.sh smollm2-135m$'
    refuse smollm2@v1 66 "the hub's names are ORG/NAME"
    refuse models/smollm3 66 '^midashi: models/smollm3: no such .*fetches smollm2-135m, or ORG/NAME'
    for name in ../up acme/../up acme/tiny/deeper acme//tiny .hidden acme/tiny@ acme/tiny@../up \
        acme/tiny.gguf tokenizer.json -x/y 'a b/c'; do
        run "$MIDASHI" embed "$corpus" --output "$dir/e.npy" --model="$name"
        expect_error 66 'no such file or folder; name a model.*ORG/NAME'
    done
}

run_tests
