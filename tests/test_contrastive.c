/* The contrastive loss against its float64 reference, central differences and torch
 * (tests/golden/make_losses.py). */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/contrastive.h"
#include "tests/gradient_check.h"

/* Round the vector width of 4. */
static const struct {
    int n, d;
} cases[] = {{0, 4}, {1, 1}, {2, 1}, {1, 5}, {3, 3}, {4, 4}, {5, 7}, {16, 33}, {33, 64}, {7, 576}};

/* A batch: float32 inputs, the same in float64, and room for results. */
struct batch {
    int n, d;
    size_t size;
    float *anchor, *positive;
    double *anchor64, *positive64;
    uint8_t *excluded;
    double *losses, *danchor, *dpositive; /* right */
};

static struct batch make_batch(int n, int d, bool excludes)
{
    struct batch b = {.n = n, .d = d, .size = (size_t)n * (size_t)d};
    b.anchor = guarded_floats(b.size), b.positive = guarded_floats(b.size);
    fill_normal(b.anchor, b.size, 1, 2.0f);
    fill_normal(b.positive, b.size, 2, 1.0f);
    for (size_t i = 0; i < b.size; i++)
        b.positive[i] += b.anchor[i] / 2;
    b.anchor64 = to_doubles(b.anchor, b.size), b.positive64 = to_doubles(b.positive, b.size);
    if (excludes) {
        b.excluded = test_alloc((size_t)n * (size_t)n);
        for (int i = 0; i < n * n; i++) /* the diagonal too, which is not to be read */
            b.excluded[i] = mix64(3, (uint64_t)i) % 3 == 0 ? 1 + (uint8_t)(i % 255) : 0;
    }
    b.losses = test_alloc((size_t)n * sizeof *b.losses);
    b.danchor = zero_doubles(b.size), b.dpositive = zero_doubles(b.size);
    return b;
}

static void free_batch(struct batch *b)
{
    check_guarded(b->anchor, b->size), check_guarded(b->positive, b->size);
    free(b->anchor64), free(b->positive64), free(b->excluded);
    free(b->losses), free(b->danchor), free(b->dpositive);
}

static void reference(struct batch *b, double temperature, double weight)
{
    contrastive_ref(b->losses, b->danchor, b->dpositive, b->anchor64, b->positive64, b->excluded,
                    b->n, b->d, temperature, weight);
}

/* Row by row, since the tolerance goes with a vector's length. */
static void check_gradients(const float *got, const double *want, const double *vectors,
                            const struct batch *b, double tolerance, const char *name)
{
    for (int i = 0; i < b->n; i++) {
        size_t at = (size_t)i * (size_t)b->d;
        double square = 0;
        for (int k = 0; k < b->d; k++)
            square += vectors[at + (size_t)k] * vectors[at + (size_t)k];
        check_close(got + at, want + at, (size_t)b->d, tolerance / sqrt(square), 0x1p-24 + 5e-9,
                    "%s, %d x %d, row %d", name, b->n, b->d, i);
    }
}

/* 5e-9, here and there: what the numbers of the golden file were rounded by. */
static void check_batch(struct device *device, const struct batch *b, float temperature,
                        float weight, bool gradients)
{
    float *losses = guarded_floats((size_t)b->n);
    float *danchor = guarded_floats(b->size), *dpositive = guarded_floats(b->size);
    size_t n_scratch = contrastive_scratch(b->n);
    double *scratch = test_alloc(n_scratch * sizeof *scratch);
    double tolerance = contrastive_tolerance(b->n, b->d, (double)temperature);
    struct err err;
    for (size_t i = 0; i < n_scratch; i++)
        scratch[i] = NAN;
    ck_assert_int_eq(contrastive(device, losses, gradients ? danchor : NULL,
                                 gradients ? dpositive : NULL, b->anchor, b->positive, b->excluded,
                                 b->n, b->d, temperature, weight, scratch, &err),
                     STATUS_OK);
    check_close(losses, b->losses, (size_t)b->n, tolerance, 0x1p-24 + 5e-9, "%s losses %d x %d",
                test_device_name(device), b->n, b->d);
    tolerance *= (double)(weight / temperature);
    if (gradients) {
        check_gradients(danchor, b->danchor, b->anchor64, b, tolerance, "anchors");
        check_gradients(dpositive, b->dpositive, b->positive64, b, tolerance, "positives");
    }
    check_guarded(losses, (size_t)b->n);
    check_guarded(danchor, b->size), check_guarded(dpositive, b->size);
    free(scratch);
}

START_TEST(contrastive_matches_reference)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int excludes = 0; excludes < 2; excludes++) {
            struct batch b = make_batch(cases[c].n, cases[c].d, excludes);
            static const float temperatures[] = {0.05f, 1.0f, 0.001f};
            for (int t = 0; t < 3; t++) {
                reference(&b, (double)temperatures[t], (double)0.3f);
                check_batch(&device, &b, temperatures[t], 0.3f, true);
                check_batch(&device, &b, temperatures[t], 0.3f, false);
            }
            free_batch(&b);
        }
    device_close(&device);
}
END_TEST

/* ---- the reference -------------------------------------------------------------------------- */

static double loss(void *context)
{
    struct batch *b = context;
    double sum = 0;
    contrastive_ref(b->losses, NULL, NULL, b->anchor64, b->positive64, b->excluded, b->n, b->d, 0.5,
                    0);
    for (int i = 0; i < b->n; i++)
        sum += 0.3 * b->losses[i];
    return sum;
}

START_TEST(the_reference_has_the_gradient_of_its_loss)
{
    for (int excludes = 0; excludes < 2; excludes++) {
        struct batch b = make_batch(6, 5, excludes);
        reference(&b, 0.5, 0.3);
        check_gradient(loss, &b, b.anchor64, b.danchor, b.size, "anchors, excludes %d", excludes);
        check_gradient(loss, &b, b.positive64, b.dpositive, b.size, "positives, excludes %d",
                       excludes);
        free_batch(&b);
    }
}
END_TEST

/* ---- torch ---------------------------------------------------------------------------------- */

static void read_numbers(FILE *file, const char *name, double *values, size_t n)
{
    char got[16];
    ck_assert_int_eq(fscanf(file, " %15s", got), 1);
    ck_assert_str_eq(got, name);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(fscanf(file, "%lf", &values[i]), 1);
}

static void check_golden(struct device *device, FILE *file, int n, int d, float temperature,
                         float weight)
{
    struct batch b = make_batch(n, d, true);
    double excluded[64];
    ck_assert_int_le(n, 8);
    read_numbers(file, "excluded", excluded, (size_t)n * (size_t)n);
    for (int i = 0; i < n * n; i++)
        b.excluded[i] = (uint8_t)excluded[i];
    read_numbers(file, "anchor", b.anchor64, b.size);
    read_numbers(file, "positive", b.positive64, b.size);
    for (size_t i = 0; i < b.size; i++) {
        b.anchor[i] = (float)b.anchor64[i];
        b.positive[i] = (float)b.positive64[i];
    }
    read_numbers(file, "losses", b.losses, (size_t)n);
    read_numbers(file, "danchor", b.danchor, b.size);
    read_numbers(file, "dpositive", b.dpositive, b.size);
    check_batch(device, &b, temperature, weight, true);
    free_batch(&b);
}

START_TEST(contrastive_is_torchs)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    FILE *file = fopen(golden("losses.txt"), "r");
    char line[16384];
    int n, d, n_cases = 0;
    float temperature, weight;
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "contrastive %d %d %f %f", &n, &d, &temperature, &weight) == 4) {
            check_golden(&device, file, n, d, temperature, weight);
            n_cases++;
        }
    fclose(file);
    ck_assert_int_eq(n_cases, 3);
    device_close(&device);
}
END_TEST

/* ---- promises ------------------------------------------------------------------------------- */

enum { N = 4, D = 6 };

static void run_small(struct device *device, float losses[N], float danchor[N][D],
                      float dpositive[N][D], float anchor[N][D], float positive[N][D],
                      const uint8_t *excluded)
{
    double scratch[N * N + 2 * N];
    ck_assert_uint_eq(contrastive_scratch(N), sizeof scratch / sizeof *scratch);
    ck_assert_int_eq(contrastive(device, losses, danchor[0], dpositive[0], anchor[0], positive[0],
                                 excluded, N, D, 0.05f, 1.0f, scratch, NULL),
                     STATUS_OK);
}

START_TEST(vectors_without_direction_get_no_gradient)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    float anchor[N][D], positive[N][D], losses[N], danchor[N][D], dpositive[N][D];
    fill_normal(anchor[0], N * D, 1, 1.0f);
    fill_normal(positive[0], N * D, 2, 1.0f);
    memset(anchor[1], 0, sizeof *anchor);
    for (int k = 0; k < D; k++)
        positive[2][k] = 1e-9f;
    run_small(&device, losses, danchor, dpositive, anchor, positive, NULL);
    ck_assert(losses[1] == (float)log(4));
    for (int k = 0; k < D; k++) {
        ck_assert(danchor[1][k] == 0 && dpositive[2][k] == 0);
        ck_assert(isfinite(danchor[0][k]) && danchor[0][k] != 0 && dpositive[1][k] != 0);
    }
    /* Of huge and of tiny vectors with a direction, cosines are what they were. */
    fill_normal(anchor[0], N * D, 1, 1.0f);
    fill_normal(positive[0], N * D, 2, 1.0f);
    run_small(&device, losses, danchor, dpositive, anchor, positive, NULL);
    float again[N];
    for (int i = 0; i < N; i++)
        for (int k = 0; k < D; k++)
            anchor[i][k] *= 0x1p100f, positive[i][k] *= 0x1p-20f;
    run_small(&device, again, danchor, dpositive, anchor, positive, NULL);
    ck_assert_mem_eq(losses, again, sizeof losses);
    device_close(&device);
}
END_TEST

START_TEST(nan_stays_with_those_it_meets)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    float anchor[N][D], positive[N][D], losses[N], danchor[N][D], dpositive[N][D];
    const uint8_t excluded[N][N] = {{0, 0, 1, 0}, {0, 0, 1, 0}, {1, 1, 0, 1}, {0, 0, 0, 0}};
    fill_normal(anchor[0], N * D, 1, 1.0f);
    fill_normal(positive[0], N * D, 2, 1.0f);
    positive[2][3] = NAN;
    run_small(&device, losses, danchor, dpositive, anchor, positive, excluded[0]);
    ck_assert(isfinite(losses[0]) && isfinite(losses[1]) && isnan(losses[2]) && isnan(losses[3]));
    for (int k = 0; k < D; k++) {
        ck_assert(isfinite(danchor[0][k]) && isfinite(danchor[1][k]));
        ck_assert(isnan(danchor[2][k]) && isnan(danchor[3][k]) && isnan(dpositive[2][k]));
    }
    device_close(&device);
}
END_TEST

/* An anchor whose every negative is excluded has nothing to learn. */
START_TEST(no_negatives_no_loss)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    float anchor[N][D], positive[N][D], losses[N], danchor[N][D], dpositive[N][D];
    uint8_t excluded[N * N];
    fill_normal(anchor[0], N * D, 1, 1.0f);
    fill_normal(positive[0], N * D, 2, 1.0f);
    memset(excluded, 1, sizeof excluded);
    run_small(&device, losses, danchor, dpositive, anchor, positive, excluded);
    for (int i = 0; i < N * D; i++)
        ck_assert(losses[i / D] == 0 && danchor[i / D][i % D] == 0 && dpositive[i / D][i % D] == 0);
    device_close(&device);
}
END_TEST

START_TEST(contrastive_is_the_same_for_any_number_of_threads)
{
    struct device one, three;
    ck_assert_int_eq(device_open(&one, "cpu", 1, NULL), STATUS_OK);
    ck_assert_int_eq(device_open(&three, "cpu", 3, NULL), STATUS_OK);
    struct batch b = make_batch(33, 70, true);
    float losses[2][33], danchor[2][33 * 70], dpositive[2][33 * 70];
    double *scratch = test_alloc(contrastive_scratch(33) * sizeof *scratch);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(contrastive(i ? &three : &one, losses[i], danchor[i], dpositive[i],
                                     b.anchor, b.positive, b.excluded, b.n, b.d, 0.05f, 0.3f,
                                     scratch, NULL),
                         STATUS_OK);
    ck_assert_mem_eq(losses[0], losses[1], sizeof losses[0]);
    ck_assert_mem_eq(danchor[0], danchor[1], sizeof danchor[0]);
    ck_assert_mem_eq(dpositive[0], dpositive[1], sizeof dpositive[0]);
    free(scratch);
    free_batch(&b);
    device_close(&one);
    device_close(&three);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("contrastive");
    TCase *tests = tcase_create("contrastive");
    int n_devices = cpu_has(CPU_AVX2) ? 3 : 1;
    tcase_add_loop_test(tests, contrastive_matches_reference, 0, n_devices);
    tcase_add_test(tests, the_reference_has_the_gradient_of_its_loss);
    tcase_add_loop_test(tests, contrastive_is_torchs, 0, n_devices);
    tcase_add_loop_test(tests, vectors_without_direction_get_no_gradient, 0, n_devices);
    tcase_add_loop_test(tests, nan_stays_with_those_it_meets, 0, n_devices);
    tcase_add_loop_test(tests, no_negatives_no_loss, 0, n_devices);
    tcase_add_test(tests, contrastive_is_the_same_for_any_number_of_threads);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
