/* See finetune.h. */
#include "tools/midashi/finetune.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "host/embedding_key.h"
#include "loaders/json.h"
#include "loaders/siphash.h"
#include "tools/midashi/embed_corpus.h"

#define NEAR        5
#define HELD_OUT    4 /* times as many rows of a group are held out together */
#define TEMPERATURE 0.05
#define VALIDATION  0.1

static double temperature_of(const struct options *options)
{
    return options->temperature < 0 ? TEMPERATURE : options->temperature;
}

static double share_of(const struct options *options)
{
    return options->validation < 0 ? VALIDATION : options->validation;
}

/* The rate never comes down again. */
static bool warms_up_only(const struct options *options)
{
    return options->warm_up >= options->steps;
}

/* 0: no groups. */
static int near_of(const struct options *options)
{
    return !options->group_column ? 0 : options->near ? options->near : NEAR;
}

/* ---- settings ------------------------------------------------------------------------------- */

static enum status settle_objective(struct finetune *f, const struct corpus *corpus,
                                    struct err *err)
{
    const struct options *o = f->options;
    if (strcmp(o->objective, "auto") == 0)
        f->objective =
            corpus->n_labels > 0 && !o->group_column ? OBJECTIVE_CLASSIFY : OBJECTIVE_CONTRASTIVE;
    else if (!objective_parse(&f->objective, o->objective))
        return err_set(err, STATUS_USAGE,
                       "--objective %s: use auto, classify, next-token or contrastive",
                       o->objective);
    if (f->objective == OBJECTIVE_CLASSIFY && corpus->n_labels == 0)
        return err_set(err, STATUS_USAGE,
                       "the corpus has no labels; name their column with --label, or train with "
                       "--objective contrastive or next-token");
    if (f->objective == OBJECTIVE_CLASSIFY && corpus->n_labels == 1)
        return err_set(err, STATUS_USAGE,
                       "every text has the label %s; there is nothing to tell apart: use "
                       "--objective contrastive or next-token",
                       corpus->labels[0]);
    if (o->group_column && f->objective != OBJECTIVE_CONTRASTIVE)
        return err_set(err, STATUS_USAGE, "--group belongs to --objective contrastive");
    if (f->objective == OBJECTIVE_CONTRASTIVE && o->dropout == 0 && !o->group_column)
        return err_set(err, STATUS_USAGE,
                       "--dropout 0: contrastive training tells a text's two copies apart by "
                       "dropout alone; give some, or --group");
    return STATUS_OK;
}

static enum status settle_trainer(struct finetune *f, struct trainer_settings *settings,
                                  struct err *err)
{
    const struct options *o = f->options;
    bool contrastive = f->objective == OBJECTIVE_CONTRASTIVE;
    *settings = (struct trainer_settings){
        .objective = f->objective,
        .temperature = (float)temperature_of(o),
        .near = near_of(o),
        .steps = o->steps,
        .batch = o->batch      ? o->batch
                 : contrastive ? 16
                               : 4,
        .accumulate = o->accumulate ? o->accumulate
                      : contrastive ? 1
                                    : 4,
        .learning_rate = o->learning_rate,
        .weight_decay = o->weight_decay,
        .clip = o->clip,
        .warm_up = o->warm_up,
        .dropout = o->dropout,
        .seed = o->seed,
    };
    if (!schedule_parse(&settings->schedule, o->schedule))
        return err_set(err, STATUS_USAGE, "--schedule %s: use linear, cosine or constant",
                       o->schedule);
    if (o->dropout >= 1)
        return err_set(err, STATUS_USAGE, "--dropout %g: give a share below 1", o->dropout);
    if (o->validation >= 0 && o->validation_file)
        return err_set(err, STATUS_USAGE,
                       "--validation and --validation-file contradict each other; give one");
    if (o->near > 0 && !o->group_column)
        return err_set(err, STATUS_USAGE, "--near counts rows of a group; give --group too");
    if (o->temperature >= 0 && !contrastive)
        return err_set(err, STATUS_USAGE, "--temperature belongs to --objective contrastive");
    if (o->validation >= 1)
        return err_set(err, STATUS_USAGE, "--validation %g: give a share below 1", o->validation);
    if (o->temperature == 0)
        return err_set(err, STATUS_USAGE, "--temperature 0: give a number above 0");
    if (contrastive && settings->batch < 2)
        return err_set(err, STATUS_USAGE,
                       "--batch 1: contrastive training compares the texts of a batch; give more");
    if ((int64_t)settings->batch * settings->accumulate > 1 << 20)
        return err_set(err, STATUS_USAGE, "--batch %d --accumulate %d: more than %d texts a step",
                       settings->batch, settings->accumulate, 1 << 20);
    return STATUS_OK;
}

/* ---- texts ---------------------------------------------------------------------------------- */

/* The validation corpus' labels, by name, in the numbers of the first one's. */
static enum status match_labels(struct finetune *f, const struct corpus *corpus,
                                const struct corpus *validation, int first, struct err *err)
{
    int *match = mem_alloc((size_t)validation->n_labels, sizeof *match);
    enum status status = STATUS_OK;
    if (!match)
        return err_no_memory(err, "the labels", (size_t)validation->n_labels * sizeof *match);
    corpus_match_labels(match, validation, corpus->labels, corpus->n_labels);
    for (int i = first; i < f->data.n_texts && status == STATUS_OK; i++) {
        struct train_text *text = &f->data.texts[i];
        int label = text->label;
        text->label = label >= 0 ? match[label] : -1;
        if (label >= 0 && text->label < 0)
            status = err_set(err, STATUS_BAD_DATA,
                             "--validation-file: row %zu: the label %s does not occur in training; "
                             "leave such texts out",
                             text->row + 1, validation->labels[label]);
    }
    mem_free(match);
    return status;
}

/* How many of the texts at n places bear each label; fresh memory, NULL where there is none. places
 * NULL: the first n texts. Texts without a label are not counted. */
static int *count_labels(const struct train_data *data, const int *places, int n, int n_labels)
{
    int *count = mem_alloc_zero((size_t)n_labels, sizeof *count);
    for (int i = 0; count && i < n; i++) {
        int label = data->texts[places ? places[i] : i].label;
        if (label >= 0)
            count[label]++;
    }
    return count;
}

static void note_texts(const struct finetune *f, const struct corpus *corpus)
{
    const struct train_data *data = &f->data;
    if (data->n_unlabelled > 0)
        meter_note(f->meter, "%zu text%s without a label and left out", data->n_unlabelled,
                   data->n_unlabelled == 1 ? " is" : "s are");
    if (data->n_truncated > 0)
        meter_note(f->meter, "%zu text%s cut to %d tokens; raise --max-tokens to read more",
                   data->n_truncated, data->n_truncated == 1 ? " was" : "s were",
                   f->embedder.max_tokens);
    if (f->objective == OBJECTIVE_CLASSIFY)
        meter_note(f->meter, "objective: classify, %d labels", corpus->n_labels);
    else
        meter_note(f->meter, "objective: %s", objective_name(f->objective));
    if (warms_up_only(f->options))
        meter_note(
            f->meter,
            "--warm-up %d: the rate is still rising when the run ends at step %d; shorten it",
            f->options->warm_up, f->options->steps);
    meter_note(f->meter, "%d text%s to train on, %d held out for validation", data->n_training,
               data->n_training == 1 ? "" : "s", data->n_validation);
    if (data->n_validation == 0 && f->options->patience > 0)
        meter_note(f->meter, "--patience: no text is held out, so nothing stops the run early");
    if (f->objective != OBJECTIVE_CLASSIFY)
        return;
    int single = 0, *texts = count_labels(data, NULL, data->n_texts, corpus->n_labels);
    for (int label = 0; texts && label < corpus->n_labels; label++)
        single += texts[label] == 1;
    mem_free(texts);
    if (single > 0)
        meter_note(f->meter, "%d label%s one text only: trained on, never validated", single,
                   single == 1 ? " has" : "s have");
}

/* What is held out must have a loss that tells one adapter from another. */
static enum status check_validation(const struct finetune *f, bool from_file, struct err *err)
{
    const struct train_data *data = &f->data;
    bool pairs = false;
    for (int i = 0; i < data->n_validation; i++)
        pairs = pairs || data->texts[data->validation[i]].n_tokens > 1;
    if (from_file && data->n_validation == 0)
        return err_set(err, STATUS_USAGE,
                       "--validation-file %s: no text of it can be used%s; give another, or leave "
                       "it out",
                       f->options->validation_file,
                       f->objective == OBJECTIVE_CLASSIFY ? ", which needs labels" : "");
    if (f->objective == OBJECTIVE_CONTRASTIVE && data->n_validation == 1)
        return err_set(err, STATUS_USAGE,
                       "one text is held out, which leaves nothing to find it among; raise "
                       "--validation, or give --validation 0");
    if (f->objective == OBJECTIVE_NEXT_TOKEN && data->n_validation > 0 && !pairs)
        return err_set(err, STATUS_USAGE,
                       "no text that is held out has two tokens; raise --validation, or give "
                       "--validation 0");
    return STATUS_OK;
}

/* Fewer texts than this cannot be told apart, or give no loss. */
static enum status check_texts(const struct finetune *f, const struct corpus *corpus,
                               struct err *err)
{
    const struct train_data *data = &f->data;
    int first = data->n_training > 0 ? data->texts[data->training[0]].label : -1;
    bool alike = true, pairs = false;
    for (int i = 0; i < data->n_training; i++) {
        alike = alike && data->texts[data->training[i]].label == first;
        pairs = pairs || data->texts[data->training[i]].n_tokens > 1;
    }
    if (data->n_training < 2)
        return err_set(err, STATUS_USAGE, "%d text%s to train on; at least two are needed",
                       data->n_training, data->n_training == 1 ? "" : "s");
    if (f->objective == OBJECTIVE_CLASSIFY && alike)
        return err_set(err, STATUS_USAGE,
                       "all texts to train on have one label; there is nothing to tell apart");
    if (f->objective == OBJECTIVE_NEXT_TOKEN && !pairs)
        return err_set(err, STATUS_USAGE, "no text has two tokens; there is nothing to predict");
    size_t left = corpus->n_rows - corpus->n_blank - (size_t)data->n_validation;
    if ((size_t)f->n_topics > left)
        return err_set(err, STATUS_USAGE,
                       "--topics %d: %zu text%s left when %d %s held out; ask for fewer topics",
                       f->n_topics, left, left == 1 ? " is" : "s are", data->n_validation,
                       data->n_validation == 1 ? "is" : "are");
    return STATUS_OK;
}

/* Where near rows are positives, a text's near ones are held out with it: else it would have none
 * to be found by, and training would have seen them. */
static enum status split(struct finetune *f, const struct corpus *corpus, struct err *err)
{
    const struct options *o = f->options;
    int64_t run = HELD_OUT * (int64_t)near_of(o);
    if (o->group_column)
        return train_data_split_runs(&f->data, corpus->n_labels, run < INT_MAX ? (int)run : INT_MAX,
                                     share_of(o), o->seed, err);
    return train_data_split(&f->data, corpus->n_labels, share_of(o), o->seed, err);
}

static enum status read_texts(struct finetune *f, const struct corpus *corpus,
                              const struct corpus *validation, struct err *err)
{
    const struct options *o = f->options;
    struct progress progress = meter_progress(f->meter);
    bool labelled = f->objective == OBJECTIVE_CLASSIFY;
    TRY(train_data_add(&f->data, &f->embedder, corpus, labelled, &progress, err));
    if (validation) {
        int first = f->data.n_texts;
        TRY(train_data_add(&f->data, &f->embedder, validation, labelled, &progress, err));
        if (labelled)
            TRY(match_labels(f, corpus, validation, first, err));
        TRY(train_data_split_at(&f->data, first, o->seed, err));
    } else {
        TRY(split(f, corpus, err));
        f->held_out = mem_alloc_zero(corpus->n_rows, sizeof *f->held_out);
        if (!f->held_out)
            return err_no_memory(err, "the split", corpus->n_rows);
        f->n_rows = corpus->n_rows;
        for (int i = 0; i < f->data.n_validation; i++)
            f->held_out[f->data.texts[f->data.validation[i]].row] = true;
    }
    f->n_training = f->data.n_training;
    f->n_validation = f->data.n_validation;
    note_texts(f, corpus);
    TRY(check_texts(f, corpus, err));
    return check_validation(f, validation != NULL, err);
}

/* ---- what the run depends on ---------------------------------------------------------------- */

static void hash_corpus(struct siphash *hash, const struct corpus *corpus)
{
    siphash_add(hash, corpus->hash, sizeof corpus->hash);
    for (size_t i = 0; i < corpus->n_rows; i++) {
        const char *label = corpus->rows[i].label >= 0 ? corpus->labels[corpus->rows[i].label] : "";
        siphash_add(hash, label, strlen(label) + 1);
    }
}

/* All but how many texts are held out, which is known later. */
static enum status make_record(struct finetune *f, const struct trainer_settings *s,
                               enum precision precision, const struct corpus *corpus,
                               const struct corpus *validation, struct err *err)
{
    static const unsigned char key[16] = "midashi-corpus-1";
    const struct options *o = f->options;
    struct siphash hash;
    char texts[33], model[33], kernels[DEVICE_KERNELS_SIZE];
    siphash_start(&hash, key);
    hash_corpus(&hash, corpus);
    if (validation)
        hash_corpus(&hash, validation);
    siphash_finish_digits(&hash, texts);
    device_kernels(f->device, kernels);
    TRY(embedding_model_identity(model, o->model_path, err));
    f->record = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:s, s:i, s:i, s:f, s:b, "
        "s:f, s:i, s:I, s:i, s:f, s:i, s:i}",
        "corpus", texts, "model", model, "kernels", kernels, "precision", precision_name(precision),
        "objective", objective_name(s->objective), "steps", s->steps, "batch", s->batch,
        "accumulate", s->accumulate, "learning_rate", s->learning_rate, "weight_decay",
        s->weight_decay, "clip", s->clip, "dropout", s->dropout, "schedule",
        schedule_name(s->schedule), "warm_up", s->warm_up, "rank", o->rank, "alpha", o->alpha,
        "rslora", o->rslora, "temperature", temperature_of(o), "near", s->near, "seed",
        (json_int_t)s->seed, "max_tokens", f->embedder.max_tokens, "validation",
        validation ? -1 : share_of(o), "evaluate_every", o->evaluate_every, "patience",
        o->patience);
    return f->record ? STATUS_OK : err_no_memory(err, "training.json", 0);
}

static enum status complete_record(struct finetune *f, struct err *err)
{
    return json_object_set_new(f->record, "validation_texts", json_integer(f->n_validation)) == 0
               ? STATUS_OK
               : err_no_memory(err, "training.json", 0);
}

/* ---- progress ------------------------------------------------------------------------------- */

/* What is shown are running means: a step's own numbers jump about. What one wants to see first
 * comes first, and all of it has room in 79 columns up to 100,000 steps. */
static void stepped(void *context, int64_t step, const struct trainer_report *report,
                    double mean_loss, double seconds)
{
    struct finetune *f = context;
    int64_t total = f->trainer.settings.steps, here = step - f->outcome.resumed_from;
    double weight = here < 20 ? 1.0 / (double)here : 0.05;
    char accuracy[32] = "", left[32];
    f->seconds_mean += weight * (seconds - f->seconds_mean);
    f->tokens_mean += weight * ((double)report->tokens - f->tokens_mean);
    if (isfinite(report->accuracy)) {
        f->accuracy_mean += weight * (report->accuracy - f->accuracy_mean);
        snprintf(accuracy, sizeof accuracy, ", accuracy %.2f", f->accuracy_mean);
    }
    format_duration(left, sizeof left, f->seconds_mean * (double)(total - step));
    meter_status(f->meter, "step %lld of %lld, %s left, loss %.4f%s, %.0f tokens/s",
                 (long long)step, (long long)total, left, mean_loss, accuracy,
                 f->tokens_mean / f->seconds_mean);
}

static void evaluated(void *context, int64_t step, const struct trainer_report *report,
                      double mean_loss, bool best)
{
    struct finetune *f = context;
    char accuracy[48] = "", training[48] = "";
    if (isfinite(report->accuracy))
        snprintf(accuracy, sizeof accuracy, ", accuracy %.3f", report->accuracy);
    if (isfinite(mean_loss))
        snprintf(training, sizeof training, "training loss %.4f; ", mean_loss);
    meter_note(f->meter, "step %lld: %svalidation loss %.4f%s%s", (long long)step, training,
               report->loss, accuracy, best ? ", the best so far" : "");
}

static void resumed(void *context, int64_t step)
{
    const struct finetune *f = context;
    meter_note(f->meter, "train: goes on from step %lld of %d", (long long)step,
               f->trainer.settings.steps);
}

/* ---- all of it ------------------------------------------------------------------------------ */

enum status finetune_take_folder(struct finetune *f, const char *folder, struct err *err)
{
    const struct options *o = f->options;
    TRY(output_folder_open(&f->folder, folder, o->force ? NULL : train_run_files, err));
    if (o->force)
        return STATUS_OK;
    enum train_leftover left = train_run_leftover(folder);
    if (o->resume || left == TRAIN_NOTHING || (left == TRAIN_FINISHED && f->reuse))
        return STATUS_OK;
    if (left == TRAIN_FINISHED)
        return err_set(err, STATUS_USAGE,
                       "%s: holds a finished run; give another --output, or --force to train anew",
                       folder);
    return err_set(err, STATUS_USAGE,
                   "%s: holds %s; go on with --resume, give another --output, or --force to begin "
                   "anew",
                   folder, left == TRAIN_CHECKPOINT ? "an unfinished run" : "an adapter");
}

/* What is there must be this run's, before anything is read that takes long. */
static enum status check_leftover(const struct finetune *f, const char *folder, struct err *err)
{
    const struct options *o = f->options;
    enum train_leftover left = train_run_leftover(folder);
    if (left == TRAIN_CHECKPOINT && o->resume)
        return train_run_compare(folder, left, f->record, err);
    return left == TRAIN_FINISHED && !o->force ? train_run_compare(folder, left, f->record, err)
                                               : STATUS_OK;
}

static enum status create_adapter(struct finetune *f, const struct corpus *corpus, struct err *err)
{
    const struct options *o = f->options;
    bool classify = f->objective == OBJECTIVE_CLASSIFY;
    return lora_adapter_create(&f->adapter, &f->embedder.config,
                               &(struct lora_settings){
                                   .rank = o->rank,
                                   .alpha = o->alpha,
                                   .dropout = o->dropout,
                                   .rslora = o->rslora,
                                   .n_labels = classify ? corpus->n_labels : 0,
                                   .labels = classify ? corpus->labels : NULL,
                                   .task = classify ? ADAPTER_CLASSIFIES
                                           : f->objective == OBJECTIVE_NEXT_TOKEN
                                               ? ADAPTER_CONTINUES
                                               : ADAPTER_EMBEDS,
                                   .base_model = o->model,
                               },
                               o->seed, err);
}

/* What docs/quality.md found best for a model of 135 M parameters. */
#define SMALL_MODEL_RATE 5e-4

/* An adapter that guesses makes topics worse, not better. True: this one does. */
static bool note_guessing(const struct finetune *f)
{
    const struct train_data *data = &f->data;
    int commonest = 0;
    if (f->objective != OBJECTIVE_CLASSIFY || data->n_validation == 0)
        return false;
    int *texts = count_labels(data, data->validation, data->n_validation, f->adapter.n_labels);
    for (int label = 0; texts && label < f->adapter.n_labels; label++)
        commonest = texts[label] > commonest ? texts[label] : commonest;
    mem_free(texts);
    double guess = (double)commonest / data->n_validation;
    const char *advice = warms_up_only(f->options) ? "a shorter --warm-up"
                         : f->options->learning_rate < SMALL_MODEL_RATE
                             ? "--learning-rate 5e-4 for a small model, or more --steps"
                             : "more --steps, or another --learning-rate";
    if (f->outcome.best_accuracy >= guess + 0.1 * (1 - guess))
        return false;
    meter_note(f->meter, "it has hardly learnt: accuracy %.2f, where guessing gives %.2f; try %s",
               f->outcome.best_accuracy, guess, advice);
    return true;
}

static void note_fall(const struct finetune *f)
{
    const struct loss_fall *fall = &f->outcome.fall;
    long long since = (long long)fall->since, step = (long long)fall->step, n = step - since;
    const char *advice = f->options->learning_rate < SMALL_MODEL_RATE
                             ? "more --steps, or --learning-rate 5e-4 for a small model,"
                             : "more --steps or a higher --learning-rate";
    if (!fall->falling)
        return;
    if (fall->validation)
        meter_note(f->meter,
                   "the validation loss was still falling at the end, from %.4f at step %lld to "
                   "%.4f at %lld; %s may help",
                   fall->before, since, fall->last, step, advice);
    else
        meter_note(f->meter,
                   "the training loss was still falling at the end, from %.4f in steps %lld to "
                   "%lld to %.4f in the last %lld; %s may help",
                   fall->before, since - n + 1, since, fall->last, n, advice);
}

/* A finished run with the same record has left its adapter: training again would give the same
 * bytes. */
static bool is_done(struct finetune *f, const char *folder)
{
    return f->reuse && train_run_is_done(folder, f->record, &f->outcome);
}

/* What the model says of a lack of memory is for who embeds: --batch-tokens is not training's. */
static void advise(struct err *err)
{
    char text[sizeof err->text], *advice = strrchr(err->text, ';');
    if (!advice || !strstr(advice, "--batch-tokens"))
        return;
    *advice = '\0';
    strcpy(text, err->text);
    err_set(err, STATUS_RESOURCE, "%s; lower --batch, --max-tokens or --rank", text);
}

static enum status train(struct finetune *f, const struct trainer_settings *settings,
                         enum precision precision, const char *folder, struct err *err)
{
    const struct options *o = f->options;
    struct progress progress = meter_progress(f->meter);
    enum status status =
        embedder_load(&f->embedder, f->device, o->model_path, precision,
                      f->embedder.config.n_layers, f->plan.pass_tokens, &progress, err);
    if (status == STATUS_RESOURCE)
        advise(err);
    TRY(status);
    TRY(trainer_open(&f->trainer, f->device, &f->embedder, &f->adapter, &f->data, &f->plan,
                     settings, err));
    const struct train_run_settings run = {
        .folder = folder,
        .evaluate_every = o->evaluate_every,
        .patience = o->patience,
        .checkpoint_every = o->checkpoint_every,
        .resume = o->resume,
        .record = f->record,
    };
    const struct train_watcher watcher = {f, stepped, evaluated, resumed};
    TRY(train_run(&f->trainer, &run, &watcher, &f->outcome, err));
    return weights_check(f->embedder.weights, err);
}

enum status finetune_run(struct finetune *f, const struct corpus *corpus,
                         const struct corpus *validation, const char *folder, struct err *err)
{
    const struct options *o = f->options;
    struct trainer_settings settings;
    enum precision precision;
    f->outcome = (struct train_outcome){
        .best_loss = NAN, .best_accuracy = NAN, .last_loss = NAN}; /* with --plan it stays so */
    TRY(settle_precision(&precision, o, err));
    TRY(llama_check_precision(f->device, precision, err));
    TRY(settle_objective(f, corpus, err));
    TRY(settle_trainer(f, &settings, err));
    TRY(embedder_open_texts(&f->embedder, o->model_path, "{text}", o->max_tokens, err));
    TRY(make_record(f, &settings, precision, corpus, validation, err));
    if (!o->plan)
        TRY(check_leftover(f, folder, err));
    TRY(read_texts(f, corpus, validation, err));
    TRY(complete_record(f, err));
    TRY(create_adapter(f, corpus, err));
    TRY(finetune_plan(f, &settings, precision, err));
    if (o->plan)
        return STATUS_OK;
    if (is_done(f, folder)) {
        f->reused = true;
        meter_note(f->meter, "%s: trained on the same texts with the same settings; used again",
                   folder);
        return STATUS_OK;
    }
    enum train_leftover left = train_run_leftover(folder);
    if (left == TRAIN_FINISHED && !o->force) /* whose record has other members than this one's */
        return err_set(err, STATUS_USAGE,
                       "%s: holds a finished run of another version of midashi; give another "
                       "--output, or --force to train anew",
                       folder);
    if (o->resume && left != TRAIN_CHECKPOINT)
        meter_note(f->meter, "%s: no checkpoint; training from the start", folder);
    enum status status = train(f, &settings, precision, folder, err);
    if (status == STATUS_OK && !note_guessing(f))
        note_fall(f);
    trainer_close(&f->trainer); /* embedding wants the memory */
    embedder_close(&f->embedder);
    return status;
}

json_t *finetune_json(const struct finetune *f)
{
    const struct train_outcome *o = &f->outcome;
    const struct train_plan *p = &f->plan;
    return json_pack(
        "{s:s, s:O, s:i, s:i, s:b, s:I, s:I, s:I, s:b, s:o, s:o, s:o, s:f, s:I, "
        "s:{s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:i}}",
        "objective", objective_name(f->objective), "settings", f->record, "training_texts",
        f->n_training, "validation_texts", f->n_validation, "reused", f->reused, "steps",
        (json_int_t)o->steps, "resumed_from", (json_int_t)o->resumed_from, "best_step",
        (json_int_t)o->best_step, "stopped_early", o->stopped_early, "validation_loss",
        json_number_or_null(o->best_loss), "validation_accuracy",
        json_number_or_null(o->best_accuracy), "training_loss", json_number_or_null(o->last_loss),
        "seconds", o->seconds, "tokens", (json_int_t)o->tokens, "memory", "total",
        (json_int_t)p->total, "model", (json_int_t)p->weights, "adapter", (json_int_t)p->adapter,
        "kept", (json_int_t)p->kept, "buffers", (json_int_t)p->shared, "losses",
        (json_int_t)p->losses, "kept_layers", p->kept_layers, "layers", p->n_layers, "pass_tokens",
        p->pass_tokens);
}

void finetune_free(struct finetune *finetune)
{
    trainer_close(&finetune->trainer);
    embedder_close(&finetune->embedder);
    lora_adapter_free(&finetune->adapter);
    train_data_free(&finetune->data);
    json_decref(finetune->record);
    mem_free(finetune->held_out);
    output_folder_close(&finetune->folder);
    *finetune = (struct finetune){0};
}
