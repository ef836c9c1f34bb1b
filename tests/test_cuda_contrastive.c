/* The contrastive loss on a GPU against its float64 reference, and what its contract promises. */
#include "tests/cuda_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/contrastive.h"

/* Pairs round the tiles of 4 and the 32 and 64 of a step; widths round a warp's 32 and 128
 * and a block's 256. */
static const struct {
    int n, d;
    bool full;
} cases[] = {
    {0, 4, false},  {1, 1, false},   {2, 1, false},   {1, 5, false},   {3, 3, false},
    {4, 4, false},  {5, 7, false},   {16, 33, false}, {17, 64, false}, {33, 132, false},
    {7, 576, true}, {65, 31, false}, {70, 260, true}, {9, 257, true},  {6, 2052, true},
};

/* Vectors, and what comes of them; without gradients those are NULL. */
struct batch {
    int n, d;
    float *anchor, *positive;
    uint8_t *excluded; /* or NULL */
    float *losses, *danchor, *dpositive;
};

static struct batch make_batch(int n, int d, bool excludes)
{
    struct batch b = {.n = n, .d = d};
    size_t size = (size_t)n * (size_t)d;
    b.anchor = test_alloc(size * sizeof *b.anchor);
    b.positive = test_alloc(size * sizeof *b.positive);
    fill_normal(b.anchor, size, 1, 2.0f);
    fill_normal(b.positive, size, 2, 1.0f);
    for (size_t i = 0; i < size; i++)
        b.positive[i] += b.anchor[i] / 2;
    if (excludes) {
        b.excluded = test_alloc((size_t)n * (size_t)n);
        for (int i = 0; i < n * n; i++) /* the diagonal too, which is not to be read */
            b.excluded[i] = mix64(3, (uint64_t)i) % 3 == 0 ? 1 + (uint8_t)(i % 255) : 0;
    }
    return b;
}

static void free_results(struct batch *b)
{
    free(b->losses), free(b->danchor), free(b->dpositive);
    b->losses = b->danchor = b->dpositive = NULL;
}

static void free_batch(struct batch *b)
{
    free_results(b);
    free(b->anchor), free(b->positive), free(b->excluded);
}

static void run_batch(struct batch *b, float temperature, float weight, bool gradients)
{
    struct err err;
    size_t size = (size_t)b->n * (size_t)b->d, pairs = (size_t)b->n * (size_t)b->n;
    size_t n_scratch = contrastive_cuda_scratch(b->n);
    struct cuda_tensor anchor = cuda_send(PRECISION_F32, b->anchor, size);
    struct cuda_tensor positive = cuda_send(PRECISION_F32, b->positive, size);
    struct cuda_tensor excluded = cuda_send_bytes(b->excluded, b->excluded ? pairs : 0);
    struct cuda_tensor scratch = cuda_empty(PRECISION_NF4, n_scratch * sizeof(double));
    struct cuda_tensor losses = cuda_spoiled(PRECISION_F32, (size_t)b->n);
    struct cuda_tensor danchor = cuda_spoiled(PRECISION_F32, size);
    struct cuda_tensor dpositive = cuda_spoiled(PRECISION_F32, size);
    cuda_good(contrastive(&cuda_test, cuda_pointer(&losses),
                          gradients ? cuda_pointer(&danchor) : NULL,
                          gradients ? cuda_pointer(&dpositive) : NULL, cuda_pointer(&anchor),
                          cuda_pointer(&positive), b->excluded ? cuda_pointer(&excluded) : NULL,
                          b->n, b->d, temperature, weight, cuda_pointer(&scratch), &err),
              &err);
    b->losses = cuda_download(&losses);
    b->danchor = cuda_download(&danchor), b->dpositive = cuda_download(&dpositive);
    cuda_drop(&anchor), cuda_drop(&positive), cuda_drop(&excluded), cuda_drop(&scratch);
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
        check_close(got + at, want + at, (size_t)b->d, tolerance / sqrt(square), 0x1p-24,
                    "%s, %d x %d, row %d", name, b->n, b->d, i);
    }
}

static void check_case(int n, int d, float temperature, bool excludes, bool gradients)
{
    size_t size = (size_t)n * (size_t)d;
    const float weight = 0.3f;
    struct batch b = make_batch(n, d, excludes);
    double *anchor = to_doubles(b.anchor, size), *positive = to_doubles(b.positive, size);
    double *losses = test_alloc((size_t)n * sizeof *losses);
    double *danchor = test_alloc(size * sizeof *danchor),
           *dpositive = test_alloc(size * sizeof *danchor);
    contrastive_ref(losses, danchor, dpositive, anchor, positive, b.excluded, n, d,
                    (double)temperature, (double)weight);
    run_batch(&b, temperature, weight, gradients);
    double tolerance = contrastive_tolerance(n, d, (double)temperature);
    check_close(b.losses, losses, (size_t)n, tolerance, 0x1p-24, "losses %d x %d", n, d);
    tolerance *= (double)(weight / temperature);
    if (gradients) {
        check_gradients(b.danchor, danchor, anchor, &b, tolerance, "anchors");
        check_gradients(b.dpositive, dpositive, positive, &b, tolerance, "positives");
    }
    free_batch(&b);
    free(anchor), free(positive), free(losses), free(danchor), free(dpositive);
}

START_TEST(contrastive_matches_reference)
{
    static const float temperatures[] = {0.05f, 1.0f, 0.001f};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int i = 0; i < 3 && (cuda_test_full() || !cases[c].full); i++) {
            check_case(cases[c].n, cases[c].d, temperatures[i], c % 2 == 0, true);
            check_case(cases[c].n, cases[c].d, temperatures[i], c % 2, i < 2);
        }
    device_close(&cuda_test);
}
END_TEST

START_TEST(vectors_without_direction_get_no_gradient)
{
    enum { N = 5, D = 6 };
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct batch b = make_batch(N, D, false), scaled = make_batch(N, D, false);
    for (int i = 0; i < N * D; i++)
        scaled.anchor[i] *= 0x1p100f, scaled.positive[i] *= 0x1p-20f;
    /* Of huge and of tiny vectors with a direction, cosines are what they were. */
    run_batch(&b, 0.05f, 1, true), run_batch(&scaled, 0.05f, 1, true);
    ck_assert_mem_eq(b.losses, scaled.losses, N * sizeof *b.losses);
    free_results(&b);
    for (int k = 0; k < D; k++)
        b.anchor[D + k] = 0, b.positive[2 * D + k] = 1e-9f;
    run_batch(&b, 0.05f, 1, true);
    ck_assert(b.losses[1] == (float)log(N));
    for (int k = 0; k < D; k++) {
        ck_assert(b.danchor[D + k] == 0 && b.dpositive[2 * D + k] == 0);
        ck_assert(isfinite(b.danchor[k]) && b.danchor[k] != 0 && b.dpositive[D + k] != 0);
    }
    free_batch(&b), free_batch(&scaled);
    device_close(&cuda_test);
}
END_TEST

START_TEST(nan_stays_with_those_it_meets)
{
    enum { N = 4, D = 6 };
    static const uint8_t excluded[N * N] = {0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 0, 0};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int infinite = 0; infinite < 2; infinite++) {
        struct batch b = make_batch(N, D, true);
        memcpy(b.excluded, excluded, sizeof excluded);
        b.positive[2 * D + 3] = infinite ? INFINITY : NAN;
        run_batch(&b, 0.05f, 1, true);
        for (int i = 0; i < N; i++)
            ck_assert(isnan(b.losses[i]) == (i >= 2));
        for (int i = 0; i < N * D; i++)
            ck_assert(isnan(b.danchor[i]) == (i / D >= 2));
        for (int k = 0; k < D; k++)
            ck_assert(isnan(b.dpositive[2 * D + k]));
        free_batch(&b);
    }
    device_close(&cuda_test);
}
END_TEST

/* An anchor whose every negative is excluded has nothing to learn. */
START_TEST(no_negatives_no_loss)
{
    enum { N = 4, D = 8 };
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct batch b = make_batch(N, D, true);
    memset(b.excluded, 1, N * N);
    run_batch(&b, 0.05f, 1, true);
    for (int i = 0; i < N * D; i++)
        ck_assert(b.losses[i / D] == 0 && b.danchor[i] == 0 && b.dpositive[i] == 0);
    free_batch(&b);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_contrastive");
    TCase *tests = tcase_create("cuda_contrastive");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, contrastive_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, vectors_without_direction_get_no_gradient, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, nan_stays_with_those_it_meets, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, no_negatives_no_loss, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
