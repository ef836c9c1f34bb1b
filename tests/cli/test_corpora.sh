#!/bin/sh
# Corpora of every kind through the program: formats, pipes, rows and parts, exit codes of errors.
# shellcheck disable=SC2317 # run_tests calls the functions by their names
. tests/cli/tap.sh
. tests/cli/model.sh

# embed CORPUS [OPTION...]: vectors into $dir/e.npy.
embed() {
    embed_corpus=$1
    shift
    run "$MIDASHI" embed "$embed_corpus" --model "$model" --output "$dir/e.npy" "$@"
}

# expect_refusal CODE PATTERN: an error, and no file.
expect_refusal() {
    expect_error "$1" "$2"
    expect_absent "$dir/e.npy"
}

# The same texts in every form give the same vectors.
test_every_form_gives_the_same_vectors() {
    printf 'one boat\n\nan "island", at sea\n' >"$dir/c.txt"
    printf 'text\n"one boat"\r\n\n"an ""island"", at sea"' >"$dir/c.csv"
    printf 'label\ttext\nx\tone boat\n\t\ny\tan "island", at sea\n' >"$dir/c.tsv"
    printf '{"text":"one boat"}\n{"text":null}\n{"text":"an \\"island\\", at\\u0020sea"}\n' >"$dir/c.jsonl"
    mkdir "$dir/c" "$dir/c/b"
    printf 'one boat\n' >"$dir/c/a.txt"
    : >"$dir/c/b.txt"
    printf 'an "island", at sea\n' >"$dir/c/b/c.txt"
    embed "$dir/c.txt"
    expect_code 0
    cp "$dir/e.npy" "$dir/txt.npy"
    for form in c.csv c.tsv c.jsonl c; do
        embed "$dir/$form"
        expect_code 0
        expect_match "$stderr" "$form: 3 texts; "
        expect_match "$stderr" '^1 text is blank and left out'
        expect_same "$dir/txt.npy" "$dir/e.npy"
    done
    expect_match "$stderr" 'a text a file; label is the folder inside the folder'
    need_command gzip
    gzip -k "$dir/c.csv" "$dir/c.jsonl" "$dir/c/a.txt"
    rm "$dir/c/a.txt"
    mv "$dir/c.csv.gz" "$dir/unnamed.csv"
    for form in unnamed.csv c.jsonl.gz c; do
        embed "$dir/$form"
        expect_code 0
        expect_same "$dir/txt.npy" "$dir/e.npy"
    done
}

test_standard_input_and_pipes() {
    embed "$corpus"
    cp "$dir/e.npy" "$dir/file.npy"
    embed - --format tsv <"$corpus"
    expect_code 0
    expect_match "$stderr" '^standard input: 60 texts; header found'
    expect_same "$dir/file.npy" "$dir/e.npy"
    mkfifo "$dir/pipe"
    gzip -c "$corpus" >"$dir/pipe" &
    embed "$dir/pipe" --format=tsv
    expect_code 0
    expect_same "$dir/file.npy" "$dir/e.npy"
    tail -n +2 "$corpus" >"$dir/pipe" &
    embed "$dir/pipe"
    expect_code 0
    expect_match "$stderr" 'pipe: 60 texts; a text a line'
    # A folder for topics: in the current one.
    MIDASHI=$PWD/$MIDASHI
    cd "$dir" || fail 'no folder'
    run "$MIDASHI" topics - --format tsv --model "$model" --topics 2 <"$corpus"
    expect_code 0
    expect_file stdin.topics/topics.json
    run "$MIDASHI" topics /dev/stdin --format tsv --model "$model" --topics 2 <"$corpus"
    expect_code 0
    expect_match "$stderr" '^stdin.topics/embeddings.npy: .*used again'
}

# expect_interruptible COMMAND... 3<INPUT: SIGTERM while it waits ends it.
expect_interruptible() {
    "$@" <&3 2>"$dir/error" &
    pid=$!
    tries=0
    until grep -q '^SigCgt:.*[4-7c-f]...$' "/proc/$pid/status"; do # SIGTERM is caught by now
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || fail 'the handler is not there'
        sleep 0.1
    done
    sleep 0.5
    kill -TERM "$pid"
    code=0
    wait "$pid" || code=$?
    expect_code 130
    expect_lines "$dir/error" 'midashi: interrupted'
}

test_waiting_for_a_pipe_can_be_interrupted() {
    need_file /proc/self/status
    mkfifo "$dir/pipe"
    expect_interruptible "$MIDASHI" embed "$dir/pipe" --model "$model" --output "$dir/e.npy" \
        --device cpu 3</dev/null
    sleep 60 >"$dir/pipe" &
    writer=$!
    expect_interruptible "$MIDASHI" embed - --model "$model" --output "$dir/e.npy" \
        --device cpu 3<"$dir/pipe"
    kill "$writer"
}

test_folders_and_their_topics() {
    mkdir "$dir/c" "$dir/c/sea" "$dir/c/food"
    awk -F '\t' -v d="$dir/c" 'NR > 1 {print $2 > (d "/" $1 "/" NR ".txt")}' "$corpus"
    ln -s .. "$dir/c/sea/loop"
    run "$MIDASHI" topics "$dir/c/" --model "$model" --topics 2
    expect_code 0
    expect_match "$stderr" '60 texts; .*; 1 link to folders not followed'
    expect_match "$stdout" '^agreement with the 2 labels'
    expect_file "$dir/c.topics/topics.json"
    expect_match "$dir/c.topics/documents.csv" '^1,[01],[0-9.e-]+,[0-9.e-]+,food,'
    run "$MIDASHI" topics "$dir/c/." --model "$model" --topics 2
    expect_error 2 '/c/\.: .*give --output'
    mkdir "$dir/empty"
    embed "$dir/empty"
    expect_refusal 65 'empty: no \.txt in this folder'
}

# ---- rows and parts -------------------------------------------------------------------------

test_rows_in_parts_are_the_whole() {
    run "$MIDASHI" topics "$corpus" --model "$model" --topics 3 --output "$dir/whole"
    expect_code 0
    for rows in :20 21:21 22:; do
        embed "$corpus" --rows "$rows"
        expect_code 0
        mv "$dir/e.npy" "$dir/part$rows.npy"
    done
    expect_match "$stderr" '39 texts; .*; rows 22 to 60 of 60'
    set -- "$dir/part:20.npy" "$dir/part21:21.npy" "$dir/part22:.npy"
    run "$MIDASHI" topics "$corpus" --topics 3 --output "$dir/parts" --embeddings "$@"
    expect_code 0
    for file in topics.json topics.txt documents.csv embeddings.npy model/centres.npy; do
        expect_same "$dir/whole/$file" "$dir/parts/$file"
    done
    expect_match "$dir/parts/run.json" 'part22:.npy'
    # With the model, which is then told in the folder; and CORPUS behind the parts.
    run "$MIDASHI" topics --embeddings "$@" "$corpus" --model "$model" --topics 3 --output "$dir/parts"
    expect_code 0
    expect_same "$dir/whole/topics.json" "$dir/parts/topics.json"
    expect_same "$dir/whole/model/representation.json" "$dir/parts/model/representation.json"
    run "$MIDASHI" cluster "$@" --topics 3 --output "$dir/l.npy"
    expect_code 0
    run "$MIDASHI" cluster "$dir/whole/embeddings.npy" --topics 3 --output "$dir/m.npy"
    expect_same "$dir/l.npy" "$dir/m.npy"
}

# Without a model, topics takes parts for those of a plain embed.
test_parts_made_with_another_prompt() {
    run "$MIDASHI" topics "$corpus" --model "$model" --prompt none --topics 3 --output "$dir/whole"
    expect_code 0
    embed "$corpus" --prompt none
    run "$MIDASHI" topics "$corpus" --topics 3 --output "$dir/parts" --embeddings "$dir/e.npy"
    expect_code 0
    expect_match "$dir/parts/run.json" '"remove_components": 0'
    for told in '--remove-components 2' "--model $model --prompt none"; do
        # shellcheck disable=SC2086 # several words
        run "$MIDASHI" topics "$corpus" --topics 3 --output "$dir/parts" --embeddings "$dir/e.npy" $told
        expect_code 0
        for file in topics.json documents.csv model/centres.npy model/directions.npy; do
            expect_same "$dir/whole/$file" "$dir/parts/$file"
        done
    done
}

test_rows_keep_their_numbers() {
    run "$MIDASHI" topics "$corpus" --model "$model" --topics 2 --rows 31:50 --output "$dir/out"
    expect_code 0
    expect_match "$dir/out/documents.csv" '^31,'
    expect_match "$dir/out/documents.csv" '^50,'
    expect_line_count "$dir/out/documents.csv" 21
    expect_match "$dir/out/run.json" '"rows": "31:50"'
    need_command python3
    python3 -c 'import json, sys
topics = json.load(open(sys.argv[1]))["topics"]
rows = [row for topic in topics for row in topic["nearest"]]
assert rows and all(31 <= row <= 50 for row in rows), rows' "$dir/out/topics.json" ||
        fail 'the nearest rows have other numbers'
}

test_wrong_rows() {
    for rows in 5 a:b 0:3 3:2 -1: 1:2:3 ' 1:' 1:x 1.0: 99999999999999999999: +1:; do
        embed "$corpus" --rows "$rows"
        expect_refusal 2 '--rows .*use A:B'
    done
    embed "$corpus" --rows 61:
    expect_refusal 2 'corpus\.tsv: --rows begins at 61, but there are 60 rows'
    embed "$corpus" --rows 60:100
    expect_code 0
}

test_embeddings_that_do_not_fit() {
    embed "$corpus"
    topics() { run "$MIDASHI" topics "$corpus" --topics 2 --output "$dir/out" --embeddings "$@"; }
    topics "$dir/e.npy" "$dir/e.npy"
    expect_error 65 'e\.npy: 2 files with 120 rows in all, but the corpus has 60'
    topics "$dir/absent.npy"
    expect_error 66 'absent\.npy'
    topics "$dir/e.npy" --layer 1
    expect_error 2 '--embeddings are taken as they are'
    run "$MIDASHI" cluster "$dir/e.npy" --topics 2 --output "$dir/l.npy"
    topics "$dir/l.npy"
    expect_error 65 'l\.npy: int32, so no embeddings'
    topics "$dir/e.npy" --pool last+mean --model "$model"
    expect_error 65 'e\.npy: rows of 48 numbers, but those of --model have 96'
    cp "$dir/e.npy" "$dir/nan.npy"
    # Row 2 begins 128 + 48 * 4 bytes into the file; its second value becomes NaN.
    printf '\000\000\300\177' | dd of="$dir/nan.npy" bs=1 seek=324 conv=notrunc 2>/dev/null
    topics "$dir/nan.npy"
    expect_error 65 'nan\.npy: row 2: column 2 is -?nan, not a finite number'
    run "$MIDASHI" cluster "$dir/e.npy" "$dir/nan.npy" --topics 2 --output "$dir/m.npy"
    expect_error 65 'nan\.npy: row 2: column 2 is -?nan, not a finite number'
    expect_absent "$dir/m.npy"
    sed '3s/.*/food\t/' "$corpus" >"$dir/blank.tsv"
    run "$MIDASHI" topics "$dir/blank.tsv" --topics 2 --embeddings "$dir/e.npy"
    expect_error 65 'e\.npy: row 2 is not zero, but text 2 of the corpus is blank'
    run "$MIDASHI" embed "$dir/blank.tsv" --model "$model" --output "$dir/blank.npy"
    topics "$dir/blank.npy"
    expect_error 65 'blank\.npy: row 2 is zero, but text 2 of the corpus is not blank; these are not its embeddings$'
    need_command python3
    python3 - "$dir" <<'END'
import struct, sys
def npy(name, shape, n):
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }" % (shape,)
    header = (header + " " * (117 - len(header)) + "\n").encode()
    open(f"{sys.argv[1]}/{name}", "wb").write(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + b"\0\0\x80?" * n)
npy("flat.npy", "(60,)", 60)
npy("narrow.npy", "(60, 2)", 120)
END
    topics "$dir/flat.npy"
    expect_error 65 'flat\.npy: one dimension'
    topics "$dir/e.npy" "$dir/narrow.npy"
    expect_error 65 'narrow\.npy: rows of 2 numbers, but .*e\.npy has 48'
    run "$MIDASHI" cluster "$dir/e.npy" "$dir/narrow.npy" --topics 2 --output "$dir/m.npy"
    expect_error 65 'narrow\.npy: rows of 2 numbers, but .*e\.npy has 48'
}

# ---- errors ---------------------------------------------------------------------------------

# refuses NAME BYTES CODE PATTERN [OPTION...]
refuses() {
    # shellcheck disable=SC2059 # bytes are written as printf's format has them
    printf "$2" >"$dir/$1"
    refuses_name=$1 refuses_code=$3 refuses_pattern=$4
    shift 4
    embed "$dir/$refuses_name" "$@"
    expect_refusal "$refuses_code" "$refuses_pattern"
}

test_errors_of_tables() {
    refuses c.csv 'a,text\n1,x\n2,y,z\n' 65 'c\.csv: row 2 \(line 3\): 3 fields, but the first line has 2; '
    refuses c.csv 'a,text\n1,x\n2\n' 65 'c\.csv: row 2 \(line 3\): 1 field, but the first line has 2; '
    refuses c.tsv 'a\ttext\n1\tx\ty\n' 65 'c\.tsv: row 1 \(line 2\): 3 fields, but the first line has 2; '
    refuses c.csv 'text\none\n"two\nthree\n' 65 'row 2 \(line 3\): the quote that opens field 1 is never closed'
    refuses c.csv 'text\n"one" x\n' 65 'row 1 \(line 2\): field 1 goes on behind its closing quote'
    refuses c.csv 'text\no"ne\n' 65 'row 1 \(line 2\): a quote inside field 1'
    refuses c.csv 'text\none\nt\377\n' 65 'row 2 \(line 3\), byte 10 of the file: invalid UTF-8 \(0xFF\)'
    refuses c.txt 'one\nt\000\n' 65 'row 2 \(line 2\), byte 5 of the file: a 0 byte'
    refuses c.csv 'title,body\nx,y\n' 2 'there is no column "text.*one of "title", "body"' --header
    refuses c.csv 'title,body\nx,y\n' 2 'no column "x"; --label takes one of "title", "body"' --text 2 --label x
    refuses c.txt 'x\n' 2 'a \.txt is a text a line' --label 1
    refuses c.dat 'x\n' 65 'kind of file is not known by its name.*give --format'
    refuses c.dat 'x\n' 2 '--format xml: use csv, tsv, jsonl or txt' --format xml
    refuses c.csv '' 65 'c\.csv: no texts'
}

test_errors_of_json_lines() {
    refuses c.jsonl '{"text":"x"}\n{"text":"y"\n' 65 'c\.jsonl: row 2 \(line 2\), byte 13 of the file: bad JSON: '
    refuses c.jsonl '{"text":"x"}\n{"text":1}\n' 65 'row 2 \(line 2\): "text" is a number; a text is a string'
    refuses c.jsonl '{"text":"x"}\n{"t":1}\n' 65 'row 2 \(line 2\) has no key "text", only "t"; '
    refuses c.jsonl '{"a":"x","b":{}}\n' 2 'has no key "text"; --text takes one of "a", "b"'
    refuses c.jsonl '{"text":"x"}\n' 2 'no row has a key "kind"' --label kind
    refuses c.jsonl '{"text":"x"}\n{"text":"\377"}\n' 65 'row 2 \(line 2\), byte 22 of the file: invalid UTF-8'
    refuses c.jsonl '{"text":"x"}\n' 2 'a \.jsonl has keys and no header' --header
    refuses c.jsonl '\n' 65 'c\.jsonl: no texts'
}

test_what_cannot_be_a_corpus() {
    embed /dev/null
    expect_refusal 65 '/dev/null: this is a device; name a file, a folder or a pipe'
    embed - </dev/null
    expect_refusal 65 'standard input: no texts'
    embed - <"$dir"
    expect_refusal 65 'standard input: this is a folder'
    mkdir "$dir/c"
    echo x >"$dir/c/a.txt"
    embed "$dir/c" --format csv
    expect_refusal 2 'c: a folder is a corpus of \.txt'
    embed "$dir/c" --text text
    expect_refusal 2 'c: a folder has a text a file'
    mkfifo "$dir/c/b.txt"
    embed "$dir/c"
    expect_refusal 65 'b\.txt: this is a pipe'
}

# ---- size -----------------------------------------------------------------------------------

# Two texts of 10 MB, one of them without a place to cut. Tokenising all of it, let alone anything
# quadratic, takes many times as long as the 512 tokens that count.
test_texts_of_10_mb_take_no_time() {
    awk 'BEGIN {for (i = 0; i < 1000000; i++) printf "some words "; print ""; s = "a"; for (i = 0; i < 23; i++) s = s s; print s; print "short"}' >"$dir/c.txt"
    RUN_SECONDS=10 embed "$dir/c.txt" --threads 1
    expect_code 0
    expect_match "$stderr" '^2 texts were cut'
}

# Only the beginning of a long text is tokenised, and as much of it as gives the tokens that count:
# with a tokenizer whose tokens are 128 bytes long as well.
test_long_texts_are_cut_where_their_tokens_are() {
    need_command python3
    cp -r "$model" "$dir/model"
    python3 - "$dir" <<'END'
import json, sys
path = sys.argv[1] + "/model/tokenizer.json"
tokenizer = json.load(open(path))
vocab = tokenizer["model"]["vocab"]
for i in range(7): # in the places of bytes that UTF-8 does not have
    half = "a" * 2**i
    vocab = {half * 2 if number == 248 + i else token: number for token, number in vocab.items()}
    tokenizer["model"]["merges"].append(half + " " + half)
tokenizer["model"]["vocab"] = vocab
json.dump(tokenizer, open(path, "w"))
cut = 255 * 128 # 256 tokens, BOS among them
with open(sys.argv[1] + "/c.txt", "w") as out:
    for text in "a" * cut, "a" * cut + "b", "a" * 1000000, "a" * (cut - 128) + "b" * 1000000:
        print(text, file=out)
END
    run "$MIDASHI" embed "$dir/c.txt" --model "$dir/model" --output "$dir/e.npy" --json --prompt none
    expect_code 0
    expect_match "$stdout" '"truncated": 3'
    expect_match "$stdout" '"tokens": 1024'
    # Rows of 48 floats behind a header of 128 bytes: the first three are one another, not the last.
    for row in 0 1 2 3; do
        tail -c +$((129 + row * 192)) "$dir/e.npy" | head -c 192 >"$dir/$row"
    done
    expect_same "$dir/0" "$dir/1"
    expect_same "$dir/0" "$dir/2"
    expect_different "$dir/0" "$dir/3"
}

# A small .gz that holds more than there is memory for.
test_gzip_bomb_is_one_line() {
    need_command gzip
    run sh -c 'ulimit -v 600000 && exec "$@"' sh "$MIDASHI" --version
    [ "$code" -eq 0 ] || skip 'this build needs more address space'
    yes 'a line of a text' | head -c 1000000000 | gzip -1 >"$dir/c.txt.gz"
    run sh -c 'ulimit -v 600000 && exec "$@"' sh "$MIDASHI" embed "$dir/c.txt.gz" --model "$model" \
        --threads 1 --output "$dir/e.npy"
    expect_refusal 71 'c\.txt\.gz: not enough memory'
}

run_tests "$@"
