/* The gradient of packed causal attention: CPU code and dispatch.
 *
 * With s_ij = q_i . k_j, P_ij = exp(scale (s_ij - max_i)) / sum_i, and D_i = dout_i . out_i:
 *
 *     dS_ij = scale P_ij (dout_i . v_j - D_i)
 *     dq_i = sum_j dS_ij k_j      dk_j = sum_i dS_ij q_i      dv_j = sum_i P_ij dout_i
 *
 * (Dao et al. 2022, arXiv:2205.14135, appendix B). The rows of a text under a kv head, which are
 * those of attention.c, are cut into blocks of BLOCK_ROWS, its keys into blocks of BLOCK_KEYS, and
 * the work into pairs of one of each. A pair makes P and dS, tile by tile, adds dS K to dq, and
 * then, when all its tiles are done, P' dout to dv and dS' q to dk. Maximum and sum of a row are
 * found first, in a pass of its own over the keys, except where a block of rows sees one block of
 * keys only: then the pair finds them by itself. So a pair costs five products, and a pass one.
 *
 * Row block i and key block j meet where j * group <= i (both blocks have the same size) and the
 * window allows. The order is fixed: dk and dv of a key block take row blocks in ascending order,
 * dq of a row block takes key blocks in descending order. Two schedules keep to it:
 *
 *     by heads   a task is one text under one kv head: for i ascending, for j descending
 *     by rounds  in round t, the tasks are the pairs (i = j * group + t, j) of all j, texts and kv
 *                heads: no two have the same i or j, so that each may add where it likes
 *
 * Rounds serve long texts where there are fewer heads than threads could work on. They pack more
 * often, and keep maximum and sum of all rows, in what the workers' scratch has left. */
#include "kernels/attention.h"

#include <assert.h>
#include <string.h>
#include "kernels/attention_tiles.h"

/* A multiple of TILE_ROWS, both as a tile of queries and as a tile of keys, and of PANEL. With
 * head_dim 64 a pair works on 220 KB: L2 holds it. */
#define BLOCK_KEYS 96
#define BLOCK_ROWS BLOCK_KEYS
#define SCORE_ROW  (BLOCK_KEYS + 8) /* masking writes whole vectors and may run over by 7 */
#define TILES      (BLOCK_ROWS / TILE_ROWS)

struct backward_job {
    struct device *device;
    struct attention_shape shape;
    float *dq, *dk, *dv;
    const float *dout, *out, *q, *k, *v;
    int round;
    size_t
        states_of_worker; /* by rounds: how many blocks' states a worker's scratch has room for */
};

/* Maximum and sum of a block's rows, a tile a state. */
struct block_states {
    struct softmax_state tiles[TILES];
};

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
static void scores_portable(float *p, const struct backward_job *job, const struct row_block *rows,
                            const struct tile *tile, int i, int first_key)
{
    for (int key = tile->n_hidden[i]; key < tile->n_visible[i]; key++)
        p[key] = dot_portable(job->q + tile->offset[i],
                              job->k + key_offset(&job->shape, rows, first_key + key),
                              job->shape.head_dim);
}

static void row_portable(const struct backward_job *job, const struct pair *pair,
                         const struct tile *tile, int i, struct softmax_state *state)
{
    float p[BLOCK_KEYS], scale = job->shape.scale;
    int begin = tile->n_hidden[i], end = tile->n_visible[i], d = job->shape.head_dim;
    const float *q = job->q + tile->offset[i], *dout = job->dout + tile->offset[i];
    float *dq = job->dq + tile->offset[i];
    float shift = dot_portable(dout, job->out + tile->offset[i], d);
    scores_portable(p, job, &pair->rows, tile, i, pair->first_key);
    if (pair->is_alone)
        softmax_row(p, begin, end, state, i, scale, true);
    else
        for (int key = begin; key < end; key++)
            p[key] = expf((p[key] - state->largest[i]) * scale);
    if (tile->is_last)
        memset(dq, 0, (size_t)d * sizeof *dq);
    float inverse = 1 / state->sum[i];
    for (int key = begin; key < end; key++) {
        size_t offset = key_offset(&job->shape, &pair->rows, pair->first_key + key);
        float weight = p[key] * inverse;
        float ds = weight * ((dot_portable(dout, job->v + offset, d) - shift) * scale);
        add_portable(dq, job->k + offset, ds, d);
        add_portable(job->dk + offset, q, ds, d);
        add_portable(job->dv + offset, dout, weight, d);
    }
}

static void pair_portable(const struct backward_job *job, const struct pair *pair,
                          struct block_states *states)
{
    size_t row_bytes = (size_t)job->shape.head_dim * sizeof(float);
    for (int key = 0; pair->is_first && key < pair->n_keys; key++) {
        size_t offset = key_offset(&job->shape, &pair->rows, pair->first_key + key);
        memset(job->dk + offset, 0, row_bytes);
        memset(job->dv + offset, 0, row_bytes);
    }
    for (int t = 0, row = pair->rows.first; row < pair->rows.last; row += TILE_ROWS, t++) {
        struct tile tile;
        if (set_tile(&tile, &job->shape, &pair->rows, row, pair->first_key, BLOCK_KEYS))
            for (int i = 0; i < tile.n_rows; i++)
                row_portable(job, pair, &tile, i, &states->tiles[t]);
    }
}

static void tile_states_portable(const struct backward_job *job, const struct row_block *rows,
                                 const struct tile *tile, int first_key,
                                 struct softmax_state *state)
{
    float p[BLOCK_KEYS];
    for (int i = 0; i < tile->n_rows; i++) {
        scores_portable(p, job, rows, tile, i, first_key);
        softmax_row(p, tile->n_hidden[i], tile->n_visible[i], state, i, job->shape.scale,
                    tile->is_first);
    }
}

/* ---- AVX2 ----------------------------------------------------------------------------------- */

#if CPU_X86
static const float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};

TARGET_AVX2
static void pack_keys_avx2(float *panels, const float *k, const struct backward_job *job,
                           const struct row_block *rows, int first_key, int n_keys)
{
    const struct attention_shape *shape = &job->shape;
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
static void shifts_avx2(float shifts[8], const struct backward_job *job, const struct tile *tile)
{
    __m256 sums[8];
    int d = job->shape.head_dim;
    sums[6] = sums[7] = _mm256_setzero_ps();
    for (int i = 0; i < TILE_ROWS; i++) {
        const float *x = job->dout + tile->offset[i], *y = job->out + tile->offset[i];
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
static void tile_avx2(const struct backward_job *job, const struct pair *pair,
                      const struct tile *tile, int t, struct softmax_state *state,
                      const struct pieces *pieces)
{
    float *p = pieces->p + t * TILE_ROWS * SCORE_ROW, *ds = pieces->ds + t * TILE_ROWS * SCORE_ROW;
    int d = job->shape.head_dim;
    scores_avx2(p, job->q, tile, pieces->k_keys, d);
    scores_avx2(ds, job->dout, tile, pieces->v_keys, d);
    if (pair->is_alone)
        softmax_avx2(p, tile, state, job->shape.scale);
    weights_avx2(p, ds, pieces->shifts[t], tile, state, job->shape.scale, pair->is_alone);
    for (int j = 0; j < d; j += PANEL)
        weigh_panel(job->dq + j, tile->offset, tile->n_rows, d - j, ds, SCORE_ROW, 1,
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
 * where one does not see all of them, its P and dS are 0. */
TARGET_AVX2
static void keys_avx2(const struct backward_job *job, const struct pair *pair,
                      const struct pieces *pieces)
{
    const struct attention_shape *shape = &job->shape;
    int d = shape->head_dim;
    const float *decay = pair->is_first ? NULL : ones;
    for (int j = 0; j < d; j += PANEL)
        for (int key = 0; key < pair->n_keys; key += TILE_ROWS) {
            int n = pair->n_keys - key < TILE_ROWS ? pair->n_keys - key : TILE_ROWS;
            int position = pair->first_key + key;
            int begin = row_of_position(shape, &pair->rows, position);
            int end =
                row_of_position(shape, &pair->rows, (int64_t)position + n - 1 + shape->window);
            if (begin >= end && !pair->is_first)
                continue;
            size_t offset[TILE_ROWS];
            for (int i = 0; i < TILE_ROWS; i++)
                offset[i] = key_offset(shape, &pair->rows, position + (i < n ? i : 0));
            weigh_panel(job->dv + j, offset, n, d - j, pieces->p + key, 1, SCORE_ROW,
                        pieces->dout_rows + (size_t)j * BLOCK_ROWS, begin, end, decay, ones);
            weigh_panel(job->dk + j, offset, n, d - j, pieces->ds + key, 1, SCORE_ROW,
                        pieces->q_rows + (size_t)j * BLOCK_ROWS, begin, end, decay, ones);
        }
}

TARGET_AVX2
static void pair_avx2(const struct backward_job *job, const struct pair *pair,
                      struct block_states *states, const struct pieces *pieces)
{
    const struct attention_shape *shape = &job->shape;
    const struct row_block *rows = &pair->rows;
    int d = shape->head_dim, end = (rows->last - 1) / heads_of_group(shape) + 1;
    int n_seen = keys_before(end, pair->first_key, BLOCK_KEYS);
    pack_keys_avx2(pieces->k_keys, job->k, job, rows, pair->first_key, n_seen);
    pack_keys_avx2(pieces->v_keys, job->v, job, rows, pair->first_key, n_seen);
    for (int key = 0; key < n_seen; key++)
        pack_row(pieces->k_rows, job->k + key_offset(shape, rows, pair->first_key + key), key,
                 BLOCK_KEYS, d);
    for (int t = 0, row = rows->first; row < rows->last; row += TILE_ROWS, t++) {
        struct tile tile;
        if (set_tile(&tile, shape, rows, row, pair->first_key, BLOCK_KEYS))
            tile_avx2(job, pair, &tile, t, &states->tiles[t], pieces);
    }
    keys_avx2(job, pair, pieces);
}

/* What the pairs of a block of rows share. */
TARGET_AVX2
static void rows_avx2(const struct backward_job *job, const struct row_block *rows,
                      const struct pieces *pieces)
{
    const struct attention_shape *shape = &job->shape;
    for (int row = rows->first; row < rows->last; row++) {
        size_t offset = row_offset(shape, rows, row);
        pack_row(pieces->q_rows, job->q + offset, row - rows->first, BLOCK_ROWS, shape->head_dim);
        pack_row(pieces->dout_rows, job->dout + offset, row - rows->first, BLOCK_ROWS,
                 shape->head_dim);
    }
    for (int t = 0, row = rows->first; row < rows->last; row += TILE_ROWS, t++) {
        struct tile tile;
        set_tile(&tile, shape, rows, row, 0, BLOCK_KEYS);
        shifts_avx2(pieces->shifts[t], job, &tile);
    }
}
#endif

/* ---- blocks --------------------------------------------------------------------------------- */

static bool is_avx2(const struct backward_job *job)
{
    return CPU_X86 && job->device->isa == CPU_AVX2;
}

static size_t scratch_bytes(int head_dim)
{
    size_t depth = (size_t)(head_dim + PANEL - 1) / PANEL * PANEL;
    size_t floats = depth * (3 * BLOCK_KEYS + 2 * BLOCK_ROWS) + 2 * BLOCK_ROWS * SCORE_ROW;
    return floats * sizeof(float) + TILES * sizeof(float[8]) + sizeof(struct block_states);
}

_Static_assert(5 * sizeof(float) * BLOCK_KEYS * ATTENTION_HEAD_DIM_LARGEST +
                       2 * sizeof(float) * BLOCK_ROWS * SCORE_ROW + TILES * sizeof(float[8]) +
                       sizeof(struct block_states) <=
                   DEVICE_SCRATCH_BYTES,
               "a worker's scratch holds its pieces");

static struct pieces pieces_of(const struct backward_job *job, int worker)
{
    size_t depth = (size_t)(job->shape.head_dim + PANEL - 1) / PANEL * PANEL;
    struct pieces pieces;
    float *at = device_scratch(job->device, worker);
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

/* Row block i of a text under a kv head. Returns false where the text has none. */
static bool set_rows(struct row_block *rows, const struct attention_shape *shape, int text,
                     int kv_head, int i)
{
    int begin = shape->cu_seqlens[text], length = shape->cu_seqlens[text + 1] - begin;
    int n = length * heads_of_group(shape), first = i * BLOCK_ROWS;
    if (first >= n)
        return false;
    int last = n - first < BLOCK_ROWS ? n : first + BLOCK_ROWS;
    *rows = (struct row_block){begin, kv_head, first, last};
    return true;
}

/* The key blocks that its rows see: first .. last. */
struct key_range {
    int first, last;
};

static struct key_range range_of(const struct attention_shape *shape, const struct row_block *rows)
{
    int group = heads_of_group(shape);
    return (struct key_range){first_visible(shape, rows->first / group) / BLOCK_KEYS,
                              (rows->last - 1) / group / BLOCK_KEYS};
}

/* Maximum and sum of the rows, in a pass over their keys. */
static void find_states(struct block_states *states, const struct backward_job *job,
                        const struct row_block *rows, const struct pieces *pieces)
{
    const struct attention_shape *shape = &job->shape;
    struct key_range range = range_of(shape, rows);
    for (int j = range.first; j <= range.last; j++) {
        int first_key = j * BLOCK_KEYS;
#if CPU_X86
        if (is_avx2(job)) {
            int end = (rows->last - 1) / heads_of_group(shape) + 1;
            pack_keys_avx2(pieces->k_keys, job->k, job, rows, first_key,
                           keys_before(end, first_key, BLOCK_KEYS));
        }
#endif
        for (int t = 0, row = rows->first; row < rows->last; row += TILE_ROWS, t++) {
            struct tile tile;
            if (!set_tile(&tile, shape, rows, row, first_key, BLOCK_KEYS))
                continue;
#if CPU_X86
            if (is_avx2(job)) {
                scores_avx2(pieces->p, job->q, &tile, pieces->k_keys, shape->head_dim);
                softmax_avx2(pieces->p, &tile, &states->tiles[t], shape->scale);
                continue;
            }
#endif
            tile_states_portable(job, rows, &tile, first_key, &states->tiles[t]);
        }
    }
}

static void prepare_rows(const struct backward_job *job, const struct row_block *rows,
                         const struct pieces *pieces)
{
#if CPU_X86
    if (is_avx2(job))
        rows_avx2(job, rows, pieces);
#endif
}

/* The rows and key block j. */
static void run_pair(const struct backward_job *job, const struct row_block *rows, int text, int j,
                     struct block_states *states, const struct pieces *pieces)
{
    const struct attention_shape *shape = &job->shape;
    struct key_range range = range_of(shape, rows);
    int length = shape->cu_seqlens[text + 1] - rows->begin;
    struct pair pair = {
        .rows = *rows,
        .first_key = j * BLOCK_KEYS,
        .n_keys = keys_before(length, j * BLOCK_KEYS, BLOCK_KEYS),
        .is_first = rows->first / BLOCK_ROWS == j * heads_of_group(shape),
        .is_alone = range.first == range.last,
    };
#if CPU_X86
    if (is_avx2(job)) {
        pair_avx2(job, &pair, states, pieces);
        return;
    }
#endif
    pair_portable(job, &pair, states);
}

/* ---- by heads ------------------------------------------------------------------------------- */

static void heads_task(void *context, int task, int worker)
{
    const struct backward_job *job = context;
    int text = task / job->shape.n_kv_heads, kv_head = task % job->shape.n_kv_heads;
    struct pieces pieces = pieces_of(job, worker);
    struct row_block rows;
    for (int i = 0; set_rows(&rows, &job->shape, text, kv_head, i); i++) {
        struct key_range range = range_of(&job->shape, &rows);
        prepare_rows(job, &rows, &pieces);
        if (range.first < range.last)
            find_states(pieces.states, job, &rows, &pieces);
        for (int j = range.last; j >= range.first; j--)
            run_pair(job, &rows, text, j, pieces.states, &pieces);
    }
}

/* ---- by rounds ------------------------------------------------------------------------------ */

static size_t round_scratch_left(int head_dim)
{
    return DEVICE_SCRATCH_BYTES - scratch_bytes(head_dim);
}

/* The states of row block i, in what the workers' scratch has left. */
static struct block_states *states_at(const struct backward_job *job, int text, int kv_head, int i)
{
    const struct attention_shape *shape = &job->shape;
    size_t slot = (size_t)(block_slot(shape, text, heads_of_group(shape), BLOCK_ROWS) + i);
    size_t index = slot * (size_t)shape->n_kv_heads + (size_t)kv_head;
    char *scratch = device_scratch(job->device, (int)(index / job->states_of_worker));
    return (struct block_states *)(scratch + scratch_bytes(shape->head_dim)) +
           index % job->states_of_worker;
}

static void states_task(void *context, int task, int worker)
{
    const struct backward_job *job = context;
    const struct attention_shape *shape = &job->shape;
    struct pieces pieces = pieces_of(job, worker);
    struct row_block rows;
    int kv_head = task % shape->n_kv_heads, text, i;
    if (!find_block(&text, &i, shape, task / shape->n_kv_heads, heads_of_group(shape), BLOCK_ROWS))
        return;
    set_rows(&rows, shape, text, kv_head, i);
    struct key_range range = range_of(shape, &rows);
    if (range.first < range.last)
        find_states(states_at(job, text, kv_head, i), job, &rows, &pieces);
}

static void round_task(void *context, int task, int worker)
{
    const struct backward_job *job = context;
    const struct attention_shape *shape = &job->shape;
    struct pieces pieces = pieces_of(job, worker);
    struct row_block rows;
    int kv_head = task % shape->n_kv_heads, text, j;
    if (!find_block(&text, &j, shape, task / shape->n_kv_heads, 1, BLOCK_KEYS))
        return;
    int i = j * heads_of_group(shape) + job->round;
    if (!set_rows(&rows, shape, text, kv_head, i) || j < range_of(shape, &rows).first)
        return;
    prepare_rows(job, &rows, &pieces);
    run_pair(job, &rows, text, j, states_at(job, text, kv_head, i), &pieces);
}

static int length_of(const struct attention_shape *shape, int text)
{
    return shape->cu_seqlens[text + 1] - shape->cu_seqlens[text];
}

static int longest_of(const struct attention_shape *shape)
{
    int longest = 0;
    for (int t = 0; t < shape->n_texts; t++)
        longest = length_of(shape, t) > longest ? length_of(shape, t) : longest;
    return longest;
}

/* True where tasks by heads would leave threads without work: one such task is more than a quarter
 * of a thread's share. */
static bool wants_rounds(const struct backward_job *job, int longest, int n_blocks)
{
    const struct attention_shape *shape = &job->shape;
    int n_threads = threads_size(job->device->threads);
    double work = 0;
    for (int t = 0; t < shape->n_texts; t++)
        work += (double)length_of(shape, t) * length_of(shape, t);
    return n_threads > 1 && longest > BLOCK_KEYS &&
           4.0 * longest * longest * n_threads > work * shape->n_kv_heads &&
           (size_t)n_blocks <= (size_t)n_threads * job->states_of_worker;
}

static void run_rounds(struct backward_job *job, int longest, int n_row_blocks)
{
    const struct attention_shape *shape = &job->shape;
    struct threads *threads = job->device->threads;
    int64_t group = heads_of_group(shape);
    int n_key_blocks = block_slot(shape, shape->n_texts, 1, BLOCK_KEYS) * shape->n_kv_heads;
    /* The last row that sees a key of a block, from the block's first. */
    int64_t reach = (int64_t)shape->window + BLOCK_KEYS - 1;
    int64_t n_rows = (reach < longest ? reach : longest) * group;
    threads_run(threads, n_row_blocks, states_task, job);
    for (job->round = 0; (int64_t)job->round * BLOCK_ROWS < n_rows; job->round++)
        threads_run(threads, n_key_blocks, round_task, job);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

void attention_bwd_cpu(struct device *device, float *dq, float *dk, float *dv, const float *dout,
                       const float *out, const float *q, const float *k, const float *v,
                       const int32_t *cu_seqlens, int n_texts, int n_heads, int n_kv_heads,
                       int head_dim, float scale, int window)
{
    assert(n_kv_heads >= 1 && n_heads % n_kv_heads == 0 && n_heads <= ATTENTION_HEADS_LARGEST);
    assert(head_dim >= 1 && head_dim <= ATTENTION_HEAD_DIM_LARGEST && window >= 0);
    if (n_texts == 0)
        return;
    assert((int64_t)cu_seqlens[n_texts] + n_texts <= ATTENTION_ROWS_LARGEST);
    struct backward_job job = {
        .device = device,
        .shape =
            attention_shape_of(cu_seqlens, n_texts, n_heads, n_kv_heads, head_dim, scale, window),
        .dq = dq,
        .dk = dk,
        .dv = dv,
        .dout = dout,
        .out = out,
        .q = q,
        .k = k,
        .v = v,
        .states_of_worker = round_scratch_left(head_dim) / sizeof(struct block_states),
    };
    int longest = longest_of(&job.shape), group = n_heads / n_kv_heads;
    int n_row_blocks = block_slot(&job.shape, n_texts, group, BLOCK_ROWS) * n_kv_heads;
    if (wants_rounds(&job, longest, n_row_blocks))
        run_rounds(&job, longest, n_row_blocks);
    else
        threads_run(device->threads, n_texts * n_kv_heads, heads_task, &job);
}

enum status attention_bwd(struct device *device, void *dq, void *dk, void *dv, const void *dout,
                          const void *out, const void *q, const void *k, const void *v,
                          const int32_t *cu_seqlens, int n, int n_texts, int n_heads,
                          int n_kv_heads, int head_dim, float scale, int window, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        assert(n == (n_texts ? cu_seqlens[n_texts] : 0));
        attention_bwd_cpu(device, dq, dk, dv, dout, out, q, k, v, cu_seqlens, n_texts, n_heads,
                          n_kv_heads, head_dim, scale, window);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("attention_bwd", err);
}
