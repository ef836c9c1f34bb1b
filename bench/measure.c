/* See measure.h. */
#include "bench/measure.h"

#include <math.h>
#include "bench/limits.h"
#include "bench/statistics.h"
#include "host/base/clock.h"

/* A shorter run is repeated to last this long: the clock, and what runs beside, tell less then. */
#define SAMPLE_SECONDS 1e-4

/* How a trial is bounded. */
struct limit {
    enum bound bound;
    struct traffic traffic;
    int n_workers; /* that move the traffic: all, or one, which is done with little of it before
                      another has woken */
};

/* The first of two passes brings it into the caches. */
static double time_traffic(const struct trial *trial, const struct limit *limit, int n_workers)
{
    measure_traffic(trial->device, &limit->traffic, n_workers);
    return measure_traffic(trial->device, &limit->traffic, n_workers);
}

/* The best of some slices of each bound says which one the operation meets first. */
static void choose_bound(struct limit *limit, const struct trial *trial)
{
    int all = threads_size(trial->device->threads);
    double by_one = INFINITY, by_all = INFINITY, arithmetic = INFINITY;
    for (int i = 0; i < 5; i++) {
        by_all = fmin(by_all, time_traffic(trial, limit, all));
        arithmetic = fmin(arithmetic, trial->operations / measure_arithmetic(trial->device, 0.001));
    }
    for (int i = 0; i < 5 && all > 1 && by_all < 0.001; i++)
        by_one = fmin(by_one, time_traffic(trial, limit, 1));
    limit->n_workers = by_one < by_all ? 1 : all;
    limit->bound = arithmetic > fmin(by_one, by_all) ? BOUND_ARITHMETIC : BOUND_MEMORY;
}

static double slice(const struct trial *trial, const struct limit *limit, double run)
{
    if (limit->bound == BOUND_MEMORY)
        return time_traffic(trial, limit, limit->n_workers);
    return trial->operations / measure_arithmetic(trial->device, run < 0.02 ? run : 0.02);
}

struct samples {
    double run[RUNS_MOST], processor[RUNS_MOST], bound[RUNS_MOST], scratch[RUNS_MOST];
    int n;
};

/* `repeats` runs, one behind the other: the mean of each. */
static enum status time_runs(struct trial *trial, int repeats, double *run, double *processor,
                             struct err *err)
{
    double processor_begin = processor_seconds(), begin = seconds_now();
    for (int i = 0; i < repeats; i++)
        TRY(trial_run(trial, err));
    *run = (seconds_now() - begin) / repeats;
    *processor = (processor_seconds() - processor_begin) / repeats;
    return STATUS_OK;
}

static enum status take(struct samples *samples, struct trial *trial, const struct limit *limit,
                        double seconds, struct err *err)
{
    double run, processor, start = seconds_now();
    TRY(time_runs(trial, 3, &run, &processor, err));
    int repeats = run < SAMPLE_SECONDS ? (int)(SAMPLE_SECONDS / run) + 1 : 1;
    while (samples->n < RUNS_MOST && (samples->n < RUNS_LEAST || seconds_now() - start < seconds)) {
        int i = samples->n++;
        samples->bound[i] = slice(trial, limit, run);
        if (limit->bound == BOUND_MEMORY) /* which has pushed the operands out of the caches */
            TRY(trial_run(trial, err));
        TRY(time_runs(trial, repeats, &samples->run[i], &samples->processor[i], err));
    }
    return STATUS_OK;
}

void measurement_set_runs(struct measurement *measurement, double *runs, int n, double *scratch)
{
    measurement->n_runs = n;
    measurement->seconds = median_of(runs, n);
    measurement->best = runs[0];
    median_interval(measurement->interval, runs, n, scratch);
}

void measurement_set_bound(struct measurement *measurement, enum bound bound, double seconds)
{
    measurement->bound = bound;
    measurement->bound_seconds = seconds;
    measurement->share_of_bound = seconds / measurement->best;
}

static void summarise(struct measurement *measurement, struct samples *samples, enum bound bound)
{
    double shortest = INFINITY;
    for (int i = 0; i < samples->n; i++)
        shortest = fmin(shortest, samples->bound[i]);
    measurement_set_runs(measurement, samples->run, samples->n, samples->scratch);
    measurement_set_bound(measurement, bound, shortest);
    measurement->processor_seconds = median_of(samples->processor, samples->n);
}

enum status measure_trial(struct measurement *measurement, struct trial *trial, double seconds,
                          struct err *err)
{
    *measurement = (struct measurement){.n_runs = 0};
    struct limit limit = {.n_workers = 1};
    struct samples *samples = mem_alloc_zero(1, sizeof *samples);
    enum status status = samples ? STATUS_OK : err_no_memory(err, "a bench row", sizeof *samples);
    if (status == STATUS_OK)
        status =
            traffic_open(&limit.traffic, trial->bytes_read - trial->bytes_updated,
                         trial->bytes_written - trial->bytes_updated, trial->bytes_updated, err);
    if (status == STATUS_OK) {
        choose_bound(&limit, trial);
        status = take(samples, trial, &limit, seconds, err);
        if (status == STATUS_OK)
            summarise(measurement, samples, limit.bound);
    }
    traffic_close(&limit.traffic);
    mem_free(samples);
    return status;
}
