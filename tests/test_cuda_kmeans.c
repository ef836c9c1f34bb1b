/* k-means on a GPU: labels, centres and inertia are the CPU's, bit for bit. */
#include "tests/cuda_support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/memory.h"
#include "host/cluster_totals.h"
#include "host/embedding_parts.h"
#include "host/kmeans_seed.h"
#include "kernels/run_list.h"
#include "loaders/npy.h"
#include "tests/kmeans_fits.h"

/* What runs are compared by: everything but how often a row was looked at. */
static void check_same(const struct kmeans_result *got, const struct kmeans_result *want, int n,
                       int k, int d, const char *what)
{
    ck_assert_msg(got->iterations == want->iterations, "%s: %d iterations, not %d", what,
                  got->iterations, want->iterations);
    ck_assert_msg(got->converged == want->converged, "%s: converged", what);
    for (int i = 0; i < n; i++)
        ck_assert_msg(got->labels[i] == want->labels[i], "%s: label %d is %d, not %d", what, i,
                      got->labels[i], want->labels[i]);
    for (int i = 0; i < k * d; i++)
        ck_assert_msg(memcmp(&got->centres[i], &want->centres[i], sizeof(float)) == 0,
                      "%s: number %d of the centres is %.9g, not %.9g", what, i,
                      (double)got->centres[i], (double)want->centres[i]);
    ck_assert_msg(memcmp(&got->inertia, &want->inertia, sizeof(double)) == 0,
                  "%s: inertia %.17g, not %.17g", what, got->inertia, want->inertia);
}

static void check_rows(const float *x, int n, int d, const float *initial,
                       const struct kmeans_settings *settings, const char *what)
{
    struct device cpu = device_cpu(&cuda_test);
    struct kmeans_result got, want;
    struct err err;
    open_result(&got, n, settings->k, d);
    open_result(&want, n, settings->k, d);
    cuda_good(fit_rows(&cpu, &want, x, n, d, initial, settings, &err), &err);
    cuda_good(fit_rows(&cuda_test, &got, x, n, d, initial, settings, &err), &err);
    check_same(&got, &want, n, settings->k, d, what);
    ck_assert(got.n_rechecked <= got.n_assigned && got.n_assigned >= n);
    close_result(&got, settings->k, d);
    close_result(&want, settings->k, d);
}

static void check_case(const struct cluster_case *c, const struct kmeans_settings *settings)
{
    float *x = cluster_rows(c);
    check_rows(x, c->n, c->d, NULL, settings, c->shape);
    free(x);
}

/* float64 of another order has other last bits: the promise is AVX2's. */
static bool open_device(int setting)
{
    return cuda_test_device(setting) && cuda_test.isa == CPU_AVX2;
}
#define OPEN()                                                                                     \
    if (!open_device(_i))                                                                          \
    SKIP("needs nvcc and AVX2")

static const struct cluster_case cases[] = {
    {"blobs", 300, 8, 5, 3, 1},       {"uniform", 257, 33, 20, 4, 1},
    {"duplicates", 100, 3, 12, 5, 1}, {"stretched", 200, 64, 7, 6, 2},
    {"far", 150, 20, 4, 7, 1},        {"line", 90, 2, 1, 8, 1},
    {"blobs", 40, 5, 40, 9, 1},       {"uniform", 1, 1, 1, 10, 1},
};

START_TEST(results_are_those_of_the_cpu)
{
    OPEN();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kmeans_settings settings = defaults(cases[i].k);
        settings.seed = i;
        check_case(&cases[i], &settings);
    }
    device_close(&cuda_test);
}
END_TEST

START_TEST(restarts_go_side_by_side)
{
    OPEN();
    for (int spherical = 0; spherical < 2; spherical++) {
        struct kmeans_settings settings = defaults(6);
        settings.restarts = 5;
        settings.tolerance = 0;
        settings.spherical = spherical;
        check_case(&(struct cluster_case){"uniform", 180, 6, 6, 11, 1}, &settings);
    }
    device_close(&cuda_test);
}
END_TEST

/* More than go at once. */
START_TEST(many_restarts_take_turns)
{
    OPEN();
    struct kmeans_settings settings = defaults(3);
    settings.restarts = RUNS_LARGEST + 2;
    check_case(&(struct cluster_case){"uniform", 60, 2, 3, 12, 1}, &settings);
    device_close(&cuda_test);
}
END_TEST

/* Runs that stop after any number of iterations, with labels of the centres they stop at. */
START_TEST(runs_end_where_the_cpu_ends)
{
    OPEN();
    for (int most = 1; most <= 3; most++) {
        struct kmeans_settings settings = defaults(9);
        settings.max_iterations = most;
        settings.restarts = 2;
        check_case(&(struct cluster_case){"uniform", 200, 5, 9, 13, 1}, &settings);
    }
    device_close(&cuda_test);
}
END_TEST

/* Two kinds of rows for five clusters; and far centres that get none at first. */
START_TEST(empty_clusters_are_filled)
{
    enum { N = 120, D = 4, K = 5 };
    OPEN();
    float x[N * D], initial[K * D];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++)
            x[i * D + j] = (float)(i % 2) + (float)(mix64(5, (uint64_t)(i * D + j)) % 64) / 64;
    for (int i = 0; i < K * D; i++)
        initial[i] = i < 2 * D ? x[i] : (float)(100 + i);
    struct kmeans_settings settings = defaults(K);
    check_rows(x, N, D, initial, &settings, "far centres");
    settings.spherical = true;
    check_rows(x, N, D, initial, &settings, "far centres, spherical");
    settings.spherical = false;
    for (int i = 0; i < N * D; i++)
        x[i] = (float)(i / D % 2);
    check_rows(x, N, D, NULL, &settings, "fewer distinct rows than clusters");
    device_close(&cuda_test);
}
END_TEST

/* Beyond 2^60 the seeding's distances are the CPU's, in float64; and one run's at a time, or they
 * would take many times the host's memory. */
START_TEST(wide_rows_start_on_the_cpu)
{
    enum { N = 60, D = 3 };
    struct kmeans_seeder seeder;
    struct lloyd *lloyd = NULL;
    struct err err;
    OPEN();
    struct cluster_case c = {"blobs", N, D, 4, 14, 1};
    float *x = cluster_rows(&c);
    for (int i = 0; i < N * D; i++)
        x[i] *= 0x1p40f;
    struct kmeans_settings settings = defaults(c.k);
    settings.restarts = 3;
    check_rows(x, N, D, NULL, &settings, "wide");
    struct row_chunks rows = row_chunks_of(&cuda_test, x, N, D);
    cuda_good(
        lloyd_open(&lloyd, &rows, &settings, settings.restarts, &(struct lloyd_reserve){0}, &err),
        &err);
    cuda_good(kmeans_seeder_open(&seeder, lloyd, 0x1p80, &settings, &err), &err);
    ck_assert_int_eq(lloyd->n_runs, settings.restarts);
    ck_assert_int_eq(seeder.n_runs, 1);
    kmeans_seeder_close(&seeder);
    lloyd_close(lloyd);
    row_chunks_close(&rows);
    free(x);
    device_close(&cuda_test);
}
END_TEST

struct watch {
    int first_iterations; /* reports of them */
    int over;
};

static enum status watch(void *context, const struct kmeans_state *state, struct err *err)
{
    struct watch *seen = context;
    (void)err;
    ck_assert_int_ge(state->over, seen->over);
    if (state->iteration <= 1)
        ck_assert_int_eq(state->over, 0);
    seen->first_iterations += state->iteration == 1;
    seen->over = state->over;
    return STATUS_OK;
}

/* Restarts that go side by side are not over when they begin. */
START_TEST(progress_says_what_is_over)
{
    OPEN();
    struct cluster_case c = {"uniform", 180, 6, 6, 11, 1};
    struct kmeans_settings settings = defaults(c.k);
    struct kmeans_result result;
    struct watch seen = {0};
    struct err err;
    float *x = cluster_rows(&c);
    settings.restarts = 4;
    settings.tolerance = 0;
    settings.progress = watch, settings.progress_context = &seen;
    open_result(&result, c.n, c.k, c.d);
    cuda_good(fit_rows(&cuda_test, &result, x, c.n, c.d, NULL, &settings, &err), &err);
    ck_assert_int_eq(seen.first_iterations, 4);
    ck_assert(seen.over > 0 && seen.over < 4);
    close_result(&result, c.k, c.d);
    free(x);
    device_close(&cuda_test);
}
END_TEST

/* ---- rows that do not fit -------------------------------------------------------------------- */

/* Three blocks of rows in so little memory that they come a block at a time, for every pass, to two
 * runs side by side. */
START_TEST(rows_that_do_not_fit_give_the_same)
{
    enum { N = 2 * CLUSTER_BLOCK_ROWS + 1000, D = 2, K = 3 };
    struct kmeans_result got, want;
    struct err err;
    if (!cuda_test_device_with(_i, "memory,leak") || cuda_test.isa != CPU_AVX2)
        SKIP("needs nvcc and AVX2");
    struct cluster_case c = {"blobs", N, D, K, 15, 1};
    struct device cpu = device_cpu(&cuda_test);
    struct kmeans_settings settings = defaults(K);
    float *x = cluster_rows(&c);
    settings.max_iterations = 2;
    settings.restarts = 2;
    open_result(&got, N, K, D);
    open_result(&want, N, K, D);
    cuda_good(fit_rows(&cpu, &want, x, N, D, NULL, &settings, &err), &err);
    /* Resident rows take 132,072 x (8 + 128 + 12) bytes, and of a single run 52 more. */
    settings.gpu_memory = 23000000;
    cuda_good(fit_rows(&cuda_test, &got, x, N, D, NULL, &settings, &err), &err);
    ck_assert_msg(cuda_test.cuda->allocated.most <= settings.gpu_memory, "%zu bytes of %zu",
                  cuda_test.cuda->allocated.most, settings.gpu_memory);
    ck_assert(got.streamed && !want.streamed);
    check_same(&got, &want, N, K, D, "a block at a time");
    close_result(&got, K, D);
    close_result(&want, K, D);
    free(x);
    device_close(&cuda_test);
}
END_TEST

/* From too little to more than enough: fewer runs side by side, in seeding too, without low halves;
 * never more than is allowed. */
START_TEST(any_memory_gives_the_same)
{
    OPEN();
    struct cluster_case c = {"uniform", 700, 3, 4, 20, 1};
    struct device cpu = device_cpu(&cuda_test);
    struct kmeans_settings settings = defaults(c.k);
    struct kmeans_result got, want;
    struct err err;
    int n_refused = 0, n_fitted = 0;
    float *x = cluster_rows(&c);
    settings.restarts = 4;
    settings.max_iterations = 4;
    open_result(&got, c.n, c.k, c.d);
    open_result(&want, c.n, c.k, c.d);
    cuda_good(fit_rows(&cpu, &want, x, c.n, c.d, NULL, &settings, &err), &err);
    for (size_t memory = 100000; memory < 3000000; memory += memory / 4) {
        settings.gpu_memory = memory;
        cuda_test.cuda->allocated.most = cuda_test.cuda->allocated.now;
        enum status status = fit_rows(&cuda_test, &got, x, c.n, c.d, NULL, &settings, &err);
        ck_assert(cuda_test.cuda->allocated.most <= memory);
        n_refused += status == STATUS_RESOURCE, n_fitted += status == STATUS_OK;
        if (status == STATUS_RESOURCE)
            continue;
        check_same(&got, &want, c.n, c.k, c.d, "any memory");
    }
    ck_assert(n_refused > 0 && n_fitted > 3);
    close_result(&got, c.k, c.d);
    close_result(&want, c.k, c.d);
    free(x);
    device_close(&cuda_test);
}
END_TEST

/* A row that another program has made NaN, when all but the labels of the last centres is done. */
static enum status spoil(void *context, const struct kmeans_state *state, struct err *err)
{
    float *value = context;
    (void)err;
    if (state->iteration == 1)
        *value = NAN;
    return STATUS_OK;
}

/* More is allowed than the GPU has: what is free decides. */
START_TEST(rows_are_looked_at_when_they_come_again)
{
    enum { N = 2 * CLUSTER_BLOCK_ROWS + 100, FREE = 20 << 20, BAD = N - 30 };
    struct kmeans_result result;
    struct err err;
    size_t available;
    CUdeviceptr others = 0;
    if (!cuda_test_device_with(_i, "memory,leak"))
        SKIP("needs nvcc");
    struct cluster_case c = {"blobs", N, 1, 1, 19, 1};
    struct kmeans_settings settings = defaults(1);
    float *x = cluster_rows(&c);
    cuda_good(cuda_memory_free(cuda_test.cuda, &available, &err), &err);
    cuda_good(cuda_memory_take(cuda_test.cuda, &others, available - FREE, "others", "", &err),
              &err);
    settings.max_iterations = 1;
    settings.gpu_memory = (size_t)1 << 50;
    open_result(&result, N, 1, 1);
    cuda_good(fit_rows(&cuda_test, &result, x, N, 1, NULL, &settings, &err), &err);
    ck_assert(result.streamed);
    settings.progress = spoil, settings.progress_context = &x[BAD];
    ck_assert_int_eq(fit_rows(&cuda_test, &result, x, N, 1, NULL, &settings, &err),
                     STATUS_BAD_DATA);
    ck_assert_msg(strstr(err.text, "row 131143 of those that are not blank is not finite any more"),
                  "%s", err.text);
    cuda_memory_drop(cuda_test.cuda, others, available - FREE);
    close_result(&result, 1, 1);
    free(x);
    device_close(&cuda_test);
}
END_TEST

START_TEST(too_many_clusters_are_an_error)
{
    static const struct {
        int k, d;
    } sizes[] = {{100000, 30000}, {(1 << 24) + 1, 1}};
    OPEN();
    for (int i = 0; i < 2; i++) {
        float none[1];
        struct kmeans_settings settings = defaults(sizes[i].k);
        struct row_chunks rows = row_chunks_of(&cuda_test, none, sizes[i].k, sizes[i].d);
        struct lloyd *lloyd = NULL;
        struct err err;
        ck_assert_int_eq(lloyd_open(&lloyd, &rows, &settings, 1, 0, &err), STATUS_RESOURCE);
        ck_assert_msg(strstr(err.text, "more than it can count"), "%s", err.text);
        lloyd_close(lloyd);
    }
    device_close(&cuda_test);
}
END_TEST

START_TEST(too_little_memory_is_an_error)
{
    OPEN();
    struct cluster_case c = {"blobs", 50, 4, 3, 16, 1};
    float *x = cluster_rows(&c);
    struct kmeans_settings settings = defaults(c.k);
    struct kmeans_result result;
    struct err err;
    settings.gpu_memory = 1000;
    open_result(&result, c.n, c.k, c.d);
    ck_assert_int_eq(fit_rows(&cuda_test, &result, x, c.n, c.d, NULL, &settings, &err),
                     STATUS_RESOURCE);
    ck_assert_msg(strstr(err.text, "more than --memory allows"), "%s", err.text);
    close_result(&result, c.k, c.d);
    free(x);
    device_close(&cuda_test);
}
END_TEST

/* ---- what goes wrong ------------------------------------------------------------------------- */

static enum status stop_at(void *context, const struct kmeans_state *state, struct err *err)
{
    const int *iteration = context;
    return state->iteration >= *iteration ? err_set(err, STATUS_INTERRUPTED, "stopped") : STATUS_OK;
}

START_TEST(it_stops_when_told)
{
    OPEN();
    struct cluster_case c = {"uniform", 100, 4, 8, 17, 1};
    float *x = cluster_rows(&c);
    for (int iteration = 0; iteration < 3; iteration++) {
        struct kmeans_settings settings = defaults(c.k);
        struct kmeans_result result;
        struct err err;
        settings.progress = stop_at, settings.progress_context = &iteration;
        open_result(&result, c.n, c.k, c.d);
        ck_assert_int_eq(fit_rows(&cuda_test, &result, x, c.n, c.d, NULL, &settings, &err),
                         STATUS_INTERRUPTED);
        close_result(&result, c.k, c.d);
    }
    free(x);
    device_close(&cuda_test);
}
END_TEST

START_TEST(rows_that_a_transform_makes_infinite_are_refused)
{
    OPEN();
    check_infinite_transform(&cuda_test, 0);
    device_close(&cuda_test);
}
END_TEST

static enum status fit_few(void *context, struct err *err)
{
    const struct cluster_case *c = context;
    struct kmeans_settings settings = defaults(c->k);
    struct kmeans_result result;
    float *x = cluster_rows(c);
    open_result(&result, c->n, c->k, c->d);
    settings.restarts = 2;
    enum status status = fit_rows(&cuda_test, &result, x, c->n, c->d, NULL, &settings, err);
    close_result(&result, c->k, c->d);
    free(x);
    return status;
}

START_TEST(every_allocation_may_fail)
{
    struct cluster_case c = {"blobs", 50, 4, 3, 18, 1};
    int n = 1, result;
    if (!cuda_has_kernels())
        SKIP("needs nvcc");
    while ((result = cuda_test_with_failure(n, fit_few, &c)) == CUDA_CLEAN_ERROR)
        n++;
    ck_assert_msg(result == 0, "failure of allocation %d: %d", n, result);
    ck_assert_int_ge(n, 5); /* both arenas, page-locked memory */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_kmeans");
    TCase *tests = tcase_create("cuda_kmeans");
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, results_are_those_of_the_cpu, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, restarts_go_side_by_side, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, many_restarts_take_turns, 0, 1);
    tcase_add_loop_test(tests, runs_end_where_the_cpu_ends, 0, 2);
    tcase_add_loop_test(tests, empty_clusters_are_filled, 0, 2);
    tcase_add_loop_test(tests, wide_rows_start_on_the_cpu, 0, 1);
    tcase_add_loop_test(tests, progress_says_what_is_over, 0, 1);
    tcase_add_loop_test(tests, rows_that_do_not_fit_give_the_same, 0, 1);
    tcase_add_loop_test(tests, any_memory_gives_the_same, 0, 1);
    tcase_add_loop_test(tests, rows_are_looked_at_when_they_come_again, 0, 1);
    tcase_add_loop_test(tests, too_many_clusters_are_an_error, 0, 1);
    tcase_add_loop_test(tests, too_little_memory_is_an_error, 0, 1);
    tcase_add_loop_test(tests, it_stops_when_told, 0, 1);
    tcase_add_loop_test(tests, rows_that_a_transform_makes_infinite_are_refused, 0, 1);
    tcase_add_test(tests, every_allocation_may_fail);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
