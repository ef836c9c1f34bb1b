#!/bin/sh
# embed and topics on a GPU, that is on softcuda.
# shellcheck disable=SC2317 # run_tests calls the functions by their names
. tests/cli/tap.sh
. tests/cli/model.sh

driver=$(dirname "$MIDASHI")/softcuda/libcuda.so.1

need_kernels() {
    if MIDASHI_CUDA_DRIVER=$driver "$MIDASHI" devices | grep -q 'there was no nvcc'; then
        skip 'this build has no CUDA kernels'
    fi
}

on_gpu() {
    SOFTCUDA_CARD=rtx3080 SOFTCUDA_CHECK=all MIDASHI_CUDA_DRIVER=$driver run "$@"
}

test_auto_takes_the_gpu() {
    need_kernels
    on_gpu "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/auto.npy"
    expect_code 0
    on_gpu "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/cuda.npy" --device cuda
    expect_code 0
    cmp "$dir/auto.npy" "$dir/cuda.npy" || fail 'auto is not the GPU'
    on_gpu "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/cpu.npy" --device cpu
    expect_code 0
    ! cmp -s "$dir/auto.npy" "$dir/cpu.npy" || fail 'cpu and cuda have the same bytes'
    # A batch of another size, and parts: the same bytes.
    on_gpu "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/b.npy" --batch-tokens 512
    expect_code 0
    cmp "$dir/auto.npy" "$dir/b.npy" || fail 'a batch of another size gives other bytes'
}

test_topics_are_those_of_the_cpu() {
    need_kernels
    for device in cpu cuda; do
        on_gpu "$MIDASHI" topics "$corpus" --model "$model" --topics 2 --device $device \
            --output "$dir/$device"
        expect_code 0
    done
    expect_match "$dir/cuda/run.json" '"kernels": "cuda-sm_86"'
    expect_near_topics "$dir/cpu" "$dir/cuda"
    # The same again is not embedded again; another device is another embedding.
    on_gpu "$MIDASHI" topics "$corpus" --model "$model" --topics 3 --device cuda --output "$dir/cuda"
    expect_code 0
    expect_match "$stderr" 'used again'
    on_gpu "$MIDASHI" topics "$corpus" --model "$model" --topics 3 --device cpu --output "$dir/cuda"
    expect_code 0
    ! grep -q 'used again' "$stderr" || fail "another device's embeddings were used again"
}

# The GPU's vectors and probabilities are near the CPU's, and the vectors far from those without.
test_adapters_are_computed() {
    need_kernels
    need_command python3
    "$(dirname "$MIDASHI")/tests/tool_adapter" "$model" "$dir/a" 4 plain yes no
    on_gpu "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/without.npy" --device cpu
    expect_code 0
    for device in cpu cuda; do
        on_gpu "$MIDASHI" embed "$corpus" --model "$model" --adapter "$dir/a" --device $device \
            --output "$dir/$device.npy"
        expect_code 0
        on_gpu "$MIDASHI" classify "$corpus" --model "$model" --adapter "$dir/a" --device $device \
            --probabilities "$dir/$device.p.npy"
        expect_code 0
    done
    python3 - "$dir" <<'PYTHON' || fail 'other vectors or probabilities'
import array, math, sys


def read(name):
    data = open(f'{sys.argv[1]}/{name}.npy', 'rb').read()
    return array.array('f', data[10 + int.from_bytes(data[8:10], 'little'):])


def distance(a, b):
    assert len(a) == len(b) > 0
    return math.dist(a, b) / math.hypot(*b)


assert distance(read('cuda'), read('cpu')) <= 0.05
assert distance(read('without'), read('cpu')) > 0.2
assert distance(read('cuda.p'), read('cpu.p')) <= 0.05
PYTHON
}

test_clusters_are_those_of_the_cpu() {
    need_kernels
    run "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/e.npy" --device cpu
    expect_code 0
    for options in '' '--spherical --seed 3 --restarts 3' '--normalise centre --remove-components 1'; do
        for device in cpu cuda; do
            # shellcheck disable=SC2086 # they are several words
            on_gpu "$MIDASHI" cluster "$dir/e.npy" --topics 3 --device $device --json $options \
                --output "$dir/$device.npy" --centres "$dir/$device.centres.npy"
            expect_code 0
        done
        expect_match "$stdout" '"kernels": *"cuda-sm_86"'
        expect_match "$stdout" '"gpu_peak_bytes": *[1-9]'
        cmp "$dir/cpu.npy" "$dir/cuda.npy" || fail "other labels: $options"
        cmp "$dir/cpu.centres.npy" "$dir/cuda.centres.npy" || fail "other centres: $options"
    done
    for device in cpu cuda; do
        on_gpu "$MIDASHI" cluster "$dir/e.npy" --topics auto --device $device --quiet \
            --output "$dir/$device.npy"
        expect_code 0
        cp "$stdout" "$dir/$device.curve"
        on_gpu "$MIDASHI" topics "$corpus" --embeddings "$dir/e.npy" --topics 2 --device $device \
            --output "$dir/$device"
        expect_code 0
    done
    cmp "$dir/cpu.npy" "$dir/cuda.npy" || fail 'other labels: --topics auto'
    cmp "$dir/cpu.curve" "$dir/cuda.curve" || fail 'another curve'
    cmp "$dir/cpu/documents.csv" "$dir/cuda/documents.csv" || fail 'other topics'
    on_gpu "$MIDASHI" cluster "$dir/e.npy" --topics 3 --device cuda --memory 1K --output "$dir/l.npy"
    expect_error 71 'more than --memory allows'
    expect_absent "$dir/l.npy"
}

test_what_a_gpu_does_not_do() {
    need_kernels
    on_gpu "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/e.npy" --device cuda --precision f32
    expect_error 2 'f32 is the CPU'
    expect_absent "$dir/e.npy"
    on_gpu "$MIDASHI" quantize "$model" --output "$dir/q" --device cuda
    expect_error 2 'computes on the CPU'
    on_gpu "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/e.npy" --precision bf16
    expect_code 0
    # Page-locked memory, then the model's, cannot be had.
    for n in 1 2; do
        SOFTCUDA_FAIL_ALLOC=$n on_gpu "$MIDASHI" embed "$corpus" --model "$model" --output "$dir/f.npy"
        expect_code 71
        expect_absent "$dir/f.npy"
    done
}

run_tests
