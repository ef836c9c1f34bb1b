/* The gradients by weights on a GPU: which tiles of which gradients a launch has. The kernel is
 * weight_gradient.cu; weight_gradient.h and lora.h are the contracts. */
#include <assert.h>
#include <stdbool.h>
#include "host/base/cuda_device.h"
#include "host/base/divide_up.h"
#include "kernels/lora.h"
#include "kernels/weight_gradient.h"
#include "kernels/weight_gradient_parts.h"

/* Rows of n columns, `stride` apart, are whole vectors of 8. */
static bool is_vectors(const void *matrix, int stride, int n)
{
    return (uintptr_t)matrix % 16 == 0 && stride % 8 == 0 && n % 8 == 0;
}

static const void *bf16_at(const void *matrix, int column)
{
    return (const uint16_t *)matrix + column;
}

static void add_part(struct gradient_parts *all, const struct gradient_part *part)
{
    struct gradient_part *to = &all->parts[all->n_parts++];
    *to = *part;
    to->wide_vectors = is_vectors(part->wide, part->wide_stride, part->n_wide);
    to->narrow_vectors = is_vectors(part->narrow, part->narrow_stride, part->narrow_there);
}

/* 32 columns of the narrow operands a tile where that is all of them. */
static enum status launch(struct device *device, struct gradient_parts *all, struct err *err)
{
    int narrow = 32;
    int64_t n_tiles = 0;
    if (all->n_parts == 0 || all->n_units == 0)
        return STATUS_OK;
    for (int p = 0; p < all->n_parts; p++)
        if (all->parts[p].n_narrow > 32)
            narrow = 64;
    for (int p = 0; p < all->n_parts; p++) {
        struct gradient_part *part = &all->parts[p];
        part->first_tile = (int)n_tiles;
        part->narrow_tiles = (int)divide_up(part->n_narrow, narrow);
        n_tiles += divide_up(part->n_wide, GRADIENT_WIDE) * part->narrow_tiles;
        if (n_tiles > INT32_MAX)
            return err_set(err, STATUS_RESOURCE, "weight_gradient: (%d, %d) is too large",
                           part->n_wide, part->n_narrow);
    }
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "weight_gradient",
                           .name = narrow == 32 ? "weight_gradient_32" : "weight_gradient_64",
                           .grid = {(unsigned)n_tiles, 1, 1},
                           .block = {GRADIENT_THREADS, 1, 1},
                           .values = (void *[]){all},
                       },
                       err);
}

enum status weight_gradient_cuda(struct device *device, float *dw, const void *dy, int dy_stride,
                                 const void *x, int x_stride, const int32_t *units, int n_units,
                                 int rows, int columns, struct err *err)
{
    struct gradient_parts all = {.n_units = n_units, .units = units};
    struct gradient_part part = {.out = dw};
    if (columns >= rows) {
        part.wide = x, part.wide_stride = x_stride, part.n_wide = columns;
        part.narrow = dy, part.narrow_stride = dy_stride, part.n_narrow = rows;
        part.narrow_first = true;
    } else {
        part.wide = dy, part.wide_stride = dy_stride, part.n_wide = rows;
        part.narrow = x, part.narrow_stride = x_stride, part.n_narrow = columns;
    }
    part.narrow_there = part.n_narrow;
    add_part(&all, &part);
    return launch(device, &all, err);
}

/* The gradients by A come first: making masks they take longest. */
enum status lora_gradients_cuda(struct device *device, float *const gradients_of_a[LORA_PARTS],
                                float *const gradients_of_b[LORA_PARTS],
                                const struct lora_parts *parts, const void *dy, const void *x,
                                int x_stride, const void *s, const void *ds,
                                const struct dropout *dropout, const int32_t *units, int n_units,
                                struct err *err)
{
    struct gradient_parts all = {.n_units = n_units, .units = units};
    if (dropout && dropout->threshold)
        all.dropout = *dropout;
    for (int p = 0; p < parts->n_parts; p++) {
        const struct lora_part *of = &parts->parts[p];
        if (of->rank == 0)
            continue;
        assert(of->padded % LORA_RANK_STEP == 0 && of->rank <= of->padded);
        add_part(&all, &(struct gradient_part){
                           .out = gradients_of_a[p],
                           .wide = x,
                           .wide_stride = x_stride,
                           .n_wide = parts->columns,
                           .narrow = bf16_at(ds, of->first_rank),
                           .narrow_stride = parts->padded,
                           .n_narrow = of->rank,
                           .narrow_there = of->padded,
                           .narrow_first = true,
                           .dropped = true,
                           .stream = of->stream,
                       });
    }
    for (int p = 0; p < parts->n_parts; p++) {
        const struct lora_part *of = &parts->parts[p];
        if (of->rank == 0)
            continue;
        add_part(&all, &(struct gradient_part){
                           .out = gradients_of_b[p],
                           .wide = bf16_at(dy, of->first_row),
                           .wide_stride = parts->rows,
                           .n_wide = of->rows,
                           .narrow = bf16_at(s, of->first_rank),
                           .narrow_stride = parts->padded,
                           .n_narrow = of->rank,
                           .narrow_there = of->padded,
                       });
    }
    return launch(device, &all, err);
}
