/* See pipeline.h. */
#include "bench/pipeline.h"

#include <stdio.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include "host/base/clock.h"
#include "host/base/cuda_device.h"
#include "host/quantize.h"

/* Begins VmHWM anew (proc(5), clear_refs), without what the C library keeps of freed memory. */
static bool restart_peak(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file)
        return false;
    bool good = fputs("5", file) >= 0;
    return fclose(file) == 0 && good;
}

struct run {
    struct device *device;
    struct stage *stages;
    int n_stages;
    double start;
    bool peaks; /* VmHWM can be begun anew */
};

static void begin(struct run *run)
{
    struct cuda_device *cuda = run->device->cuda;
    run->peaks = restart_peak();
    if (cuda)
        cuda->allocated.most = cuda->allocated.now;
    run->start = seconds_now();
}

static void end(struct run *run, const char *name, const char *unit, double items)
{
    run->stages[run->n_stages++] = (struct stage){
        .name = name,
        .unit = unit,
        .items = items,
        .seconds = seconds_now() - run->start,
        .peak_bytes = run->peaks ? mem_peak_resident() : 0,
        .gpu_peak_bytes = run->device->cuda ? run->device->cuda->allocated.most : 0,
    };
}

/* ---- the model ------------------------------------------------------------------------------ */

static enum status quantise(struct run *run, const struct pipeline_settings *settings,
                            const struct progress *progress, struct err *err)
{
    struct quantize_counts counts;
    begin(run);
    TRY(quantize_model(run->device, settings->model_path, settings->scratch, true, progress,
                       &counts, err));
    end(run, "quantise", "MB", 1e-6 * (double)counts.bytes);
    return STATUS_OK;
}

static enum status tokenise(struct run *run, const struct embedder *embedder,
                            const struct corpus *corpus, struct err *err)
{
    struct tokens tokens = {0};
    size_t total = 0;
    enum status status = STATUS_OK;
    begin(run);
    for (size_t i = 0; i < corpus->n_rows && status == STATUS_OK; i++) {
        tokens.count = 0;
        status = tokenizer_encode(embedder->tokenizer, corpus->rows[i].text, corpus->rows[i].length,
                                  true, &tokens, err);
        total += tokens.count;
    }
    tokens_free(&tokens);
    end(run, "tokenise", "tokens", (double)total);
    return status;
}

struct kept {
    float *vectors;
    size_t width;
};

static enum status keep(void *context, int request, size_t first_row, size_t n_rows,
                        const float *vectors, struct err *err)
{
    (void)request, (void)err;
    const struct kept *kept = context;
    memcpy(kept->vectors + first_row * kept->width, vectors,
           n_rows * kept->width * sizeof *vectors);
    return STATUS_OK;
}

static enum status embed(struct run *run, struct embedder *embedder, const struct corpus *corpus,
                         const struct pipeline_settings *settings, struct kept *kept,
                         const struct progress *progress, struct err *err)
{
    struct embedding_counts counts;
    kept->width = (size_t)embedding_width(embedder, settings->request.pool);
    kept->vectors = mem_alloc(corpus->n_rows * kept->width, sizeof *kept->vectors);
    if (!kept->vectors)
        return err_no_memory(err, "the embeddings",
                             corpus->n_rows * kept->width * sizeof *kept->vectors);
    begin(run);
    TRY(embedder_run(embedder, run->device, corpus->rows, corpus->n_rows, &settings->request, 1,
                     keep, kept, &counts, progress, err));
    end(run, "embed", "tokens", (double)counts.tokens);
    return STATUS_OK;
}

static enum status run_model(struct run *run, const struct corpus *corpus,
                             const struct pipeline_settings *settings, struct kept *kept,
                             const struct progress *progress, struct err *err)
{
    struct embedder embedder;
    begin(run);
    TRY(embedder_open(&embedder, run->device, settings->model_path, &settings->embedder, progress,
                      err));
    end(run, "load", "MB", 1e-6 * (double)embedder.llama.weight_bytes);
    enum status status = tokenise(run, &embedder, corpus, err);
    if (status == STATUS_OK && settings->end >= PIPELINE_TO_EMBED)
        status = embed(run, &embedder, corpus, settings, kept, progress, err);
    embedder_close(&embedder);
    return status;
}

/* ---- topics --------------------------------------------------------------------------------- */

/* topics_find's own reports say when words and clusters begin and end. */
struct listener {
    const struct progress *progress; /* told too */
    double begin[2], end[2];         /* words, clusters */
};

static void listen(void *context, const char *stage, const char *unit, size_t done, size_t total)
{
    struct listener *listener = context;
    int which = strcmp(stage, "words") == 0 ? 0 : strcmp(stage, "cluster") == 0 ? 1 : -1;
    if (which >= 0 && done == 0 && listener->begin[which] == 0)
        listener->begin[which] = seconds_now();
    if (which >= 0 && done == total)
        listener->end[which] = seconds_now();
    progress_report(listener->progress, stage, unit, done, total);
}

static enum status find_topics(struct run *run, const struct corpus *corpus,
                               const struct pipeline_settings *settings, const struct kept *kept,
                               const struct progress *progress, struct err *err)
{
    struct topics topics;
    struct listener listener = {.progress = progress};
    struct progress listening = {.report = listen, .context = &listener};
    struct device cpu = device_cpu(run->device);
    begin(run);
    TRY(topics_find(&topics, &cpu, corpus, kept->vectors, (int)kept->width, &settings->topics,
                    &listening, err));
    topics_free(&topics);
    end(run, "after_embedding", "texts", (double)corpus->n_rows);
    /* What it is made of stands before it. */
    struct stage whole = run->stages[--run->n_stages];
    static const char *const names[] = {"words", "kmeans"};
    for (int i = 0; i < 2; i++) {
        struct stage part = whole;
        part.name = names[i];
        part.seconds = listener.end[i] - listener.begin[i];
        run->stages[run->n_stages++] = part;
    }
    run->stages[run->n_stages++] = whole;
    return STATUS_OK;
}

enum status pipeline_run(struct stage *stages, int *n_stages, struct device *device,
                         const struct corpus *corpus, const struct pipeline_settings *settings,
                         const struct progress *progress, struct err *err)
{
    struct run run = {.device = device, .stages = stages};
    struct kept kept = {.vectors = NULL};
    enum status status = STATUS_OK;
    if (settings->scratch)
        status = quantise(&run, settings, progress, err);
    if (status == STATUS_OK)
        status = run_model(&run, corpus, settings, &kept, progress, err);
    if (status == STATUS_OK && settings->end >= PIPELINE_TO_TOPICS)
        status = find_topics(&run, corpus, settings, &kept, progress, err);
    mem_free(kept.vectors);
    *n_stages = run.n_stages;
    return status;
}
