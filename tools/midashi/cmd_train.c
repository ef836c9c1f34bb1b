/* midashi train: LoRA fine-tuning on quantised weights. */
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "host/base/cuda_device.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/embed_corpus.h"
#include "tools/midashi/finetune.h"
#include "tools/midashi/output.h"
#include "tools/midashi/system.h"

static enum status report(const struct options *options, const struct finetune *f,
                          struct meter *meter, struct err *err)
{
    const struct train_outcome *o = &f->outcome;
    if (options->json) {
        json_t *root = finetune_json(f);
        const struct cuda_device *cuda = f->device->cuda;
        if ((options->output &&
             json_object_set_new(root, "output", json_string(options->output)) != 0) ||
            (cuda && json_object_set_new(root, "gpu_peak_bytes",
                                         json_integer((json_int_t)cuda->allocated.most)) != 0)) {
            json_decref(root);
            root = NULL;
        }
        return print_json(root, err);
    }
    if (options->plan)
        return STATUS_OK;
    if (o->stopped_early)
        meter_note(meter, "stopped at step %lld: no gain in %d evaluations", (long long)o->steps,
                   options->patience);
    if (isfinite(o->best_accuracy))
        meter_note(meter,
                   "%s: the adapter of step %lld, validation accuracy %.3f; try: midashi "
                   "classify CORPUS --model %s --adapter %s",
                   options->output, (long long)o->best_step, o->best_accuracy, options->model,
                   options->output);
    else
        meter_note(
            meter,
            "%s: the adapter of step %lld; try: midashi topics CORPUS --model %s --adapter %s",
            options->output, (long long)o->best_step, options->model, options->output);
    return STATUS_OK;
}

static enum status run(const struct options *options, struct err *err)
{
    if (!options->model)
        return err_set(err, STATUS_USAGE, "which model? give --model");
    if (!options->output && !options->plan)
        return err_set(err, STATUS_USAGE, "where to? give --output FOLDER");
    if (options->group_column && options->label_column)
        return err_set(err, STATUS_USAGE, "--group and --label contradict each other");
    struct options validating = *options; /* --rows are the corpus' */
    validating.rows = NULL;
    struct meter meter;
    struct device device = {0};
    struct corpus corpus = {0}, validation = {0};
    struct finetune finetune = {
        .options = options, .meter = &meter, .device = &device, .reuse = options->resume};
    enum precision precision;
    enum status status;
    meter_open(&meter, options->quiet);
    TRY_TO(status, settle_precision(&precision, options, err), release);
    TRY_TO(status, open_model_device(&device, options, precision, &meter, err), release);
    TRY_TO(status, read_corpus(&corpus, options->arguments[0], options, &meter, err), release);
    if (options->validation_file)
        TRY_TO(status, read_corpus(&validation, options->validation_file, &validating, &meter, err),
               release);
    if (!options->plan)
        TRY_TO(status, finetune_take_folder(&finetune, options->output, err), release);
    TRY_TO(status,
           finetune_run(&finetune, &corpus, options->validation_file ? &validation : NULL,
                        options->output, err),
           release);
    status = report(options, &finetune, &meter, err);
release:
    finetune_free(&finetune);
    meter_close(&meter);
    corpus_free(&validation);
    corpus_free(&corpus);
    device_close(&device);
    return status;
}

static const char *const option_names[] = {
    "#Model and output", "--model", "--precision", "--max-tokens", "--output",
    "--force",           "--plan",  "#Training",   "@training",    "--validation-file",
    "@corpus",           "--group", "--near",      "#The run",     "--seed",
    "@common",           NULL};

const struct command command_train = {
    .name = "train",
    .usage = "CORPUS --model MODEL --output FOLDER [options]",
    .summary = "fine-tune a model on a corpus: a LoRA adapter, in PEFT's form",
    .details =
        "With labels the model learns to tell them apart (classify); without, to find a text among "
        "others (contrastive) or to continue texts (next-token). A share of the texts is held out; "
        "the adapter with the lowest loss on them is kept. FOLDER/training.jsonl and loss.svg tell "
        "how it went. After an interruption the same command with --resume goes on to the same "
        "bytes, on a device of the same kind.",
    .options = option_names,
    .least_arguments = 1,
    .most_arguments = 1,
    .run = run,
};
