/* The centres that k-means starts from: greedy k-means++.
 *
 * Arthur and Vassilvitskii 2007, with 2 + floor(log k) trials a centre of which the one that leaves
 * the lowest sum of distances is kept. Distances are kernels/candidate_distance.h's float32, sums
 * of them float64 in fixed row blocks (kernels/potential.h); random numbers are Philox by (seed,
 * restart, draw). So the same centres are chosen for any number of threads, any chunks, and on any
 * device.
 *
 * Each centre takes a pass over the rows, for several restarts together on a GPU. Where rows are
 * more than 2^26 numbers (256 MB), centres are chosen among a sample of so many, at least 8 rows a
 * centre: one row, drawn at random, of each of as many runs of neighbouring rows. */
#ifndef MIDASHI_HOST_KMEANS_SEED_H
#define MIDASHI_HOST_KMEANS_SEED_H

#include "host/base/cuda_memory.h"
#include "host/lloyd.h"
#include "kernels/run_list.h"

/* What is kept from one restart to the next. */
struct kmeans_seeder {
    const struct kmeans_settings *settings;
    struct lloyd *lloyd;   /* borrowed */
    struct device *device; /* that computes: lloyd's, or its CPU */
    struct device cpu;
    double scale; /* float32 distances are those of the rows, times this */
    int n, d, n_trials;
    int n_runs; /* restarts that are done together */
    int over;   /* restarts that are over */

    /* The device's, in one allocation; x may be lloyd's rows. */
    struct cuda_arena arena;
    const float *x;    /* (n, d) the rows, or a sample of them */
    float *sample;     /* x, where it is the seeder's own */
    float *distance;   /* (n_runs, n) to the nearest centre so far */
    float *candidates; /* (n_runs * n_trials, d) */
    float *trial;      /* (n, n_runs * n_trials) distances to the candidates */
    double *sums;      /* (blocks, n_runs * n_trials) */

    /* The host's. */
    void *memory;      /* the arena's, of the CPU */
    double *told_sums; /* sums, where they are a GPU's */
    double *block_sum; /* (n_runs, blocks) of distance */
    double *wide;      /* of a piece, where float32 would not hold the squares; else NULL */
};

/* The most bytes that it takes of n rows of d numbers for one run, of the device, and on a GPU
 * about as much of the host for a while. there: all rows are on the device, so that a copy of them
 * is not needed; a sample may be. */
size_t kmeans_seeder_bytes(int n, int d, int k, bool there);

/* variance: the mean squared distance of the rows from their mean. Reads the sample. Takes no more
 * than lloyd->memory_left of a GPU.
 * STATUS_RESOURCE: no memory; what reading rows says. Close after a failure too. */
enum status kmeans_seeder_open(struct kmeans_seeder *seeder, struct lloyd *lloyd, double variance,
                               const struct kmeans_settings *settings, struct err *err);
void kmeans_seeder_close(struct kmeans_seeder *seeder); /* a zeroed one is allowed */

/* centres (n_runs, k, d), on lloyd's device, of the restarts from `restart` on. Reports progress;
 * STATUS_INTERRUPTED if that says so. */
enum status kmeans_seed(struct kmeans_seeder *seeder, float *centres, int restart, int n_runs,
                        struct err *err);

#endif
