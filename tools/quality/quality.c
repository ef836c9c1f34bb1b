/* quality: which representation finds the labels of a corpus best? One pass over the texts captures
 * every layer; then each choice of layer, pool, normalise and removed components is clustered and
 * held against the labels. Prints a line of tab-separated values for each choice; docs/quality.md
 * keeps the results that the `auto`s come from.
 *
 *   build/quality CORPUS MODEL [PROMPT [SEEDS]]      (prompt: a template with {text}; seeds: 3) */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/interrupt.h"
#include "host/embedder.h"
#include "host/kmeans.h"
#include "host/row_chunks.h"
#include "host/score.h"
#include "host/transform.h"
#include "loaders/json.h"

#define LARGEST_LAYERS 256

struct study {
    struct device device;
    struct corpus corpus;
    struct embedder embedder;
    int n_layers, n_requests, width;
    struct embedding_request requests[2 * LARGEST_LAYERS];
    float *vectors[2 * LARGEST_LAYERS]; /* (n, D) for each request */
    int32_t *labels;                    /* (n) */
    double *lengths;                    /* (n) tokens of each text */
    int n_seeds;
    struct arena arena;
};

static enum status keep(void *context, int request, size_t first_row, size_t n_rows,
                        const float *vectors, struct err *err)
{
    struct study *study = context;
    size_t d = (size_t)study->embedder.config.hidden_size;
    memcpy(study->vectors[request] + first_row * d, vectors, n_rows * d * sizeof *vectors);
    return interrupt_check(err);
}

static void show(void *context, const char *stage, const char *unit, size_t done, size_t total)
{
    (void)context, (void)unit;
    fprintf(stderr, "\r%s %zu of %zu%s", stage, done, total, done == total ? "\n" : "");
}

static enum status measure_lengths(struct study *study, struct err *err)
{
    struct tokens tokens = {0};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < study->corpus.n_rows && status == STATUS_OK; i++) {
        const struct corpus_row *row = &study->corpus.rows[i];
        tokens.count = 0;
        status = tokenizer_encode(study->embedder.tokenizer, row->text, row->length, false, &tokens,
                                  err);
        study->lengths[i] = (double)tokens.count;
        study->labels[i] = row->label;
    }
    tokens_free(&tokens);
    return status;
}

static enum status capture(struct study *study, const char *model, const char *prompt,
                           struct err *err)
{
    struct model_config config;
    struct progress progress = {.report = show};
    struct embedding_counts counts;
    TRY(model_config_read(&config, model, err));
    if (config.n_layers >= LARGEST_LAYERS)
        return err_set(err, STATUS_USAGE, "%s: too many layers", model);
    study->n_layers = config.n_layers;
    const struct embedder_settings settings = {.prompt = prompt, .n_layers = config.n_layers};
    TRY(embedder_open(&study->embedder, &study->device, model, &settings, &progress, err));
    size_t n = study->corpus.n_rows, d = (size_t)config.hidden_size;
    for (int pool = POOLING_LAST; pool <= POOLING_MEAN; pool++)
        for (int layer = 0; layer <= config.n_layers; layer++) {
            int r = study->n_requests++;
            study->requests[r] = (struct embedding_request){(enum pool)pool, layer};
            study->vectors[r] = arena_alloc(&study->arena, n * d, sizeof(float));
            if (!study->vectors[r])
                return err_no_memory(err, "the hidden states", n * d * sizeof(float));
        }
    study->labels = arena_alloc(&study->arena, n, sizeof *study->labels);
    study->lengths = arena_alloc(&study->arena, n, sizeof *study->lengths);
    if (!study->labels || !study->lengths)
        return err_no_memory(err, "the labels", n * sizeof *study->lengths);
    TRY(measure_lengths(study, err));
    return embedder_run(&study->embedder, &study->device, study->corpus.rows, n, study->requests,
                        study->n_requests, keep, study, &counts, &progress, err);
}

/* Pearson's correlation of the first principal component with the number of tokens. */
static double length_correlation(const struct study *study, const float *x,
                                 const struct transform *transform, int n, int d)
{
    if (transform->n_removed == 0)
        return NAN; /* all rows are equal: the last token of a prompt, at layer 0 */
    double sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0;
    for (int i = 0; i < n; i++) {
        double projection = 0;
        for (int j = 0; j < d; j++)
            projection += (double)transform->directions[j] *
                          ((double)x[(size_t)i * (size_t)d + (size_t)j] - transform->mean[j]);
        double length = study->lengths[i];
        sx += projection, sy += length;
        sxx += projection * projection, syy += length * length, sxy += projection * length;
    }
    return (sxy - sx * sy / n) / sqrt((sxx - sx * sx / n) * (syy - sy * sy / n));
}

/* Clusters a copy of x under each transform; the mean over the seeds. */
static enum status study_vectors(struct study *study, const char *pool, int layer, const float *x,
                                 int d, struct err *err)
{
    static const char *const names[] = {"none", "centre", "centre+l2"};
    int n = (int)study->corpus.n_rows, k = study->corpus.n_labels;
    struct arena_mark mark = arena_mark(&study->arena);
    size_t size = (size_t)n * (size_t)d;
    float *copy = arena_alloc(&study->arena, size, sizeof *copy);
    float *centres = arena_alloc(&study->arena, (size_t)k * (size_t)d, sizeof *centres);
    int32_t *topics = arena_alloc(&study->arena, (size_t)n, sizeof *topics);
    if (!copy || !centres || !topics)
        return err_no_memory(err, "a copy", size * sizeof *copy);
    struct transform transform;
    struct row_chunks rows = row_chunks_of(&study->device, x, n, d);
    TRY(transform_fit(&transform, NORMALISE_CENTRE, 1, &rows, &study->arena, err));
    double correlation = length_correlation(study, x, &transform, n, d);
    for (int normalise = 0; normalise < 3; normalise++)
        for (int removed = 0; removed <= (normalise == 2 ? 4 : 0); removed += 2) {
            double nmi = 0, purity = 0;
            memcpy(copy, x, size * sizeof *copy);
            rows = row_chunks_of(&study->device, copy, n, d);
            TRY(transform_fit(&transform, (enum transform_normalise)normalise, removed, &rows,
                              &study->arena, err));
            transform_apply(&study->device, &transform, copy, n);
            for (int seed = 0; seed < study->n_seeds; seed++) {
                struct kmeans_settings settings = KMEANS_DEFAULTS;
                settings.k = k;
                settings.seed = (uint64_t)seed;
                struct kmeans_result result = {.centres = centres, .labels = topics};
                struct score score;
                TRY(interrupt_check(err));
                TRY(kmeans_fit(&result, &rows, NULL, &settings, err));
                TRY(score_topics(&score, topics, study->labels, n, err));
                nmi += score.nmi / study->n_seeds;
                purity += score.purity / study->n_seeds;
            }
            printf("%s\t%d\t%s\t%d\t%.4f\t%.4f\t%.3f\n", pool, layer, names[normalise], removed,
                   nmi, purity, correlation);
            fflush(stdout);
        }
    arena_reset(&study->arena, mark);
    return STATUS_OK;
}

static enum status study_all(struct study *study, struct err *err)
{
    int n = (int)study->corpus.n_rows, d = study->embedder.config.hidden_size;
    printf("pool\tlayer\tnormalise\tremoved\tnmi\tpurity\tlength_correlation\n");
    for (int layer = 0; layer <= study->n_layers; layer++) {
        const float *last = study->vectors[layer];
        const float *mean = study->vectors[study->n_layers + 1 + layer];
        TRY(study_vectors(study, "last", layer, last, d, err));
        TRY(study_vectors(study, "mean", layer, mean, d, err));
        struct arena_mark mark = arena_mark(&study->arena);
        float *both = arena_alloc(&study->arena, 2 * (size_t)n * (size_t)d, sizeof *both);
        if (!both)
            return err_no_memory(err, "a copy", 2 * (size_t)n * (size_t)d * sizeof *both);
        size_t row = (size_t)d;
        for (size_t i = 0; i < (size_t)n; i++) {
            memcpy(both + 2 * i * row, last + i * row, row * sizeof *both);
            memcpy(both + (2 * i + 1) * row, mean + i * row, row * sizeof *both);
        }
        TRY(study_vectors(study, "last+mean", layer, both, 2 * d, err));
        arena_reset(&study->arena, mark);
    }
    return STATUS_OK;
}

int main(int argc, char **argv)
{
    static struct study study;
    struct err err;
    if (argc < 3 || argc > 5) {
        fprintf(stderr, "usage: quality CORPUS MODEL [PROMPT [SEEDS]]\n");
        return STATUS_USAGE;
    }
    interrupt_install();
    json_use_memory();
    study.n_seeds = argc > 4 ? atoi(argv[4]) : 3;
    enum status status = device_open(&study.device, "cpu", 0, &err);
    if (status == STATUS_OK)
        status = corpus_read(&study.corpus, argv[1], &(struct corpus_settings){0}, &err);
    if (status == STATUS_OK && (study.corpus.n_labels == 0 || study.corpus.n_blank > 0))
        status = err_set(&err, STATUS_BAD_DATA, "%s: needs labels, and no blank text", argv[1]);
    if (status == STATUS_OK)
        status = capture(&study, argv[2], argc > 3 ? argv[3] : "{text}", &err);
    if (status == STATUS_OK)
        status = study_all(&study, &err);
    if (status != STATUS_OK)
        fprintf(stderr, "quality: %s\n", err.text);
    embedder_close(&study.embedder);
    corpus_free(&study.corpus);
    arena_free(&study.arena);
    device_close(&study.device);
    return status;
}
