/* The GPU's matrix products with the low-rank term of adapters in their epilogue, against the
 * float64 reference, and the same bytes in every shape of tiles. */
#include "tests/cuda_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/float16.h"
#include "kernels/matmul.h"
#include "kernels/nf4_matmul.h"

/* A joined matrix and the adapters of its parts. */
struct shape {
    int n_parts, columns, rows[LORA_PARTS], ranks[LORA_PARTS];
};

/* Of the adapters only what the products read. */
struct product {
    struct joined nf4;
    struct dense_on_device dense;
    bool is_dense;
    struct lora_parts table;
    struct cuda_tensor b[LORA_PARTS]; /* b_copy */
    float *b_host[LORA_PARTS];        /* (rows, padded), as the device has it */
};

static struct product product_make(const struct shape *shape, bool is_dense)
{
    struct product product = {.is_dense = is_dense,
                              .table = {.n_parts = shape->n_parts, .columns = shape->columns}};
    struct lora_parts *table = &product.table;
    for (int i = 0; i < shape->n_parts; i++) {
        struct lora_part *part = &table->parts[i];
        part->rows = shape->rows[i], part->first_row = table->rows;
        part->rank = shape->ranks[i], part->first_rank = table->padded;
        part->padded = (part->rank + LORA_RANK_STEP - 1) / LORA_RANK_STEP * LORA_RANK_STEP;
        table->rows += part->rows, table->padded += part->padded;
        size_t n = (size_t)(part->rows * part->padded);
        if (part->padded == 0)
            continue;
        float *b = product.b_host[i] = malloc(n * sizeof *b);
        fill_normal(b, n, 600 + (uint64_t)i, 0.3f);
        for (size_t j = 0; j < n; j++)
            b[j] = (int)j % part->padded < part->rank ? b[j] : 0;
        product.b[i] = cuda_send(PRECISION_BF16, b, n);
        part->b_copy = cuda_pointer(&product.b[i]);
    }
    if (is_dense)
        product.dense = dense_make(table->rows, shape->columns, NULL);
    else
        product.nf4 = join(shape->rows, shape->n_parts, shape->columns, true);
    return product;
}

static void product_free(struct product *product)
{
    for (int i = 0; i < product->table.n_parts; i++)
        if (product->table.parts[i].padded > 0) {
            cuda_drop(&product->b[i]);
            free(product->b_host[i]);
        }
    if (product->is_dense)
        dense_free(&product->dense);
    else
        joined_free(&product->nf4);
}

static float *rows_of(int m, int width, int first_row, uint64_t seed, float deviation)
{
    float *x = malloc((size_t)m * (size_t)width * sizeof *x + 1);
    for (int i = 0; i < m; i++)
        fill_normal(x + (size_t)i * (size_t)width, (size_t)width, seed + (uint64_t)(first_row + i),
                    deviation);
    return x;
}

static enum status run(const struct product *product, int shape, void *y, const void *x,
                       const float *bias, int m, bool add, const struct lora_parts *parts,
                       const void *s, struct err *err)
{
    const struct dense_matrix *dense = &product->dense.matrix;
    const struct nf4_tiles *tiles = &product->nf4.tiles;
    if (product->is_dense)
        return shape == CHOSEN
                   ? matmul_lora_fwd_cuda(&cuda_test, y, x, dense, bias, m, add, parts, s, err)
                   : matmul_shape_fwd_cuda(&cuda_test, shape, y, x, dense, bias, m, add, parts, s,
                                           err);
    return shape == CHOSEN
               ? nf4_matmul_lora_fwd_cuda(&cuda_test, y, x, tiles, bias, m, add, parts, s, err)
               : nf4_matmul_shape_fwd_cuda(&cuda_test, shape, y, x, tiles, bias, m, add, parts, s,
                                           err);
}

/* One call's operands, of rows from first_row on. */
struct call {
    const struct product *product;
    int shape, first_row, m;
    bool bias, add, check;
    bool without; /* parts NULL */
    int nan_row;  /* of s; -1: none */
};

static void compare(const struct call *call, const float *got, const float *x, const float *y,
                    const float *s, const float *bias)
{
    const struct product *product = call->product;
    const struct lora_parts *table = &product->table;
    int rows = table->rows, columns = table->columns, m = call->m;
    size_t n_y = (size_t)m * (size_t)rows;
    double *x64 = to_doubles(x, (size_t)m * (size_t)columns), *want = to_doubles(y, n_y);
    double *magnitude = malloc(n_y * sizeof *magnitude + 1);
    const double *w = product->is_dense ? product->dense.values : product->nf4.values;
    matmul_fwd_ref(want, magnitude, x64, w, m, rows, columns, call->add);
    for (int p = 0; p < table->n_parts; p++) {
        const struct lora_part *part = &table->parts[p];
        /* The ranks are a longer chain. */
        double share = matmul_fwd_cuda_tolerance(columns + part->padded);
        for (int i = 0; i < m; i++)
            for (int j = 0; j < part->rows; j++) {
                size_t at = (size_t)i * (size_t)rows + (size_t)(part->first_row + j);
                double added = call->bias ? (double)bias[part->first_row + j] : 0;
                magnitude[at] += fabs(added) + (call->add ? fabs((double)y[at]) : 0);
                want[at] += added;
                for (int r = 0; r < part->rank; r++) {
                    double term = (double)s[i * table->padded + part->first_rank + r] *
                                  (double)product->b_host[p][j * part->padded + r];
                    want[at] += term, magnitude[at] += fabs(term);
                }
                double sums = share * magnitude[at];
                double allowed = cuda_bfloat16_allowed(want[at], sums);
                if (!(fabs((double)got[at] - want[at]) <= allowed))
                    ck_abort_msg("%s, shape %d, m %d, %d x %d, part %d: y[%d,%d] is %g and not %g "
                                 "+- %g",
                                 product->is_dense ? "bf16" : "nf4", call->shape, m, rows, columns,
                                 p, i, part->first_row + j, (double)got[at], want[at], allowed);
            }
    }
    free(x64), free(want), free(magnitude);
}

static float *result_of(const struct call *call)
{
    struct err err;
    const struct product *product = call->product;
    const struct lora_parts *table = &product->table;
    int m = call->m;
    size_t n_x = (size_t)m * (size_t)table->columns, n_y = (size_t)m * (size_t)table->rows;
    size_t n_s = (size_t)m * (size_t)table->padded;
    float *x = rows_of(m, table->columns, call->first_row, 100, 1);
    float *y = rows_of(m, table->rows, call->first_row, 9000, 0.5f);
    float *s = rows_of(m, table->padded, call->first_row, 7000, 0.5f);
    float *bias = malloc((size_t)table->rows * sizeof *bias);
    fill_uniform(bias, (size_t)table->rows, 3, -0.5f, 0.5f);
    for (int i = 0; call->nan_row >= 0 && i < table->padded; i++)
        s[call->nan_row * table->padded + i] = NAN;
    struct cuda_tensor of_x = cuda_send(PRECISION_BF16, x, n_x);
    struct cuda_tensor of_s = cuda_send(PRECISION_BF16, s, n_s);
    struct cuda_tensor of_bias = cuda_send(PRECISION_F32, bias, (size_t)table->rows);
    struct cuda_tensor of_y =
        call->add ? cuda_send(PRECISION_BF16, y, n_y) : cuda_empty(PRECISION_BF16, n_y);
    cuda_good(run(product, call->shape, cuda_pointer(&of_y), cuda_pointer(&of_x),
                  call->bias ? cuda_pointer(&of_bias) : NULL, m, call->add,
                  call->without ? NULL : table, cuda_pointer(&of_s), &err),
              &err);
    float *got = cuda_download(&of_y);
    cuda_drop(&of_x), cuda_drop(&of_s), cuda_drop(&of_bias);
    if (call->check)
        compare(call, got, x, y, s, bias);
    free(x), free(y), free(s), free(bias);
    return got;
}

/* Whole tiles and vectors, tiles that are filled up, parts without an adapter, flat tiles, ranks of
 * one step and more. Parts of a dense matrix may meet within 8 columns. */
static const struct shape shapes[] = {
    {1, 64, {96}, {8}},
    {3, 128, {64, 32, 32}, {16, 0, 20}},
    {2, 64, {344, 344}, {32, 32}},
    {2, 192, {40, 24}, {0, 64}},
    {3, 128, {3, 17, 40}, {16, 20, 1}},
    {2, 172, {172, 172}, {20, 16}},
    {3, 33, {5, 1, 9}, {0, 32, 8}},
    {2, 64, {16, 16}, {0, 0}},
};
#define N_SHAPES ((int)(sizeof shapes / sizeof *shapes))

START_TEST(adapters_terms_match_the_reference)
{
    static const int counts[] = {0, 1, 17, 100};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int i = 0; i < 2 * N_SHAPES; i++) {
        struct product product = product_make(&shapes[i / 2], i % 2);
        for (int j = 0; j < 4; j++) {
            struct call call = {
                .product = &product, .shape = CHOSEN, .m = counts[j], .nan_row = -1};
            call.bias = (i + j) % 2, call.add = (i + j) % 3 == 1, call.check = true;
            if (counts[j] < 100 || cuda_test_full() || i % 3 == _i % 3)
                free(result_of(&call));
        }
        product_free(&product);
    }
    device_close(&cuda_test);
}
END_TEST

/* A row alone, in batches and in every shape; of a part without an adapter, and without parts, the
 * bytes of the plain product. */
START_TEST(a_row_has_the_same_bytes_everywhere)
{
    static const struct shape shape = {3, 192, {160, 64, 40}, {32, 0, 20}};
    enum { M = 131, FROM = 60 };
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int is_dense = 0; is_dense < 2; is_dense++) {
        struct product product = product_make(&shape, is_dense);
        size_t rows = (size_t)product.table.rows, bytes = rows * sizeof(float);
        struct call call = {.product = &product, .shape = CHOSEN, .m = M, .nan_row = -1};
        call.bias = call.add = call.check = true;
        float *all = result_of(&call);
        call.check = false;
        call.first_row = FROM, call.m = M - FROM;
        for (call.shape = 0; call.shape < (is_dense ? MATMUL_SHAPES : NF4_MATMUL_SHAPES);
             call.shape++) {
            float *part = result_of(&call);
            ck_assert_mem_eq(part, all + FROM * rows, (M - FROM) * bytes);
            free(part);
        }
        call.shape = CHOSEN, call.m = 1;
        for (call.first_row = 0; call.first_row < M; call.first_row += 26) {
            float *alone = result_of(&call);
            ck_assert_mem_eq(alone, all + (size_t)call.first_row * rows, bytes);
            free(alone);
        }
        call.first_row = 0, call.m = M, call.without = true;
        float *plain = result_of(&call);
        for (int i = 0; i < M; i++)
            ck_assert_mem_eq(plain + (size_t)i * rows + 160, all + (size_t)i * rows + 160,
                             64 * sizeof(float));
        ck_assert(memcmp(plain, all, M * bytes) != 0);
        free(plain), free(all);
        product_free(&product);
    }
    device_close(&cuda_test);
}
END_TEST

START_TEST(nan_stays_in_its_row)
{
    static const struct shape shape = {2, 64, {40, 24}, {16, 8}};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int is_dense = 0; is_dense < 2; is_dense++) {
        struct product product = product_make(&shape, is_dense);
        struct call call = {.product = &product, .shape = CHOSEN, .m = 20, .nan_row = 19};
        float *y = result_of(&call);
        for (int i = 0; i < 20 * 64; i++)
            ck_assert_int_eq(!!isnan(y[i]), i / 64 == 19);
        free(y);
        product_free(&product);
    }
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_matmul_lora");
    TCase *tests = tcase_create("cuda_matmul_lora");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, adapters_terms_match_the_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, a_row_has_the_same_bytes_everywhere, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, nan_stays_in_its_row, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
