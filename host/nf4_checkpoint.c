/* See nf4_checkpoint.h. */
#include "host/nf4_checkpoint.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include "host/base/float16.h"
#include "loaders/bitsandbytes.h"

static_assert(NF4_BLOCK == NF4_WEIGHT_BLOCK && NF4_NESTED_BLOCK == NF4_WEIGHT_NESTED_BLOCK,
              "kernels and loaders mean the same format");

/* One matrix, while it is looked at. */
struct source {
    const struct weights *weights;
    const struct weight *weight;
    struct arena *arena;
    struct err *err;
};

static enum status bad(const struct source *source, const char *part, const char *what)
{
    return err_set(source->err, STATUS_BAD_DATA, "%s: tensor %s%s: %s", source->weight->path,
                   source->weight->name, part, what);
}

/* n float32 of the file where they lie, or copied where that is not aligned. */
static enum status take_floats(const struct source *source, const unsigned char *bytes, size_t n,
                               const float **out)
{
    *out = (const float *)(const void *)bytes;
    if ((uintptr_t)bytes % _Alignof(float) == 0)
        return STATUS_OK;
    float *copy = arena_alloc(source->arena, n, sizeof *copy);
    if (!copy)
        return err_no_memory(source->err, source->weight->name, n * sizeof *copy);
    memcpy(copy, bytes, n * sizeof *copy);
    *out = copy;
    return STATUS_OK;
}

static enum status check_scales(const struct source *source, const char *part, const float *scales,
                                size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(scales[i] >= 0) || isinf(scales[i]))
            return err_set(source->err, STATUS_BAD_DATA,
                           "%s: tensor %s%s: value %zu is negative, NaN or an infinity; the file "
                           "is damaged",
                           source->weight->path, source->weight->name, part, i);
    return STATUS_OK;
}

/* absmax by a map of the file's own: versions of torch differ in the last bits of the values from
 * which bitsandbytes makes its map. */
static enum status unnest(const struct source *source, struct nf4_matrix *matrix, size_t n_blocks,
                          const float *nested_absmax)
{
    const struct nf4_weight *view = source->weight->nf4;
    const float *map;
    TRY(take_floats(source, view->nested_quant_map, 256, &map));
    for (int i = 0; i < 256; i++)
        if (!(fabsf(map[i]) <= 1))
            return bad(source, ".nested_quant_map",
                       "a value is not within -1 and 1; the file is "
                       "damaged");
    float *absmax = arena_alloc(source->arena, n_blocks, sizeof *absmax);
    if (!absmax)
        return err_no_memory(source->err, source->weight->name, n_blocks * sizeof *absmax);
    for (size_t i = 0; i < n_blocks; i++) {
        float scaled = map[view->absmax[i]] * nested_absmax[i / NF4_NESTED_BLOCK];
        absmax[i] = scaled + view->offset;
    }
    matrix->absmax = absmax;
    return STATUS_OK;
}

static enum status view_scales(const struct source *source, struct nf4_matrix *matrix)
{
    const struct nf4_weight *view = source->weight->nf4;
    size_t n_blocks = nf4_block_count(source->weight->rows * source->weight->columns);
    const float *scales;
    if (!view->nested_absmax) {
        TRY(take_floats(source, view->absmax, n_blocks, &scales));
        matrix->absmax = scales;
        return check_scales(source, ".absmax", scales, n_blocks);
    }
    size_t n_nested = nf4_nested_block_count((int64_t)n_blocks);
    TRY(take_floats(source, view->nested_absmax, n_nested, &scales));
    TRY(check_scales(source, ".nested_absmax", scales, n_nested));
    if (memcmp(view->nested_quant_map, nf4_nested_map, sizeof nf4_nested_map) != 0)
        return unnest(source, matrix, n_blocks, scales);
    matrix->absmax_codes = view->absmax;
    matrix->nested_absmax = scales;
    matrix->offset = view->offset;
    return STATUS_OK;
}

enum status nf4_checkpoint_view(struct nf4_matrix *matrix, const struct weights *weights,
                                const struct weight *weight, struct arena *arena, struct err *err)
{
    const struct source source = {weights, weight, arena, err};
    if (memcmp(weight->nf4->quant_map, nf4_map, sizeof nf4_map) != 0)
        return bad(&source, ".quant_map",
                   "not the 16 values of NF4; the file is damaged, or of another format: use the "
                   "model that it was made from");
    *matrix = (struct nf4_matrix){
        .rows = (int)weight->rows,
        .columns = (int)weight->columns,
        .codes = weight->nf4->codes,
    };
    TRY(view_scales(&source, matrix));
    return weights_check(weights, err);
}

void nf4_checkpoint_read(const struct weight *weight, const struct nf4_matrix *matrix,
                         int64_t first_row, int64_t n_rows, float *out)
{
    int64_t n = n_rows * weight->columns;
    nf4_decode(out, 1, matrix, first_row * weight->columns, n);
    switch (weight->nf4->result) {
    case NF4_TO_F32:
        return;
    case NF4_TO_BF16:
        for (int64_t i = 0; i < n; i++)
            out[i] = bf16_to_float(bf16_from_float(out[i]));
        return;
    case NF4_TO_F16:
        for (int64_t i = 0; i < n; i++)
            out[i] = f16_to_float(f16_from_float(out[i]));
        return;
    }
}
