/* midashi classify: labels for texts, by a model that was fine-tuned on them. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/classifier.h"
#include "host/csv_field.h"
#include "loaders/npy.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/embed_corpus.h"
#include "tools/midashi/output.h"
#include "tools/midashi/system.h"

/* A confusion table is printed up to so many labels; of more, the commonest confusions. */
#define TABLE_LABELS       20
#define PRINTED_CONFUSIONS 20

struct job {
    const struct options *options;
    struct meter meter;
    struct device device;
    struct corpus corpus;
    enum precision precision;
    struct embedder embedder;
    struct embedding_counts counts;
    struct npy_writer all; /* --probabilities */
    int *label_of;         /* (corpus labels): the adapter's, -1: it does not know that one */
    int *predicted;        /* (n_rows); -1: blank */
    float *probability;    /* (n_rows) of the prediction */
    float *zeros;          /* (labels) */
    int64_t *confusion;    /* (labels, labels): true, predicted */
    int64_t n_scored, n_right;
    size_t n_unknown; /* rows with a label that the adapter does not know */
};

static const char *name_of(const struct job *job, int label)
{
    return job->embedder.adapter.labels[label];
}

/* ---- predicting ----------------------------------------------------------------------------- */

static enum status take_row(void *context, size_t row, const float *probabilities, struct err *err)
{
    struct job *job = context;
    int n_labels = job->embedder.adapter.n_labels, best = 0;
    if (job->options->probabilities)
        TRY(npy_writer_add(&job->all, probabilities ? probabilities : job->zeros, 1, err));
    job->predicted[row] = -1;
    if (!probabilities)
        return STATUS_OK;
    for (int label = 1; label < n_labels; label++)
        if (probabilities[label] > probabilities[best])
            best = label;
    job->predicted[row] = best;
    job->probability[row] = probabilities[best];
    int own = job->corpus.rows[row].label, truth = own >= 0 ? job->label_of[own] : -1;
    job->n_unknown += own >= 0 && truth < 0;
    if (truth < 0)
        return STATUS_OK;
    job->confusion[(size_t)truth * (size_t)n_labels + (size_t)best]++;
    job->n_scored++;
    job->n_right += truth == best;
    return STATUS_OK;
}

static enum status allocate(struct job *job, struct err *err)
{
    size_t n = job->corpus.n_rows, labels = (size_t)job->embedder.adapter.n_labels;
    job->predicted = mem_alloc(n, sizeof *job->predicted);
    job->probability = mem_alloc_zero(n, sizeof *job->probability);
    job->label_of = mem_alloc((size_t)job->corpus.n_labels, sizeof *job->label_of);
    job->confusion = mem_alloc_zero(labels * labels, sizeof *job->confusion);
    job->zeros = mem_alloc_zero(labels, sizeof *job->zeros);
    if (!job->predicted || !job->zeros || !job->probability || !job->label_of || !job->confusion)
        return err_no_memory(err, "the predictions", n * sizeof *job->predicted);
    corpus_match_labels(job->label_of, &job->corpus,
                        (const char *const *)job->embedder.adapter.labels,
                        job->embedder.adapter.n_labels);
    return STATUS_OK;
}

static enum status predict(struct job *job, struct err *err)
{
    const struct options *o = job->options;
    struct progress progress = meter_progress(&job->meter);
    TRY(embedder_open_texts(&job->embedder, o->model_path, "{text}", o->max_tokens, err));
    TRY(lora_adapter_load(&job->embedder.adapter, o->adapter, &job->embedder.config, err));
    if (!job->embedder.adapter.head)
        return err_set(err, STATUS_USAGE,
                       "%s: this adapter has no classification head; train one with `midashi train "
                       "--objective classify`",
                       o->adapter);
    TRY(allocate(job, err));
    note_adapter(o, job->precision, &job->meter);
    TRY(embedder_load(&job->embedder, &job->device, o->model_path, job->precision,
                      job->embedder.config.n_layers, o->batch_tokens, &progress, err));
    if (o->probabilities)
        TRY(npy_writer_open(&job->all, o->probabilities, NPY_F32, 2, (int64_t)job->corpus.n_rows,
                            job->embedder.adapter.n_labels, err));
    TRY(classifier_run(&job->embedder, &job->device, job->corpus.rows, job->corpus.n_rows, take_row,
                       job, &job->counts, &progress, err));
    return o->probabilities ? npy_writer_commit(&job->all, err) : STATUS_OK;
}

/* ---- what is printed ------------------------------------------------------------------------ */

static void print_name(const char *name)
{
    csv_write_field(stdout, name, strlen(name));
}

static void print_rows(const struct job *job)
{
    const struct corpus *corpus = &job->corpus;
    puts(corpus->n_labels > 0 ? "row,predicted,probability,label" : "row,predicted,probability");
    for (size_t i = 0; i < corpus->n_rows; i++) {
        printf("%zu,", corpus->rows_before + i + 1);
        if (job->predicted[i] >= 0) {
            print_name(name_of(job, job->predicted[i]));
            printf(",%.6f", (double)job->probability[i]);
        } else {
            putchar(',');
        }
        if (corpus->n_labels > 0) {
            putchar(',');
            if (corpus->rows[i].label >= 0)
                print_name(corpus->labels[corpus->rows[i].label]);
        }
        putchar('\n');
    }
}

struct confusion {
    int truth, predicted;
    int64_t count;
};

static int by_count(const void *a, const void *b)
{
    const struct confusion *one = a, *other = b;
    if (one->count != other->count)
        return one->count < other->count ? 1 : -1;
    return one->truth != other->truth ? one->truth - other->truth
                                      : one->predicted - other->predicted;
}

/* Rows are the true labels. */
static void note_table(struct job *job)
{
    int n = job->embedder.adapter.n_labels;
    for (int truth = 0; truth < n; truth++) {
        char line[TABLE_LABELS * sizeof "-9223372036854775808 "] = "";
        int length = 0;
        for (int predicted = 0; predicted < n; predicted++)
            length += snprintf(line + length, sizeof line - (size_t)length, "%7lld ",
                               (long long)job->confusion[truth * n + predicted]);
        meter_note(&job->meter, "%s %s", line, name_of(job, truth));
    }
}

static enum status note_confusions(struct job *job, struct err *err)
{
    size_t n = (size_t)job->embedder.adapter.n_labels, found = 0;
    struct confusion *all = mem_alloc(n * n, sizeof *all);
    if (!all)
        return err_no_memory(err, "the confusions", n * n * sizeof *all);
    for (size_t i = 0; i < n * n; i++)
        if (i / n != i % n && job->confusion[i] > 0)
            all[found++] = (struct confusion){(int)(i / n), (int)(i % n), job->confusion[i]};
    qsort(all, found, sizeof *all, by_count);
    for (size_t i = 0; i < found && i < PRINTED_CONFUSIONS; i++)
        meter_note(&job->meter, "%5lld  %s, taken for %s", (long long)all[i].count,
                   name_of(job, all[i].truth), name_of(job, all[i].predicted));
    mem_free(all);
    return STATUS_OK;
}

static enum status note_result(struct job *job, struct err *err)
{
    if (job->counts.truncated > 0)
        meter_note(&job->meter, "%zu text%s cut to %d tokens; raise --max-tokens to read more",
                   job->counts.truncated, job->counts.truncated == 1 ? " was" : "s were",
                   job->embedder.max_tokens);
    if (job->n_unknown > 0)
        meter_note(
            &job->meter,
            "%zu text%s a label that the adapter does not know, and %s left out of the accuracy",
            job->n_unknown, job->n_unknown == 1 ? " has" : "s have",
            job->n_unknown == 1 ? "is" : "are");
    if (job->n_scored == 0)
        return STATUS_OK;
    meter_note(&job->meter, "accuracy %.4f: %lld of %lld texts",
               (double)job->n_right / (double)job->n_scored, (long long)job->n_right,
               (long long)job->n_scored);
    if (job->embedder.adapter.n_labels > TABLE_LABELS) {
        meter_note(&job->meter, "the commonest confusions:");
        return note_confusions(job, err);
    }
    meter_note(&job->meter, "texts by label (rows) and prediction (columns, in the same order):");
    note_table(job);
    return STATUS_OK;
}

/* {accuracy, labels, confusion, predictions}; accuracy and confusion null without labels. NULL: no
 * memory. */
static json_t *result_json(const struct job *job)
{
    int n = job->embedder.adapter.n_labels;
    json_t *labels = json_array(), *confusion = json_array(), *predictions = json_array();
    bool good = labels && confusion && predictions;
    for (int i = 0; i < n && good; i++) {
        json_t *row = json_array();
        good = json_array_append_new(labels, json_string(name_of(job, i))) == 0;
        for (int j = 0; j < n && good; j++)
            good = json_array_append_new(row, json_integer(job->confusion[i * n + j])) == 0;
        good = json_array_append_new(confusion, row) == 0 && good;
    }
    for (size_t i = 0; i < job->corpus.n_rows && good; i++) {
        int label = job->predicted[i];
        json_t *one = json_pack(
            "{s:I, s:o, s:o}", "row", (json_int_t)(job->corpus.rows_before + i + 1), "predicted",
            label < 0 ? json_null() : json_string(name_of(job, label)), "probability",
            label < 0 ? json_null() : json_real((double)job->probability[i]));
        good = json_array_append_new(predictions, one) == 0;
    }
    bool scored = job->n_scored > 0;
    double accuracy = scored ? (double)job->n_right / (double)job->n_scored : 0;
    if (!scored) {
        json_decref(confusion);
        confusion = json_null();
    }
    json_t *root = json_pack("{s:o, s:I, s:o, s:o, s:o}", "accuracy",
                             scored ? json_real(accuracy) : json_null(), "texts",
                             (json_int_t)job->counts.texts, "labels", labels, "confusion",
                             confusion, "predictions", predictions);
    if (!good) {
        json_decref(root);
        return NULL;
    }
    return root;
}

/* ---- the command ---------------------------------------------------------------------------- */

/* Whether the model itself has a head for labels, as a merged classifier has. What is wrong with
 * its files is told by whoever loads it. */
static bool model_has_head(const char *path)
{
    struct model_config config;
    struct weights *weights;
    struct err ignored;
    bool head = false;
    if (model_config_read(&config, path, &ignored) == STATUS_OK &&
        weights_open(&weights, path, &config, &ignored) == STATUS_OK) {
        head = weights_find(weights, "score.weight") != NULL;
        weights_close(weights);
    }
    return head;
}

static enum status which_adapter(const struct options *o, struct err *err)
{
    if (model_has_head(o->model_path))
        return err_set(err, STATUS_USAGE,
                       "%s: a model with a head for labels, which classify does not read; give the "
                       "model that was merged, and its --adapter",
                       o->model);
    return err_set(err, STATUS_USAGE, "which adapter? give --adapter FOLDER, as train wrote it");
}

static enum status run_job(struct job *job, struct err *err)
{
    const struct options *o = job->options;
    if (!o->model)
        return err_set(err, STATUS_USAGE, "which model? give --model");
    if (!o->adapter)
        return which_adapter(o, err);
    if (o->probabilities)
        TRY(check_apart(o->probabilities, "--probabilities", o->arguments[0], err));
    TRY(settle_precision(&job->precision, o, err));
    TRY(open_model_device(&job->device, o, job->precision, &job->meter, err));
    TRY(read_corpus(&job->corpus, o->arguments[0], o, &job->meter, err));
    if (model_has_head(o->model_path))
        meter_note(
            &job->meter,
            "%s: a model with a head for labels of its own, as merge makes it; an adapter that "
            "was merged into it counts twice here",
            o->model);
    TRY(predict(job, err));
    if (o->json)
        return print_json(result_json(job), err);
    print_rows(job);
    return note_result(job, err);
}

static enum status run(const struct options *options, struct err *err)
{
    struct job job = {.options = options};
    meter_open(&job.meter, options->quiet);
    enum status status = run_job(&job, err);
    meter_close(&job.meter);
    npy_writer_discard(&job.all);
    mem_free(job.predicted);
    mem_free(job.probability);
    mem_free(job.zeros);
    mem_free(job.label_of);
    mem_free(job.confusion);
    embedder_close(&job.embedder);
    corpus_free(&job.corpus);
    device_close(&job.device);
    return status;
}

static const char *const option_names[] = {
    "#Model and output", "--model",         "--adapter", "--precision", "--max-tokens",
    "--batch-tokens",    "--probabilities", "@corpus",   "@common",     NULL};

const struct command command_classify = {
    .name = "classify",
    .usage = "CORPUS --model MODEL --adapter FOLDER [options]",
    .summary = "labels for texts, by an adapter that was trained on them",
    .details = "Prints CSV: row, predicted label, its probability, and the corpus' own label where "
               "it has one; then, on standard error, accuracy and confusions. --json: one object "
               "with all of that.",
    .options = option_names,
    .least_arguments = 1,
    .most_arguments = 1,
    .run = run,
};
