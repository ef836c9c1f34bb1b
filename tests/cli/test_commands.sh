#!/bin/sh
# midashi topics, embed, cluster, tokenize, info and devices, on a tiny random model.
# shellcheck disable=SC2317 # run_tests calls the functions by their names
. tests/cli/tap.sh
. tests/cli/model.sh

test_help_names_every_command() {
    run "$MIDASHI" --help
    expect_code 0
    for command in topics train classify embed cluster tokenize quantize merge info devices; do
        expect_match "$stdout" "^  $command "
        run "$MIDASHI" "$command" --help
        expect_code 0
        expect_match "$stdout" "^midashi $command"
        expect_no_match "$stdout" '.{80}' # the least terminal
        [ "$(grep '^  --' "$stdout" | tail -n 1)" = '  --help' ] || fail "$command: --help is not last"
        cp "$stdout" "$dir/page"
        run "$MIDASHI" help "$command"
        expect_code 0
        expect_same "$stdout" "$dir/page"
        run "$MIDASHI" --help
    done
    expect_match "$stdout" '^Exit codes: 0 done, 1 failed, 2 wrong usage, 65 bad data'
    expect_no_match "$stdout" '.{80}'
    run "$MIDASHI"
    expect_code 2
    run "$MIDASHI" topicz
    expect_error 2 'there is no command topicz'
}

# Where GPUs are refused they are not offered.
test_help_offers_the_devices_that_are_taken() {
    for command in merge quantize devices; do
        run "$MIDASHI" "$command" --help
        expect_match "$stdout" '^  --device auto\|cpu$'
        run "$MIDASHI" "$command" --device
        expect_error 2 '--device needs a value: auto\|cpu$'
    done
    run "$MIDASHI" train --help
    expect_match "$stdout" '^  --device auto\|cpu\|cuda\[:N\]$'
}

# Of an option with a value, the help says in brackets what holds without it.
test_help_names_every_default() {
    for command in topics train classify embed cluster tokenize quantize merge info devices; do
        run "$MIDASHI" "$command" --help
        awk 'function check() { if (option && text !~ /\(/) print option }
             /^  --/ { check(); option = NF > 1 ? $1 : ""; text = ""; next }
             { text = text $0 }
             END { check() }' "$stdout" >"$dir/without"
        expect_lines "$dir/without"
    done
}

# Long pages have headings: none twice, none without an option below, no option above the first.
test_help_has_headings() {
    for command in topics train classify embed cluster; do
        run "$MIDASHI" "$command" --help
        sed '1,/^Options/d' "$stdout" | awk '
            /^[A-Z].*:$/ { if (seen[$0]++ || empty) print; empty = 1; n++ }
            /^  --/ { if (!n) print; empty = 0 }
            END { if (n < 3 || empty) print n }' >"$dir/wrong"
        expect_lines "$dir/wrong"
    done
    for command in tokenize quantize merge info devices; do
        run "$MIDASHI" "$command" --help
        expect_no_match "$stdout" '^The run:$'
    done
}

test_tags_are_no_words() {
    sed '1!s/\t\(.*\)/\t<p class="x">\1<br><\/p>\&nbsp;/' "$corpus" >"$dir/tagged.tsv"
    [ "$(grep -c '<p class' "$dir/tagged.tsv")" -eq 60 ] || fail 'no tags in the corpus'
    run "$MIDASHI" topics "$dir/tagged.tsv" --model "$model" --topics 2 --output "$dir/out"
    expect_code 0
    tr ' ' '\n' <"$dir/out/topics.txt" >"$dir/words"
    for word in class br nbsp; do
        expect_no_match "$dir/words" "^$word$"
    done
    expect_match "$dir/words" '^bread$'
}

test_topics_writes_its_files() {
    run "$MIDASHI" topics "$corpus" --model "$model" --topics 2 --output "$dir/out"
    expect_code 0
    expect_match "$stdout" '^agreement with the 2 labels: NMI [01]\.[0-9]+, purity [01]\.[0-9]+$'
    expect_match "$stderr" '60 texts; header found'
    for file in topics.json documents.csv embeddings.npy run.json model/centres.npy model/mean.npy \
        model/directions.npy model/representation.json model/embeddings.json; do
        expect_file "$dir/out/$file"
    done
    expect_line_count "$dir/out/topics.txt" 2
    expect_line_count "$dir/out/documents.csv" 61
    expect_match "$dir/out/run.json" '"program": "midashi"'
    expect_match "$dir/out/run.json" '"max_tokens": 256'
    [ -z "$(find "$dir/out" -name '*.tmp-*')" ] || fail 'a temporary file stayed'
}

# One label: any topics have NMI 0 and purity 1.
test_one_label_is_none_to_agree_with() {
    grep -v '^food' "$corpus" >"$dir/sea.tsv"
    run "$MIDASHI" topics "$dir/sea.tsv" --model "$model" --topics 2 --output "$dir/out"
    expect_code 0
    expect_match "$stdout" '^agreement: none to tell, since all texts that have a label have the same$'
    expect_no_match "$stdout" 'NMI'
}

test_output_defaults_beside_the_corpus() {
    cp "$corpus" "$dir/c.tsv"
    run "$MIDASHI" topics "$dir/c.tsv" --model "$model" --topics 2 --quiet
    expect_code 0
    expect_lines "$stderr"
    expect_file "$dir/c.tsv.topics/topics.json"
}

test_embeddings_are_used_again() {
    run "$MIDASHI" topics "$corpus" --model "$model" --topics 2 --output "$dir/out"
    expect_code 0
    cp "$dir/out/embeddings.npy" "$dir/first.npy"
    run "$MIDASHI" topics "$corpus" --model "$model" --topics 3 --output "$dir/out"
    expect_code 0
    expect_match "$stderr" 'used again'
    expect_line_count "$dir/out/topics.txt" 3
    expect_same "$dir/first.npy" "$dir/out/embeddings.npy"
    # Another layer, another prompt, an edited file or other texts: not used.
    run "$MIDASHI" topics "$corpus" --model "$model" --topics 2 --output "$dir/out" --layer 1
    expect_code 0
    expect_no_match "$stderr" 'used again'
    printf 'X' | dd of="$dir/out/embeddings.npy" bs=1 seek=200 conv=notrunc 2>/dev/null
    run "$MIDASHI" topics "$corpus" --model "$model" --topics 2 --output "$dir/out" --layer 1
    expect_code 0
    expect_no_match "$stderr" 'used again'
    head -n 50 "$corpus" >"$dir/fewer.tsv"
    run "$MIDASHI" topics "$dir/fewer.tsv" --model "$model" --topics 2 --output "$dir/out" --layer 1
    expect_code 0
    expect_no_match "$stderr" 'used again'
}

test_json_is_one_object() {
    run "$MIDASHI" topics "$corpus" --model "$model" --topics 2 --output "$dir/out" --json --quiet
    expect_code 0
    expect_lines "$stderr"
    [ "$(head -c 1 "$stdout")" = '{' ] || fail 'not an object'
    expect_match "$stdout" '"nmi": '
    need_command python3
    python3 -c 'import json, sys
t = json.load(open(sys.argv[1]))
assert len(t["topics"]) == 2 and t["texts"] == 60, t
assert sum(x["size"] for x in t["topics"]) == 60' "$stdout" || fail 'the JSON is not as expected'
}

# Loading and embedding are the whole, and each is a part that takes time.
test_embed_tells_loading_from_embedding() {
    need_command python3
    run "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/e.npy" --json --quiet
    expect_code 0
    python3 -c 'import json, sys
r = json.load(open(sys.argv[1]))
parts = r["load_seconds"], r["embed_seconds"]
assert min(parts) > 0 and abs(sum(parts) - r["seconds"]) < 1e-9, r' "$stdout" || fail 'seconds'
}

test_same_bytes_for_threads_and_batches() {
    run "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/a.npy" --threads 1
    expect_code 0
    run "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/b.npy" --threads 2
    expect_code 0
    expect_same "$dir/a.npy" "$dir/b.npy"
    for batch in 256 300 1000; do
        run "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/b.npy" --batch-tokens "$batch"
        expect_code 0
        expect_same "$dir/a.npy" "$dir/b.npy"
    done
    # Topics too: every file but run.json, which has the time in it.
    run "$MIDASHI" topics "$corpus" --model "$model" --topics 3 --output "$dir/one" --threads 1
    run "$MIDASHI" topics "$corpus" --model "$model" --topics 3 --output "$dir/two" --threads 2
    expect_code 0
    for file in topics.json topics.txt documents.csv embeddings.npy model/centres.npy; do
        expect_same "$dir/one/$file" "$dir/two/$file"
    done
}

test_every_representation_runs() {
    for choice in '--pool last' '--pool mean --layer 0' '--pool last+mean --normalise centre' \
        '--layer -2 --normalise none' '--prompt echo' '--prompt one-word --pool last' \
        '--remove-components 2' '--precision bf16' '--precision f32' '--as-report --topics 2' \
        '--spherical' '--type f16' '--keep-single --words 3'; do
        case $choice in *--as-report*) set -- --min-df 2 ;; *) set -- ;; esac
        # shellcheck disable=SC2086
        run "$MIDASHI" topics "$corpus" --model "$model" --topics 2 $choice "$@" --output "$dir/out"
        case $choice in
        *--type*) expect_error 2 'has no option --type' ;;
        *) expect_code 0 ;;
        esac
    done
}

test_blank_texts_are_left_out() {
    printf 'one boat\n\n  \nan island boat\nan oven and bread\nbread in an oven\n' >"$dir/c.txt"
    run "$MIDASHI" topics "$dir/c.txt" --model "$model" --topics 2 --output "$dir/out"
    expect_code 0
    expect_match "$stderr" '2 texts are blank'
    expect_match "$dir/out/documents.csv" '^2,-1,0,0,,'
    expect_match "$dir/out/documents.csv" '^3,-1,0,0,,'
}

# The first line of another program's table is taken for a text: the user must see how to tell.
test_a_header_that_is_not_known() {
    sed 's/^label\ttext$/kind\theadline/' "$corpus" >"$dir/c.tsv"
    printf 'sea\t \n' >>"$dir/c.tsv"
    run "$MIDASHI" topics "$dir/c.tsv" --model "$model" --topics 2
    expect_code 0
    expect_match "$stderr" 'c\.tsv: 62 texts; no header found, so the first line is a text \(is it a header\? then --text NAME\): text is column 2, the last'
    expect_match "$stderr" '^1 text is blank and left out$'
    run "$MIDASHI" topics "$dir/c.tsv" --model "$model" --topics 2 --text headline
    expect_code 0
    expect_match "$stderr" 'c\.tsv: 61 texts; header found: text is column 2 "headline"; no labels'
}

test_one_text() {
    echo 'boats and ovens' >"$dir/c.txt"
    run "$MIDASHI" topics "$dir/c.txt" --model "$model"
    expect_error 2 'c\.txt has 1 text; ask for fewer topics'
    run "$MIDASHI" topics "$dir/c.txt" --model "$model" --topics 1
    expect_code 0
    expect_match "$stderr" 'c\.txt: 1 text; '
    [ "$(grep -c '^words: 1 of 1 texts' "$stderr")" -eq 1 ] || fail 'a stage ends once'
    expect_match "$stderr" 'in 1 text or more'
}

test_texts_that_are_alike() {
    for i in 1 2 3 4 5 6 7 8 9; do echo "a boat and an oven, $((i % 3))"; done >"$dir/c.txt"
    run "$MIDASHI" topics "$dir/c.txt" --model "$model" --topics 5 --prompt none \
        --max-tokens 18
    expect_code 0
    expect_match "$stderr" '^9 texts were cut to 18 tokens; raise --max-tokens'
    expect_match "$stderr" '^4 topics are empty, since many texts are alike; ask for fewer$'
    run "$MIDASHI" topics "$dir/c.txt" --model "$model" --topics 4
    expect_match "$stderr" '^1 topic is empty, '
    run "$MIDASHI" topics "$dir/c.txt" --model "$model" --topics 3
    expect_no_match "$stderr" 'empty'
}

# write_zeros ROWS COLUMNS: a .npy of float32
write_zeros() {
    printf '\223NUMPY\001\000v\000%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': ($1, $2), }"
    head -c $((4 * $1 * $2)) /dev/zero
}

# write_rows ROWS VALUES: a .npy of rows of two float32: 1 1, 2 2, 3 3 as far as VALUES, and again from 1
write_rows() {
    printf '\223NUMPY\001\000v\000%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': ($1, 2), }"
    for i in $(seq 0 $(($1 - 1))); do
        case $((i % $2)) in
        0) printf '\000\000\200\077\000\000\200\077' ;;
        1) printf '\000\000\000\100\000\000\000\100' ;;
        *) printf '\000\000\100\100\000\000\100\100' ;;
        esac
    done
}

test_cluster_reads_parts() {
    run "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/e.npy"
    expect_code 0
    run "$MIDASHI" cluster "$dir/e.npy" --topics 2 --output "$dir/l.npy" --centres "$dir/c.npy"
    expect_code 0
    expect_match "$stdout" '^60 rows in 2 clusters of [0-9]+ to [0-9]+, median [0-9]+$'
    expect_match "$stdout" '^inertia [0-9.]+ after [0-9]+ iterations$'
    expect_match "$stderr" 'l\.npy: labels; .*c\.npy: centres; [0-9]+ s$'
    run "$MIDASHI" cluster "$dir/e.npy" "$dir/e.npy" --topics 2 --output "$dir/m.npy" --json
    expect_code 0
    expect_match "$stdout" '"rows": 120'
    need_command python3
    python3 -c 'import json, sys
r = json.load(open(sys.argv[1]))
assert 0 < r["seeding_seconds"] < r["seconds"] < 60 and r["choosing_seconds"] == 0, r
assert r["sizes"]["least"] + r["sizes"]["largest"] == r["rows"], r
assert r["restart"] == 1 and r["sizes"]["median"] == r["sizes"]["least"], r' "$stdout" || fail 'seconds'
    # Fewer distinct rows than clusters.
    write_rows 60 3 >"$dir/three.npy"
    run "$MIDASHI" cluster "$dir/three.npy" --topics 5 --restarts 4 --output "$dir/m.npy"
    expect_code 0
    expect_match "$stderr" '^2 clusters are empty, since many rows are alike; ask for fewer$'
    expect_lines "$stdout" '60 rows in 5 clusters of 0 to 20, median 20' 'inertia 0 after 1 iteration, restart 1 of 4'
    run "$MIDASHI" cluster "$dir/three.npy" --topics 1 --output "$dir/m.npy" --quiet
    expect_lines "$stdout" '60 rows in 1 cluster' 'inertia 80 after 1 iteration'
    expect_lines "$stderr"
    run "$MIDASHI" cluster "$dir/l.npy" --topics 2 --output "$dir/m.npy"
    expect_error 65 'l\.npy: int32'
    run "$MIDASHI" cluster "$dir/e.npy" --topics 61 --output "$dir/m.npy"
    expect_error 2 '--topics 61: there are 60 rows'
    run "$MIDASHI" cluster "$dir/c.npy" --output "$dir/m.npy"
    expect_error 2 '--topics 20 [(]the default[)]: there are 2 rows; ask for fewer$'
    # As a shell sorts them, which is not by number.
    for part in 1 2 9 10; do cp "$dir/e.npy" "$dir/part$part.npy"; done
    run "$MIDASHI" cluster "$dir"/part*.npy --topics 2 --output "$dir/m.npy"
    expect_code 0
    expect_match "$stderr" 'part10\.npy comes before .*part2\.npy: rows are taken in this order'
    run "$MIDASHI" cluster "$dir"/part?.npy "$dir/part10.npy" "$dir/e.npy" --topics 2 --output "$dir/m.npy"
    expect_no_match "$stderr" 'comes before'
    write_zeros 0 2 >"$dir/none.npy"
    write_zeros 5 2 >"$dir/zeros.npy"
    for topics in 1 auto; do
        run "$MIDASHI" cluster "$dir/none.npy" --topics "$topics" --output "$dir/m.npy"
        expect_error 65 'none\.npy: no rows to cluster$'
        run "$MIDASHI" cluster "$dir/zeros.npy" --topics "$topics" --output "$dir/m.npy" --quiet
        expect_error 65 'zeros\.npy: no rows to cluster: all are zero$'
    done
}

# NumPy's own type of floats, rounded to ours.
test_cluster_reads_float64() {
    need_command python3
    run "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/e.npy"
    python3 - "$dir" <<'END'
import array, sys
data = open(sys.argv[1] + "/e.npy", "rb").read()
wide = array.array("d", (x * (1 + 2.0 ** -30) for x in array.array("f", data[128:])))
open(sys.argv[1] + "/wide.npy", "wb").write(data[:128].replace(b"<f4", b"<f8") + wide.tobytes())
END
    for options in '--topics 3' '--topics 3 --memory 1K'; do
        for e in e wide; do
            # shellcheck disable=SC2086
            run "$MIDASHI" cluster "$dir/$e.npy" $options --output "$dir/$e.l.npy" --centres "$dir/$e.c.npy"
            expect_code 0
        done
        expect_same "$dir/e.l.npy" "$dir/wide.l.npy"
        expect_same "$dir/e.c.npy" "$dir/wide.c.npy"
    done
}

test_cluster_starts_where_it_is_told() {
    need_command python3
    run "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/e.npy"
    run "$MIDASHI" cluster "$dir/e.npy" --topics 3 --output "$dir/l.npy" --centres "$dir/c.npy" --max-iterations 1
    expect_code 0
    # From where it came to in one iteration, to where it comes to in many.
    run "$MIDASHI" cluster "$dir/e.npy" --init "$dir/c.npy" --output "$dir/m.npy" --centres "$dir/d.npy"
    expect_code 0
    run "$MIDASHI" cluster "$dir/e.npy" --topics 3 --output "$dir/l.npy" --centres "$dir/c2.npy"
    expect_code 0
    expect_same "$dir/d.npy" "$dir/c2.npy"
    expect_same "$dir/l.npy" "$dir/m.npy"
    run "$MIDASHI" cluster "$dir/e.npy" --topics 2 --init "$dir/c.npy" --output "$dir/m.npy"
    expect_error 2 'c\.npy has 3 centres'
    run "$MIDASHI" cluster "$dir/e.npy" --topics auto --init "$dir/c.npy" --output "$dir/m.npy"
    expect_error 2 '--topics auto: --init .*c\.npy has 3 centres'
    write_zeros 1 2 >"$dir/narrow.npy"
    run "$MIDASHI" cluster "$dir/e.npy" --init "$dir/narrow.npy" --output "$dir/m.npy"
    expect_error 65 'narrow\.npy: centres of 2 numbers'
    run "$MIDASHI" cluster "$dir/e.npy" --init "$dir/none.npy" --output "$dir/m.npy"
    expect_error 66 'none\.npy'
    write_zeros 0 "$(python3 -c 'import re, sys
print(re.search(rb", ([0-9]+)\)", open(sys.argv[1], "rb").read(128))[1].decode())' "$dir/e.npy")" >"$dir/none.npy"
    run "$MIDASHI" cluster "$dir/e.npy" --init "$dir/none.npy" --output "$dir/m.npy"
    expect_error 65 'none\.npy: no centres$'
    run "$MIDASHI" cluster "$dir/e.npy" --init "$dir/c.npy" --restarts 10 --output "$dir/m.npy"
    expect_error 2 '--restarts 10: --init starts once; leave one out$'
    run "$MIDASHI" cluster "$dir/c.npy" --init "$dir/e.npy" --output "$dir/m.npy"
    expect_error 2 'e\.npy has 60 centres: there are 3 rows'
    run "$MIDASHI" cluster "$dir/e.npy" --init "$dir/c.npy" --output "$dir/c.npy"
    expect_error 2 'c\.npy'
}

test_the_number_of_topics_is_chosen() {
    run "$MIDASHI" topics "$corpus" --model "$model" --output "$dir/out" --topics auto --words 3
    expect_code 0
    expect_match "$stdout" '^topics  silhouette$'
    expect_match "$stderr" '^number of topics: ([0-9]+) of \1 clusters tried, '
    taken=$(sed -n 's/^ *\([0-9]*\) .* taken$/\1/p' "$stdout")
    expect_line_count "$dir/out/topics.txt" "$taken"
    expect_match "$dir/out/topics.json" '"silhouette": [[]'
    run "$MIDASHI" cluster "$dir/out/embeddings.npy" --topics auto --normalise centre+l2 --output "$dir/l.npy" --json
    expect_code 0
    expect_match "$stdout" "\"topics\": $taken,"
    expect_match "$stdout" '"silhouette": [[]'
    # 60 rows: three groups of them, and rows that are all the same.
    write_rows 60 3 >"$dir/groups.npy"
    run "$MIDASHI" cluster "$dir/groups.npy" --topics auto --output "$dir/l.npy"
    expect_match "$stdout" '^ +3 .* taken$'
    expect_no_match "$stderr" 'no number|largest|equal'
    write_rows 60 1 >"$dir/equal.npy"
    run "$MIDASHI" cluster "$dir/equal.npy" --topics auto --output "$dir/l.npy"
    expect_code 0
    expect_match "$stderr" '^all rows are equal: one topic$'
    run "$MIDASHI" cluster "$dir/out/embeddings.npy" --topics many --output "$dir/l.npy"
    expect_error 2 'give a whole number from 1 to 1048576, or auto'
}

# Rows that are read anew for each iteration give the same bytes as rows that stay in memory.
test_cluster_needs_no_more_memory_than_allowed() {
    run "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/e.npy"
    for options in '--topics 3' '--topics 3 --normalise centre+l2 --remove-components 2' \
        '--topics 3 --spherical' '--topics auto --spherical'; do
        # shellcheck disable=SC2086 # options are words
        run "$MIDASHI" cluster "$dir/e.npy" "$dir/e.npy" --output "$dir/l.npy" --centres "$dir/c.npy" $options
        expect_code 0
        # shellcheck disable=SC2086
        run "$MIDASHI" cluster "$dir/e.npy" "$dir/e.npy" --output "$dir/m.npy" --centres "$dir/d.npy" \
            --memory 1K $options
        expect_code 0
        expect_match "$stderr" 'read anew for each iteration'
        expect_same "$dir/l.npy" "$dir/m.npy"
        expect_same "$dir/c.npy" "$dir/d.npy"
    done
    for size in 1KB 1Ki 1.5KiB; do
        run "$MIDASHI" cluster "$dir/e.npy" --topics 3 --output "$dir/l.npy" --memory "$size"
        expect_code 0
        expect_match "$stderr" "^the rows take 0\.01 MB, more than --memory $size leaves for them"
    done
    for size in much G i 6i 6Bi 6BB 6KK; do
        run "$MIDASHI" cluster "$dir/e.npy" --topics 3 --output "$dir/l.npy" --memory "$size"
        expect_error 2 'use auto, or a size such as 6G, 6Gi or 800M'
    done
}

test_tokenize_answers_a_line_for_a_line() {
    printf 'ab\n\nc' >"$dir/in"
    run "$MIDASHI" tokenize --model "$model" --no-special "$dir/in"
    expect_code 0
    expect_lines "$stdout" '97 98' '' '99'
    run "$MIDASHI" tokenize --model "$model" <"$dir/in"
    expect_lines "$stdout" '256 97 98' '256' '256 99'
    printf '"a\\nb"\n"<s>"\n' >"$dir/in"
    run "$MIDASHI" tokenize --model "$model/tokenizer.json" --no-special --jsonl - <"$dir/in"
    expect_lines "$stdout" '97 10 98' '60 115 62'
    printf '{}\n' >"$dir/in"
    run "$MIDASHI" tokenize --model "$model" --jsonl "$dir/in"
    expect_error 65 'in: line 1: .*JSON string'
}

test_info_and_devices() {
    run "$MIDASHI" info "$model"
    expect_code 0
    expect_match "$stdout" '3 layers, hidden size 48, MLP 80$'
    expect_match "$stdout" '4 heads of 12 \(2 for keys'
    expect_match "$stdout" "^$model\$"
    expect_match "$stdout" '^files +safetensors, 1 file, values in F32$'
    expect_match "$stdout" '^tokenizer +byte-level BPE, 257 tokens$'
    expect_match "$stdout" '^memory, CPU +[0-9]+ MB as nf4, [0-9]+ MB as bf16, .*estimated'
    expect_match "$stdout" '^memory, GPU +50[0-9] MB as nf4, .*\(estimated, 500 MB of it for CUDA itself\)$'
    run "$MIDASHI" info "$model" --json
    expect_match "$stdout" '"layers": 3'
    expect_match "$stdout" '"format": "safetensors"'
    "$(dirname "$MIDASHI")/tests/tool_tiny_model" "$dir/shards" 3
    run "$MIDASHI" info "$dir/shards"
    expect_match "$stdout" '^files +safetensors, 3 files, values in F32$'
    run "$MIDASHI" devices
    expect_code 0
    expect_match "$stdout" '^cpu: '
    for command in "info $model" devices "tokenize --model $model"; do
        # shellcheck disable=SC2086
        run "$MIDASHI" $command --quiet
        expect_code 0
        expect_lines "$stderr"
    done
    MIDASHI_CPU=portable run "$MIDASHI" devices
    expect_match "$stdout" 'portable kernels'
}

run_tests "$@"
