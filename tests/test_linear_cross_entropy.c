/* A linear head with its cross-entropy, against the float64 reference and central differences; and
 * that chunks change nothing. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/float16.h"
#include "kernels/linear_cross_entropy.h"
#include "tests/gradient_check.h"

/* A head, inputs and labels. */
struct head {
    int n, rows, columns;
    float *x;
    double *x64, *w64;
    void *w; /* float or uint16_t */
    int32_t *labels;
    struct dense_matrix matrix;
};

static struct head make_head(int n, int rows, int columns, enum precision type)
{
    struct head h = {.n = n, .rows = rows, .columns = columns};
    size_t n_x = (size_t)n * (size_t)columns, n_w = (size_t)rows * (size_t)columns;
    float *w = h.w = test_alloc(n_w * sizeof *w);
    h.x = guarded_floats(n_x);
    h.labels = test_alloc((size_t)n * sizeof *h.labels);
    fill_normal(h.x, n_x, 1, 1.0f);
    fill_normal(w, n_w, 2, 0.3f);
    for (size_t i = 0; type == PRECISION_BF16 && i < n_w; i++) {
        uint16_t half = bf16_from_float(w[i]);
        w[i] = bf16_to_float(half);
    }
    h.x64 = to_doubles(h.x, n_x), h.w64 = to_doubles(w, n_w);
    for (size_t i = 0; type == PRECISION_BF16 && i < n_w; i++)
        ((uint16_t *)h.w)[i] = bf16_from_float((float)h.w64[i]);
    for (int i = 0; i < n; i++)
        h.labels[i] = i % 4 == 2 ? -1 : (int32_t)(mix64(3, (uint64_t)i) % (uint64_t)rows);
    h.matrix = (struct dense_matrix){type, h.w, rows, columns};
    return h;
}

static void free_head(struct head *h)
{
    check_guarded(h->x, (size_t)h->n * (size_t)h->columns);
    free(h->x64), free(h->w64), free(h->w), free(h->labels);
}

/* Round a tile's 6 rows, a panel of 16, a piece of 256. */
static const int shapes[][3] = {{0, 3, 4},    {1, 1, 1},    {3, 2, 5},     {7, 17, 9},
                                {13, 33, 70}, {5, 300, 16}, {40, 513, 257}};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

static void check_case(struct device *device, const struct head *h, int chunk_rows, bool gradient)
{
    const float weight = 0.7f;
    size_t n_dx = (size_t)h->n * (size_t)h->columns, n_logits = (size_t)chunk_rows;
    n_logits *= (size_t)h->rows;
    float *losses = guarded_floats((size_t)h->n), *dx = guarded_floats(n_dx);
    float *logits = guarded_floats(n_logits);
    double *want_losses = zero_doubles((size_t)h->n), *want = zero_doubles(n_dx);
    double *allowed = zero_doubles(2 * (size_t)h->n), *scratch = zero_doubles(2 * (size_t)h->rows);
    struct err err;
    linear_cross_entropy_ref(want_losses, want, allowed, h->x64, h->w64, h->labels, h->n, h->rows,
                             h->columns, (double)weight, scratch, PRECISION_F32);
    ck_assert_int_eq(linear_cross_entropy(device, losses, gradient ? dx : NULL, h->x, &h->matrix,
                                          h->labels, h->n, weight, logits, chunk_rows, &err),
                     STATUS_OK);
    for (int i = 0; i < h->n; i++) {
        size_t at = (size_t)i * (size_t)h->columns;
        check_close(losses + i, want_losses + i, 1, allowed[2 * i], 0, "%s loss %d of %d x %d x %d",
                    test_device_name(device), i, h->n, h->rows, h->columns);
        if (gradient)
            check_close(dx + at, want + at, (size_t)h->columns, allowed[2 * i + 1], 0,
                        "%s dx %d of %d x %d x %d", test_device_name(device), i, h->n, h->rows,
                        h->columns);
    }
    check_guarded(losses, (size_t)h->n), check_guarded(dx, n_dx), check_guarded(logits, n_logits);
    free(want_losses), free(want), free(allowed), free(scratch);
}

START_TEST(linear_cross_entropy_matches_reference)
{
    static const int chunks[] = {1, 5, 64};
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t s = 0; s < N_SHAPES; s++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            struct head h = make_head(shapes[s][0], shapes[s][1], shapes[s][2],
                                      bf16 ? PRECISION_BF16 : PRECISION_F32);
            for (int c = 0; c < 3; c++)
                for (int gradient = 0; gradient < 2; gradient++)
                    check_case(&device, &h, chunks[c], gradient);
            free_head(&h);
        }
    device_close(&device);
}
END_TEST

struct differences {
    struct head head;
    double losses[8], scratch[2 * 16];
};

static double loss(void *context)
{
    struct differences *c = context;
    const struct head *h = &c->head;
    double sum = 0;
    linear_cross_entropy_ref(c->losses, NULL, NULL, h->x64, h->w64, h->labels, h->n, h->rows,
                             h->columns, 0, c->scratch, PRECISION_F32);
    for (int i = 0; i < h->n; i++)
        sum += 0.7 * c->losses[i];
    return sum;
}

START_TEST(the_reference_has_the_gradient_of_its_loss)
{
    struct differences c = {.head = make_head(8, 16, 5, PRECISION_F32)};
    const struct head *h = &c.head;
    double dx[8 * 5];
    linear_cross_entropy_ref(c.losses, dx, NULL, h->x64, h->w64, h->labels, h->n, h->rows,
                             h->columns, 0.7, c.scratch, PRECISION_F32);
    check_gradient(loss, &c, h->x64, dx, 8 * 5, "linear_cross_entropy");
    free_head(&c.head);
}
END_TEST

/* The bytes do not depend on the chunks, nor a row's on the batch, nor any on the threads. */
START_TEST(chunks_change_no_bit)
{
    enum { N = 37, ROWS = 301, COLUMNS = 70 };
    static const int chunks[] = {1, 2, 7, 36, N, 1000};
    struct device one, three;
    ck_assert_int_eq(device_open(&one, "cpu", 1, NULL), STATUS_OK);
    ck_assert_int_eq(device_open(&three, "cpu", 3, NULL), STATUS_OK);
    struct head h = make_head(N, ROWS, COLUMNS, PRECISION_BF16);
    float losses[N], dx[N * COLUMNS], losses_again[N], again[N * COLUMNS];
    float *logits = test_alloc(1000 * ROWS * sizeof *logits);
    ck_assert_int_eq(
        linear_cross_entropy(&one, losses, dx, h.x, &h.matrix, h.labels, N, 0.1f, logits, N, NULL),
        STATUS_OK);
    for (int c = 0; c < 6; c++) {
        memset(again, 0xFF, sizeof again);
        ck_assert_int_eq(linear_cross_entropy(c % 2 ? &three : &one, losses_again, again, h.x,
                                              &h.matrix, h.labels, N, 0.1f, logits, chunks[c],
                                              NULL),
                         STATUS_OK);
        ck_assert_mem_eq(losses, losses_again, sizeof losses);
        ck_assert_mem_eq(dx, again, sizeof dx);
    }
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(linear_cross_entropy(&one, losses_again, again, h.x + i * COLUMNS,
                                              &h.matrix, h.labels + i, 1, 0.1f, logits, 5, NULL),
                         STATUS_OK);
        ck_assert_mem_eq(losses + i, losses_again, sizeof *losses);
        ck_assert_mem_eq(dx + i * COLUMNS, again, COLUMNS * sizeof *again);
    }
    free(logits);
    free_head(&h);
    device_close(&one);
    device_close(&three);
}
END_TEST

START_TEST(rows_without_a_label_have_neither_loss_nor_gradient)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    struct head h = make_head(3, 20, 8, PRECISION_F32);
    float losses[3], dx[3][8], logits[3 * 20];
    h.labels[0] = h.labels[1] = -1;
    h.labels[2] = 19;
    h.x[8] = NAN;
    ck_assert_int_eq(linear_cross_entropy(&device, losses, dx, h.x, &h.matrix, h.labels, 3, 1.0f,
                                          logits, 3, NULL),
                     STATUS_OK);
    ck_assert(losses[0] == 0 && losses[1] == 0 && losses[2] > 0);
    for (int k = 0; k < 8; k++)
        ck_assert(dx[0][k] == 0 && dx[1][k] == 0 && dx[2][k] != 0);
    free_head(&h);
    device_close(&device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("linear_cross_entropy");
    TCase *tests = tcase_create("linear_cross_entropy");
    int n_devices = cpu_has(CPU_AVX2) ? 3 : 1;
    tcase_add_loop_test(tests, linear_cross_entropy_matches_reference, 0, n_devices);
    tcase_add_test(tests, the_reference_has_the_gradient_of_its_loss);
    tcase_add_test(tests, chunks_change_no_bit);
    tcase_add_loop_test(tests, rows_without_a_label_have_neither_loss_nor_gradient, 0, n_devices);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
