/* The GPU's matrix products against the float64 reference: NF4 and bfloat16 weights, joined
 * weights, every shape of tile, and how NF4 is packed. */
#include "tests/cuda_weights.h"

#include <math.h>
#include <stdlib.h>
#include "kernels/matmul.h"
#include "kernels/nf4_matmul.h"

/* ---- a product, whatever the weight --------------------------------------------------------- */

#define FEW (-2) /* in the place of a shape's number */

/* One of the functions under test, over y and x of m rows. */
static enum status run(const struct weighted *w, int shape, void *y, const void *x,
                       const float *bias, int m, bool add, struct err *err)
{
    if (w->dense && shape == CHOSEN)
        return matmul_fwd_cuda(&cuda_test, y, x, w->dense, bias, m, add, err);
    if (w->dense)
        return matmul_shape_fwd_cuda(&cuda_test, shape, y, x, w->dense, bias, m, add, NULL, NULL,
                                     err);
    if (shape == FEW)
        return nf4_matmul_few_fwd_cuda(&cuda_test, y, x, w->tiles, bias, m, add, err);
    if (shape == CHOSEN)
        return nf4_matmul_fwd_cuda(&cuda_test, y, x, w->tiles, bias, m, add, err);
    return nf4_matmul_shape_fwd_cuda(&cuda_test, shape, y, x, w->tiles, bias, m, add, NULL, NULL,
                                     err);
}

/* x, bias, old y are those of seed, rounded to what the device holds; row i of x and y depends on
 * first_row + i only. */
static float *product_of(const struct weighted *w, int shape, int first_row, int m, bool with_bias,
                         bool add, bool check)
{
    struct err err;
    size_t columns = (size_t)w->columns, rows = (size_t)w->rows;
    size_t n_x = (size_t)m * columns, n_y = (size_t)m * rows;
    float *x = malloc(n_x * sizeof *x + 1), *y = malloc(n_y * sizeof *y + 1);
    float *bias = malloc(rows * sizeof *bias);
    for (size_t i = 0; i < (size_t)m; i++) {
        fill_normal(x + i * columns, columns, 100 + (uint64_t)first_row + i, 1.0f);
        fill_normal(y + i * rows, rows, 9000 + (uint64_t)first_row + i, 0.5f);
    }
    fill_uniform(bias, rows, 3, -0.5f, 0.5f);
    struct cuda_tensor of_x = cuda_send(PRECISION_BF16, x, n_x);
    struct cuda_tensor of_bias = cuda_send(PRECISION_F32, bias, rows);
    struct cuda_tensor of_y =
        add ? cuda_send(PRECISION_BF16, y, n_y) : cuda_empty(PRECISION_BF16, n_y);
    cuda_good(run(w, shape, cuda_pointer(&of_y), cuda_pointer(&of_x),
                  with_bias ? cuda_pointer(&of_bias) : NULL, m, add, &err),
              &err);
    float *got = cuda_download(&of_y);
    cuda_drop(&of_x), cuda_drop(&of_bias);
    if (check) {
        double *x64 = to_doubles(x, n_x), *want = to_doubles(y, n_y);
        double *magnitude = malloc(n_y * sizeof *magnitude + 1);
        double *old = to_doubles(y, n_y);
        matmul_fwd_ref(want, magnitude, x64, w->values, m, w->rows, w->columns, add);
        for (size_t i = 0; i < n_y; i++) {
            double added = with_bias ? (double)bias[i % rows] : 0;
            want[i] += added;
            magnitude[i] += fabs(added) + (add ? fabs(old[i]) : 0);
            double sums = matmul_fwd_cuda_tolerance(w->columns) * magnitude[i];
            double allowed = cuda_bfloat16_allowed(want[i], sums);
            if (!(fabs((double)got[i] - want[i]) <= allowed))
                ck_abort_msg("shape %d, m %d, %d x %d%s%s: y[%d,%d] is %g and not %g +- %g", shape,
                             m, w->rows, w->columns, with_bias ? ", bias" : "", add ? ", add" : "",
                             (int)(i / rows), (int)(i % rows), (double)got[i], want[i], allowed);
        }
        free(x64), free(want), free(magnitude), free(old);
    }
    free(x), free(y), free(bias);
    return got;
}

static void check_product(const struct weighted *w, int shape, int m, bool bias, bool add)
{
    free(product_of(w, shape, 0, m, bias, add, true));
}

/* Round the tiles' rows (16, 32, 64, 128), and several tiles. */
static const int rows_of_x[] = {0, 1, 7, 8, 9, 16, 17, 63, 64, 65, 127, 128, 129, 200};
#define N_ROWS_OF_X ((int)(sizeof rows_of_x / sizeof *rows_of_x))

/* W's rows round a tile of 16, the warps' and CTAs' columns (32, 64, 128, 256), and such that rows
 * of Y are no whole vectors; columns of one step, several, and more than the stages. */
static const struct {
    int rows, columns;
} sizes[] = {
    {16, 64},  {32, 192}, {40, 64},   {64, 576}, {96, 128}, {172, 64},
    {192, 64}, {257, 64}, {344, 128}, {576, 64}, {1, 320},
};
#define N_SIZES ((int)(sizeof sizes / sizeof *sizes))

/* ---- NF4 ------------------------------------------------------------------------------------ */

START_TEST(nf4_matmul_matches_reference)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int i = 0; i < N_SIZES; i++) {
        struct joined w = join(&sizes[i].rows, 1, sizes[i].columns, true);
        struct weighted weighted = weighted_tiles(&w);
        /* Every m with one size, a few with the others. */
        for (int j = i % 4; j < N_ROWS_OF_X; j += i == 1 ? 1 : 4)
            check_product(&weighted, CHOSEN, rows_of_x[j], i % 3 == 1, j % 2 == 0);
        for (int shape = 0; shape < NF4_MATMUL_SHAPES; shape++)
            check_product(&weighted, shape, i == 3 ? 129 : 1 + (7 * i + 5 * shape) % 40,
                          shape % 2 == 0, i % 2 == 0);
        joined_free(&w);
    }
    device_close(&cuda_test);
}
END_TEST

/* Widths that are no multiple of 64, of 8, or odd; and absmax that is not double-quantised. */
START_TEST(nf4_matmul_takes_any_width)
{
    static const struct {
        int rows, columns;
        bool nested;
    } odd[] = {{64, 172, true}, {172, 8, true},  {17, 33, true},  {5, 1, true},
               {40, 65, true},  {33, 64, false}, {64, 172, false}};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        struct joined w = join(&odd[i].rows, 1, odd[i].columns, odd[i].nested);
        struct weighted weighted = weighted_tiles(&w);
        ck_assert(w.tiles.flat);
        check_product(&weighted, CHOSEN, 1, true, false);
        check_product(&weighted, CHOSEN, 33, false, true);
        check_product(&weighted, FEW, 8, false, false);
        joined_free(&w);
    }
    device_close(&cuda_test);
}
END_TEST

/* Each with its own double quantisation; nested blocks of 256 change within a row's steps and
 * between rows; rows that do not fill a tile do not show. */
START_TEST(nf4_matmul_joins_weights)
{
    static const struct {
        int rows[NF4_SEGMENTS], n, columns;
    } cases[] = {
        {{64, 32, 32}, 3, 64}, {{172, 172}, 2, 64}, {{172, 172}, 2, 172}, {{16, 16, 24}, 3, 192},
        {{3, 17, 40}, 3, 128}, {{48, 16}, 2, 1088}, {{24, 8, 9}, 3, 64},  {{300, 24}, 2, 64},
    };
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct joined w = join(cases[i].rows, cases[i].n, cases[i].columns, true);
        struct weighted weighted = weighted_tiles(&w);
        check_product(&weighted, CHOSEN, 19, true, true);
        check_product(&weighted, 2, 66, false, false);
        check_product(&weighted, FEW, 5, true, true);
        joined_free(&w);
    }
    device_close(&cuda_test);
}
END_TEST

/* A step of 4 tiles, one warp's only, all warps', and a second turn of some. */
START_TEST(nf4_matmul_of_few_rows_matches_reference)
{
    static const struct {
        int rows, columns;
    } few[] = {{16, 64}, {40, 256}, {33, 320}, {16, 2048}, {48, 2112}, {16, 4672}};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof few / sizeof *few; i++) {
        struct joined w = join(&few[i].rows, 1, few[i].columns, true);
        struct weighted weighted = weighted_tiles(&w);
        for (int m = 0; m <= NF4_MATMUL_FEW; m += i == 4 ? 1 : 4)
            check_product(&weighted, FEW, m, m % 3 == 0, m % 2 == 0);
        /* A row's bytes do not depend on m. */
        float *all = product_of(&weighted, FEW, 0, 8, false, false, false);
        float *one = product_of(&weighted, FEW, 5, 1, false, false, false);
        ck_assert_mem_eq(all + 5 * few[i].rows, one, (size_t)few[i].rows * sizeof *one);
        free(all), free(one);
        joined_free(&w);
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- bfloat16 ------------------------------------------------------------------------------- */

START_TEST(matmul_matches_reference)
{
    static const struct {
        int rows, columns;
    } more[] = {{64, 172}, {172, 72}, {17, 33}, {40, 8}, {3, 1}};
    int n_more = (int)(sizeof more / sizeof *more);
    struct err err;
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int i = 0; i < N_SIZES + n_more; i++) {
        int rows = i < N_SIZES ? sizes[i].rows : more[i - N_SIZES].rows;
        int columns = i < N_SIZES ? sizes[i].columns : more[i - N_SIZES].columns;
        struct dense_on_device dense = dense_make(rows, columns, NULL);
        struct weighted weighted = weighted_dense(&dense);
        for (int j = i % 5; j < N_ROWS_OF_X; j += i == 1 ? 1 : 5)
            check_product(&weighted, CHOSEN, rows_of_x[j], i % 3 == 1, j % 2 == 0);
        for (int shape = 0; shape < MATMUL_SHAPES; shape++)
            check_product(&weighted, shape, i == 3 ? 129 : 1 + (7 * i + 5 * shape) % 40,
                          shape % 2 == 0, i % 2 == 0);
        dense_free(&dense);
    }
    struct dense_matrix f32 = {PRECISION_F32, NULL, 8, 8};
    ck_assert_int_eq(matmul_fwd(&cuda_test, NULL, NULL, &f32, 1, false, &err), STATUS_RESOURCE);
    ck_assert_str_eq(err.text, "matmul: a GPU takes weights in bf16");
    device_close(&cuda_test);
}
END_TEST

/* ---- the same bytes ------------------------------------------------------------------------- */

static float *rows_of(const void *weighted, int shape, int first_row, int m)
{
    return product_of(weighted, shape, first_row, m, true, true, false);
}

/* A row alone, in batches, in every shape, and with the same weight kept dense. */
START_TEST(a_row_has_the_same_bytes_everywhere)
{
    enum { ROWS = 144, COLUMNS = 576, M = 131 };
    static const int rows[] = {ROWS};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct joined w = join(rows, 1, COLUMNS, true);
    struct dense_on_device dense = dense_make(ROWS, COLUMNS, w.values);
    struct weighted nf4 = weighted_tiles(&w), bf16 = weighted_dense(&dense);
    float *all = rows_of(&nf4, CHOSEN, 0, M);
    check_shapes(rows_of, &nf4, all, M, ROWS, NF4_MATMUL_SHAPES);
    check_shapes(rows_of, &bf16, all, M, ROWS, MATMUL_SHAPES);
    check_rows_alone(rows_of, &nf4, all, M, ROWS);
    free(all);
    dense_free(&dense);
    joined_free(&w);
    device_close(&cuda_test);
}
END_TEST

START_TEST(nan_stays_in_its_row)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    check_nan_stays_in_its_row(nf4_matmul_fwd, false);
    device_close(&cuda_test);
}
END_TEST

/* ---- packing -------------------------------------------------------------------------------- */

/* Each byte of the tiles, against a packer that places one nibble at a time. */
static void check_bytes(const void *on_device, const void *want, size_t n)
{
    struct err err;
    struct cuda_device *cuda = cuda_test.cuda;
    uint8_t *got = malloc(n);
    cuda_good(cuda_check(&cuda->driver,
                         cuda->driver.MemcpyDtoHAsync(got, (CUdeviceptr)(uintptr_t)on_device, n,
                                                      cuda->stream),
                         "cuMemcpyDtoHAsync", &err),
              &err);
    cuda_good(cuda_synchronise(cuda, &err), &err);
    ck_assert_mem_eq(got, want, n);
    free(got);
}

START_TEST(tiles_are_packed_bit_by_bit)
{
    static const struct {
        int rows[NF4_SEGMENTS], n, columns;
    } cases[] = {
        {{16}, 1, 64},  {{1}, 1, 64},        {{40, 17}, 2, 192}, {{33, 16, 5}, 3, 320},
        {{64}, 1, 172}, {{19, 172}, 2, 172}, {{7, 9}, 2, 33},    {{5}, 1, 1},
    };
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct joined w = join(cases[i].rows, cases[i].n, cases[i].columns, true);
        const struct nf4_tiles *tiles = &w.tiles;
        ck_assert(!tiles->flat == (cases[i].columns % 64 == 0));
        for (int j = 0; j < cases[i].n; j++) {
            const struct nf4_segment *segment = &tiles->segments[j];
            const struct nf4_matrix *part = &w.parts[j].nf4;
            size_t n_tiles = (size_t)(part->rows + 15) / 16 * (size_t)tiles->n_steps;
            size_t first = (size_t)segment->first_group * (size_t)tiles->n_steps;
            uint8_t *codes = malloc(n_tiles * 512), *absmax = malloc(n_tiles * 16);
            nf4_tiles_pack_ref(codes, tiles->flat ? NULL : absmax, part);
            check_bytes(tiles->codes + first * 512, codes, n_tiles * 512);
            int64_t n_blocks = (int64_t)nf4_block_count((int64_t)part->rows * part->columns);
            if (tiles->flat)
                check_bytes(segment->flat_absmax, part->absmax_codes, (size_t)n_blocks);
            else
                check_bytes(tiles->absmax_codes + first * 16, absmax, n_tiles * 16);
            check_bytes(segment->nested_absmax, part->nested_absmax,
                        nf4_nested_block_count(n_blocks) * sizeof(float));
            ck_assert(segment->offset == part->offset);
            free(codes), free(absmax);
        }
        joined_free(&w);
    }
    device_close(&cuda_test);
}
END_TEST

/* The layout as nf4_layout.h draws it, spelled out for a few weights: the packer of the tests may
 * not agree with the kernel by sharing its mistake. */
START_TEST(tiles_are_as_drawn)
{
    uint8_t flat[32 * 128 / 2] = {0}, packed[2 * 2 * 512], absmax_codes[64] = {0}, absmax[64];
    struct nf4_matrix w = {.rows = 32, .columns = 128, .codes = flat, .absmax_codes = absmax_codes};
    flat[(0 * 128 + 0) / 2] = 0xA0;          /* row 0, k 0: tile 0, lane 0, word 0, byte 0, high */
    flat[(3 * 128 + 29) / 2] = 0x0B;         /* row 3, k 29 = 16 + 8 + 2 * 2 + 1: lane 14, word 1 */
    flat[(13 * 128 + 64 + 50) / 2] = 0xC0;   /* row 13 = 8 + 5, k 50 = 48 + 2: tile 1, lane 21 */
    flat[(16 * 128 + 127) / 2] = 0x0D;       /* row 16, k 63 of tile 3 */
    absmax_codes[(17 * 128 + 64) / 64] = 99; /* row 1 of tile 3 */
    nf4_tiles_pack_ref(packed, absmax, &w);
    ck_assert_int_eq(packed[0], 0xA0);
    ck_assert_int_eq(packed[16 * 14 + 4 * 1 + 1], 0x0B);
    ck_assert_int_eq(packed[512 + 16 * 21 + 4 * 3 + 2], 0xC0);
    ck_assert_int_eq(packed[3 * 512 + 16 * 3 + 4 * 3 + 1], 0x0D);
    ck_assert_int_eq(absmax[3 * 16 + 1], 99);
    int set = 0;
    for (size_t i = 0; i < sizeof packed; i++)
        set += packed[i] != 0;
    ck_assert_int_eq(set, 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_matmul");
    TCase *tests = tcase_create("cuda_matmul");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, nf4_matmul_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, nf4_matmul_takes_any_width, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, nf4_matmul_joins_weights, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, nf4_matmul_of_few_rows_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, matmul_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, a_row_has_the_same_bytes_everywhere, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, nan_stays_in_its_row, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, tiles_are_packed_bit_by_bit, 0, CUDA_TEST_SETTINGS);
    tcase_add_test(tests, tiles_are_as_drawn);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
