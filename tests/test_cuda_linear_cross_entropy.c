/* A linear head with its cross-entropy on a GPU: against the float64 reference, byte for byte
 * against its parts, and that chunks change nothing. */
#include "tests/cuda_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/float16.h"
#include "kernels/cross_entropy.h"
#include "kernels/linear_cross_entropy.h"
#include "kernels/matmul.h"

/* A head, inputs rounded to bfloat16, labels. */
struct head {
    int n, rows, columns;
    float *x;
    int32_t *labels;
    struct dense_on_device w;
};

static struct head make_head(int n, int rows, int columns)
{
    struct head h = {.n = n, .rows = rows, .columns = columns};
    size_t n_x = (size_t)n * (size_t)columns, n_w = (size_t)rows * (size_t)columns;
    float *w = test_alloc(n_w * sizeof *w);
    h.x = test_alloc(n_x * sizeof *h.x);
    h.labels = test_alloc((size_t)n * sizeof *h.labels);
    fill_normal(h.x, n_x, 1, 1.0f);
    fill_normal(w, n_w, 2, 0.1f);
    for (size_t i = 0; i < n_x; i++)
        h.x[i] = bf16_to_float(bf16_from_float(h.x[i]));
    for (int i = 0; i < n; i++)
        h.labels[i] = i % 4 == 2 ? -1 : (int32_t)(mix64(3, (uint64_t)i) % (uint64_t)rows);
    double *values = to_doubles(w, n_w);
    h.w = dense_make(rows, columns, values);
    free(values), free(w);
    return h;
}

static void free_head(struct head *h)
{
    dense_free(&h->w);
    free(h->x), free(h->labels);
}

struct outcome {
    float *losses, *dx; /* dx NULL: not asked for */
};

static void free_outcome(struct outcome *o)
{
    free(o->losses), free(o->dx);
}

/* Rows first .. first + n - 1. chunk_rows 0: by the parts, all rows at once. */
static struct outcome run_head(const struct head *h, int first, int n, int chunk_rows,
                               bool gradient)
{
    struct err err;
    size_t n_x = (size_t)n * (size_t)h->columns;
    const float weight = 0.37f;
    struct cuda_tensor x =
        cuda_send(PRECISION_BF16, h->x + (size_t)first * (size_t)h->columns, n_x);
    struct cuda_tensor labels = cuda_send_bytes(h->labels + first, (size_t)n * sizeof(int32_t));
    struct cuda_tensor losses = cuda_spoiled(PRECISION_F32, (size_t)n),
                       dx = cuda_spoiled(PRECISION_BF16, n_x);
    struct cuda_tensor logits =
        cuda_spoiled(PRECISION_BF16, (size_t)(chunk_rows ? chunk_rows : n) * (size_t)h->rows);
    void *of_dx = gradient ? cuda_pointer(&dx) : NULL, *of_logits = cuda_pointer(&logits);
    if (chunk_rows) {
        cuda_good(linear_cross_entropy(&cuda_test, cuda_pointer(&losses), of_dx, cuda_pointer(&x),
                                       &h->w.matrix, cuda_pointer(&labels), n, weight, of_logits,
                                       chunk_rows, &err),
                  &err);
    } else {
        cuda_good(matmul_fwd(&cuda_test, of_logits, cuda_pointer(&x), &h->w.matrix, n, false, &err),
                  &err);
        cuda_good(cross_entropy(&cuda_test, cuda_pointer(&losses), of_logits, of_logits,
                                cuda_pointer(&labels), n, h->rows, weight, &err),
                  &err);
        cuda_good(matmul_bwd_input(&cuda_test, of_dx, of_logits, &h->w.matrix, n, false, &err),
                  &err);
    }
    struct outcome o = {cuda_download(&losses), cuda_download(&dx)};
    cuda_drop(&x), cuda_drop(&labels), cuda_drop(&logits);
    return o;
}

static void check_head(const struct head *h, int chunk_rows, bool gradient)
{
    size_t n_x = (size_t)h->n * (size_t)h->columns, n = (size_t)h->n;
    double *x = to_doubles(h->x, n_x), *scratch = test_alloc(2 * (size_t)h->rows * sizeof *scratch);
    double *losses = test_alloc(n * sizeof *losses), *dx = test_alloc(n_x * sizeof *dx);
    double *allowed = test_alloc(2 * n * sizeof *allowed);
    struct outcome got = run_head(h, 0, h->n, chunk_rows, gradient);
    linear_cross_entropy_ref(losses, gradient ? dx : NULL, allowed, x, h->w.values, h->labels, h->n,
                             h->rows, h->columns, (double)0.37f, scratch, PRECISION_BF16);
    for (size_t i = 0; i < n; i++) {
        size_t at = i * (size_t)h->columns;
        check_close(got.losses + i, losses + i, 1, allowed[2 * i], 0, "loss %zu of %d x %d", i,
                    h->rows, h->columns);
        if (gradient)
            check_close(got.dx + at, dx + at, (size_t)h->columns, allowed[2 * i + 1], 0,
                        "dx %zu of %d x %d", i, h->rows, h->columns);
    }
    free_outcome(&got);
    free(x), free(scratch), free(losses), free(dx), free(allowed);
}

static const struct {
    int n, rows, columns;
    bool full;
} shapes[] = {
    {0, 8, 8, false},    {1, 1, 1, false},    {3, 2, 5, false},    {7, 17, 9, false},
    {13, 40, 72, false}, {5, 264, 64, false}, {70, 513, 24, true}, {40, 2056, 136, true},
};

START_TEST(linear_cross_entropy_matches_reference)
{
    static const int chunks[] = {5, 64, 1};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        if (shapes[s].full && !cuda_test_full())
            continue;
        struct head h = make_head(shapes[s].n, shapes[s].rows, shapes[s].columns);
        for (int c = 0; c < 3; c++)
            check_head(&h, chunks[c], c < 2);
        free_head(&h);
    }
    device_close(&cuda_test);
}
END_TEST

/* The bytes are those of the parts; they do not depend on the chunks, nor a row's on the batch. */
START_TEST(chunks_change_no_bit)
{
    enum { N = 21, ROWS = 168, COLUMNS = 72 };
    static const int chunks[] = {1, 2, 17, 20, N, 100};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct head h = make_head(N, ROWS, COLUMNS);
    struct outcome parts = run_head(&h, 0, N, 0, true);
    for (int c = 0; c < 6; c++) {
        struct outcome got = run_head(&h, 0, N, chunks[c], true);
        ck_assert_mem_eq(got.losses, parts.losses, N * sizeof *got.losses);
        ck_assert_mem_eq(got.dx, parts.dx, N * COLUMNS * sizeof *got.dx);
        free_outcome(&got);
    }
    for (int i = 0; i < N; i += 7) {
        struct outcome got = run_head(&h, i, 1, 5, true);
        ck_assert_mem_eq(got.losses, parts.losses + i, sizeof *got.losses);
        ck_assert_mem_eq(got.dx, parts.dx + i * COLUMNS, COLUMNS * sizeof *got.dx);
        free_outcome(&got);
    }
    free_outcome(&parts);
    free_head(&h);
    device_close(&cuda_test);
}
END_TEST

START_TEST(rows_without_a_label_have_neither_loss_nor_gradient)
{
    enum { N = 4, COLUMNS = 8 };
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct head h = make_head(N, 24, COLUMNS);
    h.labels[0] = h.labels[1] = -1;
    h.labels[2] = h.labels[3] = 23;
    h.x[COLUMNS] = h.x[3 * COLUMNS] = NAN;
    struct outcome got = run_head(&h, 0, N, N, true);
    ck_assert(got.losses[0] == 0 && got.losses[1] == 0 && got.losses[2] > 0);
    ck_assert(isnan(got.losses[3]));
    for (int k = 0; k < COLUMNS; k++) {
        ck_assert(got.dx[k] == 0 && got.dx[COLUMNS + k] == 0 && got.dx[2 * COLUMNS + k] != 0);
        ck_assert(isfinite(got.dx[2 * COLUMNS + k]) && isnan(got.dx[3 * COLUMNS + k]));
    }
    free_outcome(&got);
    free_head(&h);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_linear_cross_entropy");
    TCase *tests = tcase_create("cuda_linear_cross_entropy");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, linear_cross_entropy_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, chunks_change_no_bit, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, rows_without_a_label_have_neither_loss_nor_gradient, 0,
                        CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
