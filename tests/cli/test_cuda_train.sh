#!/bin/sh
# train and topics --finetune on a GPU, that is on softcuda.
# shellcheck disable=SC2317 # run_tests calls the functions by their names
. tests/cli/tap.sh
. tests/cli/model.sh
. tests/cli/train.sh

texts=$corpus
driver=$(dirname "$MIDASHI")/softcuda/libcuda.so.1
fast='--steps 6 --batch 4 --accumulate 2 --rank 4 --alpha 8 --learning-rate 0.02 --evaluate-every 3'
MIDASHI_CUDA_DRIVER=$driver
SOFTCUDA_CARD=rtx3080
export MIDASHI_CUDA_DRIVER SOFTCUDA_CARD

need_kernels() {
    if "$MIDASHI" devices | grep -q 'there was no nvcc'; then
        skip 'this build has no CUDA kernels'
    fi
}

test_a_gpu_trains_and_the_cpu_reads_it() {
    need_kernels
    SOFTCUDA_CHECK=all train "$dir/a" --json
    expect_code 0
    expect_match "$stdout" '"gpu_peak_bytes": [1-9][0-9]+,?$'
    expect_adapter "$dir/a" 8
    expect_match "$stderr" '^memory: [0-9.]+ MB of [0-9.]+ GB: model'
    expect_match "$dir/a/training.json" '"kernels": *"cuda-sm_86"'
    run "$MIDASHI" classify "$texts" --model "$model" --adapter "$dir/a" --device cpu
    expect_code 0
    expect_match "$stderr" '^accuracy '
    # On the CPU nearly the same: the loss of the first step, to two digits.
    train "$dir/cpu" --device cpu
    expect_code 0
    [ "$(sed -n 's/.*"loss": *\([0-9]\.[0-9]\).*/\1/p;q' "$dir/a/training.jsonl")" = \
        "$(sed -n 's/.*"loss": *\([0-9]\.[0-9]\).*/\1/p;q' "$dir/cpu/training.jsonl")" ] ||
        fail 'the CPU has another loss'
}

test_a_killed_run_goes_on_to_the_same_bytes() {
    need_kernels
    check_killed_run 8 --checkpoint-every 2
}

test_less_memory_trains_to_the_same_bytes() {
    need_kernels
    train "$dir/a"
    expect_code 0
    train "$dir/b" --plan --json
    expect_code 0
    total=$(sed -n 's/.*"total": *\([0-9]*\).*/\1/p' "$stdout")
    train "$dir/b" --memory $((total - 1))
    expect_code 0
    expect_match "$stderr" '^memory: .* \(2 of 3 layers kept'
    expect_same "$dir/a/adapter_model.safetensors" "$dir/b/adapter_model.safetensors"
    train "$dir/c" --memory 1M
    expect_error 71 'buffers [0-9]+ MB, .* more than is allowed; raise --memory: a batch of 1 of the shortest texts takes [0-9]+ MB too$'
    train "$dir/c" --plan --precision f32 --device cuda
    expect_error 2 'f32 is the CPU'
    train "$dir/c" --plan --precision f32
    expect_code 0
    expect_match "$stderr" "^--precision f32 is the CPU's; computing on the CPU$"
}

test_no_more_memory_than_there_is() {
    need_kernels
    train "$dir/a" --plan --memory 100G
    expect_code 0
    expect_match "$stderr" '^--memory 100G: cuda:0 has 10\.74 GB, 10\.74 GB of them free; taking no more$'
    expect_match "$stderr" '^memory: [0-9.]+ MB of 10\.74 GB: model'
    # Advice names options that training has.
    refused=0
    while :; do
        SOFTCUDA_FAIL_ALLOC=$((refused + 1)) train "$dir/a" --steps 1 --validation 0
        [ "$code" -ne 0 ] || break
        expect_error 71 '^midashi: '
        expect_no_match "$stderr" '--batch-tokens'
        expect_absent "$dir/a"
        refused=$((refused + 1))
    done
    [ $refused -ge 10 ] || fail "only $refused runs were short of memory"
}

test_the_gpu_that_computes_is_told() {
    need_kernels
    train "$dir/a" --plan
    expect_match "$stderr" '^cuda:0: softcuda GeForce RTX 3080 \(a software device, no GPU\), sm_86$'
    train "$dir/a" --plan --device cpu
    expect_no_match "$stderr" '^cuda'
    MIDASHI_CUDA_DRIVER=/nope.so train "$dir/a" --plan
    expect_code 0
    expect_match "$stderr" '^MIDASHI_CUDA_DRIVER=/nope\.so: cannot be loaded: .*; computing on the CPU$'
    MIDASHI_CUDA_DRIVER='' train "$dir/a" --plan --device cpu --quiet
    expect_code 0
    expect_lines "$stderr"
}

test_another_device_is_another_run() {
    need_kernels
    train "$dir/a" --device cpu
    expect_code 0
    train "$dir/a" --resume
    expect_error 2 'holds a finished run, which had a CPU with [a-z0-9]+ \(now a GPU of sm_86\)'
    mkdir "$dir/t"
    begin "$dir/t/adapter" --checkpoint-every 1
    wait_for [ -s "$dir/t/adapter/checkpoint.safetensors" ]
    end
    train "$dir/t/adapter" --resume --device cpu
    expect_error 2 'that run had a GPU of sm_86 \(now a CPU with [a-z0-9]+\); go on with --device cuda, on a card of that kind, or begin anew with --force'
    SOFTCUDA_CARD=rtx4090 train "$dir/t/adapter" --resume
    expect_error 2 'had a GPU of sm_86 \(now a GPU of sm_89\); go on with a card of that kind'
    train "$dir/t/adapter" --resume --device cpu --steps 7
    expect_error 2 'had a GPU of sm_86 \(now a CPU with [a-z0-9]+\), --steps 6 \(now 7\); go on with what it had'
    train "$dir/t/adapter" --checkpoint-every 1 --resume
    expect_code 0
    # Topics do not train again on the CPU what a GPU has trained.
    cp "$dir/t/adapter/adapter_model.safetensors" "$dir/kept"
    for way in --quiet --resume; do
        # shellcheck disable=SC2086
        run "$MIDASHI" topics "$texts" --model "$model" --topics 2 --output "$dir/t" --finetune \
            $fast --device cpu $way
        expect_error 2 'adapter: holds a finished run, which had a GPU of sm_86 \(now a CPU'
        expect_same "$dir/t/adapter/adapter_model.safetensors" "$dir/kept"
    done
}

test_topics_are_found_with_an_adapter_of_the_gpu() {
    need_kernels
    # shellcheck disable=SC2086 # options are words
    run "$MIDASHI" topics "$texts" --model "$model" --topics 2 --output "$dir/t" --finetune $fast
    expect_code 0
    expect_file "$dir/t/topics.txt"
}

# As the classifier that it is, and with a layer before the last, where the adapter's deeper layers
# stay on the host.
test_topics_with_a_trained_adapter_are_those_of_the_cpu() {
    need_kernels
    train "$dir/a"
    expect_code 0
    for layer in -1 1; do
        for device in cpu cuda; do
            SOFTCUDA_CHECK=all run "$MIDASHI" topics "$corpus" --model "$model" --adapter "$dir/a" \
                --topics 2 --layer $layer --prompt none --device $device --output "$dir/$device$layer"
            expect_code 0
            expect_match "$dir/$device$layer/run.json" '"adapter": "'
        done
        expect_match "$dir/cuda$layer/run.json" '"kernels": "cuda-sm_86"'
        expect_near_topics "$dir/cpu$layer" "$dir/cuda$layer"
    done
}

run_tests "$@"
