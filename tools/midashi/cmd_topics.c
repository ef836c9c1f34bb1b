/* midashi topics: corpus in, named topics out. The main job. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "host/base/cuda_device.h"
#include "host/embedding_key.h"
#include "host/embedding_parts.h"
#include "host/output_folder.h"
#include "host/topics.h"
#include "host/topics_files.h"
#include "loaders/words.h"
#include "tools/midashi/cluster_notes.h"
#include "tools/midashi/columns.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/embed_corpus.h"
#include "tools/midashi/finetune.h"
#include "tools/midashi/output.h"
#include "tools/midashi/system.h"

/* Everything that one run holds. */
struct job {
    const struct options *options;
    struct options with_adapter; /* --finetune: the same, with the adapter that was made */
    struct finetune finetune;
    char folder[PATH_MAX], embeddings_path[PATH_MAX + 32], record_path[PATH_MAX + 32];
    char adapter_folder[PATH_MAX + 32];
    struct output_folder output;
    struct meter meter;
    struct device device;
    struct embedding_plan plan;
    struct topics_settings settings;
    struct corpus corpus;
    struct embedding_counts counts;
    bool reused;
    float *embeddings; /* (n_rows, width) */
    int width;
    struct topics topics;
    struct {
        double read, finetune, embed, topics;
    } seconds;
};

/* ---- settings ------------------------------------------------------------------------------- */

/* CORPUS.topics, beside the corpus; what is no place for a folder, as standard input and bash's
 * <(...), which is a file in /dev/fd, gets stdin.topics in the current folder. */
static enum status default_folder(struct job *job, const char *corpus, struct err *err)
{
    size_t length = strlen(corpus);
    while (length > 1 && corpus[length - 1] == '/')
        length--;
    bool nameless = strcmp(corpus, "-") == 0 || strncmp(corpus, "/dev/", 5) == 0 ||
                    strncmp(corpus, "/proc/", 6) == 0;
    const char *last = corpus + length;
    while (last > corpus && last[-1] != '/')
        last--;
    size_t n_last = (size_t)(corpus + length - last);
    if (n_last == 0 || (n_last <= 2 && strncmp(last, "..", n_last) == 0))
        return err_set(err, STATUS_USAGE, "%s: a folder that its path does not name; give --output",
                       corpus);
    if (length > sizeof job->folder - sizeof ".topics")
        return err_set(err, STATUS_USAGE, "%s: the path is too long; give --output", corpus);
    snprintf(job->folder, sizeof job->folder, "%.*s.topics", nameless ? 5 : (int)length,
             nameless ? "stdin" : corpus);
    return STATUS_OK;
}

static enum status settle_folder(struct job *job, struct err *err)
{
    const char *output = job->options->output;
    if (!output) {
        TRY(default_folder(job, job->options->arguments[0], err));
    } else {
        size_t length = strlen(output);
        while (length > 1 && output[length - 1] == '/')
            length--;
        if (length >= sizeof job->folder)
            return err_set(err, STATUS_USAGE, "--output: the path is too long");
        memcpy(job->folder, output, length);
        job->folder[length] = '\0';
    }
    snprintf(job->embeddings_path, sizeof job->embeddings_path, "%s/embeddings.npy", job->folder);
    snprintf(job->record_path, sizeof job->record_path, "%s/model/embeddings.json", job->folder);
    snprintf(job->adapter_folder, sizeof job->adapter_folder, "%s/adapter", job->folder);
    return STATUS_OK;
}

/* Before the embedding, which can take an hour. */
static enum status check_language(const char *language, struct err *err)
{
    struct words *words;
    TRY(words_open(&words, &(struct words_settings){.language = language}, err));
    words_close(words);
    return STATUS_OK;
}

static enum status show_iteration(void *context, const struct kmeans_state *state, struct err *err)
{
    struct job *job = context;
    (void)err;
    kmeans_status(&job->meter, state, job->options->restarts);
    return STATUS_OK;
}

/* All that can be settled before anything is computed; the representation is not, see plan. */
static enum status settle(struct job *job, struct err *err)
{
    const struct options *o = job->options;
    int64_t min_df = o->as_report ? 10 : 0;
    if (strcmp(o->min_df, "auto") != 0 && !parse_whole(o->min_df, 1, INT_MAX, &min_df))
        return err_set(err, STATUS_USAGE, "--min-df %s: use auto or a whole number from 1 on",
                       o->min_df);
    if (o->language)
        TRY(check_language(o->language, err));
    if (o->training_option && !o->finetune)
        return err_set(
            err, STATUS_USAGE, "%s does nothing without --finetune%s", o->training_option,
            strcmp(o->training_option, "--memory") == 0 ? "; midashi cluster has it for clustering"
                                                        : "");
    if (o->finetune && (!o->model || o->adapter || o->n_embeddings > 0))
        return err_set(err, STATUS_USAGE,
                       "--finetune makes an adapter of --model and embeds with it; leave --adapter "
                       "and --embeddings out, and give --model");
    job->settings = (struct topics_settings){
        .kmeans = options_kmeans(o),
        .n_words = o->n_words,
        .min_df = (int)min_df,
        .language = o->language,
        .keep_single = o->keep_single,
        .token_pattern = o->as_report,
        .any_words = o->as_report,
    };
    job->settings.kmeans.progress = show_iteration;
    job->settings.kmeans.progress_context = job;
    return settle_folder(job, err);
}

/* How texts become vectors, with the adapter, if there is one by now. */
static enum status plan(struct job *job, struct err *err)
{
    const struct options *o = job->options;
    TRY(o->n_embeddings > 0 && !o->model ? plan_given(&job->plan, o, err)
                                         : plan_embedding(&job->plan, o, err));
    job->settings.normalise = job->plan.representation.normalise;
    job->settings.remove_components = job->plan.representation.remove_components;
    return STATUS_OK;
}

/* ---- fine-tuning ---------------------------------------------------------------------------- */

static enum status finetune(struct job *job, struct err *err)
{
    double start = seconds_now();
    job->finetune = (struct finetune){
        .options = job->options,
        .meter = &job->meter,
        .device = &job->device,
        .reuse = true,
        .n_topics = job->options->topics == COUNT_AUTO ? 1 : job->options->topics,
    };
    TRY(finetune_take_folder(&job->finetune, job->adapter_folder, err));
    TRY(finetune_run(&job->finetune, &job->corpus, NULL, job->adapter_folder, err));
    job->with_adapter = *job->options;
    job->with_adapter.adapter = job->adapter_folder;
    job->options = &job->with_adapter;
    job->settings.held_out = job->finetune.n_validation > 0 ? job->finetune.held_out : NULL;
    job->seconds.finetune = seconds_now() - start;
    return STATUS_OK;
}

/* ---- embeddings ----------------------------------------------------------------------------- */

/* Reads embeddings.npy, which is there now. */
static enum status load_embeddings(struct job *job, struct err *err)
{
    struct npy npy;
    TRY(npy_open(&npy, job->embeddings_path, err));
    size_t n = (size_t)npy.rows * (size_t)npy.columns;
    enum status status = STATUS_OK;
    job->width = (int)npy.columns;
    if ((size_t)npy.rows != job->corpus.n_rows || npy.type == NPY_I32)
        status = err_set(err, STATUS_BAD_DATA, "%s: not the embeddings of this corpus; delete it",
                         job->embeddings_path);
    else if (!(job->embeddings = mem_alloc(n, sizeof *job->embeddings)))
        status = err_no_memory(err, "the embeddings", n * sizeof *job->embeddings);
    else
        status = npy_read_rows(&npy, 0, npy.rows, job->embeddings, err);
    npy_close(&npy);
    return status;
}

/* Rows are zeros where a text is blank, and nowhere else. */
static enum status check_blank_rows(const struct job *job, struct err *err)
{
    const struct corpus *corpus = &job->corpus;
    size_t width = (size_t)job->width;
    for (size_t i = 0; i < corpus->n_rows; i++) {
        bool zero = true;
        for (size_t j = 0; zero && j < width; j++)
            zero = job->embeddings[i * width + j] == 0;
        if (zero != corpus->rows[i].blank)
            return err_set(err, STATUS_BAD_DATA,
                           "%s: row %zu is %s, but text %zu of the corpus is %s; these are not its "
                           "embeddings",
                           job->options->embeddings[0], i + 1, zero ? "zero" : "not zero",
                           corpus->rows_before + i + 1, zero ? "not blank" : "blank");
    }
    return STATUS_OK;
}

/* The vectors that --embeddings names: as many as texts. They are
 * kept in the folder like those that were made here. */
static enum status take_embeddings(struct job *job, struct err *err)
{
    const struct options *o = job->options;
    const struct corpus *corpus = &job->corpus;
    struct embedding_parts parts;
    TRY(embedding_parts_measure(&parts, o->embeddings, o->n_embeddings, err));
    note_order(&job->meter, o->embeddings, o->n_embeddings);
    if (parts.n_rows != corpus->n_rows)
        return err_set(
            err, STATUS_BAD_DATA,
            "%s: %d file%s with %zu rows in all, but the corpus has %zu; give every part, "
            "in order",
            o->embeddings[0], parts.n, parts.n == 1 ? "" : "s", parts.n_rows, corpus->n_rows);
    if (job->plan.width > 0 && parts.width != job->plan.width)
        return err_set(
            err, STATUS_BAD_DATA,
            "%s: rows of %d numbers, but those of --model have %d; leave --model out, or "
            "name the one that made them",
            o->embeddings[0], parts.width, job->plan.width);
    job->width = parts.width;
    size_t width = (size_t)parts.width, n = parts.n_rows * width;
    if (!(job->embeddings = mem_alloc(n, sizeof *job->embeddings)))
        return err_no_memory(err, "the embeddings", n * sizeof *job->embeddings);
    TRY(embedding_parts_read(&parts, job->embeddings, err));
    TRY(check_blank_rows(job, err));
    job->counts.blank = corpus->n_blank;
    job->counts.texts = corpus->n_rows - corpus->n_blank;
    TRY(npy_write(job->embeddings_path, NPY_F32, 2, (int64_t)corpus->n_rows, parts.width,
                  job->embeddings, err));
    return embedding_key_write(job->record_path, job->embeddings_path, "given by --embeddings",
                               &job->counts, err);
}

static enum status embed(struct job *job, struct err *err)
{
    char key[1024];
    double start = seconds_now();
    if (job->options->n_embeddings > 0) {
        TRY(take_embeddings(job, err));
        job->seconds.embed = seconds_now() - start;
        return STATUS_OK;
    }
    TRY(embedding_key(key, sizeof key, &job->device, job->options->model_path, &job->plan.settings,
                      &job->plan.representation, &job->corpus, err));
    job->reused = embedding_key_matches(job->record_path, job->embeddings_path, key, &job->counts);
    if (job->reused) {
        meter_note(&job->meter, "%s: made from the same texts, model and settings; used again",
                   job->embeddings_path);
    } else {
        TRY(embed_to_file(&job->plan, job->options, &job->device, &job->corpus,
                          job->embeddings_path, &job->counts, NULL, &job->meter, err));
        TRY(embedding_key_write(job->record_path, job->embeddings_path, key, &job->counts, err));
    }
    TRY(load_embeddings(job, err));
    job->seconds.embed = seconds_now() - start;
    return STATUS_OK;
}

/* ---- what is written ------------------------------------------------------------------------ */

static json_t *representation_json(const struct job *job)
{
    const struct representation *r = &job->plan.representation;
    const char *adapter = job->options->adapter;
    if (!job->options->model) /* --embeddings of an origin that was not told */
        return json_pack("{s:n, s:s, s:i, s:i}", "model", "normalise", normalise_name(r->normalise),
                         "remove_components", job->topics.transform.n_removed, "width", job->width);
    return json_pack("{s:s, s:s, s:o, s:s, s:s, s:i, s:s, s:i, s:s, s:i, s:i}", "model",
                     job->options->model, "model_path", job->options->model_path, "adapter",
                     adapter ? json_string(adapter) : json_null(), "precision",
                     precision_name(job->plan.settings.precision), "pool", pool_name(r->pool),
                     "layer", r->layer, "normalise", normalise_name(r->normalise),
                     "remove_components", job->topics.transform.n_removed, "prompt", r->prompt,
                     "max_tokens", job->plan.settings.max_tokens, "width", job->width);
}

/* The files of --embeddings; NULL where there is no memory. */
static json_t *embeddings_json(const struct options *options)
{
    json_t *files = json_array();
    for (int i = 0; i < options->n_embeddings; i++)
        if (json_array_append_new(files, json_string(options->embeddings[i])) != 0) {
            json_decref(files);
            return NULL;
        }
    return files;
}

static json_t *run_json(const struct job *job)
{
    const struct options *o = job->options;
    char started[32], kernels[DEVICE_KERNELS_SIZE];
    time_t now = time(NULL);
    struct tm utc;
    strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    device_kernels(&job->device, kernels);
    json_t *settings = representation_json(job);
    json_t *more = json_pack(
        "{s:i, s:I, s:i, s:i, s:f, s:b, s:i, s:i, s:b, s:s}", "topics", job->topics.n_topics,
        "seed", (json_int_t)o->seed, "restarts", o->restarts, "max_iterations", o->max_iterations,
        "tolerance", o->tolerance, "spherical", o->spherical, "words", o->n_words, "min_df",
        job->topics.min_df, "as_report", o->as_report, "language", job->topics.language);
    /* One by one: json_pack leaves out silently what it has no memory for where it may be left out.
     */
    if (json_object_update_new(settings, more) != 0 ||
        (o->rows && json_object_set_new(settings, "rows", json_string(o->rows)) != 0) ||
        (o->n_embeddings > 0 &&
         json_object_set_new(settings, "embeddings", embeddings_json(o)) != 0)) {
        json_decref(settings);
        return NULL;
    }
    if (o->finetune &&
        json_object_set_new(settings, "finetune", finetune_json(&job->finetune)) != 0) {
        json_decref(settings);
        return NULL;
    }
    json_t *counts =
        json_pack("{s:I, s:I, s:I, s:I}", "texts", (json_int_t)job->topics.n_rows, "blank",
                  (json_int_t)job->counts.blank, "truncated", (json_int_t)job->counts.truncated,
                  "tokens", (json_int_t)job->counts.tokens);
    json_t *run = json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:o, s:{s:f, s:f, s:f, s:f}, s:s, s:i, s:b, s:I}", "program",
        "midashi", "version", MIDASHI_VERSION, "finished", started, "corpus", o->arguments[0],
        "settings", settings, "counts", counts, "seconds", "read", job->seconds.read, "finetune",
        job->seconds.finetune, "embed", job->seconds.embed, "topics", job->seconds.topics,
        "kernels", kernels, "threads", threads_size(job->device.threads), "embeddings_reused",
        job->reused, "peak_bytes", (json_int_t)mem_peak_resident());
    const struct cuda_device *cuda = job->device.cuda;
    if (run && cuda &&
        json_object_set_new(run, "gpu_peak_bytes",
                            json_integer((json_int_t)cuda->allocated.most))) {
        json_decref(run);
        return NULL;
    }
    return run;
}

static enum status write_files(struct job *job, struct err *err)
{
    json_t *run = run_json(job), *model = representation_json(job);
    enum status status = run && model ? topics_write(job->folder, &job->topics, &job->corpus,
                                                     job->settings.held_out, run, model, err)
                                      : err_no_memory(err, "run.json", 0);
    json_decref(run);
    json_decref(model);
    return status;
}

#define PRINTED_WORDS 10

/* A line a topic. On a terminal it ends before the edge, at a whole word. */
static void print_table(const struct topics *topics)
{
    int edge = terminal_columns(STDOUT_FILENO);
    puts("topic  texts  words");
    for (int topic = 0; topic < topics->n_topics; topic++) {
        const int32_t *word = topics->word + (size_t)topic * (size_t)topics->n_words;
        int column = printf("%5d %6lld ", topic, (long long)topics->size[topic]);
        for (int i = 0; i < topics->n_words && i < PRINTED_WORDS && word[i] >= 0; i++) {
            const char *text = topics->tfidf.words[word[i]];
            column += 1 + text_columns(text);
            if (edge > 0 && i > 0 && column > edge)
                break;
            printf(" %s", text);
        }
        putchar('\n');
    }
}

static void print_agreement(const struct topics *topics)
{
    const struct score *score = &topics->score, *training = &topics->training_score;
    if (topics->n_held_out > 0)
        printf("agreement with the %d labels: NMI %.3f, purity %.3f on the %d texts held out; "
               "NMI %.3f, purity %.3f on the %d trained on\n",
               score->n_labels, score->nmi, score->purity, score->n, training->nmi,
               training->purity, training->n);
    else if (score->n_labels == 1) /* NMI 0 and purity 1, whatever the topics are */
        puts("agreement: none to tell, since all texts that have a label have the same");
    else
        printf("agreement with the %d labels: NMI %.3f, purity %.3f\n", score->n_labels, score->nmi,
               score->purity);
}

static enum status print_result(const struct job *job, struct err *err)
{
    const struct topics *topics = &job->topics;
    if (job->options->json) {
        json_t *root = topics_to_json(topics);
        if (json_object_set_new(root, "output", json_string(job->folder)) != 0) {
            json_decref(root);
            root = NULL;
        }
        return print_json(root, err);
    }
    topic_count_print(&topics->count, stdout);
    print_table(topics);
    if (topics->has_labels)
        print_agreement(topics);
    return STATUS_OK;
}

static void note_result(struct job *job)
{
    const struct topics *topics = &job->topics;
    note_doubt(&job->meter, &topics->count);
    if (!topics->converged)
        meter_note(&job->meter, "k-means did not converge in %d iterations; raise --max-iterations",
                   topics->iterations);
    int n_empty = 0;
    for (int topic = 0; topic < topics->n_topics; topic++)
        n_empty += topics->size[topic] == 0;
    note_empty(&job->meter, n_empty, "topic", "texts");
    meter_note(&job->meter, "words: %d in the vocabulary (%s; in %d text%s or more)",
               topics->tfidf.n_words, topics->language, topics->min_df,
               topics->min_df == 1 ? "" : "s");
    meter_note(&job->meter, "%s: topics.txt, topics.json, documents.csv, embeddings.npy",
               job->folder);
}

/* ---- the command ---------------------------------------------------------------------------- */

static enum status run_job(struct job *job, struct err *err)
{
    const struct options *options = job->options;
    TRY(settle(job, err));
    TRY(plan(job, err));           /* with --finetune again when the adapter is there */
    if (options->n_embeddings > 0) /* there is nothing to embed */
        TRY(open_device(&job->device, options, &job->meter, err));
    else
        TRY(open_model_device(&job->device, options, job->plan.settings.precision, &job->meter,
                              err));
    double start = seconds_now();
    TRY(read_corpus(&job->corpus, options->arguments[0], options, &job->meter, err));
    job->seconds.read = seconds_now() - start;
    size_t n_used = job->corpus.n_rows - job->corpus.n_blank;
    if (options->topics != COUNT_AUTO && (size_t)options->topics > n_used)
        return err_set(err, STATUS_USAGE, "--topics %d%s: %s has %zu text%s; ask for fewer topics",
                       options->topics, options->topics_given ? "" : " (the default)",
                       corpus_name(options->arguments[0]), n_used, n_used == 1 ? "" : "s");
    TRY(topics_folder_open(&job->output, job->folder, options->force, err));
    if (options->finetune) {
        TRY(finetune(job, err));
        TRY(plan(job, err));
    }
    TRY(embed(job, err));
    start = seconds_now();
    struct progress progress = meter_progress(&job->meter);
    TRY(topics_find(&job->topics, &job->device, &job->corpus, job->embeddings, job->width,
                    &job->settings, &progress, err));
    job->seconds.topics = seconds_now() - start;
    TRY(write_files(job, err));
    note_result(job);
    return print_result(job, err);
}

static enum status run(const struct options *options, struct err *err)
{
    struct job *job = mem_alloc_zero(1, sizeof *job);
    if (!job)
        return err_no_memory(err, "the run", sizeof *job);
    job->options = options;
    meter_open(&job->meter, options->quiet);
    enum status status = run_job(job, err);
    meter_close(&job->meter);
    topics_free(&job->topics);
    finetune_free(&job->finetune);
    topics_folder_close(&job->output);
    mem_free(job->embeddings);
    corpus_free(&job->corpus);
    device_close(&job->device);
    mem_free(job);
    return status;
}

static const char *const option_names[] = {"#Model and vectors",
                                           "@embedding",
                                           "--embeddings",
                                           "@transform",
                                           "#Topics",
                                           "@kmeans",
                                           "#Words",
                                           "--words",
                                           "--min-df",
                                           "--keep-single",
                                           "--language",
                                           "--as-report",
                                           "#Fine-tuning",
                                           "--finetune",
                                           "@training",
                                           "@corpus",
                                           "#Output",
                                           "--output",
                                           "--force",
                                           "@common",
                                           NULL};

const struct command command_topics = {
    .name = "topics",
    .usage = "CORPUS --model MODEL [options]",
    .summary = "corpus in, named topics out",
    .details =
        "Writes topics.txt, topics.json, documents.csv, embeddings.npy and run.json to "
        "--output (CORPUS.topics; stdin.topics for standard input). Embeddings found there are "
        "used again when texts, model "
        "and settings are the same, so that another --topics takes seconds; --embeddings brings "
        "those that embed made, perhaps in parts, and needs no model.",
    .options = option_names,
    .least_arguments = 1,
    .most_arguments = 1,
    .run = run,
};
