/* Packed causal attention: CPU code and dispatch (the CUDA launch is attention_cuda.c).
 *
 * A task is one block of queries of one text under one kv head, with all query heads of that kv
 * head: they read the same keys. The rows of a task stand position by position:
 *
 *     row 0 .. group-1          position 0, the heads of the group
 *     row group .. 2*group-1    position 1, ...
 *
 * and are worked on in tiles of TILE_ROWS. Keys are walked in blocks of KEY_BLOCK from the text's
 * first key; for each block the task packs K and V once (panels below) and every tile then computes
 * scores, softmax and the weighted sum while the panels are in cache. `out` holds the sum so far
 * between blocks. A text of up to KEY_BLOCK tokens takes one block: no rescaling, one write.
 *
 * Under a window a task starts at the block, and a tile at the panel, that holds the first key its
 * first row sees. Blocks are still counted from the text's first key, for the order's sake.
 *
 * Order of summation. A score is one chain over head_dim (eight in the portable code). A softmax
 * sum runs over the key blocks, inside a block in eight chains by key number modulo 8 (one in the
 * portable code). An output element runs over the keys in
 * order, rescaled between blocks. All are fixed by the query's position; a tile's other rows only
 * add zeros (probability 0 for a key that the row must not see). A block in which a row sees no key
 * leaves it with sums of 0, which the next block scales by 0. */
#include "kernels/attention.h"

#include <assert.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include "kernels/vector_math.h"

/* 6 x 16 accumulators are 12 of AVX2's 16 registers; 2 more hold a panel row. */
#define TILE_ROWS 6
#define PANEL     16  /* keys of a K panel, columns of a V panel: two registers */
#define KEY_BLOCK 128 /* with head_dim 64, K and V panels are 32 KB each: L1 and L2 hold them */
#define TASK_ROWS 192 /* packing a key costs about as much as two rows of arithmetic on it: 1 % */
#define SCORE_ROW (KEY_BLOCK + 8) /* masking writes whole vectors and may run over by 7 */

struct attention_job {
    struct device *device;
    float *out;
    const float *q, *k, *v;
    const int32_t *cu_seqlens;
    int n_texts, n_heads, n_kv_heads, head_dim;
    float scale;
    int window; /* INT_MAX: none */
    int block;  /* positions of a query block */
    int n_tasks;
};

/* What a tile carries from one key block to the next: the largest score q . k so far, not scaled,
 * and the sum of exp(scale * (score - largest)). 8 lanes for TILE_ROWS rows.
 *
 * The subtraction comes first: it gives exactly 0 for the largest score, whatever its size. A fused
 * scale * score - rounded(scale * largest) would leave the rounding, which exp makes an infinity of
 * once scores reach 2^31. */
struct softmax_state {
    float largest[8];
    float sum[8];
};

/* Up to TILE_ROWS query rows against one block of keys. Rows that a tile lacks at the end of a task
 * repeat its first row; what comes out for them is dropped. */
struct tile {
    int n_rows;
    const float *q[TILE_ROWS]; /* each (head_dim) */
    float *out[TILE_ROWS];     /* each (head_dim); not set for a row that the tile lacks */
    int n_hidden[TILE_ROWS];   /* keys of this block that the window hides from the row */
    int n_visible[TILE_ROWS];  /* where the keys that the row sees end; it may see none */
    int begin, end;            /* keys that the tile works on; begin is a multiple of PANEL */
    bool is_first, is_last;    /* the tile's first, its last key block */
    struct softmax_state *state;
};

/* The keys and values of one block. AVX2 reads panels, the portable code the tensors. */
struct key_block {
    const float *k, *v; /* (n_keys, head_dim), rows `stride` floats apart */
    size_t stride;
    float *k_panels; /* (n_keys / 16, head_dim, 16): key by key in a row; zeros behind the last */
    float *v_panels; /* (head_dim / 16, KEY_BLOCK, 16): columns in a row; zeros behind the last */
};

/* ---- portable ------------------------------------------------------------------------------- */

/* In eight chains, by element number modulo 8. */
static float dot_portable(const float *a, const float *b, int d)
{
    float4 low = {0}, high = {0};
    int j = 0;
    for (; j + 8 <= d; j += 8) {
        low += *(const float4_at_any_float *)(a + j) * *(const float4_at_any_float *)(b + j);
        high +=
            *(const float4_at_any_float *)(a + j + 4) * *(const float4_at_any_float *)(b + j + 4);
    }
    low += high;
    float sum = low[0] + low[1] + (low[2] + low[3]);
    for (; j < d; j++)
        sum += a[j] * b[j];
    return sum;
}

/* y += factor * x */
static void add_portable(float *y, const float *x, float factor, int d)
{
    int j = 0;
    for (; j + 4 <= d; j += 4)
        *(float4_at_any_float *)(y + j) += factor * *(const float4_at_any_float *)(x + j);
    for (; j < d; j++)
        y[j] += factor * x[j];
}

static void row_portable(const struct tile *tile, int row, const struct key_block *keys, int d,
                         float scale)
{
    float p[KEY_BLOCK], *out = tile->out[row];
    int begin = tile->n_hidden[row], end = tile->n_visible[row];
    float old = tile->is_first ? -INFINITY : tile->state->largest[row], largest = old;
    for (int key = begin; key < end; key++) {
        p[key] = dot_portable(tile->q[row], keys->k + (size_t)key * keys->stride, d);
        largest = p[key] > largest ? p[key] : largest;
    }
    float sum = 0, decay = tile->is_first ? 0 : expf((old - largest) * scale);
    for (int key = begin; key < end; key++) {
        p[key] = expf((p[key] - largest) * scale);
        sum += p[key];
    }
    sum += tile->is_first ? 0 : tile->state->sum[row] * decay;
    tile->state->largest[row] = largest;
    tile->state->sum[row] = sum;
    for (int j = 0; j < d; j++)
        out[j] = tile->is_first ? 0 : out[j] * decay;
    for (int key = begin; key < end; key++)
        add_portable(out, keys->v + (size_t)key * keys->stride, p[key], d);
    if (tile->is_last)
        for (int j = 0; j < d; j++)
            out[j] /= sum;
}

static void tile_portable(const struct tile *tile, const struct key_block *keys, int d, float scale)
{
    for (int row = 0; row < tile->n_rows; row++)
        row_portable(tile, row, keys, d, scale);
}

/* ---- AVX2 ----------------------------------------------------------------------------------- */

#if CPU_X86
/* Lanes 0 .. n-1 of a masked load or store. */
TARGET_AVX2
static inline __m256i first_lanes(int n)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane);
}

/* The first n of 16 values, zeros behind; n >= 1. Masked moves are slow on some processors, so full
 * ones go plainly. */
TARGET_AVX2
static inline void load_columns(__m256 *left, __m256 *right, const float *x, int n)
{
    if (n >= PANEL) {
        *left = _mm256_loadu_ps(x);
        *right = _mm256_loadu_ps(x + 8);
    } else {
        *left = _mm256_maskload_ps(x, first_lanes(n));
        *right = n > 8 ? _mm256_maskload_ps(x + 8, first_lanes(n - 8)) : _mm256_setzero_ps();
    }
}

TARGET_AVX2
static inline void store_columns(float *y, __m256 left, __m256 right, int n)
{
    if (n >= PANEL) {
        _mm256_storeu_ps(y, left);
        _mm256_storeu_ps(y + 8, right);
    } else {
        _mm256_maskstore_ps(y, first_lanes(n), left);
        if (n > 8)
            _mm256_maskstore_ps(y + 8, first_lanes(n - 8), right);
    }
}

/* y (8, 8), rows PANEL apart, becomes the transpose of x (8, 8), rows `stride` apart. Of x the
 * first n_rows and n_columns are there, the rest counts as zero. */
TARGET_AVX2
static inline void transpose_8x8(float *y, const float *x, size_t stride, int n_rows, int n_columns)
{
    __m256i mask = first_lanes(n_columns);
    __m256 in[8], out[8];
    UNROLL
    for (int r = 0; r < 8; r++)
        in[r] = r >= n_rows      ? _mm256_setzero_ps()
                : n_columns >= 8 ? _mm256_loadu_ps(x + (size_t)r * stride)
                                 : _mm256_maskload_ps(x + (size_t)r * stride, mask);
    avx2_transpose(out, in);
    UNROLL
    for (int c = 0; c < 8; c++)
        _mm256_store_ps(y + c * PANEL, out[c]);
}

TARGET_AVX2
static void pack_keys(float *panels, const float *k, size_t stride, int n_keys, int d)
{
    int depth = (d + 7) / 8 * 8;
    for (int key = 0; key < n_keys; key += 8) {
        float *panel = panels + (size_t)(key / PANEL) * (size_t)(depth * PANEL) + key % PANEL;
        for (int j = 0; j < d; j += 8)
            transpose_8x8(panel + j * PANEL, k + (size_t)key * stride + j, stride, n_keys - key,
                          d - j);
        if (key % PANEL == 0 && n_keys - key <= 8) /* the panel's second half has no key */
            for (int j = 0; j < d; j++)
                _mm256_store_ps(panel + j * PANEL + 8, _mm256_setzero_ps());
    }
}

TARGET_AVX2
static void pack_values(float *panels, const float *v, size_t stride, int n_keys, int d)
{
    for (int j = 0; j < d; j += PANEL) {
        float *panel = panels + (size_t)j * KEY_BLOCK;
        for (int key = 0; key < n_keys; key++) {
            __m256 left, right;
            load_columns(&left, &right, v + (size_t)key * stride + j, d - j);
            _mm256_store_ps(panel + key * PANEL, left);
            _mm256_store_ps(panel + key * PANEL + 8, right);
        }
    }
}

/* The rows are spelled out, so that every sum is a register whatever the compiler unrolls. */
#define ROWS(row) row(0) row(1) row(2) row(3) row(4) row(5)

/* scores (TILE_ROWS, PANEL) of one panel of keys, rows SCORE_ROW apart. Per step of d: 2 loads, 6
 * broadcasts, 12 FMAs. */
TARGET_AVX2
static void score_panel(float *scores, const struct tile *tile, const float *panel, int d)
{
#define START(i)                                                                                   \
    const float *q##i = tile->q[i];                                                                \
    __m256 left##i = _mm256_setzero_ps(), right##i = _mm256_setzero_ps();
#define STEP(i)                                                                                    \
    {                                                                                              \
        __m256 value = _mm256_broadcast_ss(q##i + j);                                              \
        left##i = _mm256_fmadd_ps(value, k_left, left##i);                                         \
        right##i = _mm256_fmadd_ps(value, k_right, right##i);                                      \
    }
#define END(i)                                                                                     \
    _mm256_store_ps(scores + i * SCORE_ROW, left##i);                                              \
    _mm256_store_ps(scores + i * SCORE_ROW + 8, right##i);
    ROWS(START)
    for (int j = 0; j < d; j++) {
        __m256 k_left = _mm256_load_ps(panel + j * PANEL);
        __m256 k_right = _mm256_load_ps(panel + j * PANEL + 8);
        ROWS(STEP)
    }
    ROWS(END)
#undef START
#undef STEP
#undef END
}

/* Sums of eight vectors, each over its lanes: lane i of the result is that of v[i]. */
TARGET_AVX2
static inline __m256 lane_sums(const __m256 v[8])
{
    __m256 low = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    __m256 high = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
    return _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20),
                         _mm256_permute2f128_ps(low, high, 0x31));
}

/* Scores become probabilities exp(scale * (score - largest)), not yet divided by their sum. decay
 * (8): what the sums so far are to be multiplied with. */
TARGET_AVX2
static void softmax_tile(float *scores, float *decay, const struct tile *tile, float scale)
{
    int begin = tile->begin, end = (tile->end + 7) / 8 * 8;
    float largest[8] = {0};
    __m256 totals[8];
    totals[6] = totals[7] = _mm256_setzero_ps();
    for (int row = 0; row < TILE_ROWS; row++) {
        float *s = scores + row * SCORE_ROW;
        for (int key = tile->n_visible[row]; key < end; key += 8)
            _mm256_storeu_ps(s + key, _mm256_set1_ps(-INFINITY));
        for (int key = begin; key < tile->n_hidden[row]; key++)
            s[key] = -INFINITY;
        __m256 m = _mm256_load_ps(s + begin);
        for (int key = begin + 8; key < end; key += 8)
            m = _mm256_max_ps(m, _mm256_load_ps(s + key));
        __m128 h = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
        h = _mm_max_ps(h, _mm_movehl_ps(h, h));
        largest[row] = _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
    }
    struct softmax_state *state = tile->state;
    __m256 now = _mm256_loadu_ps(largest), decays = _mm256_setzero_ps();
    __m256 scales = _mm256_set1_ps(scale);
    /* A row without a key has -inf, and -inf less -inf would be NaN. */
    now = _mm256_max_ps(now, _mm256_set1_ps(-FLT_MAX));
    if (!tile->is_first) {
        __m256 old = _mm256_loadu_ps(state->largest);
        now = _mm256_max_ps(now, old);
        decays = avx2_exp(_mm256_mul_ps(_mm256_sub_ps(old, now), scales));
    }
    _mm256_storeu_ps(state->largest, now);
    _mm256_storeu_ps(decay, decays);
    for (int row = 0; row < TILE_ROWS; row++) {
        float *s = scores + row * SCORE_ROW;
        __m256 m = _mm256_set1_ps(state->largest[row]), total = _mm256_setzero_ps();
        for (int key = begin; key < end; key += 8) {
            __m256 p = avx2_exp(_mm256_mul_ps(_mm256_sub_ps(_mm256_load_ps(s + key), m), scales));
            total = _mm256_add_ps(total, p);
            _mm256_store_ps(s + key, p);
        }
        totals[row] = total;
    }
    __m256 sums = lane_sums(totals);
    if (!tile->is_first)
        sums = _mm256_fmadd_ps(_mm256_loadu_ps(state->sum), decays, sums);
    _mm256_storeu_ps(state->sum, sums);
}

/* Columns j .. j+15 (n_columns of them exist) of out = (out * decay + p . panel) * factor, without
 * out in the tile's first block. p: rows SCORE_ROW apart. Per key: 2 loads, 6 broadcasts, 12 FMAs.
 */
TARGET_AVX2
static void weigh_panel(const struct tile *tile, int j, int n_columns, const float *p,
                        const float *panel, const float *decay, const float *factor)
{
#define START(i)                                                                                   \
    __m256 left##i = _mm256_setzero_ps(), right##i = _mm256_setzero_ps();                          \
    if (!tile->is_first && i < tile->n_rows) {                                                     \
        __m256 value = _mm256_broadcast_ss(decay + i);                                             \
        load_columns(&left##i, &right##i, tile->out[i] + j, n_columns);                            \
        left##i = _mm256_mul_ps(left##i, value);                                                   \
        right##i = _mm256_mul_ps(right##i, value);                                                 \
    }
#define STEP(i)                                                                                    \
    {                                                                                              \
        __m256 value = _mm256_broadcast_ss(p + i * SCORE_ROW + key);                               \
        left##i = _mm256_fmadd_ps(value, v_left, left##i);                                         \
        right##i = _mm256_fmadd_ps(value, v_right, right##i);                                      \
    }
#define END(i)                                                                                     \
    if (i < tile->n_rows) {                                                                        \
        __m256 value = _mm256_broadcast_ss(factor + i);                                            \
        store_columns(tile->out[i] + j, _mm256_mul_ps(left##i, value),                             \
                      _mm256_mul_ps(right##i, value), n_columns);                                  \
    }
    ROWS(START)
    for (int key = tile->begin; key < tile->end; key++) {
        __m256 v_left = _mm256_load_ps(panel + key * PANEL);
        __m256 v_right = _mm256_load_ps(panel + key * PANEL + 8);
        ROWS(STEP)
    }
    ROWS(END)
#undef START
#undef STEP
#undef END
}

TARGET_AVX2
static void tile_avx2(const struct tile *tile, const struct key_block *keys, int d, float scale)
{
    _Alignas(32) float scores[TILE_ROWS * SCORE_ROW];
    float decay[8], factor[8];
    size_t depth = (size_t)(d + 7) / 8 * 8;
    for (int key = tile->begin; key < tile->end; key += PANEL)
        score_panel(scores + key, tile, keys->k_panels + (size_t)key * depth, d);
    softmax_tile(scores, decay, tile, scale);
    __m256 one = _mm256_set1_ps(1.0f);
    _mm256_storeu_ps(factor,
                     tile->is_last ? _mm256_div_ps(one, _mm256_loadu_ps(tile->state->sum)) : one);
    for (int j = 0; j < d; j += PANEL)
        weigh_panel(tile, j, d - j, scores, keys->v_panels + (size_t)j * KEY_BLOCK, decay, factor);
}
#endif

/* ---- tasks ---------------------------------------------------------------------------------- */

/* One block of queries: positions first .. last-1 of the text at row `begin`, under one kv head. */
struct query_block {
    int begin, first, last, kv_head;
};

/* Tasks are numbered without a table of texts: block b of text t has the slot
 * cu_seqlens[t] / block + t + b. The slots of different texts do not meet, since
 * floor((c + length) / block) + 1 >= floor(c / block) + ceil(length / block); some stay empty.
 * Returns false for such a slot. */
static bool find_query_block(struct query_block *found, const struct attention_job *job, int slot)
{
    int low = 0, high = job->n_texts; /* the last text whose first slot is <= slot */
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (job->cu_seqlens[middle] / job->block + middle <= slot)
            low = middle;
        else
            high = middle;
    }
    int begin = job->cu_seqlens[low], length = job->cu_seqlens[low + 1] - begin;
    int b = slot - begin / job->block - low;
    if (b >= (length + job->block - 1) / job->block)
        return false;
    found->begin = begin;
    found->first = b * job->block;
    found->last = length - found->first < job->block ? length : found->first + job->block;
    return true;
}

/* The first key that the query at position p sees, counted from the text's first. */
static int first_visible(const struct attention_job *job, int p)
{
    int key = p - job->window + 1;
    return key > 0 ? key : 0;
}

/* How many of a block's keys lie before key `end` of the text. */
static int keys_before(int end, int first_key)
{
    int n = end - first_key;
    return n < 0 ? 0 : n < KEY_BLOCK ? n : KEY_BLOCK;
}

/* Tile `first_row` .. of the queries against the keys from first_key on. Returns false where it
 * sees none of them. */
static bool set_tile(struct tile *tile, const struct attention_job *job,
                     const struct query_block *queries, int first_row, int first_key)
{
    int group = job->n_heads / job->n_kv_heads;
    int p = queries->first + first_row / group, head = first_row % group, position = p;
    int first = first_visible(job, p);
    for (int i = 0; i < TILE_ROWS; i++) {
        bool there = p < queries->last;
        if (there) {
            size_t token = (size_t)(queries->begin + p);
            size_t offset =
                (token * (size_t)job->n_heads + (size_t)(queries->kv_head * group) + (size_t)head) *
                (size_t)job->head_dim;
            tile->q[i] = job->q + offset;
            tile->out[i] = job->out + offset;
            tile->n_hidden[i] = keys_before(first_visible(job, p), first_key);
            tile->n_visible[i] = keys_before(p + 1, first_key);
            position = p;
            tile->n_rows = i + 1;
        } else {
            tile->q[i] = tile->q[0];
            tile->n_hidden[i] = tile->n_hidden[0];
            tile->n_visible[i] = tile->n_visible[0];
        }
        if (++head == group)
            head = 0, p++;
    }
    tile->begin = keys_before(first, first_key) / PANEL * PANEL;
    tile->end = keys_before(position + 1, first_key);
    tile->is_first = first >= first_key;
    tile->is_last = position < first_key + KEY_BLOCK;
    return tile->begin < tile->end;
}

/* A worker's scratch: K panels, V panels, one softmax_state a tile. */
static size_t panel_floats(int head_dim)
{
    return (size_t)(head_dim + PANEL - 1) / PANEL * PANEL * KEY_BLOCK;
}

static void set_key_block(struct key_block *keys, const struct attention_job *job,
                          const struct query_block *queries, int first_key)
{
    size_t offset = ((size_t)(queries->begin + first_key) * (size_t)job->n_kv_heads +
                     (size_t)queries->kv_head) *
                    (size_t)job->head_dim;
    keys->k = job->k + offset;
    keys->v = job->v + offset;
    keys->stride = (size_t)job->n_kv_heads * (size_t)job->head_dim;
#if CPU_X86
    if (job->device->isa == CPU_AVX2) {
        int left = queries->last - first_key, n_keys = left < KEY_BLOCK ? left : KEY_BLOCK;
        pack_keys(keys->k_panels, keys->k, keys->stride, n_keys, job->head_dim);
        pack_values(keys->v_panels, keys->v, keys->stride, n_keys, job->head_dim);
    }
#endif
}

static void attention_task(void *context, int task, int worker)
{
    const struct attention_job *job = context;
    /* Late blocks of a text have the most keys: the last slots go first, so that no worker starts
     * on the longest task when the others are done. */
    int backwards = job->n_tasks - 1 - task;
    struct query_block queries;
    if (!find_query_block(&queries, job, backwards / job->n_kv_heads))
        return;
    queries.kv_head = backwards % job->n_kv_heads;
    int n_rows = (queries.last - queries.first) * (job->n_heads / job->n_kv_heads);
    struct key_block keys;
    keys.k_panels = device_scratch(job->device, worker);
    keys.v_panels = keys.k_panels + panel_floats(job->head_dim);
    struct softmax_state *states = (void *)(keys.v_panels + panel_floats(job->head_dim));
    int first_key = first_visible(job, queries.first) / KEY_BLOCK * KEY_BLOCK;
    for (; first_key < queries.last; first_key += KEY_BLOCK) {
        set_key_block(&keys, job, &queries, first_key);
        for (int row = 0; row < n_rows; row += TILE_ROWS) {
            struct tile tile = {.state = &states[row / TILE_ROWS]};
            if (!set_tile(&tile, job, &queries, row, first_key))
                continue;
#if CPU_X86
            if (job->device->isa == CPU_AVX2) {
                tile_avx2(&tile, &keys, job->head_dim, job->scale);
                continue;
            }
#endif
            tile_portable(&tile, &keys, job->head_dim, job->scale);
        }
    }
}

/* A task has at most max(TASK_ROWS, the heads of one position) rows. */
_Static_assert(TASK_ROWS <= ATTENTION_HEADS_LARGEST, "the heads of one position are the most rows");
_Static_assert(2 * sizeof(float) * ATTENTION_HEAD_DIM_LARGEST * KEY_BLOCK +
                       (ATTENTION_HEADS_LARGEST + TILE_ROWS - 1) / TILE_ROWS *
                           sizeof(struct softmax_state) <=
                   DEVICE_SCRATCH_BYTES,
               "a worker's scratch holds the panels and the states of a task");
_Static_assert((int64_t)ATTENTION_ROWS_LARGEST *ATTENTION_HEADS_LARGEST <= THREADS_TASKS_LARGEST,
               "tasks can be counted");

void attention_fwd_cpu(struct device *device, float *out, const float *q, const float *k,
                       const float *v, const int32_t *cu_seqlens, int n_texts, int n_heads,
                       int n_kv_heads, int head_dim, float scale, int window)
{
    assert(n_kv_heads >= 1 && n_heads % n_kv_heads == 0 && n_heads <= ATTENTION_HEADS_LARGEST);
    assert(head_dim >= 1 && head_dim <= ATTENTION_HEAD_DIM_LARGEST && window >= 0);
    if (n_texts == 0)
        return;
    assert((int64_t)cu_seqlens[n_texts] + n_texts <= ATTENTION_ROWS_LARGEST);
    int group = n_heads / n_kv_heads;
    int block = group < TASK_ROWS ? TASK_ROWS / group : 1;
    int n_tasks = (cu_seqlens[n_texts] / block + n_texts) * n_kv_heads;
    struct attention_job job = {
        .device = device,
        .out = out,
        .q = q,
        .k = k,
        .v = v,
        .cu_seqlens = cu_seqlens,
        .n_texts = n_texts,
        .n_heads = n_heads,
        .n_kv_heads = n_kv_heads,
        .head_dim = head_dim,
        .scale = scale,
        .window = window > 0 ? window : INT_MAX,
        .block = block,
        .n_tasks = n_tasks,
    };
    threads_run(device->threads, job.n_tasks, attention_task, &job);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status attention_fwd(struct device *device, void *out, const void *q, const void *k,
                          const void *v, const int32_t *cu_seqlens, int n, int n_texts, int n_heads,
                          int n_kv_heads, int head_dim, float scale, int window, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        assert(n == (n_texts ? cu_seqlens[n_texts] : 0));
        attention_fwd_cpu(device, out, q, k, v, cu_seqlens, n_texts, n_heads, n_kv_heads, head_dim,
                          scale, window);
        return STATUS_OK;
    case DEVICE_CUDA:
        return attention_fwd_cuda(device, out, q, n_heads * head_dim, k, v, n_kv_heads * head_dim,
                                  cu_seqlens, n, n_texts, n_heads, n_kv_heads, head_dim, scale,
                                  window, err);
    }
    return err_set(err, STATUS_RESOURCE, "attention: no kernel for this device");
}
