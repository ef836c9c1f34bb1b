/* Loading and applying linear layers. See linear.h. */
#include "host/linear.h"

#include <string.h>
#include "host/base/float16.h"
#include "host/base/interrupt.h"
#include "host/finite.h"
#include "host/nf4_checkpoint.h"
#include "host/weight_pieces.h"
#include "kernels/matmul.h"
#include "kernels/nf4_matmul.h"

const char *precision_name(enum precision precision)
{
    switch (precision) {
    case PRECISION_NF4:
        return "nf4";
    case PRECISION_BF16:
        return "bf16";
    case PRECISION_F32:
        return "f32";
    }
    return "unknown";
}

/* Takes a matrix as it lies in the mapped file, where that is how memory would hold it. *found says
 * so. Vectors are small, and better off in the arena. */
static enum status map_dense(struct dense_matrix *matrix, const struct weights *weights,
                             const char *name, int rows, int columns, enum precision precision,
                             bool *found, struct err *err)
{
    const struct weight *weight;
    TRY(weights_expect(weights, name, rows, columns, &weight, err));
    const void *data = weight_view(weight, precision == PRECISION_F32 ? "F32" : "BF16");
    *found = data && rows > 1;
    if (!*found)
        return STATUS_OK;
    for (int64_t row = 0; row < rows; row++) {
        int64_t first = row * columns;
        if (row % 1024 == 0)
            TRY(interrupt_check(err));
        if (precision == PRECISION_F32 ? !finite_f32((const float *)data + first, columns)
                                       : !finite_bf16((const uint16_t *)data + first, columns))
            return finite_refuse(weight, row, err);
    }
    *matrix = (struct dense_matrix){precision, data, rows, columns};
    return weights_check(weights, err);
}

enum status dense_load(struct dense_matrix *matrix, const struct weights *weights, const char *name,
                       int rows, int columns, enum precision precision, struct arena *arena,
                       struct arena *scratch, struct err *err)
{
    bool mapped = false;
    TRY(map_dense(matrix, weights, name, rows, columns, precision, &mapped, err));
    if (mapped)
        return STATUS_OK;
    size_t n = (size_t)rows * (size_t)columns, size = precision == PRECISION_F32 ? 4 : 2;
    char *data = arena_alloc(arena, n, size);
    if (!data)
        return err_no_memory(err, name, n * size);
    struct arena_mark mark = arena_mark(scratch);
    struct weight_pieces pieces;
    TRY(weight_pieces_begin(&pieces, weights, name, rows, columns, scratch, err));
    for (bool more;;) {
        TRY(weight_pieces_next(&pieces, &more, err));
        if (!more)
            break;
        size_t offset = (size_t)pieces.first_row * (size_t)columns;
        size_t count = (size_t)pieces.n_rows * (size_t)columns;
        if (precision == PRECISION_F32) {
            memcpy(data + offset * 4, pieces.values, count * 4);
        } else {
            uint16_t *out = (uint16_t *)data + offset;
            for (size_t i = 0; i < count; i++)
                out[i] = bf16_from_float(pieces.values[i]);
        }
    }
    arena_reset(scratch, mark);
    *matrix =
        (struct dense_matrix){.type = precision, .data = data, .rows = rows, .columns = columns};
    return STATUS_OK;
}

static enum status load_nf4(struct nf4_matrix *matrix, struct device *device,
                            const struct weights *weights, const char *name, int rows, int columns,
                            struct arena *arena, struct arena *scratch, struct err *err)
{
    const struct weight *weight;
    TRY(weights_expect(weights, name, rows, columns, &weight, err));
    if (weight->nf4)
        return nf4_checkpoint_view(matrix, weights, weight, arena, err);
    int64_t n = (int64_t)rows * columns;
    size_t n_blocks = nf4_block_count(n);
    size_t n_nested = nf4_nested_block_count((int64_t)n_blocks);
    uint8_t *codes = arena_alloc(arena, nf4_code_bytes(n), 1);
    uint8_t *absmax_codes = arena_alloc(arena, n_blocks, 1);
    float *nested_absmax = arena_alloc(arena, n_nested, sizeof *nested_absmax);
    struct arena_mark mark = arena_mark(scratch);
    float *absmax = arena_alloc(scratch, n_blocks, sizeof *absmax);
    if (!codes || !absmax_codes || !nested_absmax || !absmax)
        return err_no_memory(err, name, (size_t)n / 2);
    *matrix = (struct nf4_matrix){
        .rows = rows,
        .columns = columns,
        .codes = codes,
        .absmax_codes = absmax_codes,
        .nested_absmax = nested_absmax,
    };
    struct weight_pieces pieces;
    TRY(weight_pieces_begin(&pieces, weights, name, rows, columns, scratch, err));
    for (bool more;;) {
        TRY(weight_pieces_next(&pieces, &more, err));
        if (!more)
            break;
        int64_t offset = pieces.first_row * columns;
        nf4_quantize(device, codes + offset / 2, absmax + offset / NF4_BLOCK, pieces.values,
                     pieces.n_rows * columns);
    }
    nf4_quantize_absmax(absmax_codes, nested_absmax, &matrix->offset, absmax, (int64_t)n_blocks);
    arena_reset(scratch, mark);
    return STATUS_OK;
}

enum status linear_load(struct linear *linear, struct device *device, const struct weights *weights,
                        const char *name, int rows, int columns, enum precision precision,
                        struct arena *arena, struct arena *scratch, struct err *err)
{
    linear->precision = precision;
    if (precision == PRECISION_NF4)
        return load_nf4(&linear->nf4, device, weights, name, rows, columns, arena, scratch, err);
    return dense_load(&linear->dense, weights, name, rows, columns, precision, arena, scratch, err);
}

enum status linear_fwd(struct device *device, void *y, const void *x, const struct linear *linear,
                       int m, bool add, struct err *err)
{
    if (linear->precision == PRECISION_NF4)
        return nf4_matmul_fwd(device, y, x, &linear->nf4, m, add, err);
    return matmul_fwd(device, y, x, &linear->dense, m, add, err);
}

enum status linear_bwd_input(struct device *device, void *dx, const void *dy,
                             const struct linear *linear, int m, bool add, struct err *err)
{
    if (linear->precision == PRECISION_NF4)
        return nf4_matmul_bwd_input(device, dx, dy, &linear->nf4, m, add, err);
    return matmul_bwd_input(device, dx, dy, &linear->dense, m, add, err);
}
