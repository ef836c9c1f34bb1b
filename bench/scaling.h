/* How time and memory grow with the number of texts, and k-means with its rows, clusters and
 * dimensions. */
#ifndef MIDASHI_BENCH_SCALING_H
#define MIDASHI_BENCH_SCALING_H

#include "bench/pipeline.h"

#define SCALING_SIZES 7

/* Runs over 1,000 to `largest` synthetic texts (steps of about 3). */
struct scaling_run {
    double texts;
    struct stage stages[STAGES_LARGEST];
    int n_stages;
};
enum status scaling_texts(struct scaling_run *runs, int *n_runs, struct device *device,
                          const struct pipeline_settings *settings, size_t largest,
                          const struct progress *progress, struct err *err);

/* k-means of synthetic rows: one of n, k, d doubled four times, the others at 8000, 32, 64. */
#define KMEANS_STEPS 5
enum kmeans_size { KMEANS_N, KMEANS_K, KMEANS_D, KMEANS_SIZES };
struct kmeans_run {
    int size[KMEANS_SIZES];
    double seconds;    /* of an iteration, the seeding apart */
    double iterations; /* that were timed */
};
enum status scaling_kmeans(struct kmeans_run runs[KMEANS_SIZES][KMEANS_STEPS],
                           struct device *device, const struct progress *progress, struct err *err);

#endif
