#!/bin/sh
# midashi bench: its forms of output, rows that are wrong, and comparing.
# shellcheck disable=SC2317 # run_tests calls the functions by their names
. tests/cli/tap.sh
. tests/cli/model.sh

# The harness with planted operations, and the same a tenth slower.
planted=$(dirname "$MIDASHI")/tests/tool_bench
cp "$planted" "$scratch/bench_slow"
cp "$planted" "$scratch/bench_equal"

small='--shape m=4,n=16,k=64 --seconds 0.01 --threads 1'

# shellcheck disable=SC2086 # $small is words
test_bench_prints_a_table() {
    run "$MIDASHI" bench $small
    expect_code 0
    expect_match "$stdout" '^cpu, [a-z0-9]+, 1 thread, at best now: [0-9.]+ GFLOP/s, reading [0-9.]+ GB/s'
    expect_match "$stdout" '^  m=4 n=16 k=64 +[0-9.]+ us .* % (memory|fma)$'
    expect_match "$stdout" '^nf4_matmul_fwd nf4$'
    expect_match "$stdout" '^matmul_fwd bf16$'
    run "$MIDASHI" bench $small bf16
    expect_code 0
    expect_no_match "$stdout" nf4
}

# shellcheck disable=SC2086
test_bench_prints_json() {
    need_command python3
    run "$MIDASHI" bench $small nf4_matmul_fwd --json
    expect_code 0
    python3 - "$stdout" <<'PYTHON' || fail 'the JSON is not as documented'
import json, sys
run = json.load(open(sys.argv[1]))
assert run["schema"] == "midashi-bench-1"
assert run["limits"]["cpu x1"]["flops_per_second"] > 0 and run["machine"]["processors"] >= 1
(row,) = run["rows"]
assert row["operation"] == "nf4_matmul_fwd" and row["dtype"] == "nf4" and row["device"] == "cpu"
assert row["shape"] == {"m": 4, "n": 16, "k": 64} and row["threads"] == 1
assert row["flops"] == 2 * 4 * 16 * 64 and row["verified"] is True
assert row["best"] <= row["interval"][0] <= row["seconds"] <= row["interval"][1]
assert abs(row["share_of_bound"] - row["bound_seconds"] / row["best"]) < 1e-6 * row["share_of_bound"]
assert abs(row["flops_per_second"] * row["seconds"] / row["flops"] - 1) < 1e-6
PYTHON
}

# shellcheck disable=SC2086
test_bench_prints_csv() {
    run "$MIDASHI" bench $small --csv
    expect_code 0
    expect_line_count "$stdout" 7
    expect_match "$stdout" '^operation,dtype,device,'
    expect_match "$stdout" '^matmul_fwd,f32,cpu,[a-z0-9]+,1,measured,m=4 n=16 k=64,.*,true,,$'
    [ "$(awk -F, '{ print NF }' "$stdout" | sort -u)" = 20 ] || fail 'columns are missing'
}

driver=$(dirname "$MIDASHI")/softcuda/libcuda.so.1

need_kernels() {
    if MIDASHI_CUDA_DRIVER=$driver "$MIDASHI" devices | grep -q 'there was no nvcc'; then
        skip 'this build has no CUDA kernels'
    fi
}

# On softcuda rows are counted.
test_bench_counts_on_softcuda() {
    need_command python3
    need_kernels
    MIDASHI_CUDA_DRIVER=$driver SOFTCUDA_CARD=rtx3080 run "$MIDASHI" bench rmsnorm_fwd --device cuda
    expect_code 0
    expect_match "$stdout" '^cuda:0, .*: a software device\. Counted, not measured; a projection is no measurement\.$'
    expect_match "$stdout" '^  n=256 d=576 +[0-9]+ +[0-9]+ +0 +[0-9.]+ us$'
    MIDASHI_CUDA_DRIVER=$driver SOFTCUDA_CARD=rtx3080 run "$MIDASHI" bench rmsnorm_fwd --device cuda --json
    expect_code 0
    python3 - "$stdout" <<'PYTHON' || fail 'the JSON is not as documented'
import json, sys
run = json.load(open(sys.argv[1]))
(row,) = run["rows"]
assert row["kind"] == "counted" and row["card"] == "rtx3080" and "seconds" not in row
(kernel,) = row["kernels"]
assert kernel["name"] == "rmsnorm_bf16" and kernel["ctas"] == 256
# x twice, once from L1; y once; 576 * 2 bytes a row
assert kernel["counters"]["global_store_bytes"] == 256 * 576 * 2
assert row["projected_seconds"] == kernel["projection"]["seconds"] > 0
assert run["limits"]["cuda:0"]["software"] is True
PYTHON
    cp "$stdout" "$dir/counted.json"
    run "$MIDASHI" bench compare "$dir/counted.json" "$dir/counted.json"
    expect_match "$stdout" '^rmsnorm_fwd .* counted, not timed$'
    MIDASHI_CUDA_DRIVER=$driver SOFTCUDA_REPORT=$dir/report.json run "$MIDASHI" bench rmsnorm_fwd --device cuda
    expect_code 2
    expect_match "$stderr" 'SOFTCUDA_REPORT counts the whole process'
    # Products with adapters: a GPU's alone, one launch each.
    MIDASHI_CUDA_DRIVER=$driver run "$MIDASHI" bench matmul_lora --device cuda --json \
        --shape m=20,n=72,k=64,parts=3,rank=8
    expect_code 0
    python3 - "$stdout" <<'PYTHON' || fail 'the JSON is not as documented'
import json, sys
rows = json.load(open(sys.argv[1]))["rows"]
assert [row["operation"] for row in rows] == ["nf4_matmul_lora_fwd", "matmul_lora_fwd"]
assert [row["dtype"] for row in rows] == ["nf4", "bf16"]
for row in rows:
    assert row["verified"] is True and row["flops"] == 2 * 20 * 72 * (64 + 8)
    (kernel,) = row["kernels"]
    assert kernel["counters"]["global_store_bytes"] == 20 * 72 * 2
PYTHON
    MIDASHI_CUDA_DRIVER=$driver run "$MIDASHI" bench --device cuda --shape m=20,n=72,k=64,parts=4,rank=8
    expect_error 2 'a matrix has at most 3 parts'
    MIDASHI_CUDA_DRIVER=$driver run "$MIDASHI" bench squared_distance --device cuda
    expect_code 2
    expect_match "$stderr" 'no row that is chosen runs on --device cuda'
}

test_bench_finds_wrong_rows() {
    run "$planted" bench --seconds 0.01
    expect_code 1
    expect_match "$stdout" '^  n=256 d=576 .* % (memory|fma)$'
    expect_match "$stdout" '^  n=256 d=576 +WRONG: [0-9.]+ times the error that is allowed$'
    expect_match "$stderr" ': 1 of 2 rows differ from the reference'
    run "$planted" bench --seconds 0.01 --json
    expect_code 1
    expect_match "$stdout" '"verified": false'
    run "$planted" bench compare --against "$scratch/bench_equal" wrong
    expect_code 1
    expect_match "$stdout" '^wrong_fwd .* differs from the reference in both$'
}

# Two of each; BENCH_TRIALS=10 for the long form.
test_compare_tells_a_tenth_from_nothing() {
    for trial in $(seq "${BENCH_TRIALS:-2}"); do
        run "$planted" bench compare --against "$scratch/bench_equal" right
        [ "$code" -eq 0 ] || fail "trial $trial: equal builds differ"
        expect_match "$stdout" '^right_fwd f32 n=256 d=576 .* (0\.9|1\.0)[0-9]+  '
        run "$scratch/bench_slow" bench compare --against "$planted" right
        [ "$code" -eq 1 ] || fail "trial $trial: a tenth was not seen"
        expect_match "$stdout" '^right_fwd .* SLOWER$'
        expect_match "$stderr" ': 1 of 1 rows are slower by more than 5 %$'
    done
    run "$scratch/bench_slow" bench compare --against "$planted" right --tolerance 0.3
    expect_code 0
}

# shellcheck disable=SC2086
test_compare_joins_stored_runs() {
    "$MIDASHI" bench $small --json >"$dir/a.json"
    "$MIDASHI" bench $small --json >"$dir/b.json"
    run "$MIDASHI" bench compare "$dir/a.json" "$dir/b.json"
    expect_code 0
    expect_match "$stdout" '^nf4_matmul_fwd +nf4 +m=4 n=16 k=64 +1 +[0-9.]+ us +[0-9.]+ us +[0-9.]+'
    expect_match "$stderr" 'compare --against BINARY'
    "$MIDASHI" bench --shape n=3,d=8 rmsnorm --seconds 0.01 --json >"$dir/c.json"
    run "$MIDASHI" bench compare "$dir/a.json" "$dir/c.json"
    expect_error 65 'have no row in common'
    echo '{"schema": "another"}' >"$dir/d.json"
    run "$MIDASHI" bench compare "$dir/a.json" "$dir/d.json"
    expect_error 65 'd\.json: is no run of midashi bench --json'
    echo '{"schema": "midashi-bench-1", "rows": [1, null, {"operation": 3, "dtype": [], "device": 1,
        "instructions": 1, "threads": "x", "shape": [], "interval": 7, "seconds": -1}]}' >"$dir/e.json"
    run "$MIDASHI" bench compare "$dir/e.json" "$dir/e.json"
    expect_code 0
    expect_match "$stdout" '^\? +\? .* not timed in both'
    run "$MIDASHI" bench compare "$dir/a.json" "$dir/absent.json"
    expect_error 66 'absent\.json'
}

test_bench_runs_the_pipeline() {
    need_command python3
    mkdir "$dir/tmp"
    TMPDIR=$dir/tmp run "$MIDASHI" bench pipeline --model "$model" --corpus "$corpus" --topics 4 --json
    expect_code 0
    [ -z "$(ls "$dir/tmp")" ] || fail 'a temporary folder stayed'
    cp "$stdout" "$dir/run.json"
    python3 - "$stdout" <<'PYTHON' || fail 'the JSON is not as documented'
import json, sys
rows = {row["operation"]: row for row in json.load(open(sys.argv[1]))["rows"]}
names = "quantise load tokenise embed words kmeans after_embedding topics".split()
assert list(rows) == ["pipeline_" + name for name in names], list(rows)
assert all(row["kind"] == "pipeline" and row["seconds"] > 0 for row in rows.values())
assert rows["pipeline_topics"]["items"] == 60 and rows["pipeline_topics"]["peak_bytes"] > 1e6
whole = rows["pipeline_after_embedding"]["seconds"]
assert rows["pipeline_words"]["seconds"] + rows["pipeline_kmeans"]["seconds"] <= whole
PYTHON
    run "$MIDASHI" bench compare "$dir/run.json" "$dir/run.json"
    expect_code 0
    expect_line_count "$stdout" 9
    expect_match "$stdout" '^pipeline_topics +60 texts +[0-9]+ +[0-9.]+ us +[0-9.]+ us  1\.000'
    run "$MIDASHI" bench pipeline_embed --model "$model" --corpus "$corpus" --topics 4 --csv
    expect_code 0
    [ "$(tail -n +2 "$stdout" | cut -d, -f1)" = pipeline_embed ] || fail 'more than the row chosen'
    [ "$(awk -F, '{ print NF }' "$stdout" | sort -u)" = 20 ] || fail 'columns are missing'
    [ "$(tail -n 1 "$stdout" | cut -d, -f19)" -gt 1000000 ] || fail 'no peak memory'
    run "$MIDASHI" bench pipeline_load --model "$model" --corpus "$corpus" --csv
    expect_code 0
    [ "$(tail -n +2 "$stdout" | cut -d, -f1)" = pipeline_load ] || fail 'more than the row chosen'
    expect_no_match "$stderr" embed
    run "$MIDASHI" bench pipeline_topics --model "$model" --corpus "$corpus" --topics 4 --csv
    [ "$(tail -n +2 "$stdout" | cut -d, -f1)" = pipeline_topics ] || fail 'more than the row chosen'
    run "$MIDASHI" bench pipeline_embed
    expect_error 2 "the pipeline's rows need a --model"
    run "$MIDASHI" bench embedding --seconds 0 # an operation's name, and in one of the pipeline
    expect_code 0
    expect_match "$stdout" '^embedding_fwd f32$'
}

# A software device's times are no measurement: the steps are left out there, and it is said.
test_bench_times_no_pipeline_on_softcuda() {
    need_kernels
    export MIDASHI_CUDA_DRIVER="$driver"
    run "$MIDASHI" bench pipeline --model "$model" --corpus "$corpus" --topics 4 --device cuda
    expect_code 2
    expect_match "$stderr" "the pipeline's steps are timed, and a software device's times mean nothing; use a GPU, or"
    run "$MIDASHI" bench embed --model "$model" --corpus "$corpus" --topics 4 --device cuda
    expect_code 0
    expect_match "$stdout" '^embedding_fwd bf16$'
    expect_no_match "$stdout" pipeline
    expect_match "$stderr" "a software device's times mean nothing: left out there"
    run "$MIDASHI" bench pipeline_load --model "$model" --corpus "$corpus" # auto: the CPU's too
    expect_code 0
    expect_match "$stdout" '^pipeline_load '
    expect_match "$stderr" 'left out there'
    run "$MIDASHI" bench scaling --model "$model" --topics 4 --largest 1000 --device cuda
    expect_error 2 "bench scaling is timed, and a software device's times mean nothing"
}

# softcuda without the symbol by which it is known, so that it counts as a card; no time means
# anything. The new name has the same hash in the library's table, or it would not load.
as_a_card() {
    LC_ALL=C sed 's/softcuda_version/softcuda_versipM/g' "$driver" >"$dir/libcuda.so.1"
    export MIDASHI_CUDA_DRIVER="$dir/libcuda.so.1" SOFTCUDA_CHECK=all
    ! "$MIDASHI" devices | grep -q 'a software device' || fail 'softcuda is known'
}

test_bench_runs_the_pipeline_on_a_gpu() {
    need_kernels
    need_command python3
    as_a_card
    head -n 16 "$corpus" >"$dir/corpus.tsv"
    run "$MIDASHI" bench pipeline --model "$model" --corpus "$dir/corpus.tsv" --topics 2 --device cuda --json
    expect_code 0
    python3 - "$stdout" <<'PYTHON' || fail 'the JSON is not as documented'
import json, sys
rows = {row["operation"]: row for row in json.load(open(sys.argv[1]))["rows"]}
assert list(rows) == ["pipeline_load", "pipeline_embed", "pipeline_topics"], list(rows)
assert all(row["device"] == "cuda:0" and row["seconds"] > 0 for row in rows.values())
assert all("GeForce" in row["instructions"] for row in rows.values())
load, embed, topics = (row["gpu_peak_bytes"] for row in rows.values())
assert 1e7 < load < embed == topics, (load, embed, topics)
PYTHON
    cp "$stdout" "$dir/run.json"
    run "$MIDASHI" bench compare "$dir/run.json" "$dir/run.json"
    expect_line_count "$stdout" 4
    run "$MIDASHI" bench pipeline_embed --model "$model" --corpus "$dir/corpus.tsv" --topics 2 --device cuda:0
    expect_code 0
    expect_match "$stdout" '^.*, cuda:0, .*GeForce'
    expect_match "$stdout" 'peak resident +peak of GPU$'
    expect_match "$stdout" '^pipeline_embed .* MB +[0-9.]+ MB$'
    run "$MIDASHI" bench pipeline_embed --model "$model" --corpus "$dir/corpus.tsv" --topics 2 --csv # both
    expect_code 0
    expect_match "$stdout" '^pipeline_embed,,cpu,,.*,$'
    expect_match "$stdout" '^pipeline_embed,,cuda:0,.*GeForce.*,[0-9]+,[0-9]+$'
    run "$MIDASHI" bench pipeline_load --model "$model" --corpus "$dir/corpus.tsv" --precision f32 --csv
    expect_code 0 # a precision that is the CPU's
    expect_line_count "$stdout" 2
    run "$MIDASHI" bench pipeline_kmeans --model "$model" --corpus "$dir/corpus.tsv" --topics 2 --device cuda
    expect_code 2
    expect_match "$stderr" 'no row that is chosen runs on --device cuda'
}

test_scaling_grows_on_a_gpu() {
    need_kernels
    need_command python3
    as_a_card
    unset SOFTCUDA_CHECK
    run "$MIDASHI" bench scaling --device cuda
    expect_error 2 "--device cuda: k-means alone is measured on the CPU; give a --model"
    run "$MIDASHI" bench scaling --model "$model" --topics 4 --largest 1000 --device cuda --json --output "$dir/s.svg"
    expect_code 0
    python3 - "$stdout" <<'PYTHON' || fail 'the JSON is not as documented'
import json, sys
run = json.load(open(sys.argv[1]))
assert run["device"] == "cuda:0" and run["kmeans"] == {}
assert set(run["texts"]) == {"load", "embed", "words", "kmeans", "after_embedding", "peak_bytes", "gpu_peak_bytes"}
assert run["texts"]["gpu_peak_bytes"]["points"][0][1] > 1e7
PYTHON
    expect_match "$dir/s.svg" "the GPU"
}

test_roofline_is_drawn() {
    "$MIDASHI" bench --shape m=16,n=64,k=64 --seconds 0.01 --json >"$dir/run.json"
    sed 's/"operation": "nf4_matmul_fwd"/"operation": "<script>\&\\"x"/' "$dir/run.json" >"$dir/hostile.json"
    run "$MIDASHI" bench roofline "$dir/hostile.json" -o "$dir/roofline.svg"
    expect_code 0
    expect_match "$dir/roofline.svg" '&lt;script&gt;&amp;&quot;x nf4'
    expect_no_match "$dir/roofline.svg" '<script'
    if command -v python3 >/dev/null; then
        python3 -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' "$dir/roofline.svg" ||
            fail 'the picture is no XML'
    fi
    "$MIDASHI" bench --shape n=3,d=8 rmsnorm --seconds 0.01 --json >"$dir/none.json"
    run "$MIDASHI" bench roofline "$dir/none.json" -o "$dir/none.svg"
    expect_error 65 'has no row of the CPU that counts operations'
    expect_absent "$dir/none.svg"
    run "$MIDASHI" bench roofline "$dir/run.json"
    expect_error 2 'usage: midashi bench roofline RUN\.json --output FILE\.svg'
}

test_scaling_grows() {
    run "$MIDASHI" bench scaling --model "$model" --topics 4 --largest 3000 --output "$dir/scaling.svg"
    expect_code 0
    expect_match "$stdout" '^ +3000 '
    expect_match "$stdout" '^ +n  x1 .* exponent [0-9.]+$'
    expect_match "$dir/scaling.svg" 'embed, exponent [0-9.-]+<'
    run "$MIDASHI" bench scaling --model "$model" --topics 4 --largest 1000 --json
    expect_code 0
    expect_match "$stdout" '"exponent": null' # one size says nothing of growth
}

test_bench_refuses_by_name() {
    run "$MIDASHI" bench --set gpt
    expect_error 2 'give smollm2, llama2-7b, llama3-8b or all'
    run "$MIDASHI" bench --shape m=1
    expect_error 2 'no operation has these dimensions; there are .*rmsnorm_fwd \(n,d\)'
    run "$MIDASHI" bench no_such_row
    expect_error 2 'no row has "no_such_row" in it'
    run "$MIDASHI" bench --json --csv
    expect_error 2 'contradict'
    run "$MIDASHI" bench compare a.json
    expect_error 2 'usage: midashi bench compare A\.json B\.json, or --against BINARY'
    run "$MIDASHI" bench scaling --csv
    expect_error 2 'bench scaling has no --csv'
    run "$MIDASHI" bench nf4_matmul_few --device cpu # a GPU's alone
    expect_code 2
    expect_match "$stderr" 'no row that is chosen runs on --device cpu'
    run "$MIDASHI" bench --worker rmsnorm_fwd --device cuda
    expect_error 2 '--worker serves rows of the CPU, not of cuda'
    run "$MIDASHI" bench compare --against "$planted" --device cuda
    expect_error 2 'bench compare runs on the CPU only, not on cuda'
    run "$MIDASHI" bench --against "$planted"
    expect_error 2 '--against goes with midashi bench compare'
    run "$MIDASHI" bench compare --against "$dir/absent" rmsnorm
    expect_error 1 'absent: it ended; is it a midashi that has bench --worker'
    run "$MIDASHI" bench compare --against /bin/cat rmsnorm
    expect_error 1 '/bin/cat: it '
    echo 'open 99999' >"$dir/requests"
    run "$MIDASHI" bench --worker rmsnorm <"$dir/requests"
    expect_code 2
    expect_match "$stderr" 'no such request'
}

run_tests "$@"
