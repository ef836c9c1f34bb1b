/* k-means against scikit-learn, and what it promises by itself: consistent labels, the same bytes
 * for any number of threads and any chunks, errors and lack of memory. */
#include "tests/kmeans_fits.h"

#include <stdio.h>
#include "host/base/memory.h"
#include "loaders/npy.h"

/* ---- scikit-learn ---------------------------------------------------------------------------- */

static void check_golden(const char *path, bool spherical)
{
    FILE *file = fopen(golden(path), "r");
    ck_assert_ptr_nonnull(file);
    struct cluster_case c;
    char name[32];
    int max_iterations, iterations, n_cases = 0;
    double inertia;
    while (fscanf(file, "%31s %31s %d %d %d %lu %lf %d %d %lf", name, c.shape, &c.n, &c.d, &c.k,
                  &c.seed, &c.spread, &max_iterations, &iterations, &inertia) == 10) {
        n_cases++;
        size_t d = (size_t)c.d;
        float *x = cluster_rows(&c), *initial = guarded_floats((size_t)c.k * d);
        int32_t *labels = malloc((size_t)c.n * sizeof *labels);
        for (int i = 0; i < c.n; i++)
            ck_assert_int_eq(fscanf(file, "%d", &labels[i]), 1);
        for (size_t i = 0; i < (size_t)c.k; i++)
            memcpy(initial + i * d, x + i * (size_t)(c.n / c.k) * d, d * sizeof *x);
        if (strcmp(name, "lost") == 0)
            for (size_t j = 0; j < d; j++)
                initial[((size_t)c.k - 1) * d + j] = 1e6f;
        struct kmeans_settings settings = defaults(c.k);
        settings.max_iterations = max_iterations;
        settings.spherical = spherical;
        if (spherical)
            settings.tolerance = 0;
        struct device device;
        for (int i = 0; test_device(i, &device); i++) {
            struct kmeans_result result;
            open_result(&result, c.n, c.k, c.d);
            must_fit(&device, &result, x, &c, initial, &settings);
            for (int r = 0; r < c.n; r++)
                ck_assert_msg(result.labels[r] == labels[r], "%s: row %d: label %d, want %d", name,
                              r, result.labels[r], labels[r]);
            /* Centres are float32 here: an error of 2^-24 |centre| beside the distance, squared; at
             * "far", |centre| is 1,000 times the spread. */
            ck_assert_msg(fabs(result.inertia - inertia) <= 1e-6 * inertia,
                          "%s: inertia %.12g, want %.12g", name, result.inertia, inertia);
            ck_assert_msg(result.iterations == iterations, "%s: %d iterations, want %d", name,
                          result.iterations, iterations);
            ck_assert_int_eq(result.converged, strncmp(name, "stopped", 7) != 0);
            if (!spherical)
                check_consistent(&result, x, &c);
            close_result(&result, c.k, c.d);
            device_close(&device);
        }
        free(x), free(labels);
        check_guarded(initial, (size_t)c.k * d);
    }
    ck_assert(feof(file) && n_cases > 0);
    fclose(file);
}

START_TEST(kmeans_matches_scikit_learn)
{
    check_golden("cluster/kmeans.txt", false);
}
END_TEST

START_TEST(kmeans_spherical_matches_numpy)
{
    check_golden("cluster/kmeans_cosine.txt", true);
}
END_TEST

/* Over 20 seeds the own starts are as good as scikit-learn's over 200. */
START_TEST(kmeans_seeds_as_well_as_scikit_learn)
{
    FILE *file = fopen(golden("cluster/kmeans_seeds.txt"), "r");
    ck_assert_ptr_nonnull(file);
    struct device device;
    ck_assert(test_device(1, &device) || test_device(0, &device));
    struct cluster_case c;
    double want;
    while (fscanf(file, "%31s %d %d %d %lu %lf %lf", c.shape, &c.n, &c.d, &c.k, &c.seed, &c.spread,
                  &want) == 7) {
        float *x = cluster_rows(&c);
        struct kmeans_settings settings = defaults(c.k);
        double sum = 0;
        for (settings.seed = 0; settings.seed < 20; settings.seed++) {
            struct kmeans_result result;
            open_result(&result, c.n, c.k, c.d);
            must_fit(&device, &result, x, &c, NULL, &settings);
            sum += result.inertia / 20;
            close_result(&result, c.k, c.d);
        }
        ck_assert_msg(sum <= 1.001 * want, "%s: mean inertia %.8g, want at most 1.001 * %.8g",
                      c.shape, sum, want);
        free(x);
    }
    fclose(file);
    device_close(&device);
}
END_TEST

/* ---- what it promises by itself -------------------------------------------------------------- */

/* 1,300 rows are three blocks; 9 columns leave a tail behind the vectors. */
static const struct cluster_case promise = {"blobs", 1300, 9, 7, 71, 5.0};
/* So many clusters and columns that rows are compared with a part of them. */
static const struct cluster_case many = {"uniform", 1300, 41, 150, 71, 1.0};

static void check_same(const struct kmeans_result *got, const struct kmeans_result *want,
                       const struct cluster_case *c)
{
    ck_assert_mem_eq(got->centres, want->centres,
                     (size_t)c->k * (size_t)c->d * sizeof *want->centres);
    ck_assert_mem_eq(got->labels, want->labels, (size_t)c->n * sizeof *want->labels);
    ck_assert_mem_eq(&got->inertia, &want->inertia, sizeof want->inertia);
    ck_assert_int_eq(got->iterations, want->iterations);
    ck_assert(got->n_compared == want->n_compared && got->n_rechecked == want->n_rechecked);
}

START_TEST(kmeans_does_not_depend_on_threads)
{
    const struct cluster_case c = _i ? many : promise;
    float *x = cluster_rows(&c);
    struct kmeans_settings settings = defaults(c.k);
    settings.restarts = 3;
    struct kmeans_result first;
    for (int threads = 1; threads <= 4; threads++) {
        struct device device;
        struct err err;
        ck_assert_int_eq(device_open(&device, "cpu", threads, &err), STATUS_OK);
        struct kmeans_result result;
        open_result(&result, c.n, c.k, c.d);
        must_fit(&device, &result, x, &c, NULL, &settings);
        check_consistent(&result, x, &c);
        if (threads == 1)
            first = result;
        else {
            check_same(&result, &first, &c);
            close_result(&result, c.k, c.d);
        }
        device_close(&device);
    }
    close_result(&first, c.k, c.d);
    free(x);
}
END_TEST

/* The rows in memory, in memory a few at a time, and in files: three parts, read anew or kept. */
START_TEST(kmeans_does_not_depend_on_chunks)
{
    static const int first_row[] = {0, 700, 701, 1300};
    const struct cluster_case c = _i == 2 ? many : promise;
    float *x = cluster_rows(&c);
    struct kmeans_settings settings = defaults(c.k);
    settings.spherical = _i == 1;
    char paths[3][256];
    const char *path[3];
    struct err err;
    struct device device;
    ck_assert(test_device(1, &device) || test_device(0, &device));
    for (int part = 0; part < 3; part++) {
        int n = first_row[part + 1] - first_row[part];
        snprintf(paths[part], sizeof paths[part], "%s/part%d.npy", temporary_folder(), part);
        path[part] = paths[part];
        ck_assert_int_eq(npy_write(path[part], NPY_F32, 2, n, c.d, x + first_row[part] * c.d, &err),
                         STATUS_OK);
    }
    struct embedding_parts parts;
    ck_assert_int_eq(embedding_parts_measure(&parts, path, 3, &err), STATUS_OK);
    struct kmeans_result first;
    for (int way = 0; way < 4; way++) {
        struct row_chunks rows = row_chunks_of(&device, x, c.n, c.d);
        struct kmeans_result result;
        if (way > 1)
            ck_assert_int_eq(row_chunks_open(&rows, &device, &parts, way == 2 ? 0 : SIZE_MAX, &err),
                             STATUS_OK);
        if (way == 1 || way == 2)
            rows.rows_per_chunk = ROWS_PER_BLOCK;
        open_result(&result, c.n, c.k, c.d);
        if (kmeans_fit(&result, &rows, NULL, &settings, &err) != STATUS_OK)
            ck_abort_msg("%s", err.text);
        row_chunks_close(&rows);
        if (way == 0) {
            first = result;
            continue;
        }
        check_same(&result, &first, &c);
        close_result(&result, c.k, c.d);
    }
    close_result(&first, c.k, c.d);
    device_close(&device);
    free(x);
}
END_TEST

/* The lowest inertia a restart came to, by the progress that it reported. */
struct watch {
    int restarts, seedings;
    double seeded[16], last[16];
    int stop_at; /* iteration to stop at; 0: never */
};

static enum status watch_progress(void *context, const struct kmeans_state *state, struct err *err)
{
    struct watch *watch = context;
    int restart = state->restart, iteration = state->iteration;
    double inertia = state->inertia;
    watch->restarts = restart + 1;
    watch->seedings += iteration == 0;
    ck_assert_int_eq(state->k, promise.k);
    if (iteration == 0) {
        ck_assert_int_eq(state->centre, 2 + (watch->seedings - 1) % (promise.k - 1));
        watch->seeded[restart] = inertia;
    }
    /* The centres are the same: float32 distances of rows of 9 numbers, summed in float64. */
    if (iteration == 1)
        ck_assert(fabs(inertia - watch->seeded[restart]) < 1e-5 * inertia);
    if (iteration > 0 && iteration == watch->stop_at)
        return err_set(err, STATUS_INTERRUPTED, "stopped");
    if (iteration > 0) {
        ck_assert(iteration == 1 || inertia <= watch->last[restart] * (1 + 1e-6));
        watch->last[restart] = inertia;
    }
    return STATUS_OK;
}

START_TEST(kmeans_keeps_the_best_restart)
{
    struct device device;
    ck_assert(test_device(0, &device));
    float *x = cluster_rows(&promise);
    struct watch watch = {0};
    struct kmeans_settings settings = defaults(promise.k);
    settings.restarts = 8;
    settings.tolerance = 0;
    settings.progress = watch_progress;
    settings.progress_context = &watch;
    struct kmeans_result result;
    open_result(&result, promise.n, promise.k, promise.d);
    must_fit(&device, &result, x, &promise, NULL, &settings);
    ck_assert_int_eq(watch.restarts, 8);
    ck_assert_int_eq(watch.seedings, 8 * (promise.k - 1));
    double best = INFINITY, worst = 0;
    for (int i = 0; i < 8; i++)
        best = fmin(best, watch.last[i]), worst = fmax(worst, watch.last[i]);
    /* What is reported comes from the clusters' totals, and the result from the rows' distances:
     * float64 sums of 1,300 x 9 numbers of the scatter's size, which is below ten times the
     * inertia. */
    ck_assert(fabs(result.inertia - best) < 1e-11 * best && best < worst);
    ck_assert(watch.last[result.restart] == best);
    close_result(&result, promise.k, promise.d);
    device_close(&device);
    free(x);
}
END_TEST

START_TEST(kmeans_stops_when_told)
{
    struct device device;
    ck_assert(test_device(0, &device));
    float *x = cluster_rows(&promise);
    struct watch watch = {.stop_at = 2};
    struct kmeans_settings settings = defaults(promise.k);
    settings.progress = watch_progress;
    settings.progress_context = &watch;
    struct kmeans_result result;
    open_result(&result, promise.n, promise.k, promise.d);
    struct err err;
    ck_assert_int_eq(fit_rows(&device, &result, x, promise.n, promise.d, NULL, &settings, &err),
                     STATUS_INTERRUPTED);
    close_result(&result, promise.k, promise.d);
    device_close(&device);
    free(x);
}
END_TEST

/* Stopped after any iteration, labels are the arg-min to the centres: bounds that missed a centre
 * which has moved farthest, whichever it is, would leave others. */
START_TEST(kmeans_labels_are_right_after_any_iteration)
{
    struct device device;
    ck_assert(test_device(0, &device));
    for (int trial = 0; trial < 1200; trial++) {
        struct cluster_case c = {"uniform", 60, 1 + trial % 2, 2 + trial % 3, 0, 0};
        if (trial % 20 == 0)
            c.n = 400, c.k = many.k, c.d = many.d;
        struct kmeans_settings settings = defaults(c.k);
        struct kmeans_result result;
        float *initial = guarded_floats((size_t)c.k * (size_t)c.d);
        c.seed = (uint64_t)trial;
        settings.max_iterations = 1 + trial % 5;
        float *x = cluster_rows(&c);
        for (int j = 0; j < c.k * c.d; j++) /* poor ones, that move far */
            initial[j] = x[j] * x[j] * (trial % 7 < 3 ? 0.2f : 1);
        open_result(&result, c.n, c.k, c.d);
        must_fit(&device, &result, x, &c, initial, &settings);
        check_consistent(&result, x, &c);
        close_result(&result, c.k, c.d);
        check_guarded(initial, (size_t)c.k * (size_t)c.d);
        free(x);
    }
    device_close(&device);
}
END_TEST

/* Two rows 2^27 from their centre, then 2,000 rows 1 from theirs: each is below half a unit of what
 * has been summed before it. */
START_TEST(kmeans_inertia_is_compensated)
{
    enum { N = 2002 };
    struct device device;
    ck_assert(test_device(0, &device));
    struct cluster_case c = {"by hand", N, 1, 2, 0, 0};
    struct kmeans_settings settings = defaults(c.k);
    struct kmeans_result result;
    float x[N] = {0x1p30f + 0x1p27f, 0x1p30f - 0x1p27f};
    const float initial[2] = {0x1p30f, 0};
    for (int i = 2; i < N; i++)
        x[i] = i % 2 ? 1 : -1;
    open_result(&result, N, c.k, c.d);
    must_fit(&device, &result, x, &c, initial, &settings);
    ck_assert(result.inertia == 0x1p55 + 2000);
    close_result(&result, c.k, c.d);
    device_close(&device);
}
END_TEST

/* Rows of any length, and zero rows: clusters by direction, centres of length 1. */
START_TEST(kmeans_spherical_ignores_length)
{
    struct device device;
    ck_assert(test_device(0, &device));
    struct cluster_case c = {"blobs", 300, 6, 5, 77, 1.0};
    float *x = cluster_rows(&c);
    struct kmeans_settings settings = defaults(c.k);
    settings.spherical = true;
    struct kmeans_result plain, scaled;
    open_result(&plain, c.n, c.k, c.d);
    open_result(&scaled, c.n, c.k, c.d);
    must_fit(&device, &plain, x, &c, NULL, &settings);
    for (int i = 0; i < c.n; i++)
        for (int j = 0; j < c.d; j++)
            x[i * c.d + j] *= (float)(1 << i % 8); /* exact */
    must_fit(&device, &scaled, x, &c, NULL, &settings);
    ck_assert_mem_eq(plain.labels, scaled.labels, (size_t)c.n * sizeof *plain.labels);
    ck_assert_mem_eq(plain.centres, scaled.centres, (size_t)(c.k * c.d) * sizeof *plain.centres);
    for (int i = 0; i < c.k; i++) {
        double square = 0;
        for (int j = 0; j < c.d; j++)
            square += (double)plain.centres[i * c.d + j] * (double)plain.centres[i * c.d + j];
        ck_assert(fabs(square - 1) < 1e-6);
    }
    memset(x, 0, (size_t)c.d * sizeof *x);
    must_fit(&device, &scaled, x, &c, NULL, &settings);
    ck_assert_int_ge(scaled.labels[0], 0);
    close_result(&plain, c.k, c.d);
    close_result(&scaled, c.k, c.d);
    device_close(&device);
    free(x);
}
END_TEST

/* Squares of such rows are no float32 numbers, or no small part of them is. */
START_TEST(kmeans_takes_rows_of_any_size)
{
    static const float scales[] = {1, 1e-25f, 1e-38f, 1e18f, 1e25f};
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        double inertia = 0;
        for (size_t s = 0; s < sizeof scales / sizeof *scales; s++) {
            float *x = cluster_rows(&promise);
            struct kmeans_settings settings = defaults(promise.k);
            struct kmeans_result result;
            settings.restarts = 4;
            for (int j = 0; j < promise.n * promise.d; j++)
                x[j] *= scales[s];
            open_result(&result, promise.n, promise.k, promise.d);
            must_fit(&device, &result, x, &promise, NULL, &settings);
            check_consistent(&result, x, &promise);
            double unscaled = result.inertia / (double)scales[s] / (double)scales[s];
            inertia = s == 0 ? unscaled : inertia;
            /* Other roundings draw other rows: as good starts, not the same ones. */
            ck_assert_msg(fabs(unscaled - inertia) < 0.02 * inertia, "%g: %g, not %g", scales[s],
                          unscaled, inertia);
            close_result(&result, promise.k, promise.d);
            free(x);
        }
        device_close(&device);
    }
}
END_TEST

/* ---- errors ---------------------------------------------------------------------------------- */

static void check_refusal(struct device *device, const float *x, int n, const float *initial, int k,
                          enum status status, const char *first, const char *second)
{
    struct kmeans_settings settings = defaults(k);
    float centres[8];
    int32_t labels[8];
    struct kmeans_result result = {.centres = centres, .labels = labels};
    struct err err;
    ck_assert_int_eq(fit_rows(device, &result, x, n, 2, initial, &settings, &err), status);
    ck_assert_msg(strstr(err.text, first) && strstr(err.text, second), "%s", err.text);
    ck_assert_int_eq(fit_rows(device, &result, x, n, 2, initial, &settings, NULL), status);
}

START_TEST(kmeans_refuses)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        float x[8] = {0, 1, 2, 3, 4, 5, 6, 7};
        check_refusal(&device, x, 4, NULL, 0, STATUS_USAGE, "0 clusters", "4 rows");
        check_refusal(&device, x, 4, NULL, -3, STATUS_USAGE, "-3 clusters", "4 rows");
        check_refusal(&device, x, 4, NULL, 5, STATUS_USAGE, "5 clusters", "4 rows");
        check_refusal(&device, x, 0, NULL, 1, STATUS_USAGE, "1 clusters", "0 rows");
        float bad[8] = {0, 1, 2, 3, 4, 5, 6, 7};
        bad[5] = NAN, bad[6] = INFINITY;
        check_refusal(&device, bad, 4, NULL, 2, STATUS_BAD_DATA, "row 3", "column 2");
        check_refusal(&device, x, 4, bad, 3, STATUS_BAD_DATA, "initial centres", "row 3");
        bad[5] = 5, bad[6] = -INFINITY;
        check_refusal(&device, bad, 4, NULL, 2, STATUS_BAD_DATA, "row 4", "column 1");
        device_close(&device);
    }
}
END_TEST

START_TEST(kmeans_names_the_first_bad_row)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        float *x = cluster_rows(&promise);
        for (int row = 520; row < promise.n; row += 100)
            x[row * promise.d + 3] = NAN;
        struct kmeans_settings settings = defaults(2);
        struct kmeans_result result = {0};
        struct err err;
        ck_assert_int_eq(fit_rows(&device, &result, x, promise.n, promise.d, NULL, &settings, &err),
                         STATUS_BAD_DATA);
        ck_assert_ptr_nonnull(strstr(err.text, "row 521:"));
        free(x);
        device_close(&device);
    }
}
END_TEST

/* In memory and read anew. */
START_TEST(kmeans_refuses_rows_that_a_transform_makes_infinite)
{
    struct device device;
    ck_assert(test_device(0, &device));
    check_infinite_transform(&device, 0);
    check_infinite_transform(&device, SIZE_MAX);
    device_close(&device);
}
END_TEST

struct fit {
    struct device device;
    struct kmeans_result result;
    struct kmeans_settings settings;
    const float *x;
};

static enum status fit_again(void *context, struct err *err)
{
    struct fit *fit = context;
    return fit_rows(&fit->device, &fit->result, fit->x, promise.n, promise.d, NULL, &fit->settings,
                    err);
}

START_TEST(kmeans_reports_lack_of_memory)
{
    float *x = cluster_rows(&promise);
    struct fit fit = {.x = x, .settings = defaults(promise.k)};
    ck_assert(test_device(0, &fit.device));
    fit.settings.spherical = true;
    open_result(&fit.result, promise.n, promise.k, promise.d);
    ck_assert_int_ge(check_lack_of_memory(fit_again, &fit, "k-means"), 3);
    close_result(&fit.result, promise.k, promise.d);
    device_close(&fit.device);
    free(x);
}
END_TEST

/* Many short rows of two kinds and three clusters: one is empty, which takes distances of all rows.
 * The seeder needs no copy of rows that are in memory. */
START_TEST(kmeans_takes_no_more_memory_than_it_says)
{
    enum { N = 1 << 20, D = 2, SLACK = 4 << 20 /* the threads' scratch, allocation */ };
    struct device device;
    if (ADDRESS_SANITIZER)
        SKIP("needs a build without AddressSanitizer");
    ck_assert(test_device(0, &device));
    float *x = guarded_floats((size_t)N * D), centres[3 * D];
    for (int i = 0; i < N * D; i++)
        x[i] = (float)(i / D % 2);
    int32_t *labels = calloc(N, sizeof *labels);
    memset(labels, 1, N * sizeof *labels);
    struct kmeans_result result = {.centres = centres, .labels = labels};
    struct kmeans_settings settings = defaults(3);
    struct err err;
    size_t before = mem_peak_resident();
    ck_assert_int_eq(fit_rows(&device, &result, x, N, D, NULL, &settings, &err), STATUS_OK);
    size_t taken = mem_peak_resident() - before;
    size_t said = kmeans_bytes(N, D, 3) - (size_t)N * D * sizeof *x;
    ck_assert_msg(taken <= said + SLACK, "%zu bytes, not %zu", taken, said);
    ck_assert_msg(said <= 2 * taken, "%zu bytes, not %zu", taken, said); /* not all at once */
    free(labels);
    check_guarded(x, (size_t)N * D);
    device_close(&device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kmeans");
    TCase *tests = tcase_create("kmeans");
    tcase_add_test(tests, kmeans_matches_scikit_learn);
    tcase_add_test(tests, kmeans_spherical_matches_numpy);
    tcase_add_test(tests, kmeans_seeds_as_well_as_scikit_learn);
    tcase_add_loop_test(tests, kmeans_does_not_depend_on_threads, 0, 2);
    tcase_add_loop_test(tests, kmeans_does_not_depend_on_chunks, 0, 3);
    tcase_add_test(tests, kmeans_keeps_the_best_restart);
    tcase_add_test(tests, kmeans_stops_when_told);
    tcase_add_test(tests, kmeans_labels_are_right_after_any_iteration);
    tcase_add_test(tests, kmeans_inertia_is_compensated);
    tcase_add_test(tests, kmeans_spherical_ignores_length);
    tcase_add_test(tests, kmeans_takes_rows_of_any_size);
    tcase_add_test(tests, kmeans_refuses);
    tcase_add_test(tests, kmeans_names_the_first_bad_row);
    tcase_add_test(tests, kmeans_refuses_rows_that_a_transform_makes_infinite);
    tcase_add_test(tests, kmeans_reports_lack_of_memory);
    tcase_add_test(tests, kmeans_takes_no_more_memory_than_it_says);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
