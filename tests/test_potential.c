/* Potentials: sums against float64, runs side by side, and the rows that draws fall on. */
#include "tests/candidate_inputs.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/potential.h"

/* None, one, around blocks of 512 rows. */
static const struct {
    int n, runs, trials;
} cases[] = {
    {0, 2, 3},   {1, 1, 1},   {2, 3, 2},    {31, 1, 5},    {511, 2, 4},
    {512, 1, 8}, {513, 4, 1}, {1024, 3, 5}, {1500, 2, 11}, {2049, 16, 2},
};
#define N_CASES (sizeof cases / sizeof *cases)

struct operands {
    int n, runs, trials;
    float *distance, *trial;
    double *sums;
};

static size_t columns_of(const struct operands *o)
{
    return (size_t)(o->runs * o->trials);
}

static size_t n_sums(const struct operands *o)
{
    return (size_t)potential_blocks(o->n) * columns_of(o);
}

static struct operands make(int n, int runs, int trials)
{
    struct operands o = {n, runs, trials, NULL, NULL, NULL};
    size_t size = (size_t)n * columns_of(&o);
    o.distance = guarded_floats((size_t)n * (size_t)runs);
    o.trial = guarded_floats(size);
    fill_distances(o.distance, (size_t)n * (size_t)runs, 1);
    fill_distances(o.trial, size, 2);
    put_odd_values(o.trial, size);
    o.sums = test_alloc(n_sums(&o) * sizeof *o.sums);
    for (size_t i = 0; i < n_sums(&o); i++)
        o.sums[i] = NAN;
    return o;
}

static void drop(struct operands *o)
{
    check_guarded(o->distance, (size_t)o->n * (size_t)o->runs);
    check_guarded(o->trial, (size_t)o->n * columns_of(o));
    free(o->sums);
}

START_TEST(sums_match_the_reference)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t k = 0; k < N_CASES; k++) {
            struct operands o = make(cases[k].n, cases[k].runs, cases[k].trials);
            double *distance = to_doubles(o.distance, (size_t)o.n * (size_t)o.runs);
            double *trial = to_doubles(o.trial, (size_t)o.n * columns_of(&o));
            double *want = test_alloc(n_sums(&o) * sizeof *want);
            struct err err;
            ck_assert_int_eq(
                potential_fwd(&device, o.sums, o.distance, o.trial, o.n, o.runs, o.trials, &err),
                STATUS_OK);
            potential_fwd_ref(want, distance, trial, o.n, o.runs, o.trials);
            for (size_t s = 0; s < n_sums(&o); s++)
                if (!(fabs(o.sums[s] - want[s]) <= potential_fwd_tolerance() * want[s]))
                    ck_abort_msg("%s %d x %d x %d: sum %zu is %.17g and not %.17g",
                                 test_device_name(&device), o.n, o.runs, o.trials, s, o.sums[s],
                                 want[s]);
            free(distance), free(trial), free(want);
            drop(&o);
        }
        device_close(&device);
    }
}
END_TEST

/* From no centre on: what is kept has the sums that were said of it, in the order of the rows. */
START_TEST(what_is_kept_has_the_sums_of_its_trial)
{
    static const int best[RUNS_LARGEST] = {0, 3, 1, 2, 0, 2};
    enum { N = 1300, RUNS = 6, TRIALS = 4 };
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        struct operands o = make(N, RUNS, TRIALS);
        struct err err;
        ck_assert_int_eq(potential_begin(&device, o.distance, N, RUNS, &err), STATUS_OK);
        for (int r = 0; r < RUNS * N; r++)
            ck_assert(o.distance[r] == FLT_MAX);
        for (int pass = 0; pass < 2; pass++) {
            fill_distances(o.trial, N * RUNS * TRIALS, (uint64_t)(3 + pass));
            put_odd_values(o.trial, N * RUNS * TRIALS);
            potential_fwd_cpu(&device, o.sums, o.distance, o.trial, N, RUNS, TRIALS);
            ck_assert_int_eq(
                potential_keep(&device, o.distance, o.trial, best, N, RUNS, TRIALS, &err),
                STATUS_OK);
            for (int run = 0; run < RUNS; run++)
                for (int block = 0; block < potential_blocks(N); block++) {
                    double sum = 0;
                    for (int r = block * POTENTIAL_ROWS; r < N && r / POTENTIAL_ROWS == block; r++)
                        sum += (double)o.distance[run * N + r];
                    double said = o.sums[block * RUNS * TRIALS + run * TRIALS + best[run]];
                    ck_assert(isfinite(sum) && memcmp(&sum, &said, sizeof sum) == 0);
                }
        }
        drop(&o);
        device_close(&device);
    }
}
END_TEST

/* Which row, by hand: x has its number. */
static int drawn(struct device *device, const float *distance, int n, struct potential_draw draw)
{
    float *x = test_alloc((size_t)n * sizeof *x), candidate = -1;
    struct err err;
    for (int i = 0; i < n; i++)
        x[i] = (float)i;
    ck_assert_int_eq(potential_draw(device, &candidate, x, distance, &draw, n, 1, 1, 1, &err),
                     STATUS_OK);
    free(x);
    return (int)candidate;
}

START_TEST(draws_fall_on_rows_by_their_share)
{
    enum { N = 600 };
    float distance[N] = {[3] = 2, [4] = 1, [9] = 4, [511] = 1, [515] = 8};
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        static const struct {
            struct potential_draw draw;
            int row;
        } draws[] = {
            {{0, 0, 0}, 3},   {{0, 1.5, 0}, 3},   {{0, 2, 0}, 4},   {{0, 2.999, 0}, 4},
            {{0, 3, 0}, 9},   {{0, 6.999, 0}, 9}, {{0, 7, 0}, 511}, {{0, 8, 0}, 511},
            {{8, 8, 1}, 515}, {{8, 99, 1}, 515},  {{9, 8, 1}, 512}, {{-1, 6, 0}, 511},
            {{1, 7.5, 0}, 9},
        };
        for (size_t t = 0; t < sizeof draws / sizeof *draws; t++)
            ck_assert_int_eq(drawn(&device, distance, N, draws[t].draw), draws[t].row);
        float none[N] = {0};
        ck_assert_int_eq(drawn(&device, none, N, (struct potential_draw){0, 0, 1}), 512);
        device_close(&device);
    }
}
END_TEST

/* Each run draws by its own distances. */
START_TEST(draws_of_several_runs)
{
    enum { N = 40, RUNS = 3, TRIALS = 2, D = 3 };
    float distance[RUNS * N] = {0}, x[N * D], candidates[RUNS * TRIALS * D];
    struct potential_draw draws[RUNS * TRIALS] = {{0}};
    struct device device;
    for (int i = 0; i < N * D; i++)
        x[i] = (float)i;
    for (int run = 0; run < RUNS; run++)
        distance[run * N + 10 + run] = distance[run * N + 20 + run] = 1;
    for (int c = 0; c < RUNS * TRIALS; c++)
        draws[c].place = c % TRIALS;
    for (int i = 0; test_device(i, &device); i++) {
        struct err err;
        ck_assert_int_eq(
            potential_draw(&device, candidates, x, distance, draws, N, RUNS, TRIALS, D, &err),
            STATUS_OK);
        for (int c = 0; c < RUNS * TRIALS; c++)
            ck_assert_mem_eq(candidates + c * D, x + (10 + c / TRIALS + 10 * (c % TRIALS)) * D,
                             D * sizeof *x);
        device_close(&device);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("potential");
    TCase *tests = tcase_create("potential");
    tcase_add_test(tests, sums_match_the_reference);
    tcase_add_test(tests, what_is_kept_has_the_sums_of_its_trial);
    tcase_add_test(tests, draws_fall_on_rows_by_their_share);
    tcase_add_test(tests, draws_of_several_runs);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
