#!/bin/sh
# The softcuda command: a program that is linked to libcuda.so.1, run on the software device.
# shellcheck disable=SC2317 # run_tests calls the functions by their names
. tests/cli/tap.sh

build=${MIDASHI_BUILD:-build}
softcuda=$build/softcuda/softcuda
program=$build/tests/tool_driver_program
# Under AddressSanitizer a library of the same build needs no preloading, but leaves at exit.
ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
export ASAN_OPTIONS

test_help_and_usage() {
    run "$softcuda" --help
    expect_code 0
    expect_match "$stdout" '--check LIST'
    run "$softcuda"
    expect_error 2 'code: the program|126 where'
    run "$softcuda" walk
    expect_error 2 'walk: no such command'
    run "$softcuda" run
    expect_error 2 'name a program'
    run "$softcuda" run --colour red -- true
    expect_error 2 '--colour: no such option'
    run "$softcuda" run --card
    expect_error 2 '--card: a value is missing'
    run "$softcuda" run --card titan -- true
    expect_error 2 '--card: titan: use rtx3080, rtx4090 or h100'
    run "$softcuda" run --check=memory,luck -- true
    expect_error 2 '--check: memory,luck: use all, none'
    run "$softcuda" run "$dir/absent"
    expect_error 127 'absent: no such program'
    run "$softcuda" run "$dir"
    expect_error 126 'cannot be run'
    # A value that looks like an option is one.
    run "$softcuda" run --report -- "$program" good
    expect_error 2 '--report: a value is missing'
    run "$softcuda" run --report "$dir/absent/r.json" -- "$program" good
    expect_error 66 '--report: .*absent/r\.json: cannot write: its folder is not there'
    run "$softcuda" run --report "$dir" -- "$program" good
    expect_error 2 '--report: .*this is a folder'
    run "$softcuda" cards rtx4090
    expect_error 2 'cards: it takes no argument'
    run "$softcuda" report "$dir/absent.json"
    expect_error 66 'absent\.json: no such file'
}

test_cards_are_listed() {
    run "$softcuda" cards
    expect_code 0
    expect_line_count "$stdout" 4
    expect_match "$stdout" '^rtx3080 .* sm_86 +68 '
    expect_match "$stdout" '^rtx4090 .* sm_89 +128 '
    expect_match "$stdout" '^h100 .* sm_90 +132 '
}

test_a_linked_program_runs() {
    run "$softcuda" run "$program" good
    expect_code 0
    expect_lines "$stdout" 'sum 9900'
    expect_lines "$stderr"
    # Under every setting, and all checks are content.
    for card in rtx3080 rtx4090 h100; do
        run "$softcuda" run --card $card --check all --order shuffled --seed 3 --workers 2 -- "$program" good
        expect_code 0
        expect_lines "$stdout" 'sum 9900'
        expect_lines "$stderr"
    done
}

test_settings_reach_the_program() {
    run "$softcuda" run --card=h100 --seed 5 --order shuffled --mma truncating --async early \
        --sample 2 --fail-alloc 9 -- "$program" settings
    expect_code 0
    for line in CARD=h100 SEED=5 ORDER=shuffled MMA=truncating ASYNC=early SAMPLE=2 FAIL_ALLOC=9; do
        expect_match "$stdout" "^SOFTCUDA_$line\$"
    done
    expect_match "$stdout" '^MIDASHI_CUDA_DRIVER=/.*/softcuda/libcuda\.so\.1$'
    run "$softcuda" run --card h100 "$program" card
    expect_lines "$stdout" 'softcuda H100 80GB HBM3: 132'
}

test_codes_and_signals_pass_through() {
    run "$softcuda" run "$program" exit 0
    expect_code 0
    run "$softcuda" run "$program" exit 42
    expect_code 42
    run "$softcuda" run "$program" signal 15
    expect_code 143
}

test_reports_end_with_99() {
    # Without checks the program gets the driver's code, as from a real card.
    run "$softcuda" run "$program" bounds
    expect_code 0
    expect_lines "$stdout" launching CUDA_ERROR_ILLEGAL_ADDRESS
    expect_match "$stderr" 'twice at double\.cu:4, block \(0,0,0\), thread \(100,0,0\): out-of-bounds write'
    # With them it ends where it waits, what it has printed included.
    run "$softcuda" run --check memory "$program" bounds
    expect_code 99
    expect_lines "$stdout" launching
    expect_match "$stderr" 'out-of-bounds write of 4 bytes .* 0 bytes behind the end of allocation 1, which has 400'
    expect_match "$stderr" '1 report: the process ends with code 99'
    run "$softcuda" run --check leak "$program" bounds
    expect_code 99 # of the leaks: it frees nothing after its fault
    expect_match "$stderr" 'leak: allocation 1 of 400 bytes of device memory was never freed'
    # A kernel that nobody waits for is looked at all the same.
    run "$softcuda" run --check memory "$program" unwaited
    expect_code 99
    expect_lines "$stdout" over
    run "$softcuda" run --check init "$program" uninitialised
    expect_code 99
    expect_match "$stderr" 'a copy of 4 bytes to the host reads memory that was never written: byte 0 of allocation 1'
}

test_leaks_are_reported() {
    for what in nothing memory pinned module stream event context inside; do
        run "$softcuda" run --check leak "$program" leak $what
        expect_lines "$stdout" over
        if [ $what = nothing ]; then
            expect_code 0
        else
            expect_code 99
            [ "$(grep -c 'error: leak' "$stderr")" -eq 1 ] || fail "one leak was expected of $what"
        fi
        run "$softcuda" run --check memory "$program" leak $what
        expect_code 0
    done
}

test_refused_launches_say_why() {
    run "$softcuda" run --check race "$program" refused
    expect_code 0
    expect_lines "$stdout" CUDA_ERROR_INVALID_VALUE
    expect_lines "$stderr" 'softcuda: twice is not launched: 50000 bytes of dynamic shared memory, and 49152 are allowed; cuFuncSetAttribute allows more, up to 101376 with the static ones'
    run "$softcuda" run "$program" refused
    expect_lines "$stderr"
}

test_work_is_late() {
    run "$softcuda" run "$program" late
    expect_lines "$stdout" 'before 0' 'after 2'
}

test_every_allocation_can_fail() {
    # A module without variables, one allocation of the program's.
    run "$softcuda" run --fail-alloc 1 "$program" good
    expect_code 1
    expect_match "$stderr" 'cuMemAlloc\(&p, .*CUDA_ERROR_OUT_OF_MEMORY'
    run "$softcuda" run --fail-alloc 2 "$program" good
    expect_code 0
}

test_midashi_loads_it() {
    run "$softcuda" run --check all --card h100 "$MIDASHI" devices
    expect_code 0
    expect_match "$stdout" '^cpu: '
    expect_match "$stdout" '^cuda:0: softcuda H100 80GB HBM3 \(a software device, no GPU\), sm_90, 132 SMs, 85\.9 GB of memory, driver of CUDA 13\.0$'
    run "$softcuda" run "$MIDASHI" devices --json
    expect_match "$stdout" '"software": true'
    MIDASHI_CUDA_DRIVER=$dir/absent.so run "$MIDASHI" devices
    expect_code 0
    expect_match "$stdout" '^cuda: MIDASHI_CUDA_DRIVER=.*absent\.so: cannot be loaded'
    run "$softcuda" run --card nothing "$MIDASHI" devices
    expect_error 2 '--card: nothing'
    # Bad settings are the driver's to refuse: midashi says what it got.
    MIDASHI_CUDA_DRIVER=$build/softcuda/libcuda.so.1 SOFTCUDA_CARD=nothing run "$MIDASHI" devices
    expect_code 0
    expect_match "$stdout" '^cuda: cuInit: CUDA_ERROR_INVALID_VALUE'
    # What only the CPU does.
    run "$softcuda" run "$MIDASHI" devices --device cuda
    expect_error 2 'computes on the CPU'
}

test_costs_are_reported() {
    mkdir "$dir/folder"
    run "$softcuda" run --report "$dir/r.json" "$program" good
    expect_code 0
    expect_file "$dir/r.json"
    run "$softcuda" report "$dir/r.json"
    expect_code 0
    expect_match "$stdout" '^twice$'
    expect_match "$stdout" 'projection'
    run "$softcuda" run --report "$dir/r.json" "$program" exit 0
    run "$softcuda" report "$dir/r.json"
    expect_code 0
    expect_match "$stdout" '^no kernel was launched$'
    expect_line_count "$stdout" 2
    # Where it cannot be written, the program gets to know at once.
    SOFTCUDA_REPORT=$dir/absent/r.json run "$softcuda" run "$program" good
    expect_code 1
    expect_match "$stderr" '^softcuda: SOFTCUDA_REPORT: .*absent/r\.json: cannot write'
}

run_tests
