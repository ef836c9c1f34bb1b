/* A pair makes P and dS, tile by tile, adds dS K to dq, and then, when all its tiles are done, P'
 * dout to dv and dS' q to dk: five products. Maximum and sum of a row come from a pass of its own
 * over the keys, one product more, except where a block of rows sees one block of keys only: then
 * the pair finds them by itself. */
#include "kernels/attention_pair.h"

#include <string.h>
#include "kernels/attention.h"

#define SCORE_ROW (BLOCK_KEYS + 8) /* masking writes whole vectors and may run over by 7 */

/* A worker's scratch; panels for AVX2 only. */
struct pieces {
    float *k_keys, *v_keys;      /* (BLOCK_KEYS / 16, head_dim, 16) */
    float *k_rows;               /* (head_dim / 16, BLOCK_KEYS, 16) */
    float *q_rows, *dout_rows;   /* (head_dim / 16, BLOCK_ROWS, 16) */
    float *p, *ds;               /* (BLOCK_ROWS, SCORE_ROW): P and dS of a pair */
    float (*shifts)[8];          /* (TILES): D */
    struct block_states *states; /* by heads: the block's */
};

struct pair {
    struct row_block rows;
    int first_key, n_keys;
    bool is_first; /* of the pairs of these keys: dk and dv are not there yet */
    bool is_alone; /* of the pairs of these rows: maximum and sum are not there yet */
};

/* ---- portable ------------------------------------------------------------------------------- */

/* Scores of row i of the tile. */
static void scores_portable(float *p, const struct attention_gradient *g,
                            const struct row_block *rows, const struct tile *tile, int i,
                            int first_key)
{
    for (int key = tile->n_hidden[i]; key < tile->n_visible[i]; key++)
        p[key] =
            dot_portable(g->q + tile->offset[i],
                         g->k + key_offset(&g->shape, rows, first_key + key), g->shape.head_dim);
}

static void row_portable(const struct attention_gradient *g, const struct pair *pair,
                         const struct tile *tile, int i, struct softmax_state *state)
{
    float p[BLOCK_KEYS], scale = g->shape.scale;
    int begin = tile->n_hidden[i], end = tile->n_visible[i], d = g->shape.head_dim;
    const float *q = g->q + tile->offset[i], *dout = g->dout + tile->offset[i];
    float *dq = g->dq + tile->offset[i];
    float shift = dot_portable(dout, g->out + tile->offset[i], d);
    scores_portable(p, g, &pair->rows, tile, i, pair->first_key);
    if (pair->is_alone)
        softmax_row(p, begin, end, state, i, scale, true);
    else
        for (int key = begin; key < end; key++)
            p[key] = expf((p[key] - state->largest[i]) * scale);
    if (tile->is_last)
        memset(dq, 0, (size_t)d * sizeof *dq);
    float inverse = 1 / state->sum[i];
    for (int key = begin; key < end; key++) {
        size_t offset = key_offset(&g->shape, &pair->rows, pair->first_key + key);
        float weight = p[key] * inverse;
        float ds = weight * ((dot_portable(dout, g->v + offset, d) - shift) * scale);
        add_portable(dq, g->k + offset, ds, d);
        add_portable(g->dk + offset, q, ds, d);
        add_portable(g->dv + offset, dout, weight, d);
    }
}

static void pair_portable(const struct attention_gradient *g, const struct pair *pair,
                          struct block_states *states)
{
    size_t row_bytes = (size_t)g->shape.head_dim * sizeof(float);
    for (int key = 0; pair->is_first && key < pair->n_keys; key++) {
        size_t offset = key_offset(&g->shape, &pair->rows, pair->first_key + key);
        memset(g->dk + offset, 0, row_bytes);
        memset(g->dv + offset, 0, row_bytes);
    }
    for (int t = 0, row = pair->rows.first; row < pair->rows.last; row += TILE_ROWS, t++) {
        struct tile tile;
        if (set_tile(&tile, &g->shape, &pair->rows, row, pair->first_key, BLOCK_KEYS))
            for (int i = 0; i < tile.n_rows; i++)
                row_portable(g, pair, &tile, i, &states->tiles[t]);
    }
}

static void tile_states_portable(const struct attention_gradient *g, const struct row_block *rows,
                                 const struct tile *tile, int first_key,
                                 struct softmax_state *state)
{
    float p[BLOCK_KEYS];
    for (int i = 0; i < tile->n_rows; i++) {
        scores_portable(p, g, rows, tile, i, first_key);
        softmax_row(p, tile->n_hidden[i], tile->n_visible[i], state, i, g->shape.scale,
                    tile->is_first);
    }
}

/* ---- AVX2 ----------------------------------------------------------------------------------- */

#if CPU_X86
static const float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};

TARGET_AVX2
static void pack_keys_avx2(float *panels, const float *k, const struct attention_gradient *g,
                           const struct row_block *rows, int first_key, int n_keys)
{
    const struct attention_shape *shape = &g->shape;
    pack_keys(panels, k + key_offset(shape, rows, first_key),
              (size_t)shape->n_kv_heads * (size_t)shape->head_dim, n_keys, shape->head_dim);
}

/* scores (TILE_ROWS, SCORE_ROW): rows of x times the tile's keys. */
TARGET_AVX2
static void scores_avx2(float *scores, const float *x, const struct tile *tile,
                        const float *key_panels, int d)
{
    size_t depth = (size_t)(d + 7) / 8 * 8;
    for (int key = tile->begin; key < tile->end; key += PANEL)
        score_panel(scores + key, SCORE_ROW, x, tile->offset, key_panels + (size_t)key * depth, d);
}

TARGET_AVX2
static void softmax_avx2(float *scores, const struct tile *tile, struct softmax_state *state,
                         float scale)
{
    float decay[8];
    softmax_tile(scores, SCORE_ROW, decay, tile, state, scale);
}

/* D of the tile's rows: in eight chains each. */
TARGET_AVX2
static void shifts_avx2(float shifts[8], const struct attention_gradient *g,
                        const struct tile *tile)
{
    __m256 sums[8];
    int d = g->shape.head_dim;
    sums[6] = sums[7] = _mm256_setzero_ps();
    for (int i = 0; i < TILE_ROWS; i++) {
        const float *x = g->dout + tile->offset[i], *y = g->out + tile->offset[i];
        __m256 sum = _mm256_setzero_ps();
        int j = 0;
        for (; j + 8 <= d; j += 8)
            sum = _mm256_fmadd_ps(_mm256_loadu_ps(x + j), _mm256_loadu_ps(y + j), sum);
        if (j < d) {
            __m256i lanes = first_lanes(d - j);
            sum = _mm256_fmadd_ps(_mm256_maskload_ps(x + j, lanes),
                                  _mm256_maskload_ps(y + j, lanes), sum);
        }
        sums[i] = sum;
    }
    _mm256_storeu_ps(shifts, lane_sums(sums));
}

TARGET_AVX2
static void fill_zeros(float *row, int begin, int end)
{
    for (int key = begin; key < end; key += 8)
        _mm256_store_ps(row + key, _mm256_setzero_ps());
}

/* Rows of scores (of exp(scale (score - largest)) where the pair is alone) become P, rows of
 * dout . v dS; both 0 for the keys of the block that a row does not see. */
TARGET_AVX2
static void weights_avx2(float *p, float *ds, const float *shifts, const struct tile *tile,
                         const struct softmax_state *state, float scale, bool is_alone)
{
    int begin = tile->begin, end = (tile->end + 7) / 8 * 8;
    __m256 scales = _mm256_set1_ps(scale);
    for (int row = 0; row < TILE_ROWS; row++) {
        float *s = p + row * SCORE_ROW, *g = ds + row * SCORE_ROW;
        __m256 m = _mm256_set1_ps(state->largest[row]), shift = _mm256_set1_ps(shifts[row]);
        __m256 inverse = _mm256_set1_ps(1 / state->sum[row]);
        if (!is_alone)
            hide_keys(s, tile, row);
        for (int key = begin; key < end; key += 8) {
            __m256 weight = _mm256_load_ps(s + key);
            if (!is_alone)
                weight = avx2_exp(_mm256_mul_ps(_mm256_sub_ps(weight, m), scales));
            weight = _mm256_mul_ps(weight, inverse);
            __m256 slope = _mm256_mul_ps(_mm256_sub_ps(_mm256_load_ps(g + key), shift), scales);
            _mm256_store_ps(s + key, weight);
            _mm256_store_ps(g + key, _mm256_mul_ps(weight, slope));
        }
        fill_zeros(s, 0, begin), fill_zeros(s, end, BLOCK_KEYS);
        fill_zeros(g, 0, begin), fill_zeros(g, end, BLOCK_KEYS);
    }
}

TARGET_AVX2
static void tile_avx2(const struct attention_gradient *g, const struct pair *pair,
                      const struct tile *tile, int t, struct softmax_state *state,
                      const struct pieces *pieces)
{
    float *p = pieces->p + t * TILE_ROWS * SCORE_ROW, *ds = pieces->ds + t * TILE_ROWS * SCORE_ROW;
    int d = g->shape.head_dim;
    scores_avx2(p, g->q, tile, pieces->k_keys, d);
    scores_avx2(ds, g->dout, tile, pieces->v_keys, d);
    if (pair->is_alone)
        softmax_avx2(p, tile, state, g->shape.scale);
    weights_avx2(p, ds, pieces->shifts[t], tile, state, g->shape.scale, pair->is_alone);
    for (int j = 0; j < d; j += PANEL)
        weigh_panel(g->dq + j, tile->offset, tile->n_rows, d - j, ds, SCORE_ROW, 1,
                    pieces->k_rows + (size_t)j * BLOCK_KEYS, tile->begin, tile->end,
                    tile->is_last ? NULL : ones, ones);
}

/* Where position p's rows begin in the block. */
static int row_of_position(const struct attention_shape *shape, const struct row_block *rows,
                           int64_t p)
{
    int64_t row = p * heads_of_group(shape) - rows->first;
    return row < 0 ? 0 : row < rows->last - rows->first ? (int)row : rows->last - rows->first;
}

/* dk and dv, in tiles of TILE_ROWS keys. The rows that see a key of such a tile stand together;
 * where one does not see all of them, its P and dS are 0. P and dS are read down their columns, a
 * line of cache for each row: so a tile goes through all of head_dim while it has them. */
TARGET_AVX2
static void keys_avx2(const struct attention_gradient *g, const struct pair *pair,
                      const struct pieces *pieces)
{
    const struct attention_shape *shape = &g->shape;
    int d = shape->head_dim;
    const float *decay = pair->is_first ? NULL : ones;
    for (int key = 0; key < pair->n_keys; key += TILE_ROWS) {
        int n = pair->n_keys - key < TILE_ROWS ? pair->n_keys - key : TILE_ROWS;
        int position = pair->first_key + key;
        int begin = row_of_position(shape, &pair->rows, position);
        int end = row_of_position(shape, &pair->rows, (int64_t)position + n - 1 + shape->window);
        if (begin >= end && !pair->is_first)
            continue;
        size_t offset[TILE_ROWS];
        for (int i = 0; i < TILE_ROWS; i++)
            offset[i] = key_offset(shape, &pair->rows, position + (i < n ? i : 0));
        for (int j = 0; j < d; j += PANEL)
            weigh_panel(g->dv + j, offset, n, d - j, pieces->p + key, 1, SCORE_ROW,
                        pieces->dout_rows + (size_t)j * BLOCK_ROWS, begin, end, decay, ones);
        for (int j = 0; j < d; j += PANEL)
            weigh_panel(g->dk + j, offset, n, d - j, pieces->ds + key, 1, SCORE_ROW,
                        pieces->q_rows + (size_t)j * BLOCK_ROWS, begin, end, decay, ones);
    }
}

TARGET_AVX2
static void pair_avx2(const struct attention_gradient *g, const struct pair *pair,
                      struct block_states *states, const struct pieces *pieces)
{
    const struct attention_shape *shape = &g->shape;
    const struct row_block *rows = &pair->rows;
    int d = shape->head_dim, end = (rows->last - 1) / heads_of_group(shape) + 1;
    int n_seen = keys_before(end, pair->first_key, BLOCK_KEYS);
    pack_keys_avx2(pieces->k_keys, g->k, g, rows, pair->first_key, n_seen);
    pack_keys_avx2(pieces->v_keys, g->v, g, rows, pair->first_key, n_seen);
    for (int key = 0; key < n_seen; key++)
        pack_row(pieces->k_rows, g->k + key_offset(shape, rows, pair->first_key + key), key,
                 BLOCK_KEYS, d);
    for (int t = 0, row = rows->first; row < rows->last; row += TILE_ROWS, t++) {
        struct tile tile;
        if (set_tile(&tile, shape, rows, row, pair->first_key, BLOCK_KEYS))
            tile_avx2(g, pair, &tile, t, &states->tiles[t], pieces);
    }
    keys_avx2(g, pair, pieces);
}

/* What the pairs of a block of rows share. */
TARGET_AVX2
static void rows_avx2(const struct attention_gradient *g, const struct row_block *rows,
                      const struct pieces *pieces)
{
    const struct attention_shape *shape = &g->shape;
    for (int row = rows->first; row < rows->last; row++) {
        size_t offset = row_offset(shape, rows, row);
        pack_row(pieces->q_rows, g->q + offset, row - rows->first, BLOCK_ROWS, shape->head_dim);
        pack_row(pieces->dout_rows, g->dout + offset, row - rows->first, BLOCK_ROWS,
                 shape->head_dim);
    }
    for (int t = 0, row = rows->first; row < rows->last; row += TILE_ROWS, t++) {
        struct tile tile;
        set_tile(&tile, shape, rows, row, 0, BLOCK_KEYS);
        shifts_avx2(pieces->shifts[t], g, &tile);
    }
}
#endif

/* ---- blocks --------------------------------------------------------------------------------- */

static bool is_avx2(const struct attention_gradient *g)
{
    return CPU_X86 && g->device->isa == CPU_AVX2;
}

_Static_assert(5 * sizeof(float) * BLOCK_KEYS * ATTENTION_HEAD_DIM_LARGEST +
                       2 * sizeof(float) * BLOCK_ROWS * SCORE_ROW + TILES * sizeof(float[8]) +
                       sizeof(struct block_states) <=
                   DEVICE_SCRATCH_BYTES,
               "a worker's scratch holds its pieces");

size_t pair_scratch_bytes(int head_dim)
{
    size_t depth = (size_t)(head_dim + PANEL - 1) / PANEL * PANEL;
    size_t floats = depth * (3 * BLOCK_KEYS + 2 * BLOCK_ROWS) + 2 * BLOCK_ROWS * SCORE_ROW;
    return floats * sizeof(float) + TILES * sizeof(float[8]) + sizeof(struct block_states);
}

static struct pieces pieces_of(const struct attention_gradient *g, int worker)
{
    size_t depth = (size_t)(g->shape.head_dim + PANEL - 1) / PANEL * PANEL;
    struct pieces pieces;
    float *at = device_scratch(g->device, worker);
    pieces.k_keys = at, at += depth * BLOCK_KEYS;
    pieces.v_keys = at, at += depth * BLOCK_KEYS;
    pieces.k_rows = at, at += depth * BLOCK_KEYS;
    pieces.q_rows = at, at += depth * BLOCK_ROWS;
    pieces.dout_rows = at, at += depth * BLOCK_ROWS;
    pieces.p = at, at += BLOCK_ROWS * SCORE_ROW;
    pieces.ds = at, at += BLOCK_ROWS * SCORE_ROW;
    pieces.shifts = (void *)at, at += TILES * 8;
    pieces.states = (void *)at;
    return pieces;
}

struct block_states *pair_states(const struct attention_gradient *g, int worker)
{
    return pieces_of(g, worker).states;
}

void pair_find_states(struct block_states *states, const struct attention_gradient *g,
                      const struct row_block *rows, int worker)
{
    const struct attention_shape *shape = &g->shape;
    struct key_range range = range_of(shape, rows);
#if CPU_X86
    struct pieces pieces = pieces_of(g, worker);
#endif
    for (int j = range.first; j <= range.last; j++) {
        int first_key = j * BLOCK_KEYS;
#if CPU_X86
        if (is_avx2(g)) {
            int end = (rows->last - 1) / heads_of_group(shape) + 1;
            pack_keys_avx2(pieces.k_keys, g->k, g, rows, first_key,
                           keys_before(end, first_key, BLOCK_KEYS));
        }
#endif
        for (int t = 0, row = rows->first; row < rows->last; row += TILE_ROWS, t++) {
            struct tile tile;
            if (!set_tile(&tile, shape, rows, row, first_key, BLOCK_KEYS))
                continue;
#if CPU_X86
            if (is_avx2(g)) {
                scores_avx2(pieces.p, g->q, &tile, pieces.k_keys, shape->head_dim);
                softmax_avx2(pieces.p, &tile, &states->tiles[t], shape->scale);
                continue;
            }
#endif
            tile_states_portable(g, rows, &tile, first_key, &states->tiles[t]);
        }
    }
}

void pair_prepare_rows(const struct attention_gradient *g, const struct row_block *rows, int worker)
{
#if CPU_X86
    if (is_avx2(g)) {
        struct pieces pieces = pieces_of(g, worker);
        rows_avx2(g, rows, &pieces);
    }
#endif
}

void pair_run(const struct attention_gradient *g, const struct row_block *rows, int length, int j,
              struct block_states *states, int worker)
{
    const struct attention_shape *shape = &g->shape;
    struct key_range range = range_of(shape, rows);
    struct pair pair = {
        .rows = *rows,
        .first_key = j * BLOCK_KEYS,
        .n_keys = keys_before(length, j * BLOCK_KEYS, BLOCK_KEYS),
        .is_first = rows->first / BLOCK_ROWS == j * heads_of_group(shape),
        .is_alone = is_alone(&range),
    };
#if CPU_X86
    if (is_avx2(g)) {
        struct pieces pieces = pieces_of(g, worker);
        pair_avx2(g, &pair, states, &pieces);
        return;
    }
#endif
    pair_portable(g, &pair, states);
}
