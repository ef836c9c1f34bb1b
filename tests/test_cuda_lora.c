/* Adapters on a GPU: working copies of the masters, and the products into the ranks, against the
 * float64 references; masks against dropout's definition. */
#include "tests/cuda_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/float16.h"
#include "kernels/dropout.h"
#include "kernels/lora.h"

static double rounded(float x)
{
    return bf16_to_float(bf16_from_float(x));
}

/* ---- adapters of a joined matrix ------------------------------------------------------------- */

enum { PIECES = 6 };

struct shape {
    int n_parts, columns, rows[LORA_PARTS], ranks[LORA_PARTS];
};

/* A table whose masters and copies are on the device, and the same on the host. */
struct adapters {
    struct lora_parts table;
    float *a[LORA_PARTS], *b[LORA_PARTS];      /* masters */
    double *a16[LORA_PARTS], *b16[LORA_PARTS]; /* rounded as the copies are */
    struct cuda_tensor pieces[LORA_PARTS][PIECES];
};

static double *all_rounded(const float *x, size_t n)
{
    double *y = malloc(n * sizeof *y + 1);
    for (size_t i = 0; i < n; i++)
        y[i] = rounded(x[i]);
    return y;
}

static void make_part(struct adapters *adapters, int i, int rank)
{
    struct lora_part *part = &adapters->table.parts[i];
    struct cuda_tensor *pieces = adapters->pieces[i];
    size_t columns = (size_t)adapters->table.columns, rows = (size_t)part->rows, r = (size_t)rank;
    part->rank = rank;
    part->padded = (rank + LORA_RANK_STEP - 1) / LORA_RANK_STEP * LORA_RANK_STEP;
    part->scale = 0.5f + 0.25f * (float)i;
    part->stream = 70 + (uint32_t)i;
    size_t padded = (size_t)part->padded;
    adapters->a[i] = test_floats(r * columns), adapters->b[i] = test_floats(rows * r);
    fill_normal(adapters->a[i], r * columns, 5 + (uint64_t)i, 0.5f);
    fill_normal(adapters->b[i], rows * r, 50 + (uint64_t)i, 0.5f);
    adapters->a16[i] = all_rounded(adapters->a[i], r * columns);
    adapters->b16[i] = all_rounded(adapters->b[i], rows * r);
    pieces[0] = cuda_send(PRECISION_F32, adapters->a[i], r * columns);
    pieces[1] = cuda_send(PRECISION_F32, adapters->b[i], rows * r);
    pieces[2] = cuda_empty(PRECISION_BF16, padded * columns);
    pieces[3] = cuda_empty(PRECISION_BF16, columns * padded);
    pieces[4] = cuda_empty(PRECISION_BF16, rows * padded);
    pieces[5] = cuda_empty(PRECISION_BF16, padded * rows);
    part->a = cuda_pointer(&pieces[0]), part->b = cuda_pointer(&pieces[1]);
    part->a_copy = cuda_pointer(&pieces[2]), part->a_transposed = cuda_pointer(&pieces[3]);
    part->b_copy = cuda_pointer(&pieces[4]), part->b_transposed = cuda_pointer(&pieces[5]);
}

static struct adapters adapters_make(const struct shape *shape)
{
    struct adapters adapters = {.table = {.n_parts = shape->n_parts, .columns = shape->columns}};
    for (int i = 0; i < shape->n_parts; i++) {
        struct lora_part *part = &adapters.table.parts[i];
        part->rows = shape->rows[i];
        part->first_row = adapters.table.rows;
        part->first_rank = adapters.table.padded;
        if (shape->ranks[i] > 0)
            make_part(&adapters, i, shape->ranks[i]);
        adapters.table.rows += part->rows;
        adapters.table.padded += part->padded;
    }
    return adapters;
}

static void copy_all(const struct adapters *adapters, int n)
{
    struct err err;
    struct lora_parts *tables = malloc((size_t)n * sizeof *tables);
    int longest = 0, most = 0;
    for (int i = 0; i < n; i++) {
        tables[i] = adapters[i].table;
        longest = tables[i].columns > longest ? tables[i].columns : longest;
        for (int j = 0; j < tables[i].n_parts; j++) {
            const struct lora_part *part = &tables[i].parts[j];
            longest = part->rows > longest ? part->rows : longest;
            most = part->padded > most ? part->padded : most;
        }
    }
    struct cuda_tensor sent = cuda_send_bytes(tables, (size_t)n * sizeof *tables);
    cuda_good(lora_copy_cuda(&cuda_test, cuda_pointer(&sent), n, longest, most, &err), &err);
    cuda_drop(&sent);
    free(tables);
}

static void adapters_free(struct adapters *adapters)
{
    for (int i = 0; i < adapters->table.n_parts; i++) {
        for (int j = 0; adapters->table.parts[i].rank > 0 && j < PIECES; j++)
            cuda_drop(&adapters->pieces[i][j]);
        free(adapters->a[i]), free(adapters->b[i]), free(adapters->a16[i]);
        free(adapters->b16[i]);
    }
}

/* One table, its copies made. */
static struct adapters adapters_ready(const struct shape *shape)
{
    struct adapters adapters = adapters_make(shape);
    copy_all(&adapters, 1);
    return adapters;
}

/* Ranks that are a step and not, more than a block has, and none; rows and columns that are vectors
 * and not, of one turn of the warps, less and more. */
static const struct shape shapes[] = {
    {1, 64, {48}, {1}},
    {3, 64, {64, 32, 32}, {16, 16, 16}},
    {3, 576, {72, 24, 24}, {8, 0, 20}},
    {2, 72, {344, 344}, {32, 32}},
    {2, 264, {40, 40}, {0, 64}},
    {3, 33, {17, 3, 5}, {20, 1, 64}},
    {2, 172, {172, 172}, {20, 32}},
    {1, 1, {1}, {8}},
    {1, 7, {9}, {96}},
    {2, 16, {8, 8}, {0, 0}},
};
#define N_SHAPES ((int)(sizeof shapes / sizeof *shapes))

/* ---- copies ---------------------------------------------------------------------------------- */

/* got (n_rows, n_columns) against master, which it has at [row * row_step + column * column_step]
 * where both are below their limits, and 0 elsewhere. */
static void check_copy(struct cuda_tensor *tensor, const float *master, int n_rows, int n_columns,
                       int row_limit, int column_limit, int row_step, int column_step)
{
    float *got = cuda_download(tensor);
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < n_columns; j++) {
            bool there = i < row_limit && j < column_limit;
            double want = there ? rounded(master[i * row_step + j * column_step]) : 0;
            if ((double)got[i * n_columns + j] != want)
                ck_abort_msg("(%d, %d) of (%d, %d): %g and not %g", i, j, n_rows, n_columns,
                             (double)got[i * n_columns + j], want);
        }
    free(got);
}

START_TEST(copies_are_the_masters_rounded)
{
    struct adapters adapters[N_SHAPES];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int i = 0; i < N_SHAPES; i++)
        adapters[i] = adapters_make(&shapes[i]);
    copy_all(adapters, N_SHAPES);
    for (int i = 0; i < N_SHAPES; i++)
        for (int j = 0; j < shapes[i].n_parts; j++) {
            const struct lora_part *part = &adapters[i].table.parts[j];
            struct cuda_tensor *pieces = adapters[i].pieces[j];
            const float *a = adapters[i].a[j], *b = adapters[i].b[j];
            int columns = shapes[i].columns, rows = part->rows, rank = part->rank;
            if (rank > 0) {
                cuda_drop(&pieces[0]), cuda_drop(&pieces[1]);
                check_copy(&pieces[2], a, part->padded, columns, rank, columns, columns, 1);
                check_copy(&pieces[3], a, columns, part->padded, columns, rank, 1, columns);
                check_copy(&pieces[4], b, rows, part->padded, rows, rank, rank, 1);
                check_copy(&pieces[5], b, part->padded, rows, rank, rows, 1, rank);
            }
            adapters[i].table.parts[j].rank = 0; /* gone */
        }
    for (int i = 0; i < N_SHAPES; i++)
        adapters_free(&adapters[i]);
    device_close(&cuda_test);
}
END_TEST

/* ---- products -------------------------------------------------------------------------------- */

static const struct dropout no_dropout = {.threshold = 0};
/* Elements beyond 2^32 groups. */
static const struct dropout some_dropout = {
    .seed = 0x123456789ABCDEF, .step = 3, .first_row = INT64_C(7) << 33, .threshold = 20000};

/* x as the product sees it: dropped and rounded once more. */
static void drop_ref(double *dropped, const float *x, const struct dropout *dropout, int m, int d)
{
    size_t n = (size_t)m * (size_t)d;
    for (size_t i = 0; i < n; i++)
        dropped[i] = x[i];
    if (dropout->threshold == 0)
        return;
    dropout_factors_ref(dropped, dropout, m, d);
    for (size_t i = 0; i < n; i++)
        dropped[i] = dropped[i] > 0 ? rounded(x[i] * dropout_scale(dropout->threshold)) : 0;
}

/* A part's ranks in got (m, padded) against scale * x · wᵀ, w (rank, columns) with the steps given;
 * ranks behind are 0. */
static void check_ranks(const float *got, const struct lora_parts *table, int i, const double *x,
                        int x_stride, const double *w, int columns, size_t rank_step,
                        size_t column_step, int m)
{
    const struct lora_part *part = &table->parts[i];
    double share = lora_s_cuda_tolerance(columns);
    for (int t = 0; t < m; t++)
        for (int r = 0; r < part->padded; r++) {
            double want = 0, magnitude = 0;
            for (int k = 0; k < columns && r < part->rank; k++) {
                double term = x[(size_t)t * (size_t)x_stride + (size_t)k] *
                              w[(size_t)r * rank_step + (size_t)k * column_step];
                want += term, magnitude += fabs(term);
            }
            want *= (double)part->scale, magnitude *= (double)part->scale;
            double value = (double)got[t * table->padded + part->first_rank + r];
            double sums = share * magnitude;
            double allowed = sums + cuda_rounding(PRECISION_BF16) * (fabs(want) + sums);
            if (!(fabs(value - want) <= allowed))
                ck_abort_msg("part %d of %d, m %d, %d columns: (%d, %d) is %g and not %g +- %g", i,
                             table->n_parts, m, columns, t, r, value, want, allowed);
        }
}

/* Row i depends on first_row + i only. */
static float *rows_of(size_t m, size_t width, int first_row, uint64_t seed)
{
    float *x = test_floats(m * width);
    for (size_t i = 0; i < m; i++)
        fill_normal(x + i * width, width, seed + (uint64_t)first_row + i, 1.0f);
    return x;
}

/* x has rows x_stride apart, with NaN between them. */
static float *s_of(const struct adapters *adapters, const struct dropout *dropout, int first_row,
                   int m, int x_stride, bool check)
{
    struct err err;
    const struct lora_parts *table = &adapters->table;
    struct dropout of_pass = *dropout;
    size_t n = (size_t)m * (size_t)table->columns, n_s = (size_t)m * (size_t)table->padded;
    float *x = rows_of((size_t)m, (size_t)table->columns, first_row, 300);
    float *strided = test_floats((size_t)m * (size_t)x_stride);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < x_stride; j++)
            strided[i * x_stride + j] = j < table->columns ? x[i * table->columns + j] : NAN;
    of_pass.first_row += first_row;
    struct cuda_tensor of_x = cuda_send(PRECISION_BF16, strided, (size_t)m * (size_t)x_stride);
    struct cuda_tensor of_s = cuda_empty(PRECISION_BF16, n_s);
    cuda_good(lora_s_cuda(&cuda_test, cuda_pointer(&of_s), cuda_pointer(&of_x), x_stride, table,
                          &of_pass, m, &err),
              &err);
    float *got = cuda_download(&of_s);
    cuda_drop(&of_x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rounded(x[i]);
    double *dropped = malloc(n * sizeof *dropped + 1);
    for (int i = 0; check && i < table->n_parts; i++) {
        of_pass.stream = table->parts[i].stream;
        drop_ref(dropped, x, &of_pass, m, table->columns);
        check_ranks(got, table, i, dropped, table->columns, adapters->a16[i], table->columns,
                    (size_t)table->columns, 1, m);
    }
    free(dropped), free(x), free(strided);
    return got;
}

static float *ds_of(const struct adapters *adapters, int first_row, int m, bool check)
{
    struct err err;
    const struct lora_parts *table = &adapters->table;
    size_t n = (size_t)m * (size_t)table->rows;
    float *dy = rows_of((size_t)m, (size_t)table->rows, first_row, 800);
    struct cuda_tensor of_dy = cuda_send(PRECISION_BF16, dy, n);
    struct cuda_tensor of_ds = cuda_empty(PRECISION_BF16, (size_t)m * (size_t)table->padded);
    cuda_good(lora_ds_cuda(&cuda_test, cuda_pointer(&of_ds), cuda_pointer(&of_dy), table, m, &err),
              &err);
    float *got = cuda_download(&of_ds);
    cuda_drop(&of_dy);
    double *dy64 = to_doubles(dy, n);
    for (int i = 0; check && i < table->n_parts; i++) {
        const struct lora_part *part = &table->parts[i];
        check_ranks(got, table, i, dy64 + part->first_row, table->rows, adapters->b16[i],
                    part->rows, 1, (size_t)part->rank, m);
    }
    free(dy64), free(dy);
    return got;
}

static const int counts[] = {0, 1, 17, 100};

START_TEST(products_into_the_ranks_match_the_reference)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int i = 0; i < N_SHAPES; i++) {
        struct adapters adapters = adapters_ready(&shapes[i]);
        int columns = shapes[i].columns;
        for (int j = 0; j < 4; j++) {
            if (counts[j] == 100 && i % 3 != _i % 3 && !cuda_test_full())
                continue;
            free(s_of(&adapters, &no_dropout, 0, counts[j], columns, true));
            free(s_of(&adapters, &some_dropout, 0, counts[j], columns, true));
            free(ds_of(&adapters, 0, counts[j], true));
        }
        free(s_of(&adapters, &some_dropout, 0, 3, columns + 8, true));
        free(s_of(&adapters, &some_dropout, 0, 3, columns + 3, true));
        adapters_free(&adapters);
    }
    device_close(&cuda_test);
}
END_TEST

START_TEST(a_row_has_the_same_bytes_in_every_batch)
{
    static const struct shape wide = {3, 1096, {104, 40, 40}, {32, 8, 48}};
    enum { M = 41 };
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int i = 0; i < 2; i++) {
        struct adapters adapters = adapters_ready(i == 0 ? &wide : &shapes[5]);
        int columns = adapters.table.columns;
        size_t width = (size_t)adapters.table.padded, bytes = width * sizeof(float);
        float *s = s_of(&adapters, &some_dropout, 0, M, columns, true);
        float *ds = ds_of(&adapters, 0, M, true);
        for (int row = 0; row < M; row += 5) {
            int m = row % 2 ? 1 : M - row;
            float *part = s_of(&adapters, &some_dropout, row, m, columns, false);
            ck_assert_mem_eq(part, s + (size_t)row * width, (size_t)m * bytes);
            free(part);
            part = ds_of(&adapters, row, m, false);
            ck_assert_mem_eq(part, ds + (size_t)row * width, (size_t)m * bytes);
            free(part);
        }
        free(s), free(ds);
        adapters_free(&adapters);
    }
    device_close(&cuda_test);
}
END_TEST

/* So many rows that blocks are large on every card (68, 128, 132 multiprocessors), and so few that
 * they are small. */
START_TEST(blocks_of_any_size_give_the_same_bytes)
{
    static const struct shape shape = {3, 40, {24, 8, 8}, {8, 32, 1}};
    enum { M = 1360, FROM = 1260 };
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct adapters adapters = adapters_ready(&shape);
    size_t width = (size_t)adapters.table.padded, bytes = (M - FROM) * width * sizeof(float);
    float *s = s_of(&adapters, &some_dropout, 0, M, shape.columns, true);
    float *ds = ds_of(&adapters, 0, M, true);
    float *part = s_of(&adapters, &some_dropout, FROM, M - FROM, shape.columns, false);
    ck_assert_mem_eq(part, s + FROM * width, bytes);
    free(part);
    part = ds_of(&adapters, FROM, M - FROM, false);
    ck_assert_mem_eq(part, ds + FROM * width, bytes);
    free(part), free(s), free(ds);
    adapters_free(&adapters);
    device_close(&cuda_test);
}
END_TEST

/* With A the identity s is drop(x), whose bits are known. */
START_TEST(masks_are_the_definitions)
{
    static const int widths[] = {64, 33, 1, 20, 8};
    struct err err;
    enum { M = 37 };
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        int d = widths[w];
        size_t n = (size_t)(M * d);
        struct shape shape = {2, d, {8, 8}, {d, d}};
        struct adapters adapters = adapters_make(&shape);
        for (int i = 0; i < 2; i++) {
            for (int j = 0; j < d * d; j++)
                adapters.a[i][j] = j / d == j % d;
            cuda_drop(&adapters.pieces[i][0]);
            adapters.pieces[i][0] = cuda_send(PRECISION_F32, adapters.a[i], (size_t)(d * d));
            adapters.table.parts[i].a = cuda_pointer(&adapters.pieces[i][0]);
            adapters.table.parts[i].scale = 1;
        }
        copy_all(&adapters, 1);
        float *x = rows_of(M, (size_t)d, 0, 1);
        double *want = malloc(n * sizeof *want);
        struct dropout dropout = some_dropout;
        dropout.first_row += (int64_t)w;
        struct cuda_tensor of_x = cuda_send(PRECISION_BF16, x, n);
        struct cuda_tensor of_s = cuda_empty(PRECISION_BF16, (size_t)(M * adapters.table.padded));
        cuda_good(lora_s_cuda(&cuda_test, cuda_pointer(&of_s), cuda_pointer(&of_x), d,
                              &adapters.table, &dropout, M, &err),
                  &err);
        float *s = cuda_download(&of_s);
        cuda_drop(&of_x);
        for (int i = 0; i < 2; i++) {
            const struct lora_part *part = &adapters.table.parts[i];
            dropout.stream = part->stream;
            drop_ref(want, x, &dropout, M, d);
            for (size_t j = 0; j < n; j++) {
                float got = s[j / (size_t)d * (size_t)adapters.table.padded +
                              (size_t)part->first_rank + j % (size_t)d];
                ck_assert_msg((double)got == want[j], "width %d, element %zu: %g and not %g", d, j,
                              (double)got, want[j]);
            }
        }
        free(x), free(want), free(s);
        adapters_free(&adapters);
    }
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_lora");
    TCase *tests = tcase_create("cuda_lora");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, copies_are_the_masters_rounded, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, products_into_the_ranks_match_the_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, a_row_has_the_same_bytes_in_every_batch, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, blocks_of_any_size_give_the_same_bytes, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, masks_are_the_definitions, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
