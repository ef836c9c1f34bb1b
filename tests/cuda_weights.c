/* See cuda_weights.h. */
#include "tests/cuda_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/cuda_memory.h"
#include "host/base/float16.h"

/* ---- NF4 ------------------------------------------------------------------------------------ */

static double rounded(double x)
{
    return bf16_to_float(bf16_from_float((float)x));
}

/* nested: double-quantised. */
static struct weight weight_make(int rows, int columns, uint64_t seed, bool nested)
{
    struct device device;
    struct err err;
    struct weight w = {.nf4 = {.rows = rows, .columns = columns}};
    int64_t n = (int64_t)rows * columns;
    size_t n_blocks = nf4_block_count(n);
    float *x = malloc((size_t)n * sizeof *x);
    fill_normal(x, (size_t)n, seed, 0.05f);
    w.codes = malloc(nf4_code_bytes(n));
    w.absmax = malloc(n_blocks * sizeof *w.absmax);
    w.absmax_codes = malloc(n_blocks);
    w.nested_absmax = malloc(nf4_nested_block_count((int64_t)n_blocks) * sizeof *w.nested_absmax);
    ck_assert_int_eq(device_open(&device, "cpu", 1, &err), STATUS_OK);
    nf4_quantize(&device, w.codes, w.absmax, x, n);
    device_close(&device);
    w.nf4.codes = w.codes;
    if (nested) {
        nf4_quantize_absmax(w.absmax_codes, w.nested_absmax, &w.nf4.offset, w.absmax,
                            (int64_t)n_blocks);
        w.nf4.absmax_codes = w.absmax_codes;
        w.nf4.nested_absmax = w.nested_absmax;
    } else {
        w.nf4.absmax = w.absmax;
    }
    w.values = malloc((size_t)n * sizeof *w.values);
    nf4_dequantize_ref(w.values, &w.nf4);
    for (int64_t i = 0; i < n; i++)
        w.values[i] = rounded(w.values[i]);
    free(x);
    return w;
}

static void weight_free(struct weight *w)
{
    free(w->codes), free(w->absmax_codes), free(w->absmax), free(w->nested_absmax);
    free(w->values);
}

/* A part's arrays to its segment, as nf4_tiles.h says. */
static void fill_segment(struct nf4_tiles *tiles, int i, const struct nf4_matrix *part)
{
    struct err err;
    struct nf4_segment *segment = &tiles->segments[i];
    int64_t n = (int64_t)part->rows * part->columns;
    size_t n_blocks = nf4_block_count(n);
    const void *absmax = part->absmax ? (const void *)part->absmax : part->absmax_codes;
    size_t absmax_bytes = n_blocks * (part->absmax ? sizeof(float) : 1);
    struct cuda_tensor codes = cuda_send_bytes(part->codes, nf4_code_bytes(n));
    struct cuda_tensor scales = cuda_send_bytes(absmax, absmax_bytes);
    if (tiles->flat)
        cuda_good(cuda_copy_to(cuda_test.cuda, (void *)(uintptr_t)segment->flat_absmax, absmax,
                               absmax_bytes, &err),
                  &err);
    if (!part->absmax)
        cuda_good(cuda_copy_to(cuda_test.cuda, (void *)(uintptr_t)segment->nested_absmax,
                               part->nested_absmax,
                               nf4_nested_block_count((int64_t)n_blocks) * sizeof(float), &err),
                  &err);
    segment->offset = part->absmax ? 0 : part->offset;
    cuda_good(nf4_tiles_pack_cuda(&cuda_test, tiles, i, cuda_pointer(&codes),
                                  tiles->flat ? NULL : cuda_pointer(&scales), &err),
              &err);
    cuda_drop(&codes), cuda_drop(&scales);
}

struct joined join(const int *rows, int n_parts, int columns, bool nested)
{
    struct joined joined = {.n_parts = n_parts};
    const struct nf4_matrix *parts[NF4_SEGMENTS] = {NULL};
    for (int i = 0; i < n_parts; i++) {
        joined.parts[i] = weight_make(rows[i], columns, (uint64_t)(31 * rows[i] + i), nested);
        parts[i] = &joined.parts[i].nf4;
    }
    size_t bytes = nf4_tiles_plan(&joined.tiles, parts, n_parts), row = 0;
    joined.memory = cuda_empty(PRECISION_NF4, bytes);
    nf4_tiles_place(&joined.tiles, cuda_pointer(&joined.memory));
    joined.values = malloc((size_t)joined.tiles.rows * (size_t)columns * sizeof(double));
    for (int i = 0; i < n_parts; i++) {
        memcpy(joined.values + row * (size_t)columns, joined.parts[i].values,
               (size_t)rows[i] * (size_t)columns * sizeof(double));
        row += (size_t)rows[i];
    }
    for (int i = 0; i < n_parts; i++)
        fill_segment(&joined.tiles, i, parts[i]);
    return joined;
}

void joined_free(struct joined *joined)
{
    for (int i = 0; i < joined->n_parts; i++)
        weight_free(&joined->parts[i]);
    free(joined->values);
    cuda_drop(&joined->memory);
}

/* ---- bfloat16 ------------------------------------------------------------------------------- */

struct dense_on_device dense_make(int rows, int columns, const double *values)
{
    size_t n = (size_t)rows * (size_t)columns;
    float *x = malloc(n * sizeof *x);
    struct dense_on_device dense = {.values = malloc(n * sizeof *dense.values)};
    fill_normal(x, n, (uint64_t)rows, 0.05f);
    for (size_t i = 0; i < n && values; i++)
        x[i] = (float)values[i];
    dense.tensor = cuda_send(PRECISION_BF16, x, n);
    for (size_t i = 0; i < n; i++)
        dense.values[i] = (double)x[i];
    dense.matrix =
        (struct dense_matrix){PRECISION_BF16, cuda_pointer(&dense.tensor), rows, columns};
    free(x);
    return dense;
}

void dense_free(struct dense_on_device *dense)
{
    free(dense->values);
    cuda_drop(&dense->tensor);
}

/* ---- either --------------------------------------------------------------------------------- */

struct weighted weighted_tiles(const struct joined *joined)
{
    return (struct weighted){.tiles = &joined->tiles,
                             .values = joined->values,
                             .rows = joined->tiles.rows,
                             .columns = joined->tiles.columns};
}

struct weighted weighted_dense(const struct dense_on_device *dense)
{
    return (struct weighted){.dense = &dense->matrix,
                             .values = dense->values,
                             .rows = dense->matrix.rows,
                             .columns = dense->matrix.columns};
}

/* ---- what a product's rows promise ---------------------------------------------------------- */

static void check_part(product_rows *product, const void *context, const float *all, int shape,
                       int first_row, int m, int width)
{
    float *part = product(context, shape, first_row, m);
    const float *want = all + (size_t)first_row * (size_t)width;
    if (memcmp(want, part, (size_t)m * (size_t)width * sizeof *part) != 0)
        ck_abort_msg("shape %d: %d rows from row %d on have other bytes", shape, m, first_row);
    free(part);
}

void check_shapes(product_rows *product, const void *context, const float *all, int m, int width,
                  int n_shapes)
{
    for (int shape = CHOSEN; shape < n_shapes; shape++)
        check_part(product, context, all, shape, 60, m - 60, width);
}

void check_rows_alone(product_rows *product, const void *context, const float *all, int m,
                      int width)
{
    for (int row = 0; row < m; row += 13)
        check_part(product, context, all, CHOSEN, row, 1, width);
}

void check_nan_stays_in_its_row(nf4_product *product, bool backwards)
{
    enum { M = 20, BAD = 11 };
    const int rows = 48, columns = 128;
    int width = backwards ? columns : rows, from_width = backwards ? rows : columns;
    size_t n = (size_t)(M * width), from_n = (size_t)(M * from_width);
    struct err err;
    struct joined w = join(&rows, 1, columns, true);
    struct nf4_matrix matrix = {.rows = rows, .columns = columns, .tiles = &w.tiles};
    float *from = test_floats(from_n);
    fill_normal(from, from_n, 1, 1.0f);
    from[BAD * from_width + 37] = NAN;
    struct cuda_tensor of_from = cuda_send(PRECISION_BF16, from, from_n);
    struct cuda_tensor result = cuda_empty(PRECISION_BF16, n);
    cuda_good(
        product(&cuda_test, cuda_pointer(&result), cuda_pointer(&of_from), &matrix, M, false, &err),
        &err);
    float *got = cuda_download(&result);
    for (int i = 0; i < M * width; i++)
        if (isnan(got[i]) != (i / width == BAD))
            ck_abort_msg("row %d, column %d: %g", i / width, i % width, (double)got[i]);
    free(got), free(from);
    cuda_drop(&of_from);
    joined_free(&w);
}
