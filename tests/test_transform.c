/* Transforms against scikit-learn's PCA, and what they promise by themselves. */
#include "tests/cluster_inputs.h"

#include <math.h>
#include <stdio.h>
#include "host/row_chunks.h"

static enum status fit_rows(struct device *device, struct transform *transform,
                            enum transform_normalise normalise, int remove, const float *x, int n,
                            int d, struct arena *arena, struct err *err)
{
    struct row_chunks rows = row_chunks_of(device, x, n, d);
    return transform_fit(transform, normalise, remove, &rows, arena, err);
}

static void must_fit(struct device *device, struct transform *transform,
                     enum transform_normalise normalise, int remove, const float *x, int n, int d,
                     struct arena *arena)
{
    struct err err;
    if (fit_rows(device, transform, normalise, remove, x, n, d, arena, &err) != STATUS_OK)
        ck_abort_msg("%s", err.text);
}

/* ---- against scikit-learn -------------------------------------------------------------------- */

struct golden_pca {
    struct cluster_case c;
    int components;
    double mean[20], direction[4 * 20];
};

static void read_golden(struct golden_pca *pca)
{
    FILE *file = fopen(golden("cluster/transform.txt"), "r");
    ck_assert_ptr_nonnull(file);
    struct cluster_case *c = &pca->c;
    strcpy(c->shape, "stretched");
    ck_assert_int_eq(fscanf(file, "%d %d %d %lu %lf %d", &c->n, &c->d, &c->k, &c->seed, &c->spread,
                            &pca->components),
                     6);
    ck_assert(c->d == 20 && pca->components == 4);
    for (int j = 0; j < c->d; j++)
        ck_assert_int_eq(fscanf(file, "%lf", &pca->mean[j]), 1);
    for (int j = 0; j < 4 * c->d; j++)
        ck_assert_int_eq(fscanf(file, "%lf", &pca->direction[j]), 1);
    fclose(file);
}

START_TEST(transform_finds_the_components_of_scikit_learn)
{
    struct golden_pca pca;
    read_golden(&pca);
    float *x = cluster_rows(&pca.c);
    struct device device;
    for (int i = 0; test_device(i, &device); i++)
        for (int remove = 1; remove <= 4; remove++) {
            struct arena arena = {0};
            struct transform t;
            must_fit(&device, &t, NORMALISE_CENTRE, remove, x, pca.c.n, pca.c.d, &arena);
            ck_assert_int_eq(t.n_removed, remove);
            check_close(t.mean, pca.mean, 20, 0, 0x1p-24, "mean");
            check_close(t.directions, pca.direction, (size_t)(20 * remove), 2e-6, 2e-6,
                        "directions");
            arena_free(&arena);
            if (remove == 4)
                device_close(&device);
        }
    free(x);
}
END_TEST

/* A row of the result, in float64 from its formula. */
static void expected_row(double *y, const float *x, const struct golden_pca *pca, int remove,
                         enum transform_normalise normalise)
{
    double square = 0;
    bool centre = normalise == NORMALISE_CENTRE || normalise == NORMALISE_CENTRE_L2;
    bool l2 = normalise == NORMALISE_L2 || normalise == NORMALISE_CENTRE_L2;
    for (int j = 0; j < 20; j++)
        y[j] = (double)x[j] - (centre ? pca->mean[j] : 0);
    for (int c = 0; c < remove; c++) {
        double share = 0;
        for (int j = 0; j < 20; j++)
            share += ((double)x[j] - pca->mean[j]) * pca->direction[c * 20 + j];
        for (int j = 0; j < 20; j++)
            y[j] -= share * pca->direction[c * 20 + j];
    }
    for (int j = 0; j < 20; j++)
        square += y[j] * y[j];
    for (int j = 0; l2 && j < 20; j++)
        y[j] /= sqrt(square);
}

START_TEST(transform_applies_its_formula)
{
    struct golden_pca pca;
    read_golden(&pca);
    int n = pca.c.n;
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (int normalise = NORMALISE_NONE; normalise <= NORMALISE_L2; normalise++)
            for (int remove = 0; remove <= 3; remove += 3) {
                float *x = cluster_rows(&pca.c);
                double *want = malloc((size_t)n * 20 * sizeof *want);
                for (int r = 0; r < n; r++)
                    expected_row(want + r * 20, x + r * 20, &pca, remove, normalise);
                struct arena arena = {0};
                struct transform t;
                must_fit(&device, &t, normalise, remove, x, n, 20, &arena);
                transform_apply(&device, &t, x, n);
                /* Rows are as long as 500: shares of 1e-6 of that, or of 1 where normalised. */
                double scale = normalise >= NORMALISE_CENTRE_L2 ? 5e-6 : 1e-3;
                check_close(x, want, (size_t)n * 20, scale, 1e-6, "normalise %d, remove %d",
                            normalise, remove);
                free(x), free(want);
                arena_free(&arena);
            }
        device_close(&device);
    }
}
END_TEST

/* ---- by themselves --------------------------------------------------------------------------- */

/* Four strong directions, equal ones behind them. */
static float *wide_rows(int n, int d)
{
    float *x = malloc((size_t)(n * d) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    fill_normal(x, (size_t)(n * d), 93, 1.0f);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < 4; j++)
            x[i * d + j] *= (float)(8 - j);
    return x;
}

static void check_orthonormal(const struct transform *t)
{
    for (int a = 0; a < t->n_removed; a++)
        for (int b = 0; b <= a; b++) {
            double dot = 0;
            for (int j = 0; j < t->d; j++)
                dot += (double)t->directions[a * t->d + j] * (double)t->directions[b * t->d + j];
            ck_assert(fabs(dot - (a == b)) < 1e-6);
        }
}

/* Three blocks of rows. */
START_TEST(transform_does_not_depend_on_threads)
{
    enum { N = 1100, D = 18, REMOVED = 4 };
    float *first = NULL;
    for (int threads = 1; threads <= 4; threads++) {
        struct device device;
        struct err err;
        ck_assert_int_eq(device_open(&device, "cpu", threads, &err), STATUS_OK);
        float *x = wide_rows(N, D);
        struct arena arena = {0};
        struct transform t;
        must_fit(&device, &t, NORMALISE_CENTRE_L2, REMOVED, x, N, D, &arena);
        ck_assert_int_eq(t.n_removed, REMOVED);
        check_orthonormal(&t);
        transform_apply(&device, &t, x, N);
        if (!first)
            first = x;
        else {
            ck_assert_mem_eq(first, x, N * D * sizeof *x);
            free(x);
        }
        arena_free(&arena);
        device_close(&device);
    }
    free(first);
}
END_TEST

/* Columns of nearly the same variance: no gap for the iteration to
 * use, which stops by its limit. */
START_TEST(transform_ends_without_a_gap)
{
    enum { N = 128, D = 64, REMOVED = 3 };
    struct device device;
    ck_assert(test_device(0, &device));
    float x[N * D] = {0};
    for (int i = 0; i < N; i++)
        x[i * D + i % D] = (i < D ? 1 : -1) * (1 + 1e-5f * (float)(i % D));
    struct arena arena = {0};
    struct transform t;
    must_fit(&device, &t, NORMALISE_NONE, REMOVED, x, N, D, &arena);
    ck_assert_int_eq(t.n_removed, REMOVED);
    check_orthonormal(&t);
    arena_free(&arena);
    device_close(&device);
}
END_TEST

START_TEST(transform_does_not_depend_on_chunks)
{
    enum { N = 1400, D = 20 };
    struct device device;
    struct arena arena = {0};
    struct transform whole, chunked;
    struct err err;
    ck_assert(test_device(0, &device));
    float *x = wide_rows(N, D);
    must_fit(&device, &whole, NORMALISE_CENTRE_L2, 2, x, N, D, &arena);
    struct row_chunks rows = row_chunks_of(&device, x, N, D);
    rows.rows_per_chunk = ROWS_PER_BLOCK;
    ck_assert_int_eq(transform_fit(&chunked, NORMALISE_CENTRE_L2, 2, &rows, &arena, &err),
                     STATUS_OK);
    ck_assert_mem_eq(whole.mean, chunked.mean, D * sizeof *whole.mean);
    ck_assert_mem_eq(whole.directions, chunked.directions, 2 * D * sizeof *whole.directions);
    free(x);
    arena_free(&arena);
    device_close(&device);
}
END_TEST

/* Rows that vary in one direction, or in none: no other direction is made up. */
START_TEST(transform_removes_only_what_varies)
{
    struct device device;
    ck_assert(test_device(0, &device));
    struct arena arena = {0};
    struct transform t;
    float x[6 * 4];
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 4; j++)
            x[i * 4 + j] = 0.1f + (float)(j == 2) * (float)i;
    must_fit(&device, &t, NORMALISE_CENTRE, 3, x, 6, 4, &arena);
    ck_assert_int_eq(t.n_removed, 1);
    for (int j = 0; j < 4; j++)
        ck_assert(fabs(t.directions[j] - (j == 2)) < 1e-7);
    for (int i = 0; i < 6; i++)
        x[i * 4 + 2] = 0.1f;
    must_fit(&device, &t, NORMALISE_CENTRE_L2, 3, x, 6, 4, &arena);
    ck_assert(t.n_removed == 0 && !t.directions);
    transform_apply(&device, &t, x, 6);
    for (int j = 0; j < 6 * 4; j++)
        ck_assert(x[j] == 0);
    float kept[3] = {1, NAN, 2};
    must_fit(&device, &t, NORMALISE_NONE, 0, x, 0, 3, &arena);
    transform_apply(&device, &t, kept, 1);
    ck_assert(kept[0] == 1 && isnan(kept[1]) && kept[2] == 2);
    arena_free(&arena);
    device_close(&device);
}
END_TEST

/* ---- errors ---------------------------------------------------------------------------------- */

START_TEST(transform_refuses)
{
    struct device device;
    ck_assert(test_device(0, &device));
    float x[3 * 2] = {1, 2, 3, 4, 5, 6};
    struct arena arena = {0};
    struct transform t;
    struct err err;
    for (int remove = -1; remove <= 2; remove += 3) {
        ck_assert_int_eq(fit_rows(&device, &t, NORMALISE_CENTRE, remove, x, 3, 2, &arena, &err),
                         STATUS_USAGE);
        ck_assert_ptr_nonnull(strstr(err.text, "2 columns"));
    }
    ck_assert_int_eq(fit_rows(&device, &t, NORMALISE_CENTRE, 0, x, 0, 2, &arena, &err),
                     STATUS_BAD_DATA);
    ck_assert_ptr_nonnull(strstr(err.text, "all are blank"));
    x[3] = INFINITY;
    ck_assert_int_eq(fit_rows(&device, &t, NORMALISE_NONE, 0, x, 3, 2, &arena, &err),
                     STATUS_BAD_DATA);
    ck_assert_ptr_nonnull(strstr(err.text, "row 2"));
    ck_assert_uint_eq(arena.total, 0);
    arena_free(&arena);
    device_close(&device);
}
END_TEST

struct fit {
    struct device device;
    const float *x; /* (600, 50) */
};

static enum status fit_again(void *context, struct err *err)
{
    struct fit *fit = context;
    struct arena arena = {0};
    struct transform t;
    enum status status =
        fit_rows(&fit->device, &t, NORMALISE_CENTRE, 3, fit->x, 600, 50, &arena, err);
    ck_assert(status == STATUS_OK || (!t.mean && !t.directions && arena.total == 0));
    arena_free(&arena);
    return status;
}

START_TEST(transform_reports_lack_of_memory)
{
    float *x = wide_rows(600, 50);
    struct fit fit = {.x = x};
    ck_assert(test_device(0, &fit.device));
    ck_assert_int_ge(check_lack_of_memory(fit_again, &fit, "transform_fit"), 3);
    free(x);
    device_close(&fit.device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("transform");
    TCase *tests = tcase_create("transform");
    tcase_add_test(tests, transform_finds_the_components_of_scikit_learn);
    tcase_add_test(tests, transform_applies_its_formula);
    tcase_add_test(tests, transform_does_not_depend_on_threads);
    tcase_add_test(tests, transform_ends_without_a_gap);
    tcase_add_test(tests, transform_does_not_depend_on_chunks);
    tcase_add_test(tests, transform_removes_only_what_varies);
    tcase_add_test(tests, transform_refuses);
    tcase_add_test(tests, transform_reports_lack_of_memory);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
