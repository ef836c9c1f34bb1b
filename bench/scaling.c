/* See scaling.h. */
#include "bench/scaling.h"

#include "bench/synthetic.h"
#include "host/base/clock.h"
#include "host/base/interrupt.h"
#include "host/kmeans.h"

static const size_t text_counts[SCALING_SIZES] = {1000,   3000,   10000,  30000,
                                                  100000, 300000, 1000000};

enum status scaling_texts(struct scaling_run *runs, int *n_runs, struct device *device,
                          const struct pipeline_settings *settings, size_t largest,
                          const struct progress *progress, struct err *err)
{
    *n_runs = 0;
    for (int i = 0; i < SCALING_SIZES && text_counts[i] <= largest; i++) {
        struct corpus corpus;
        struct scaling_run *run = &runs[i];
        TRY(interrupt_check(err));
        TRY(synthetic_corpus(&corpus, text_counts[i], 0, err));
        run->texts = (double)text_counts[i];
        enum status status =
            pipeline_run(run->stages, &run->n_stages, device, &corpus, settings, progress, err);
        corpus_free(&corpus);
        if (status != STATUS_OK)
            return status;
        ++*n_runs;
    }
    return STATUS_OK;
}

/* ---- k-means -------------------------------------------------------------------------------- */

/* Iterations are timed from the end of the first to the end of the last. */
struct timing {
    double first, last;
    int iterations;
};

static enum status note_iteration(void *context, const struct kmeans_state *state, struct err *err)
{
    struct timing *timing = context;
    if (state->iteration == 1)
        timing->first = seconds_now();
    timing->last = seconds_now();
    timing->iterations = state->iteration;
    return interrupt_check(err);
}

#define ITERATIONS 12

/* From the first rows as centres: no seeding. */
static enum status run_kmeans(struct kmeans_run *run, struct device *device, struct err *err)
{
    int n = run->size[KMEANS_N], k = run->size[KMEANS_K], d = run->size[KMEANS_D];
    struct arena arena = {0};
    struct timing timing = {0};
    float *x = arena_alloc(&arena, (size_t)n * (size_t)d, sizeof *x);
    struct kmeans_result result = {
        .centres = arena_alloc(&arena, (size_t)k * (size_t)d, sizeof(float)),
        .labels = arena_alloc(&arena, (size_t)n, sizeof(int32_t)),
    };
    struct kmeans_settings settings = {.k = k,
                                       .restarts = 1,
                                       .max_iterations = ITERATIONS,
                                       .progress = note_iteration,
                                       .progress_context = &timing};
    enum status status = STATUS_OK;
    if (!x || !result.centres || !result.labels)
        status = err_no_memory(err, "rows to cluster", (size_t)n * (size_t)d * sizeof *x);
    if (status == STATUS_OK) {
        /* Twice as many centres as clusters: k-means has something to do for a while. */
        synthetic_rows(x, n, d, 2 * k, 0);
        struct row_chunks rows = row_chunks_of(device, x, n, d);
        status = kmeans_fit(&result, &rows, x, &settings, err);
    }
    if (status == STATUS_OK && timing.iterations > 1) {
        run->iterations = timing.iterations - 1;
        run->seconds = (timing.last - timing.first) / run->iterations;
    }
    arena_free(&arena);
    return status;
}

enum status scaling_kmeans(struct kmeans_run runs[KMEANS_SIZES][KMEANS_STEPS],
                           struct device *device, const struct progress *progress, struct err *err)
{
    static const int base[KMEANS_SIZES] = {8000, 32, 64};
    size_t done = 0, total = KMEANS_SIZES * KMEANS_STEPS;
    progress_report(progress, "k-means", "runs", 0, total);
    for (int which = 0; which < KMEANS_SIZES; which++)
        for (int step = 0; step < KMEANS_STEPS; step++) {
            struct kmeans_run *run = &runs[which][step];
            *run = (struct kmeans_run){.size = {base[0], base[1], base[2]}};
            run->size[which] <<= step;
            TRY(run_kmeans(run, device, err));
            progress_report(progress, "k-means", "runs", ++done, total);
        }
    return STATUS_OK;
}
