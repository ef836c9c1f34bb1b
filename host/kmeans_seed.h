/* The centres that k-means starts from: greedy k-means++.
 *
 * Arthur and Vassilvitskii 2007, with 2 + floor(log k) trials a centre of which the one that leaves
 * the lowest sum of distances is kept. Distances are kernels/candidate_distance.h's float32, sums
 * of them float64 in fixed row blocks; random numbers are Philox by (seed, restart, draw). So the
 * same centres are chosen for any number of threads, any chunks, and on any device.
 *
 * Each centre takes a pass over the rows. Where they are more than 2^26 numbers (256 MB), centres
 * are chosen among a sample of so many, at least 8 rows a centre: one row, drawn at random, of each
 * of as many runs of neighbouring rows. */
#ifndef MIDASHI_HOST_KMEANS_SEED_H
#define MIDASHI_HOST_KMEANS_SEED_H

#include "host/kmeans.h"

/* What is kept from one restart to the next. */
struct kmeans_seeder {
    const struct kmeans_settings *settings;
    struct device *device;
    double scale;   /* float32 distances are those of the rows, times this */
    const float *x; /* (n, d) the rows, or the sample of them */
    float *sample;  /* owned; x where it is not in memory or is a sample */
    int n, d, n_trials;
    float *distance;   /* (n) to the nearest centre so far */
    float *candidates; /* (n_trials, d) */
    float *trial;      /* (n, n_trials) distances to the candidates */
    double *wide;      /* of a piece, where float32 would not hold the squares; else NULL */
    double *sums;      /* (blocks, n_trials) */
    double *block_sum; /* (blocks) of distance */
};

/* The most bytes that it takes of n rows of d numbers, a copy of the rows or a sample included. */
size_t kmeans_seeder_bytes(int n, int d, int k);

/* variance: the mean squared distance of the rows from their mean. Reads the sample.
 * STATUS_RESOURCE: no memory; what reading rows says. Close after a failure too. */
enum status kmeans_seeder_open(struct kmeans_seeder *seeder, struct row_chunks *rows,
                               double variance, const struct kmeans_settings *settings,
                               struct err *err);
void kmeans_seeder_close(struct kmeans_seeder *seeder);

/* centres (k, d) of a restart. Reports progress; STATUS_INTERRUPTED if that says so. */
enum status kmeans_seed(struct kmeans_seeder *seeder, float *centres, int restart, struct err *err);

#endif
