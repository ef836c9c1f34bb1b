# What the tests of training share, on the CPU and on a GPU. Before it is used, a test program sets
# $texts, the corpus, and $fast, options for a run that takes a second or two.
# shellcheck shell=sh disable=SC2154 # tap.sh, model.sh and the test programs set what is read here

train() { # FOLDER OPTION...
    train_folder=$1
    shift
    # shellcheck disable=SC2086 # options are words
    run "$MIDASHI" train "$texts" --model "$model" --output "$train_folder" $fast "$@"
}

# The same in the background, as $pid, which goes when the test does; it speaks in $dir/background.
begin() { # FOLDER OPTION...
    begin_folder=$1
    shift
    # shellcheck disable=SC2086
    in_background "$MIDASHI" train "$texts" --model "$model" --output "$begin_folder" $fast "$@"
}

in_background() { # COMMAND...
    : >"$dir/background" # a kill may come before the process has opened it
    "$@" >"$dir/background" 2>&1 &
    pid=$!
    trap 'kill -KILL $pid' EXIT
}

# What runs in the background is killed, whatever it is doing. Its exit code is in $code: 137,
# unless it was over by then.
end() {
    kill -KILL $pid 2>/dev/null || :
    code=0
    wait $pid 2>/dev/null || code=$? # the shell would tell
    trap - EXIT
    expect_no_match "$dir/background" '^midashi: '
}

# wait_for COMMAND...: until it succeeds, two minutes at most.
wait_for() {
    waited=0
    while ! "$@"; do
        waited=$((waited + 1))
        [ $waited -lt 12000 ] || fail "waited in vain for: $*"
        sleep 0.01
    done
}

# What a run of classify leaves when it has come to its end.
expect_adapter() { # FOLDER LINES_OF_LOG
    for file in adapter_config.json adapter_model.safetensors labels.json training.jsonl \
        training.json loss.svg; do
        expect_file "$1/$file"
    done
    expect_absent "$1/checkpoint.safetensors"
    expect_line_count "$1/training.jsonl" "$2"
}

lines_of() { # FILE
    if [ -e "$1" ]; then wc -l <"$1"; else echo 0; fi
}

has_lines() { # FILE COUNT: that many, or nobody is there any more who could write them
    [ "$(lines_of "$1")" -ge "$2" ] || ! kill -0 $pid 2>/dev/null
}

# A run that is killed again and again goes on to the same bytes: $dir/killed is $dir/whole. The
# first kill comes at once, whatever the run is doing by then. Each of the others comes when the log
# is longer than the one before left it, lines that are written again after a checkpoint not
# counted: the run has made a step and is at work on the next. Half of the steps are left to the
# run that goes on to the end.
check_killed_run() { # LINES_OF_LOG OPTION...
    whole_lines=$1
    shift
    train "$dir/whole" "$@"
    expect_code 0
    expect_line_count "$dir/whole/training.jsonl" "$whole_lines"
    begin "$dir/killed" "$@" --resume
    end
    log=$dir/killed/training.jsonl
    killed=0
    while before=$(lines_of "$log") && [ "$before" -lt $((whole_lines / 2)) ]; do
        begin "$dir/killed" "$@" --resume
        wait_for has_lines "$log" $((before + 1))
        end
        [ "$code" -eq 137 ] || fail 'the run was over before it was killed'
        killed=$((killed + 1))
    done
    [ $killed -ge 2 ] || fail "only $killed kills met a run that was training"
    train "$dir/killed" "$@" --resume
    expect_code 0
    expect_match "$stderr" '^train: goes on from step [1-9]'
    expect_same "$dir/whole/adapter_model.safetensors" "$dir/killed/adapter_model.safetensors"
    expect_same "$dir/whole/training.json" "$dir/killed/training.json"
    expect_line_count "$log" "$whole_lines"
}
