/* Sums of clusters: the reference's bits, and totals that see neither threads nor chunks. */
#include "kernels/cluster_sums.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/cluster_totals.h"
#include "tests/support.h"

struct shape {
    int n, k, d;
    bool skewed; /* nearly all rows in one cluster */
};
static const struct shape shapes[] = {
    {0, 3, 5, false},    {1, 1, 1, false},    {7, 7, 3, false},   {200, 5, 2, false},
    {300, 20, 64, true}, {500, 3, 65, false}, {90, 2, 300, true}, {40, 1000, 7, false},
};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

/* Clusters from -1 to k - 1; of one another in every third row. */
static void fill_clusters(int32_t *from, int32_t *to, const struct shape *s, uint64_t seed)
{
    for (int i = 0; i < s->n; i++) {
        uint64_t draw = mix64(seed, (uint64_t)i);
        bool usual = s->skewed && draw % 16 != 0;
        from[i] = usual ? 0 : (int32_t)(draw >> 8) % (s->k + 1) - 1;
        if (from[i] < -1)
            from[i] = -1;
        to[i] = draw % 3 == 0 ? (int32_t)((draw >> 40) % (uint64_t)s->k) : from[i];
    }
}

START_TEST(sums_are_those_of_the_reference)
{
    const struct shape *s = &shapes[_i];
    size_t size = (size_t)s->k * (size_t)s->d, rows = (size_t)s->n * (size_t)s->d;
    float *x = guarded_floats(rows);
    fill_normal(x, rows, 1, 10.0f);
    for (size_t j = 0; j < rows; j++)
        x[j] *= ldexpf(1, (int)(mix64(4, j) % 60) - 30);
    double *x64 = to_doubles(x, rows), *want = test_alloc(size * sizeof *want);
    double *magnitude = test_alloc(size * sizeof *magnitude), *got = test_alloc(size * sizeof *got);
    int32_t *from = test_alloc((size_t)s->n * sizeof *from + 1),
            *to = test_alloc((size_t)s->n * sizeof *to + 1);
    fill_clusters(from, to, s, 2);
    struct device device;
    struct err err;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t j = 0; j < size; j++)
            want[j] = got[j] = (double)(j % 7), magnitude[j] = 0;
        cluster_sums_add_ref(want, magnitude, x64, from, to, s->n, s->d);
        ck_assert_int_eq(cluster_sums_add(&device, got, x, from, to, s->n, s->k, s->d, &err),
                         STATUS_OK);
        /* One chain of float64 additions in the rows' order, here and there. */
        ck_assert_mem_eq(got, want, size * sizeof *want);
        device_close(&device);
    }
    free(x64), free(want), free(magnitude), free(got), free(from), free(to);
    check_guarded(x, rows);
}
END_TEST

START_TEST(rows_in_no_cluster_before_need_no_array)
{
    enum { N = 50, K = 4, D = 9 };
    float x[N * D];
    int32_t none[N], to[N];
    double want[K * D] = {0}, got[K * D] = {0};
    struct device device;
    struct err err;
    fill_normal(x, N * D, 3, 1.0f);
    for (int i = 0; i < N; i++)
        none[i] = -1, to[i] = i % 5 - 1;
    ck_assert(test_device(0, &device));
    ck_assert_int_eq(cluster_sums_add(&device, want, x, none, to, N, K, D, &err), STATUS_OK);
    ck_assert_int_eq(cluster_sums_add(&device, got, x, NULL, to, N, K, D, &err), STATUS_OK);
    ck_assert_mem_eq(got, want, sizeof want);
    device_close(&device);
}
END_TEST

/* A row that does not change may hold anything. */
START_TEST(rows_that_stay_are_not_read)
{
    float x[3 * 2] = {1, 2, NAN, NAN, 5, 6};
    const int32_t from[3] = {0, 1, -1}, to[3] = {1, 1, 0};
    double sums[2 * 2] = {10, 10, 0, 0};
    static const double want[] = {14, 14, 1, 2};
    struct device device;
    struct err err;
    ck_assert(test_device(0, &device));
    ck_assert_int_eq(cluster_sums_add(&device, sums, x, from, to, 3, 2, 2, &err), STATUS_OK);
    ck_assert_mem_eq(sums, want, sizeof want);
    device_close(&device);
}
END_TEST

/* ---- totals ---------------------------------------------------------------------------------- */

/* Two blocks and a bit; labels of three walks. */
enum { N = 2 * CLUSTER_BLOCK_ROWS + 1000, K = 13, D = 3, WALKS = 3 };

struct walk {
    float *x;
    int32_t *labels[WALKS];
};

static void open_walk(struct walk *walk)
{
    walk->x = test_alloc((size_t)N * D * sizeof *walk->x);
    fill_normal(walk->x, (size_t)N * D, 5, 1.0f);
    for (size_t j = 0; j < (size_t)N * D; j++) /* so that float64 has something to round */
        walk->x[j] *= ldexpf(1, (int)(mix64(6, j) % 60) - 30);
    for (int w = 0; w < WALKS; w++) {
        walk->labels[w] = test_alloc(N * sizeof *walk->labels[w]);
        for (int i = 0; i < N; i++) {
            uint64_t draw = mix64(17 + (uint64_t)w, (uint64_t)i);
            walk->labels[w][i] =
                w > 0 && draw % 4 ? walk->labels[w - 1][i] : (int32_t)(draw >> 32) & 7;
        }
    }
}

static void close_walk(struct walk *walk)
{
    free(walk->x);
    for (int w = 0; w < WALKS; w++)
        free(walk->labels[w]);
}

/* All walks, in steps of some rows. */
static void run_walks(struct cluster_totals *totals, const struct walk *walk, int step)
{
    struct err err;
    for (int w = 0; w < WALKS; w++) {
        cluster_totals_begin(totals, w == 0);
        for (int first = 0, n; first < N; first += n) {
            n = step > 0 ? step : 1 + (int)(mix64(3, (uint64_t)first) % 40000);
            n = N - first < n ? N - first : n;
            ck_assert_int_eq(cluster_totals_add(totals, walk->x + (size_t)first * D,
                                                w > 0 ? walk->labels[w - 1] + first : NULL,
                                                walk->labels[w] + first, n, &err),
                             STATUS_OK);
        }
        cluster_totals_end(totals);
    }
}

/* Block after block, each a chain from zero. */
static void naive_totals(double *sums, const struct walk *walk)
{
    double *x = to_doubles(walk->x, (size_t)N * D), magnitude[K * D] = {0};
    int32_t *none = test_alloc(N * sizeof *none);
    memset(none, 0xff, N * sizeof *none);
    memset(sums, 0, K * D * sizeof *sums);
    for (int w = 0; w < WALKS; w++)
        for (int first = 0; first < N; first += CLUSTER_BLOCK_ROWS) {
            int n = N - first < CLUSTER_BLOCK_ROWS ? N - first : CLUSTER_BLOCK_ROWS;
            const int32_t *from = w > 0 ? walk->labels[w - 1] : none;
            double partial[K * D] = {0};
            cluster_sums_add_ref(partial, magnitude, x + (size_t)first * D, from + first,
                                 walk->labels[w] + first, n, D);
            for (int j = 0; j < K * D; j++)
                sums[j] += partial[j];
        }
    free(x), free(none);
}

START_TEST(totals_do_not_depend_on_chunks_and_threads)
{
    static const int steps[] = {N, CLUSTER_BLOCK_ROWS, 512, 0, 0};
    struct walk walk;
    open_walk(&walk);
    double sums[K * D];
    struct err err;
    naive_totals(sums, &walk);
    for (int run = 0; run < 5; run++) {
        struct device device;
        struct cluster_totals totals;
        ck_assert_int_eq(device_open(&device, "cpu", 1 + run % 4, &err), STATUS_OK);
        ck_assert_int_eq(cluster_totals_open(&totals, &device, K, D, &err), STATUS_OK);
        run_walks(&totals, &walk, steps[run]);
        ck_assert_mem_eq(totals.sums, sums, sizeof sums);
        cluster_totals_close(&totals);
        device_close(&device);
    }
    close_walk(&walk);
}
END_TEST

/* Totals that were kept up are those of the rows that are there, within the rounding of the chain.
 */
START_TEST(totals_are_those_of_the_clusters)
{
    struct walk walk;
    struct device device;
    struct cluster_totals totals;
    struct err err;
    double want[K * D] = {0}, magnitude[K * D] = {0};
    int64_t counts[K] = {0};
    open_walk(&walk);
    ck_assert(test_device(0, &device));
    ck_assert_int_eq(cluster_totals_open(&totals, &device, K, D, &err), STATUS_OK);
    run_walks(&totals, &walk, 10000);
    for (int i = 0; i < N; i++) {
        int c = walk.labels[WALKS - 1][i];
        counts[c]++;
        for (int w = 0; w < WALKS; w++)
            for (int j = 0; j < D; j++) {
                double value = (double)walk.x[i * D + j];
                want[c * D + j] += w == 0 ? value : 0;
                magnitude[walk.labels[w][i] * D + j] += 2 * fabs(value); /* it came, and it left */
            }
    }
    ck_assert_mem_eq(totals.counts, counts, sizeof counts);
    for (int j = 0; j < K * D; j++)
        /* Each addition errs by 2^-53 of a sum that is never above the magnitudes': N of them. */
        ck_assert(fabs(totals.sums[j] - want[j]) <= 0x1p-53 * N * magnitude[j]);
    ck_assert(counts[K - 1] == 0 && totals.sums[K * D - 1] == 0);
    cluster_totals_close(&totals);
    close_walk(&walk);
    device_close(&device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster_sums");
    TCase *tests = tcase_create("cluster_sums");
    tcase_add_loop_test(tests, sums_are_those_of_the_reference, 0, N_SHAPES);
    tcase_add_test(tests, rows_in_no_cluster_before_need_no_array);
    tcase_add_test(tests, rows_that_stay_are_not_read);
    tcase_add_test(tests, totals_do_not_depend_on_chunks_and_threads);
    tcase_add_test(tests, totals_are_those_of_the_clusters);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
