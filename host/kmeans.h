/* k-means: Lloyd's algorithm from greedy k-means++ starts (kmeans_seed.h), as scikit-learn's
 * KMeans(algorithm="lloyd") with the arg-min and all sums in float64.
 *
 * Rows are read a chunk at a time (row_chunks.h), so they may be larger than memory. The same bytes
 * come out for any number of threads and any chunks: a row's label is its own (kernels/nearest.h),
 * and sums over rows have one order (cluster_totals.h). After the first iteration only rows that
 * change their cluster are added up.
 *
 * Centres are float32 after every update, so the labels are the arg-min, in float64 and with ties
 * to the lowest index, to the very centres that are returned and saved. */
#ifndef MIDASHI_HOST_KMEANS_H
#define MIDASHI_HOST_KMEANS_H

#include <stdbool.h>
#include <stdint.h>
#include "host/row_chunks.h"

/* Where a run is. */
struct kmeans_state {
    int restart;   /* from 0; on a GPU several go on in turns */
    int over;      /* restarts that are over before the iteration, never fewer than before */
    int iteration; /* from 1; 0 after each centre of the seeding */
    int centre, k; /* in seeding: how many of the k centres there are */
    /* Of the rows to the centres before the iteration; in seeding to those so far, and where that
     * takes a sample, of as many as there are rows. */
    double inertia;
    /* How far the centres have moved then: the root of the sum of squares; 0 in seeding. From
     * `last_shift` down the run has converged. */
    double shift, last_shift;
};
/* After each iteration and each centre of the seeding. May return a status to stop with
 * (STATUS_INTERRUPTED), which kmeans_fit passes on. */
typedef enum status kmeans_progress(void *context, const struct kmeans_state *state,
                                    struct err *err);

struct kmeans_settings {
    int k;
    uint64_t seed;
    int restarts;       /* >= 1; the lowest inertia wins, the first of equals */
    int max_iterations; /* >= 1 */
    /* Stop once the squared shifts of the centres add up to at most tolerance times the mean
     * variance of the columns; 0: only when no label changes. */
    double tolerance;
    /* Rows are read l2-normalised (a zero row stays zero), and centres are normalised after each
     * update: clusters by cosine. Inertia and distances are those of the normalised rows. */
    bool spherical;
    /* Of a GPU, at most, bytes, and no more than nearly all that is free there; 0: that. Rows that
     * do not fit come from the host for every pass. */
    size_t gpu_memory;
    kmeans_progress *progress; /* or NULL */
    void *progress_context;
};

#define KMEANS_DEFAULTS                                                                            \
    {                                                                                              \
        .k = 20, .restarts = 1, .max_iterations = 300, .tolerance = 1e-4                           \
    }

struct kmeans_result {
    float *centres;     /* (k, d), room that the caller owns */
    int32_t *labels;    /* (n), room that the caller owns */
    double inertia;     /* sum of the squared distances of rows to their centres */
    int restart;        /* the best one, from 0 */
    int iterations;     /* assignments made by it, as scikit-learn counts them */
    bool converged;     /* false: max_iterations came first */
    double n_assigned;  /* how often a row was assigned, of all restarts */
    double n_compared;  /* and of these, compared with the centres, with a part of them as a part:
                         * bounds settled the others */
    double n_rechecked; /* and of these, decided in float64 (kernels/nearest.h) */
    bool streamed;      /* rows did not fit where they are worked on, and were read every time */
};

/* initial (k, d) or NULL: the centres to start from; then there is one start and neither seed nor
 * restarts matter. A cluster that loses all rows is given the row farthest from its centre, unless
 * every row lies on its centre: fewer than k distinct rows leave clusters empty. With
 * settings->spherical the rows are read normalised from then on (row_chunks_normalise).
 * STATUS_USAGE: k < 1, or more clusters than rows; the text names both numbers.
 * STATUS_BAD_DATA: a row or a centre of initial with NaN or an infinity, by its number from 1, or a
 * row that a transform makes one; what reading rows says. STATUS_RESOURCE: no memory; on a GPU k
 * above 2^24, or k * d of 2^31 or more. STATUS_INTERRUPTED. After a failure centres and labels hold
 * anything. */
enum status kmeans_fit(struct kmeans_result *result, struct row_chunks *rows, const float *initial,
                       const struct kmeans_settings *settings, struct err *err);

/* The most bytes that kmeans_fit takes of n rows of d numbers, beside the rows and what
 * row_chunks.h takes to read them; but for a few sums of d numbers a thread. */
size_t kmeans_bytes(int n, int d, int k);

#endif
