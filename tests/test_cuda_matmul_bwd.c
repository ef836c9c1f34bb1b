/* The GPU's gradients by the input against the float64 reference: NF4 and bfloat16 weights, joined
 * weights, the adapters' masked term, every shape of tile. */
#include "tests/cuda_weights.h"

#include <math.h>
#include <stdlib.h>
#include "kernels/dropout.h"
#include "kernels/matmul.h"
#include "kernels/nf4_matmul.h"

/* ---- adapters ------------------------------------------------------------------------------- */

/* Of a joined weight, and what they stand for. */
struct adapters {
    struct lora_parts parts;
    struct cuda_tensor transposed[LORA_PARTS];
    double *a[LORA_PARTS]; /* (padded, columns) */
    struct dropout dropout;
};

/* A few ranks for as many parts; 0: without an adapter. */
static struct adapters adapters_make(const struct joined *w, const int *ranks, double p)
{
    struct adapters adapters = {
        .parts = {.n_parts = w->n_parts, .columns = w->tiles.columns, .rows = w->tiles.rows},
        .dropout = {.seed = 0x123456789ABCDEFu,
                    .step = 3,
                    .first_row = (INT64_C(1) << 31) + 5, /* counters of more than 32 bits */
                    .threshold = dropout_threshold(p)},
    };
    size_t columns = (size_t)w->tiles.columns;
    for (int i = 0; i < w->n_parts; i++) {
        int padded = (ranks[i] + LORA_RANK_STEP - 1) / LORA_RANK_STEP * LORA_RANK_STEP;
        size_t n = (size_t)padded * columns;
        float *x = calloc(n + 1, sizeof *x);
        for (size_t column = 0; column < columns; column++)
            fill_normal(x + column * (size_t)padded, (size_t)ranks[i],
                        500 + 1000 * (uint64_t)i + column, 0.3f);
        adapters.transposed[i] = cuda_send(PRECISION_BF16, x, n);
        adapters.a[i] = malloc((n + 1) * sizeof(double));
        for (size_t rank = 0; rank < (size_t)padded; rank++)
            for (size_t column = 0; column < columns; column++)
                adapters.a[i][rank * columns + column] = (double)x[column * (size_t)padded + rank];
        free(x);
        adapters.parts.parts[i] = (struct lora_part){
            .rows = w->tiles.segments[i].rows,
            .first_row = w->tiles.segments[i].first_row,
            .rank = ranks[i],
            .padded = padded,
            .first_rank = adapters.parts.padded,
            .stream = 40 + (uint32_t)i,
            .a_transposed = cuda_pointer(&adapters.transposed[i]),
        };
        adapters.parts.padded += padded;
    }
    return adapters;
}

static void adapters_free(struct adapters *adapters)
{
    for (int i = 0; i < adapters->parts.n_parts; i++) {
        free(adapters->a[i]);
        cuda_drop(&adapters->transposed[i]);
    }
}

/* ---- a gradient, whatever the weight -------------------------------------------------------- */

/* adapters: or NULL, as in what follows. */
struct adapted {
    struct weighted weight;
    const struct adapters *adapters;
};

static struct adapted of_tiles(const struct joined *w, const struct adapters *adapters)
{
    return (struct adapted){weighted_tiles(w), adapters};
}

static struct adapted of_dense(const struct dense_on_device *w, const struct adapters *adapters)
{
    return (struct adapted){weighted_dense(w), adapters};
}

static enum status run(const struct adapted *adapted, int shape, void *dx, const void *dy, int m,
                       bool add, const void *ds, const struct dropout *dropout, struct err *err)
{
    const struct weighted *w = &adapted->weight;
    const struct lora_parts *parts = adapted->adapters ? &adapted->adapters->parts : NULL;
    if (w->dense && shape == CHOSEN)
        return matmul_bwd_input_cuda(&cuda_test, dx, dy, w->dense, m, add, parts, ds, dropout, err);
    if (w->dense)
        return matmul_shape_bwd_input_cuda(&cuda_test, shape, dx, dy, w->dense, m, add, parts, ds,
                                           dropout, err);
    if (shape == CHOSEN)
        return nf4_matmul_bwd_input_cuda(&cuda_test, dx, dy, w->tiles, m, add, parts, ds, dropout,
                                         err);
    return nf4_matmul_shape_bwd_input_cuda(&cuda_test, shape, dx, dy, w->tiles, m, add, parts, ds,
                                           dropout, err);
}

/* Adds the adapters' share to dx, its magnitudes to magnitude, and what it may err by to error. */
static void add_adapters(double *dx, double *magnitude, double *error,
                         const struct adapters *adapters, const struct dropout *dropout,
                         const float *ds, int m)
{
    const struct lora_parts *parts = &adapters->parts;
    size_t n = (size_t)m * (size_t)parts->columns;
    double *low = malloc((n + 1) * sizeof *low), *sizes = malloc((n + 1) * sizeof *sizes);
    double *factor = malloc((n + 1) * sizeof *factor);
    for (int i = 0; i < parts->n_parts; i++) {
        const struct lora_part *part = &parts->parts[i];
        struct dropout of = *dropout;
        of.stream = part->stream;
        size_t padded = (size_t)part->padded;
        if (padded == 0)
            continue;
        double *own = malloc(((size_t)m * padded + 1) * sizeof *own);
        for (size_t j = 0; j < (size_t)m * padded; j++)
            own[j] = (double)
                ds[j / padded * (size_t)parts->padded + (size_t)part->first_rank + j % padded];
        matmul_bwd_input_ref(low, sizes, own, adapters->a[i], m, part->padded, parts->columns,
                             false);
        dropout_factors_ref(factor, &of, m, parts->columns);
        for (size_t j = 0; j < n; j++) {
            dx[j] += factor[j] * low[j];
            magnitude[j] += factor[j] * sizes[j];
            error[j] += factor[j] * sizes[j] * matmul_fwd_cuda_tolerance(part->padded);
        }
        free(own);
    }
    /* A sum for each. */
    for (size_t j = 0; j < n; j++)
        error[j] += parts->n_parts * 0x1p-24 * magnitude[j];
    free(low), free(sizes), free(factor);
}

/* dy, ds, old dx are those of seed, rounded to what the device holds; row i of all of them depends
 * on first_row + i only. */
static float *gradient_of(const struct adapted *adapted, int shape, int first_row, int m, bool add,
                          bool check)
{
    struct err err;
    const struct adapters *adapters = adapted->adapters;
    const struct weighted *w = &adapted->weight;
    size_t rows = (size_t)w->rows, columns = (size_t)w->columns;
    size_t ranks = adapters ? (size_t)adapters->parts.padded : 0;
    size_t n_dy = (size_t)m * rows, n_dx = (size_t)m * columns, n_ds = (size_t)m * ranks;
    float *dy = malloc(n_dy * sizeof *dy + 1), *dx = malloc(n_dx * sizeof *dx + 1);
    float *ds = calloc(n_ds + 1, sizeof *ds);
    struct dropout dropout = adapters ? adapters->dropout : (struct dropout){.threshold = 0};
    dropout.first_row += first_row;
    for (size_t i = 0; i < (size_t)m; i++) {
        fill_normal(dy + i * rows, rows, 100 + (uint64_t)first_row + i, 1.0f);
        fill_normal(dx + i * columns, columns, 9000 + (uint64_t)first_row + i, 0.5f);
        for (int j = 0; adapters && j < adapters->parts.n_parts; j++)
            fill_normal(ds + i * ranks + (size_t)adapters->parts.parts[j].first_rank,
                        (size_t)adapters->parts.parts[j].rank,
                        77000 + 1000 * (uint64_t)j + (uint64_t)first_row + i, 0.5f);
    }
    struct cuda_tensor of_dy = cuda_send(PRECISION_BF16, dy, n_dy);
    struct cuda_tensor of_ds = cuda_send(PRECISION_BF16, ds, n_ds);
    struct cuda_tensor of_dx =
        add ? cuda_send(PRECISION_BF16, dx, n_dx) : cuda_empty(PRECISION_BF16, n_dx);
    cuda_good(run(adapted, shape, cuda_pointer(&of_dx), cuda_pointer(&of_dy), m, add,
                  cuda_pointer(&of_ds), &dropout, &err),
              &err);
    float *got = cuda_download(&of_dx);
    cuda_drop(&of_dy), cuda_drop(&of_ds);
    if (check) {
        double *dy64 = to_doubles(dy, n_dy), *want = to_doubles(dx, n_dx);
        double *magnitude = malloc((n_dx + 1) * sizeof *magnitude);
        double *error = malloc((n_dx + 1) * sizeof *error);
        matmul_bwd_input_ref(want, magnitude, dy64, w->values, m, w->rows, w->columns, add);
        for (size_t i = 0; i < n_dx; i++) {
            magnitude[i] += add ? fabs((double)dx[i]) : 0;
            error[i] = matmul_fwd_cuda_tolerance(w->rows) * magnitude[i];
        }
        if (adapters)
            add_adapters(want, magnitude, error, adapters, &dropout, ds, m);
        for (size_t i = 0; i < n_dx; i++) {
            double allowed = cuda_bfloat16_allowed(want[i], error[i]);
            if (!(fabs((double)got[i] - want[i]) <= allowed))
                ck_abort_msg("shape %d, m %d, %d x %d%s%s: dx[%d,%d] is %g and not %g +- %g", shape,
                             m, w->rows, w->columns, adapters ? ", adapters" : "",
                             add ? ", add" : "", (int)(i / columns), (int)(i % columns),
                             (double)got[i], want[i], allowed);
        }
        free(dy64), free(want), free(magnitude), free(error);
    }
    free(dy), free(dx), free(ds);
    return got;
}

static void check_gradient_of(const struct adapted *w, int shape, int m, bool add)
{
    free(gradient_of(w, shape, 0, m, add, true));
}

/* Round the tiles' rows (32, 64, 96, 128), and several tiles. */
static const int rows_of_dy[] = {0, 1, 7, 16, 17, 33, 63, 64, 65, 95, 97, 128, 129, 200};
#define N_ROWS_OF_DY ((int)(sizeof rows_of_dy / sizeof *rows_of_dy))

/* W's rows of a tile, a step and more than the stages, and what fills neither; columns round the
 * CTAs' (64, 128, 256). */
static const struct {
    int rows, columns;
} sizes[] = {
    {16, 64},   {64, 128},  {8, 192},  {72, 256},  {192, 64},
    {264, 128}, {320, 320}, {24, 576}, {136, 192}, {1088, 64},
};
#define N_SIZES ((int)(sizeof sizes / sizeof *sizes))

/* ---- NF4 ------------------------------------------------------------------------------------ */

START_TEST(nf4_matmul_bwd_matches_reference)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int i = 0; i < N_SIZES; i++) {
        struct joined w = join(&sizes[i].rows, 1, sizes[i].columns, true);
        struct adapted weighted = of_tiles(&w, NULL);
        /* Every m with one size, a few with the others. */
        for (int j = i % 5; j < N_ROWS_OF_DY; j += i == 1 || cuda_test_full() ? 1 : 5)
            check_gradient_of(&weighted, CHOSEN, rows_of_dy[j], j % 2 == 0);
        for (int shape = 0; shape < NF4_MATMUL_BWD_SHAPES; shape++)
            check_gradient_of(&weighted, shape, i == 3 ? 129 : 1 + (7 * i + 5 * shape) % 40,
                              i % 2 == 0);
        joined_free(&w);
    }
    device_close(&cuda_test);
}
END_TEST

/* Columns that are no multiple of 64, of 8, or odd; rows that are no multiple of 8; absmax that is
 * not double-quantised. */
START_TEST(nf4_matmul_bwd_takes_any_width)
{
    static const struct {
        int rows, columns;
        bool nested;
        int rank;
    } odd[] = {{64, 172, true, 5}, {172, 8, true, 0},   {17, 33, true, 40},  {5, 1, true, 3},
               {40, 65, true, 0},  {33, 64, false, 16}, {64, 172, false, 0}, {12, 128, true, 2}};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        struct joined w = join(&odd[i].rows, 1, odd[i].columns, odd[i].nested);
        struct adapters adapters = adapters_make(&w, &odd[i].rank, i % 2 ? 0.5 : 0.1);
        struct adapted weighted = of_tiles(&w, &adapters);
        check_gradient_of(&weighted, CHOSEN, 1, false);
        check_gradient_of(&weighted, CHOSEN, 33, true);
        adapters_free(&adapters);
        joined_free(&w);
    }
    device_close(&cuda_test);
}
END_TEST

/* Each with its own double quantisation and its own stream of the dropout. Segments end within a
 * step; nested blocks of 256 change within a step, and from tile to tile; segments that do not fill
 * their tiles. */
START_TEST(nf4_matmul_bwd_joins_weights)
{
    static const struct {
        int rows[NF4_SEGMENTS], n, columns, ranks[LORA_PARTS];
        double p;
    } cases[] = {
        {{64, 32, 32}, 3, 64, {32, 16, 5}, 0.1},   {{16, 16, 24}, 3, 192, {0, 20, 0}, 0.5},
        {{48, 16}, 2, 1088, {8, 40}, 0.1},         {{80, 48, 24}, 3, 128, {64, 0, 1}, 0},
        {{304, 32}, 2, 64, {0, 0}, 0.3},           {{208, 16, 104}, 3, 576, {4, 4, 33}, 0.9},
        {{172, 172}, 2, 64, {16, 7}, 0.1},         {{172, 172}, 2, 172, {3, 32}, 0.1},
        {{3, 17, 40}, 3, 128, {16, 16, 16}, 0.25}, {{24, 8, 9}, 3, 64, {1, 2, 3}, 0.1},
    };
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct joined w = join(cases[i].rows, cases[i].n, cases[i].columns, true);
        struct adapters adapters = adapters_make(&w, cases[i].ranks, cases[i].p);
        struct adapted weighted = of_tiles(&w, &adapters);
        check_gradient_of(&weighted, CHOSEN, 19, true);
        check_gradient_of(&weighted, (int)i % NF4_MATMUL_BWD_SHAPES, i < 6 ? 66 : 34, false);
        adapters_free(&adapters);
        joined_free(&w);
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- bfloat16 ------------------------------------------------------------------------------- */

START_TEST(matmul_bwd_matches_reference)
{
    static const struct {
        int rows, columns;
    } more[] = {{64, 172}, {172, 72}, {17, 33}, {40, 8}, {3, 1}, {200, 40}};
    int n_more = (int)(sizeof more / sizeof *more);
    struct err err;
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int i = 0; i < N_SIZES + n_more; i++) {
        int rows = i < N_SIZES ? sizes[i].rows : more[i - N_SIZES].rows;
        int columns = i < N_SIZES ? sizes[i].columns : more[i - N_SIZES].columns;
        struct dense_on_device dense = dense_make(rows, columns, NULL);
        struct adapted weighted = of_dense(&dense, NULL);
        for (int j = i % 5; j < N_ROWS_OF_DY; j += i == 1 || cuda_test_full() ? 1 : 5)
            check_gradient_of(&weighted, CHOSEN, rows_of_dy[j], j % 2 == 0);
        for (int shape = 0; shape < MATMUL_BWD_SHAPES; shape++)
            check_gradient_of(&weighted, shape, i == 3 ? 129 : 1 + (7 * i + 5 * shape) % 40,
                              i % 2 == 0);
        dense_free(&dense);
    }
    struct dense_matrix f32 = {PRECISION_F32, NULL, 8, 8};
    ck_assert_int_eq(matmul_bwd_input(&cuda_test, NULL, NULL, &f32, 1, false, &err),
                     STATUS_RESOURCE);
    ck_assert_str_eq(err.text, "matmul: a GPU takes weights in bf16");
    device_close(&cuda_test);
}
END_TEST

/* ---- the same bytes ------------------------------------------------------------------------- */

static float *rows_of(const void *adapted, int shape, int first_row, int m)
{
    return gradient_of(adapted, shape, first_row, m, true, false);
}

/* A row alone, in batches, in every shape, and with the same weight kept dense. */
START_TEST(a_row_has_the_same_bytes_everywhere)
{
    enum { COLUMNS = 192, M = 131 };
    static const int rows[] = {112, 48}, ranks[] = {32, 20};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct joined w = join(rows, 2, COLUMNS, true);
    struct dense_on_device dense = dense_make(rows[0] + rows[1], COLUMNS, w.values);
    struct adapters adapters = adapters_make(&w, ranks, 0.1);
    struct adapted nf4 = of_tiles(&w, &adapters), bf16 = of_dense(&dense, &adapters);
    float *all = gradient_of(&nf4, CHOSEN, 0, M, true, true);
    check_shapes(rows_of, &nf4, all, M, COLUMNS, NF4_MATMUL_BWD_SHAPES);
    check_shapes(rows_of, &bf16, all, M, COLUMNS, MATMUL_BWD_SHAPES);
    check_rows_alone(rows_of, &nf4, all, M, COLUMNS);
    free(all);
    adapters_free(&adapters);
    dense_free(&dense);
    joined_free(&w);
    device_close(&cuda_test);
}
END_TEST

/* The forward product with the transposed matrix. */
START_TEST(it_is_the_product_with_the_transposed_matrix)
{
    enum { ROWS = 136, COLUMNS = 72, M = 37 };
    struct err err;
    float dy[M * ROWS];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct dense_on_device dense = dense_make(ROWS, COLUMNS, NULL);
    double *values = malloc(sizeof(double) * ROWS * COLUMNS);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        values[i % COLUMNS * ROWS + i / COLUMNS] = dense.values[i];
    struct dense_on_device transposed = dense_make(COLUMNS, ROWS, values);
    fill_normal(dy, M * ROWS, 1, 1.0f);
    struct cuda_tensor of_dy = cuda_send(PRECISION_BF16, dy, M * ROWS);
    struct cuda_tensor of_dx = cuda_empty(PRECISION_BF16, M * COLUMNS);
    struct cuda_tensor of_y = cuda_empty(PRECISION_BF16, M * COLUMNS);
    cuda_good(matmul_bwd_input(&cuda_test, cuda_pointer(&of_dx), cuda_pointer(&of_dy),
                               &dense.matrix, M, false, &err),
              &err);
    cuda_good(matmul_fwd(&cuda_test, cuda_pointer(&of_y), cuda_pointer(&of_dy), &transposed.matrix,
                         M, false, &err),
              &err);
    cuda_drop(&of_dy);
    float *dx = cuda_download(&of_dx), *y = cuda_download(&of_y);
    ck_assert_mem_eq(dx, y, sizeof *y * M * COLUMNS);
    free(dx), free(y), free(values);
    dense_free(&dense), dense_free(&transposed);
    device_close(&cuda_test);
}
END_TEST

/* Through the dispatcher, which knows no adapters. */
START_TEST(nan_stays_in_its_row)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    check_nan_stays_in_its_row(nf4_matmul_bwd_input, true);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_matmul_bwd");
    TCase *tests = tcase_create("cuda_matmul_bwd");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, nf4_matmul_bwd_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, nf4_matmul_bwd_takes_any_width, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, nf4_matmul_bwd_joins_weights, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, matmul_bwd_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, a_row_has_the_same_bytes_everywhere, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, it_is_the_product_with_the_transposed_matrix, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, nan_stays_in_its_row, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
