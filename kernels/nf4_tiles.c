/* See nf4_tiles.h. */
#include "kernels/nf4_tiles.h"

#include <assert.h>
#include "host/base/cuda_device.h"
#include "host/base/divide_up.h"

#define PLACE_AT 256 /* bytes: what every array begins at a multiple of */

static size_t rounded(size_t bytes)
{
    return (bytes + PLACE_AT - 1) / PLACE_AT * PLACE_AT;
}

static int64_t blocks_of(const struct nf4_tiles *tiles, int segment)
{
    int64_t n = (int64_t)tiles->segments[segment].rows * tiles->columns;
    return (int64_t)nf4_block_count(n);
}

/* ---- one allocation for all arrays ---------------------------------------------------------- */

static bool is_nested(const struct nf4_tiles *tiles, int segment)
{
    return tiles->segments[segment].nested_absmax != NULL;
}

static size_t absmax_bytes(const struct nf4_tiles *tiles, int segment)
{
    return (size_t)blocks_of(tiles, segment) * (is_nested(tiles, segment) ? 1 : sizeof(float));
}

static size_t nested_bytes(const struct nf4_tiles *tiles, int segment)
{
    return nf4_nested_block_count(blocks_of(tiles, segment)) * sizeof(float);
}

/* The next array of so many bytes. */
static const void *take(uintptr_t *at, size_t bytes)
{
    const void *taken = (const void *)*at;
    *at += rounded(bytes);
    return taken;
}

/* Puts all arrays one behind the other from `base` on; returns their bytes. */
static size_t place(struct nf4_tiles *tiles, uintptr_t base)
{
    uintptr_t at = base;
    size_t n_tiles = (size_t)tiles->n_groups * (size_t)tiles->n_steps;
    tiles->codes = take(&at, n_tiles * NF4_TILE_BYTES);
    tiles->absmax_codes = tiles->flat ? NULL : take(&at, n_tiles * NF4_TILE_ROWS);
    for (int i = 0; i < tiles->n_segments; i++) {
        struct nf4_segment *segment = &tiles->segments[i];
        if (tiles->flat)
            segment->flat_absmax = take(&at, absmax_bytes(tiles, i));
        if (is_nested(tiles, i))
            segment->nested_absmax = take(&at, nested_bytes(tiles, i));
    }
    return at - base;
}

size_t nf4_tiles_plan(struct nf4_tiles *tiles, const struct nf4_matrix *const *parts, int n_parts)
{
    assert(n_parts >= 1 && n_parts <= NF4_SEGMENTS);
    *tiles = (struct nf4_tiles){.columns = parts[0]->columns, .n_segments = n_parts};
    tiles->n_steps = (int)divide_up(tiles->columns, NF4_TILE_COLUMNS);
    tiles->flat = tiles->columns % NF4_TILE_COLUMNS != 0;
    for (int i = 0; i < n_parts; i++) {
        struct nf4_segment *segment = &tiles->segments[i];
        assert(parts[i]->columns == tiles->columns && parts[i]->rows >= 1);
        segment->rows = parts[i]->rows;
        segment->first_row = tiles->rows;
        segment->first_group = tiles->n_groups;
        tiles->rows += segment->rows;
        tiles->n_groups += (int)divide_up(segment->rows, NF4_TILE_ROWS);
        if (parts[i]->absmax)
            tiles->flat = true;
        else /* an address to come: which segments have one is all that place() asks */
            segment->nested_absmax = (const float *)(uintptr_t)PLACE_AT;
    }
    return place(tiles, PLACE_AT);
}

void nf4_tiles_place(struct nf4_tiles *tiles, void *memory)
{
    assert((uintptr_t)memory % PLACE_AT == 0);
    place(tiles, (uintptr_t)memory);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

#define TILES_PER_BLOCK 4 /* nf4_tiles.cu: a warp a tile */

enum status nf4_tiles_pack_cuda(struct device *device, const struct nf4_tiles *tiles, int segment,
                                const uint8_t *codes, const uint8_t *absmax_codes, struct err *err)
{
    struct nf4_tiles whole = *tiles;
    void *values[] = {&whole, &segment, &codes, &absmax_codes};
    int64_t n_groups = divide_up(tiles->segments[segment].rows, NF4_TILE_ROWS);
    int64_t n_tiles = n_groups * tiles->n_steps;
    bool aligned = tiles->columns % NF4_TILE_COLUMNS == 0;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "nf4_tiles",
                           .name = aligned ? "nf4_tiles_pack" : "nf4_tiles_pack_any",
                           .grid = {(unsigned)divide_up(n_tiles, TILES_PER_BLOCK), 1, 1},
                           .block = {32 * TILES_PER_BLOCK, 1, 1},
                           .values = values,
                       },
                       err);
}
