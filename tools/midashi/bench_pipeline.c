/* See bench_pipeline.h. */
#include "tools/midashi/bench_pipeline.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bench/scratch.h"
#include "bench/synthetic.h"
#include "host/base/file.h"
#include "loaders/json.h"
#include "loaders/weights.h"
#include "tools/midashi/embed_corpus.h"

#define SYNTHETIC_TEXTS 1000

static const struct step {
    const char *name;
    bool gpu; /* it has a part in it */
} steps[] = {
    {"quantise", false}, {"load", true},    {"tokenise", false},        {"embed", true},
    {"words", false},    {"kmeans", false}, {"after_embedding", false}, {"topics", true},
};
#define N_STEPS ((int)(sizeof steps / sizeof *steps))
enum { EMBED = 3, AFTER = 4, TOPICS = 7 }; /* topics is the command itself */

static bool is_chosen(const struct step *step, const struct bench_place *place, const char *pattern)
{
    char title[48];
    snprintf(title, sizeof title, "pipeline_%s", step->name);
    return (place->device.kind == DEVICE_CPU || step->gpu) && strstr(title, pattern) != NULL;
}

/* One of steps first .. end - 1. */
static bool any_chosen(int first, int end, const struct bench_place *place, const char *pattern)
{
    for (int i = first; i < end; i++)
        if (is_chosen(&steps[i], place, pattern))
            return true;
    return false;
}

bool bench_pipeline_has(const struct bench_place *place, const char *pattern)
{
    return any_chosen(0, N_STEPS, place, pattern);
}

bool bench_pipeline_matches(const char *pattern)
{
    const struct bench_place cpu = {.device = {.kind = DEVICE_CPU}};
    return bench_pipeline_has(&cpu, pattern);
}

/* ---- settings ------------------------------------------------------------------------------- */

static struct topics_settings topics_settings_of(const struct options *options,
                                                 const struct embedding_plan *plan)
{
    return (struct topics_settings){
        .kmeans = options_kmeans(options),
        .normalise = plan->representation.normalise,
        .remove_components = plan->representation.remove_components,
        .n_words = options->n_words,
    };
}

enum status bench_pipeline_plan(struct pipeline_settings *settings, const struct options *options,
                                struct err *err)
{
    struct embedding_plan plan;
    TRY(plan_embedding(&plan, options, err));
    *settings = (struct pipeline_settings){
        .model_path = options->model_path,
        .embedder = plan.settings,
        .request = {plan.representation.pool, plan.representation.layer},
        .topics = topics_settings_of(options, &plan),
        .end = PIPELINE_TO_TOPICS,
    };
    return STATUS_OK;
}

/* A model that holds NF4 is not quantised again. */
static enum status is_quantised(bool *quantised, const char *path, struct err *err)
{
    struct model_config config;
    struct weights *weights;
    TRY(model_config_read(&config, path, err));
    TRY(weights_open(&weights, path, &config, err));
    *quantised = false;
    for (int i = 0; i < weights_count(weights); i++)
        *quantised |= weights_at(weights, i)->nf4 != NULL;
    weights_close(weights);
    return STATUS_OK;
}

/* ---- the whole command ---------------------------------------------------------------------- */

static enum status write_corpus(const struct corpus *corpus, const char *path, struct err *err)
{
    struct out_file file;
    TRY(out_file_open(&file, path, err));
    for (size_t i = 0; i < corpus->n_rows; i++)
        fprintf(file.stream, "%s\n", corpus->rows[i].text);
    return out_file_commit(&file, err);
}

static enum status run_topics(const char *corpus, const char *folder, const char *device,
                              const struct options *options, struct err *err)
{
    char threads[16], topics[16], seed[32];
    snprintf(threads, sizeof threads, "%d", options->threads);
    if (options->topics == COUNT_AUTO)
        snprintf(topics, sizeof topics, "auto");
    else
        snprintf(topics, sizeof topics, "%d", options->topics);
    snprintf(seed, sizeof seed, "%" PRIu64, options->seed);
    const char *words[] = {"midashi",
                           "topics",
                           corpus,
                           "--model",
                           options->model,
                           "--output",
                           folder,
                           "--quiet",
                           "--device", /* as the other steps */
                           device,
                           "--topics",
                           topics,
                           "--seed",
                           seed,
                           "--precision",
                           options->precision,
                           options->threads ? "--threads" : NULL,
                           threads,
                           NULL};
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "w", stdout))
            execv("/proc/self/exe", (char *const *)(void *)words);
        _exit(127);
    }
    int result;
    if (child < 0 || waitpid(child, &result, 0) != child || result != 0)
        return err_set(err, STATUS_FAILED, "midashi topics %s --model %s failed", corpus,
                       options->model);
    return STATUS_OK;
}

/* Its time, and its peaks of memory, which its run.json tells. */
static enum status time_topics(struct stage *stage, const char *corpus, size_t n_texts,
                               const char *scratch, const char *device,
                               const struct options *options, struct err *err)
{
    char folder[PATH_MAX + 16], run_file[PATH_MAX + 32];
    json_t *run;
    snprintf(folder, sizeof folder, "%s/topics", scratch);
    snprintf(run_file, sizeof run_file, "%s/run.json", folder);
    double start = seconds_now();
    TRY(run_topics(corpus, folder, device, options, err));
    *stage = (struct stage){.name = steps[TOPICS].name,
                            .unit = "texts",
                            .items = (double)n_texts,
                            .seconds = seconds_now() - start};
    TRY(json_read_file(&run, run_file, (size_t)16 << 20, 0, err));
    stage->peak_bytes = (size_t)json_number_value(json_object_get(run, "peak_bytes"));
    stage->gpu_peak_bytes = (size_t)json_number_value(json_object_get(run, "gpu_peak_bytes"));
    json_decref(run);
    return STATUS_OK;
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* Steps that only lead to a chosen one leave. */
static int keep_chosen(struct stage *stages, int n_stages, const struct bench_place *place,
                       const char *pattern)
{
    int n_kept = 0;
    for (int i = 0; i < n_stages; i++)
        for (int step = 0; step < TOPICS; step++)
            if (strcmp(steps[step].name, stages[i].name) == 0 &&
                is_chosen(&steps[step], place, pattern))
                stages[n_kept++] = stages[i];
    return n_kept;
}

static enum status get_corpus(struct corpus *corpus, char path[PATH_MAX + 32],
                              const struct options *options, const char *scratch,
                              struct meter *meter, struct err *err)
{
    if (options->corpus) {
        snprintf(path, PATH_MAX + 32, "%s", options->corpus);
        return read_corpus(corpus, options->corpus, options, meter, err);
    }
    TRY(synthetic_corpus(corpus, SYNTHETIC_TEXTS, options->seed, err));
    snprintf(path, PATH_MAX + 32, "%s/texts.txt", scratch);
    return write_corpus(corpus, path, err);
}

static enum status run_in(const char *scratch, struct stage *stages, int *n_stages,
                          struct bench_place *place, const char *pattern,
                          const struct options *options, struct meter *meter, struct err *err)
{
    char corpus_path[PATH_MAX + 32], quantised_path[PATH_MAX + 32];
    bool quantised;
    struct corpus corpus = {0};
    struct pipeline_settings settings;
    struct progress progress = meter_progress(meter);
    TRY(bench_pipeline_plan(&settings, options, err));
    TRY(is_quantised(&quantised, options->model_path, err));
    snprintf(quantised_path, sizeof quantised_path, "%s/quantised", scratch);
    bool gpu = place->device.kind == DEVICE_CUDA; /* which quantises while it loads */
    settings.scratch = quantised || gpu ? NULL : quantised_path;
    settings.end = any_chosen(AFTER, TOPICS, place, pattern)  ? PIPELINE_TO_TOPICS
                   : any_chosen(EMBED, AFTER, place, pattern) ? PIPELINE_TO_EMBED
                                                              : PIPELINE_TO_TOKENISE;
    enum status status = get_corpus(&corpus, corpus_path, options, scratch, meter, err);
    if (status == STATUS_OK && any_chosen(0, TOPICS, place, pattern)) {
        status = pipeline_run(stages, n_stages, &place->device, &corpus, &settings, &progress, err);
        *n_stages = keep_chosen(stages, *n_stages, place, pattern);
    }
    if (status == STATUS_OK && is_chosen(&steps[TOPICS], place, pattern)) {
        status = time_topics(&stages[*n_stages], corpus_path, corpus.n_rows, scratch, place->name,
                             options, err);
        *n_stages += status == STATUS_OK;
    }
    corpus_free(&corpus);
    return status;
}

enum status bench_pipeline(struct stage *stages, int *n_stages, struct bench_place *place,
                           const char *pattern, const struct options *options, struct meter *meter,
                           struct err *err)
{
    char scratch[PATH_MAX];
    *n_stages = 0;
    TRY(scratch_open(scratch, err));
    enum status status = run_in(scratch, stages, n_stages, place, pattern, options, meter, err);
    scratch_remove(scratch);
    return status;
}
