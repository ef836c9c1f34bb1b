#!/bin/sh
# train, classify and topics --finetune, on a tiny model.
# shellcheck disable=SC2317 # run_tests calls the functions by their names
. tests/cli/tap.sh
. tests/cli/model.sh
. tests/cli/train.sh

# Two labels that share no word, and a few texts of a third.
texts=$scratch/labelled.tsv
{
    printf 'label\ttext\n'
    i=0
    while [ $i -lt 24 ]; do
        printf 'rain\tcloud storm rain %d\nmatch\tgoal team match %d\n' $i $i
        [ $((i % 4)) -ne 0 ] || printf 'soup\tbread salt soup %d\n' $i
        i=$((i + 1))
    done
} >"$texts"

# Fast, and so large a rate that it learns.
fast='--steps 30 --batch 4 --accumulate 2 --rank 4 --alpha 8 --learning-rate 0.02 --evaluate-every 10'

test_train_writes_an_adapter_and_classify_reads_it() {
    train "$dir/a"
    expect_code 0
    expect_adapter "$dir/a" 33
    expect_match "$dir/a/training.json" '"validation_texts": 5,?$'
    expect_match "$stderr" '^memory: [0-9.]+ MB of [0-9.]+ [GM]B: model'
    run "$MIDASHI" classify "$texts" --model "$model" --adapter "$dir/a" \
        --probabilities "$dir/p.npy"
    expect_code 0
    expect_line_count "$stdout" 55
    expect_match "$stdout" '^row,predicted,probability,label$'
    expect_match "$stderr" '^accuracy (1\.0000|0\.9[0-9]*): '
    expect_file "$dir/p.npy"
    run "$MIDASHI" classify "$texts" --model "$model" --adapter "$dir/a" --json
    expect_code 0
    expect_match "$stdout" '"accuracy": (1|0\.9)'
    expect_match "$stdout" '"confusion"'
    run "$MIDASHI" classify "$texts" --model "$model" --adapter "$dir/a" --max-tokens 6
    expect_code 0
    expect_match "$stderr" '^54 texts were cut to 6 tokens; raise --max-tokens'
}

# The table and the accuracy, counted once more from what is printed.
test_classify_counts_what_it_prints() {
    train "$dir/a" --steps 4
    expect_code 0
    # An adapter that errs: labels are the true ones, and three rows have one that it does not know.
    sed '8,10s/^[a-z]*/snow/' "$texts" >"$dir/other.tsv"
    set -- "$MIDASHI" classify "$dir/other.tsv" --model "$model" --adapter "$dir/a"
    run "$@"
    expect_code 0
    awk -F , 'NR > 1 && $4 != "snow" {
        n[$4, $2]++; all++; right += $4 == $2; known[$4]
    } END {
        printf "accuracy %.4f: %d of %d texts\n", right / all, right, all
        split("rain match soup", name, " ")
        for (i = 1; i <= 3; i++)
            printf "%7d %7d %7d  %s\n", n[name[i], "rain"], n[name[i], "match"], n[name[i], "soup"], name[i]
    }' "$stdout" >"$dir/counted"
    grep -E '^accuracy|^ .* (rain|match|soup)$' "$stderr" >"$dir/told"
    expect_same "$dir/counted" "$dir/told"
    expect_match "$stderr" '^3 texts have a label that the adapter does not know, and are left out of the accuracy$'
    awk 'NR > 1 { print $1, $2, $3 }' "$dir/counted" | tr -s ' ' ' ' >"$dir/rows"
    run "$@" --json
    expect_code 0
    tr -d ' \n' <"$stdout" | sed 's/.*"confusion":\[\[\([0-9,]*\)\],\[\([0-9,]*\)\],\[\([0-9,]*\)\]\].*/\1\n\2\n\3\n/' |
        tr , ' ' >"$dir/rows.json"
    expect_same "$dir/rows" "$dir/rows.json"
}

# Steps under the picture are whole numbers, equally far apart.
test_the_picture_has_even_steps() {
    train "$dir/a" --steps 7
    expect_code 0
    sed -n 's/.*y="348.*>\([0-9]*\)<.*/\1/p' "$dir/a/loss.svg" >"$dir/steps"
    expect_lines "$dir/steps" 0 2 4 6
    expect_match "$dir/a/loss.svg" 'text-anchor="end">accuracy<'
}

test_training_is_repeatable_for_any_threads_and_memory() {
    train "$dir/a" --threads 1
    expect_code 0
    train "$dir/b" --threads 2 --memory 1500K
    expect_code 0
    expect_match "$stderr" '^memory: .* \([012] of 3 layers kept'
    expect_same "$dir/a/adapter_model.safetensors" "$dir/b/adapter_model.safetensors"
    train "$dir/c" --seed 1
    expect_code 0
    expect_different "$dir/a/adapter_model.safetensors" "$dir/c/adapter_model.safetensors"
}

test_a_killed_run_goes_on_to_the_same_bytes() {
    check_killed_run 33 --checkpoint-every 3
    # Done: nothing is left to do, and nothing is lost.
    train "$dir/killed" --checkpoint-every 3 --resume
    expect_code 0
    expect_match "$stderr" 'killed: trained on the same texts with the same settings; used again'
    expect_line_count "$dir/killed/training.jsonl" 33
    rm "$dir/killed/adapter_model.safetensors"
    train "$dir/killed" --checkpoint-every 3 --resume
    expect_code 0
    expect_same "$dir/whole/adapter_model.safetensors" "$dir/killed/adapter_model.safetensors"
}

# A run of which a checkpoint is left, in $dir/a.
interrupted_run() {
    train "$dir/a" --steps 1000000 --checkpoint-every 1 --evaluate-every 1000000 &
    pid=$!
    while [ ! -s "$dir/a/checkpoint.safetensors" ]; do
        sleep 0.05
    done
    pkill -INT -P $pid midashi 2>/dev/null || pkill -INT -f "output $dir/a" || :
    wait $pid || :
}

test_ctrl_c_leaves_a_checkpoint_that_another_run_refuses() {
    need_command pkill
    interrupted_run
    cp "$dir/a/checkpoint.safetensors" "$dir/kept"
    train "$dir/a" --resume --checkpoint-every 1 --evaluate-every 1000000 --learning-rate 0.003
    expect_error 2 'checkpoint\.safetensors: that run had --steps 1000000 \(now 30\), --learning-rate 0\.02 \(now 0\.003\); go on with what it had, or begin anew with --force in place of --resume$'
    expect_no_match "$stderr" 'to train on' # before texts and model are read
    train "$dir/a" --resume --steps 1000000 --evaluate-every 1000000 --validation-file "$texts" --rslora
    expect_error 2 'had another corpus, no --rslora \(now --rslora\), --validation 0\.1 \(now --validation-file\); '
    sed 's/storm/wind/' "$texts" >"$dir/other.tsv"
    # shellcheck disable=SC2086
    run "$MIDASHI" train "$dir/other.tsv" --model "$model" --output "$dir/a" $fast --resume \
        --steps 1000000 --evaluate-every 1000000
    expect_error 2 'that run had another corpus'
    for bytes in 0 100 1000 20000; do
        head -c $bytes "$dir/kept" >"$dir/a/checkpoint.safetensors"
        train "$dir/a" --resume --steps 1000000 --checkpoint-every 1 --evaluate-every 1000000
        expect_error 65 'checkpoint\.safetensors: it is cut off or damaged; this is no whole checkpoint: begin anew with --force in place of --resume$'
    done
    # A byte that has changed.
    cp "$dir/kept" "$dir/a/checkpoint.safetensors"
    printf '\377' | dd of="$dir/a/checkpoint.safetensors" bs=1 seek=5000 conv=notrunc 2>/dev/null
    train "$dir/a" --resume --steps 1000000 --checkpoint-every 1 --evaluate-every 1000000
    expect_error 65 'its bytes have changed; this is no whole checkpoint'
}

# Whoever comes second changes nothing. A lock goes with its process, and leaves no file, which the
# folder's check would refuse.
test_a_folder_is_one_run_s_alone() {
    endless='--steps 1000000 --checkpoint-every 1'
    mkdir "$dir/t"
    # shellcheck disable=SC2086
    begin "$dir/t/adapter" $endless
    wait_for [ -s "$dir/t/adapter/checkpoint.safetensors" ]
    for way in --resume --force; do
        train "$dir/t/adapter" $way
        expect_error 2 'adapter: another run is writing into this folder; wait for its end, or give'
    done
    # shellcheck disable=SC2086
    run "$MIDASHI" topics "$texts" --model "$model" --topics 3 --output "$dir/t" --finetune $fast
    expect_error 2 'adapter: another run is writing into this folder'
    end
    # Nor does topics write beside another one, whatever that one is at.
    # shellcheck disable=SC2086
    set -- "$MIDASHI" topics "$texts" --model "$model" --topics 3 --output "$dir/u"
    # shellcheck disable=SC2086
    in_background "$@" --finetune $fast $endless
    wait_for [ -s "$dir/u/adapter/checkpoint.safetensors" ]
    run "$@" --force
    expect_error 2 'u: another run is writing into this folder; wait for its end, or give another'
    expect_absent "$dir/u/topics.json"
    end
    run "$@"
    expect_code 0
    # What goes on says so at once.
    # shellcheck disable=SC2086
    begin "$dir/t/adapter" $endless --resume
    wait_for grep -q '^train: goes on from step [1-9][0-9]* of 1000000$' "$dir/background"
    end
}

test_next_token_and_contrastive_adapters_embed() {
    for objective in next-token contrastive; do
        train "$dir/$objective" --objective $objective
        expect_code 0
        run "$MIDASHI" embed "$texts" --model "$model" --adapter "$dir/$objective" \
            --output "$dir/$objective.npy"
        expect_code 0
        expect_file "$dir/$objective.npy"
        run "$MIDASHI" classify "$texts" --model "$model" --adapter "$dir/$objective"
        expect_error 2 'has no classification head'
    done
    train "$dir/groups" --group label --near 3
    expect_code 0
    expect_match "$dir/groups/training.json" '"objective": "contrastive"'
}

test_finetune_scores_what_was_held_out() {
    # shellcheck disable=SC2086
    run "$MIDASHI" topics "$texts" --model "$model" --topics 3 --output "$dir/t" --finetune \
        --validation 0.25 $fast
    expect_code 0
    expect_match "$stdout" 'on the 14 texts held out; NMI [0-9.]+, purity [0-9.]+ on the 40 trained'
    expect_match "$dir/t/topics.json" '"agreement_training"'
    expect_match "$dir/t/documents.csv" '^row,topic,distance,margin,label,text,held_out'
    expect_file "$dir/t/adapter/adapter_model.safetensors"
    [ "$(grep -c ',1.$' "$dir/t/documents.csv")" -eq 14 ] || fail 'not 14 rows held out'
    # Another number of topics trains and embeds nothing.
    # shellcheck disable=SC2086
    run "$MIDASHI" topics "$texts" --model "$model" --topics 2 --output "$dir/t" --finetune \
        --validation 0.25 $fast
    expect_code 0
    expect_match "$stderr" 'adapter: trained on the same texts with the same settings; used again'
    expect_match "$stderr" 'embeddings\.npy: made from the same texts'
}

test_what_an_earlier_run_left_is_not_lost() {
    train "$dir/a" --steps 2
    expect_code 0
    cp "$dir/a/adapter_model.safetensors" "$dir/kept"
    train "$dir/a" --steps 2
    expect_error 2 'a: holds a finished run; give another --output, or --force to train anew$'
    train "$dir/a" --steps 3 --resume
    expect_error 2 'a: holds a finished run, which had --steps 2 \(now 3\); give another --output, or --force to train anew$'
    expect_no_match "$stderr" 'to train on'
    expect_same "$dir/a/adapter_model.safetensors" "$dir/kept"
    run "$MIDASHI" classify "$texts" --model "$model" --adapter "$dir/a"
    expect_code 0
    cp "$dir/a/training.json" "$dir/record"
    sed 's/"corpus"/"more": 1, "corpus"/' "$dir/record" >"$dir/a/training.json"
    train "$dir/a" --steps 2 --resume
    expect_error 2 'a: holds a finished run of another version of midashi; give another --output'
    echo '{' >"$dir/a/training.json"
    train "$dir/a" --steps 2 --resume
    expect_error 2 'a: holds a finished run, which had a training\.json that cannot be read; give'
    expect_same "$dir/a/adapter_model.safetensors" "$dir/kept"
    train "$dir/a" --steps 3 --force
    expect_code 0
    run "$MIDASHI" embed "$texts" --model "$model" --adapter "$dir" --output "$dir/e.npy"
    expect_error 66 'no adapter here, or one that was not finished'
    mkdir "$dir/outer"
    cp -r "$dir/a" "$dir/outer/adapter"
    run "$MIDASHI" embed "$texts" --model "$model" --adapter "$dir/outer" --output "$dir/e.npy"
    expect_error 66 'no adapter here; did you mean .*/outer/adapter\?'
    run "$MIDASHI" topics "$texts" --model "$model" --topics 2 --steps 3 --output "$dir/t"
    expect_error 2 '--steps does nothing without --finetune'
}

# Nor is it by topics, which is run again and again with other settings.
test_topics_do_not_replace_an_adapter_unasked() {
    mkdir "$dir/t"
    # shellcheck disable=SC2086
    set -- "$MIDASHI" topics "$texts" --model "$model" --topics 3 --output "$dir/t" --finetune $fast
    begin "$dir/t/adapter" --steps 1000000 --checkpoint-every 1
    wait_for [ -s "$dir/t/adapter/checkpoint.safetensors" ]
    end
    run "$@"
    expect_error 2 'adapter: holds an unfinished run; go on with --resume, give another --output, or --force'
    expect_file "$dir/t/adapter/checkpoint.safetensors"
    run "$@" --resume
    expect_error 2 'that run had --steps 1000000 \(now 30\); go on with what it had'
    run "$@" --force
    expect_code 0
    expect_absent "$dir/t/adapter/checkpoint.safetensors"
    cp "$dir/t/adapter/adapter_model.safetensors" "$dir/kept"
    for way in --quiet --resume; do
        run "$@" --steps 3 $way
        expect_error 2 'adapter: holds a finished run, which had --steps 30 \(now 3\); give another --output'
        expect_same "$dir/t/adapter/adapter_model.safetensors" "$dir/kept"
    done
    run "$@" --steps 3 --force
    expect_code 0
    expect_different "$dir/t/adapter/adapter_model.safetensors" "$dir/kept"
}

# An adapter corrects the weights that it was trained on.
test_an_adapter_is_used_as_it_was_trained() {
    train "$dir/a" --precision bf16
    expect_code 0
    for precision in '' '--precision bf16'; do
        # shellcheck disable=SC2086
        run "$MIDASHI" classify "$texts" --model "$model" --adapter "$dir/a" $precision \
            --probabilities "$dir/p$precision.npy"
        expect_code 0
    done
    expect_no_match "$stderr" 'taken here too'
    expect_same "$dir/p.npy" "$dir/p--precision bf16.npy"
    run "$MIDASHI" classify "$texts" --model "$model" --adapter "$dir/a" --precision nf4 \
        --probabilities "$dir/n.npy"
    expect_code 0
    expect_different "$dir/p.npy" "$dir/n.npy"
    run "$MIDASHI" embed "$texts" --model "$model" --adapter "$dir/a" --output "$dir/e.npy"
    expect_match "$stderr" 'a: trained with --precision bf16, which is taken here too$'
    run "$MIDASHI" topics "$texts" --model "$model" --adapter "$dir/a" --topics 2 --output "$dir/t"
    expect_match "$stderr" 'a: trained with --precision bf16, which is taken here too$'
    expect_match "$dir/t/run.json" '"precision": "bf16"'
    expect_no_match "$stderr" 'not finished'
    # Of a checkpoint too, and a training.json that says nothing good is none.
    begin "$dir/b" --steps 1000000 --precision bf16 --checkpoint-every 1 --evaluate-every 1
    wait_for [ -s "$dir/b/checkpoint.safetensors" ]
    end
    run "$MIDASHI" classify "$texts" --model "$model" --adapter "$dir/b"
    expect_code 0
    expect_match "$stderr" 'b: trained with --precision bf16, which is taken here too$'
    expect_match "$stderr" 'b: its training is not finished; the same midashi train with --resume goes on$'
    echo '{"settings": {"precision": 4}}' >"$dir/a/training.json"
    run "$MIDASHI" classify "$texts" --model "$model" --adapter "$dir/a" --probabilities "$dir/m.npy"
    expect_same "$dir/m.npy" "$dir/n.npy"
}

test_a_guess_is_called_one() {
    train "$dir/a" --steps 1 --learning-rate 0
    expect_code 0
    expect_match "$stderr" '^objective: classify, 3 labels$'
    hardly='^it has hardly learnt: accuracy [0-9.]+, where guessing gives 0\.40'
    expect_match "$stderr" "$hardly; try --learning-rate 5e-4 for a small model, or more --steps$"
    expect_no_match "$stderr" 'warm-up'
    expect_match "$stderr" "try: midashi classify CORPUS --model $model --adapter $dir/a$"
    # Too large a rate guesses too.
    train "$dir/b" --steps 4 --learning-rate 1e5
    expect_code 0
    expect_match "$stderr" "$hardly; try more --steps, or another --learning-rate$"
    train "$dir/c" --steps 3 --warm-up 1000
    expect_code 0
    expect_match "$stderr" '^--warm-up 1000: the rate is still rising when the run ends at step 3; shorten it$'
    expect_match "$stderr" "$hardly; try a shorter --warm-up$"
}

# Only a run that more steps would have helped says so.
test_a_loss_that_was_still_falling_is_told() {
    falling='loss was still falling at the end'
    train "$dir/a" --learning-rate 0.003
    expect_code 0
    expect_match "$stderr" "^the validation $falling, from 0\.[0-9]+ at step 20 to 0\.[0-9]+ at 30; more --steps or a higher --learning-rate may help$"
    train "$dir/b" --learning-rate 0.0004 --steps 100 --schedule constant --validation 0
    expect_code 0
    expect_match "$stderr" "^the training $falling, from [01]\.[0-9]+ in steps 61 to 80 to 0\.[0-9]+ in the last 20; more --steps, or --learning-rate 5e-4 for a small model, may help$"
    for settings in '--learning-rate 0.02' '--learning-rate 0.02 --steps 100 --validation 0' '--learning-rate 0'; do
        # shellcheck disable=SC2086
        train "$dir/c" --force $settings
        expect_code 0
        expect_no_match "$stderr" 'still falling'
    done
}

test_what_cannot_be_trained_is_told() {
    train "$dir/a" --rank 0
    expect_error 2 '^midashi: --rank 0: give a whole number from 1'
    train "$dir/a" --objective regress
    expect_error 2 '--objective regress: use auto, classify, next-token or contrastive'
    train "$dir/a" --dropout 1
    expect_error 2 '--dropout 1: give a share below 1'
    train "$dir/a" --near 3
    expect_error 2 '--near counts rows of a group; give --group too'
    train "$dir/a" --temperature 0.1
    expect_error 2 '--temperature belongs to --objective contrastive'
    train "$dir/a" --validation 0.2 --validation-file "$texts"
    expect_error 2 '--validation and --validation-file contradict each other'
    train "$dir/a" --group book
    expect_error 2 'there is no column "book"; --group takes one of'
    train "$dir/a" --memory 800K
    expect_error 71 '^midashi: training takes [0-9.]+ MB at least: model [0-9.]+ MB, .*, buffers [0-9.]+ MB, .* more than is allowed; lower --batch, --max-tokens or --rank, or raise --memory$'
    train "$dir/a" --memory 1K
    expect_error 71 'more than is allowed; take a smaller model, or raise --memory$'
    train "$dir/a" --memory 1K --precision bf16
    expect_error 71 'more than is allowed; give --precision nf4 or a smaller model, or raise --memory$'
    train "$dir/a" --max-tokens 1
    expect_error 2 '--max-tokens 1: the special tokens alone take [0-9]+; raise it$'
    train "$dir/a" --objective contrastive --dropout 0
    expect_error 2 'dropout alone'
    grep -v match "$texts" | grep -v soup >"$dir/one.tsv"
    # shellcheck disable=SC2086
    run "$MIDASHI" train "$dir/one.tsv" --model "$model" --output "$dir/a" $fast
    expect_error 2 'every text has the label rain; there is nothing to tell apart'
    cut -f 2 "$texts" >"$dir/none.tsv"
    # shellcheck disable=SC2086
    run "$MIDASHI" train "$dir/none.tsv" --model "$model" --output "$dir/a" $fast \
        --objective classify
    expect_error 2 'the corpus has no labels'
    printf 'label\ttext\nrain\tcloud\nmatch\tgoal\n\tnothing\n' >"$dir/few.tsv"
    # shellcheck disable=SC2086
    run "$MIDASHI" train "$dir/few.tsv" --model "$model" --output "$dir/few" $fast --steps 2
    expect_code 0
    expect_match "$stderr" '^1 text is without a label and left out$'
    expect_match "$stderr" '^2 labels have one text only: trained on, never validated$'
    printf 'label\ttext\nsnow\tcloud\n' >"$dir/unknown.tsv"
    train "$dir/a" --validation-file "$dir/unknown.tsv"
    expect_error 65 '--validation-file: row 1: the label snow does not occur in training'
}

# What would show only after an hour.
test_finetune_checks_what_comes_after_it() {
    # shellcheck disable=SC2086
    run "$MIDASHI" topics "$texts" --model "$model" --output "$dir/t" --finetune $fast --pool most
    expect_error 2 '--pool most: use auto'
    expect_no_match "$stderr" 'to train on'
    # shellcheck disable=SC2086
    run "$MIDASHI" topics "$texts" --model "$model" --output "$dir/t" --finetune $fast \
        --topics 50 --validation 0.25
    expect_error 2 '--topics 50: 40 texts are left when 14 are held out; ask for fewer topics'
}

# A refusal leaves no folder that it made, and those that were there.
test_a_refusal_leaves_no_empty_folder() {
    train "$dir/a" --memory 1K
    expect_code 71
    expect_absent "$dir/a"
    # shellcheck disable=SC2086
    set -- "$MIDASHI" topics "$texts" --model "$model" --output "$dir/t" --finetune $fast --memory 1K
    run "$@"
    expect_code 71
    expect_absent "$dir/t"
    mkdir "$dir/a" "$dir/t"
    train "$dir/a" --memory 1K
    expect_code 71
    run "$@"
    expect_code 71
    [ "$(find "$dir/a" "$dir/t" | wc -l)" -eq 2 ] || fail 'not the two folders that were there'
}

# Groups of two: a tenth of each would be none.
test_small_groups_are_validated_too() {
    awk 'BEGIN { print "book\ttext"; for (i = 0; i < 40; i++) print int(i / 2) "\tword " i }' \
        >"$dir/books.tsv"
    # shellcheck disable=SC2086
    run "$MIDASHI" train "$dir/books.tsv" --model "$model" --output "$dir/a" $fast --group book
    expect_code 0
    expect_match "$stderr" '^36 texts to train on, 4 held out for validation$'
}

test_what_is_held_out_must_have_a_loss() {
    cut -f 2 "$texts" >"$dir/none.tsv"
    train "$dir/a1" --validation-file "$dir/none.tsv"
    expect_error 2 '--validation-file .*none\.tsv: no text of it can be used, which needs labels'
    # --rows are the corpus' alone.
    train "$dir/a2" --rows 11:54 --steps 1 --validation-file "$texts"
    expect_code 0
    expect_match "$stderr" '^44 texts to train on, 54 held out for validation$'
    train "$dir/a3" --steps 1 --validation 0 --patience 2
    expect_code 0
    expect_match "$stderr" '^--patience: no text is held out'
    head -n 13 "$dir/none.tsv" >"$dir/few.tsv"
    # shellcheck disable=SC2086
    run "$MIDASHI" train "$dir/few.tsv" --model "$model" --output "$dir/a" $fast
    expect_error 2 'one text is held out, which leaves nothing to find it among; raise --validation'
}

test_a_rate_that_explodes_is_told() {
    train "$dir/a" --rows 30: --learning-rate 1e9 --weight-decay 1e9
    expect_error 1 'step [0-9]+: the (loss|gradient) is (not a number|infinite) \(texts of rows '
    expect_match "$stderr" 'rows ([345][0-9], ){7}[345][0-9]\); lower --learning-rate'
    # The last good step's checkpoint stays, and so does the log of the steps that were.
    train "$dir/b" --learning-rate 1e9 --weight-decay 1e9 --checkpoint-every 1
    expect_error 1 'step 2: the (loss|gradient) is (not a number|infinite) \(texts of rows '
    expect_file "$dir/b/checkpoint.safetensors"
    expect_match "$dir/b/checkpoint.safetensors" '"step": ?1,'
    expect_line_count "$dir/b/training.jsonl" 1
}

test_the_plan_computes_nothing() {
    train "$dir/a" --plan
    expect_code 0
    expect_match "$stderr" '^memory: '
    expect_absent "$dir/a"
    train "$dir/a" --plan --json --quiet
    expect_code 0
    expect_match "$stdout" '"validation_loss": null'
    expect_match "$stdout" '"training_loss": null'
}

run_tests "$@"
