/* What the two directions of attention share (attention.c, attention_bwd.c): a tile of query rows,
 * which keys its rows see, and a tile's arithmetic. Nothing here is for other files.
 *
 * The rows of a text under a kv head stand position by position:
 *
 *     row 0 .. group-1          position 0, the query heads of the kv head
 *     row group .. 2*group-1    position 1, ...
 *
 * and are worked on in tiles of TILE_ROWS. Keys come in blocks, counted from the text's first. */
#ifndef MIDASHI_KERNELS_ATTENTION_TILES_H
#define MIDASHI_KERNELS_ATTENTION_TILES_H

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "kernels/vector_math.h"

/* 6 x 16 accumulators are 12 of AVX2's 16 registers; 2 more hold a panel row. */
#define TILE_ROWS 6
#define PANEL     16 /* keys of a K panel, columns of a V panel: two registers */

struct attention_shape {
    const int32_t *cu_seqlens;
    int n_texts, n_heads, n_kv_heads, head_dim;
    float scale;
    int window; /* INT_MAX: none */
};

static inline struct attention_shape attention_shape_of(const int32_t *cu_seqlens, int n_texts,
                                                        int n_heads, int n_kv_heads, int head_dim,
                                                        float scale, int window)
{
    return (struct attention_shape){
        cu_seqlens, n_texts, n_heads, n_kv_heads, head_dim, scale, window > 0 ? window : INT_MAX};
}

static inline int heads_of_group(const struct attention_shape *shape)
{
    return shape->n_heads / shape->n_kv_heads;
}

/* ---- blocks and tiles ----------------------------------------------------------------------- */

/* Blocks of a text's rows or keys, `per_token` of them a token and `size` a block, are numbered
 * without a table of texts: block b of text t has the slot cu_seqlens[t] * per_token / size + t +
 * b. The slots of different texts do not meet, since floor((c + length) / size) + 1 >= floor(c /
 * size) + ceil(length / size); some stay empty. */
static inline int block_slot(const struct attention_shape *shape, int text, int per_token, int size)
{
    return (int)((int64_t)shape->cu_seqlens[text] * per_token / size) + text;
}

/* The text of a slot, and its block. Returns false for a slot that is empty. */
static inline bool find_block(int *text, int *block, const struct attention_shape *shape, int slot,
                              int per_token, int size)
{
    int low = 0, high = shape->n_texts; /* the last text whose first slot is <= slot */
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (block_slot(shape, middle, per_token, size) <= slot)
            low = middle;
        else
            high = middle;
    }
    int64_t n = (int64_t)(shape->cu_seqlens[low + 1] - shape->cu_seqlens[low]) * per_token;
    *text = low;
    *block = slot - block_slot(shape, low, per_token, size);
    return *block < (n + size - 1) / size;
}

/* Some rows of the text that begins at token `begin`, under one kv head. */
struct row_block {
    int begin, kv_head, first, last; /* rows first .. last-1 */
};

/* Up to TILE_ROWS query rows against one block of keys. Rows that a tile lacks at the end of a
 * block repeat its first row; what comes out for them is dropped. */
struct tile {
    int n_rows;
    size_t offset[TILE_ROWS]; /* of the row in q and what has its shape */
    int n_hidden[TILE_ROWS];  /* keys of this block that the window hides from the row */
    int n_visible[TILE_ROWS]; /* where the keys that the row sees end; it may see none */
    int begin, end;           /* keys that the tile works on; begin is a multiple of PANEL */
    bool is_first, is_last;   /* the tile's first, its last key block */
};

/* The first key that the query at position p sees, counted from the text's first. */
static inline int first_visible(const struct attention_shape *shape, int p)
{
    int key = p - shape->window + 1;
    return key > 0 ? key : 0;
}

/* How many of a block's n_keys keys lie before key `end` of the text. */
static inline int keys_before(int end, int first_key, int n_keys)
{
    int n = end - first_key;
    return n < 0 ? 0 : n < n_keys ? n : n_keys;
}

/* Of a row in q and what has its shape. */
static inline size_t row_offset(const struct attention_shape *shape, const struct row_block *rows,
                                int row)
{
    int group = heads_of_group(shape);
    size_t token = (size_t)(rows->begin + row / group);
    size_t head = (size_t)(rows->kv_head * group + row % group);
    return (token * (size_t)shape->n_heads + head) * (size_t)shape->head_dim;
}

/* Of a key, counted from the text's first, in k and what has its shape. */
static inline size_t key_offset(const struct attention_shape *shape, const struct row_block *rows,
                                int key)
{
    size_t token = (size_t)(rows->begin + key);
    return (token * (size_t)shape->n_kv_heads + (size_t)rows->kv_head) * (size_t)shape->head_dim;
}

/* Tile first_row .. of the rows against the n_keys keys from first_key on. Returns false where it
 * sees none of them. */
static inline bool set_tile(struct tile *tile, const struct attention_shape *shape,
                            const struct row_block *rows, int first_row, int first_key, int n_keys)
{
    int group = heads_of_group(shape);
    int p = first_row / group, head = first_row % group, position = p;
    int first = first_visible(shape, p);
    for (int i = 0; i < TILE_ROWS; i++) {
        if (first_row + i < rows->last) {
            tile->offset[i] = row_offset(shape, rows, first_row + i);
            tile->n_hidden[i] = keys_before(first_visible(shape, p), first_key, n_keys);
            tile->n_visible[i] = keys_before(p + 1, first_key, n_keys);
            position = p;
            tile->n_rows = i + 1;
        } else {
            tile->offset[i] = tile->offset[0];
            tile->n_hidden[i] = tile->n_hidden[0];
            tile->n_visible[i] = tile->n_visible[0];
        }
        if (++head == group)
            head = 0, p++;
    }
    tile->begin = keys_before(first, first_key, n_keys) / PANEL * PANEL;
    tile->end = keys_before(position + 1, first_key, n_keys);
    tile->is_first = first >= first_key;
    tile->is_last = position < first_key + n_keys;
    return tile->begin < tile->end;
}

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

/* ---- portable ------------------------------------------------------------------------------- */

/* In eight chains, by element number modulo 8. */
static inline float dot_portable(const float *a, const float *b, int d)
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
static inline void add_portable(float *y, const float *x, float factor, int d)
{
    int j = 0;
    for (; j + 4 <= d; j += 4)
        *(float4_at_any_float *)(y + j) += factor * *(const float4_at_any_float *)(x + j);
    for (; j < d; j++)
        y[j] += factor * x[j];
}

/* Scores p[begin .. end-1] of one row become exp(scale * (score - largest)). Returns what the sums
 * so far are to be multiplied with; is_first: there are none. */
static inline float softmax_row(float *p, int begin, int end, struct softmax_state *state, int row,
                                float scale, bool is_first)
{
    float old = is_first ? -INFINITY : state->largest[row], largest = old;
    for (int key = begin; key < end; key++)
        largest = p[key] > largest ? p[key] : largest;
    float sum = 0, decay = is_first ? 0 : expf((old - largest) * scale);
    for (int key = begin; key < end; key++) {
        p[key] = expf((p[key] - largest) * scale);
        sum += p[key];
    }
    sum += is_first ? 0 : state->sum[row] * decay;
    state->largest[row] = largest;
    state->sum[row] = sum;
    return decay;
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

/* panels (n_keys / 16, head_dim, 16): key by key in a row; zeros behind the last. */
TARGET_AVX2
static inline void pack_keys(float *panels, const float *k, size_t stride, int n_keys, int d)
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

/* x becomes row `row` of panels (d / 16, n_rows, 16): columns in a row, zeros behind the last. */
TARGET_AVX2
static inline void pack_row(float *panels, const float *x, int row, int n_rows, int d)
{
    for (int j = 0; j < d; j += PANEL) {
        __m256 left, right;
        load_columns(&left, &right, x + j, d - j);
        float *to = panels + (size_t)j * (size_t)n_rows + row * PANEL;
        _mm256_store_ps(to, left);
        _mm256_store_ps(to + 8, right);
    }
}

/* The rows are spelled out, so that every sum is a register whatever the compiler unrolls. Strides
 * are constants where these are called: hence always in line. */
#define TILE_ROWS_DO(row) row(0) row(1) row(2) row(3) row(4) row(5)
#define TILE_INLINE       TARGET_AVX2 static inline __attribute__((always_inline))

/* scores (TILE_ROWS, PANEL), rows `stride` apart, of rows x + offset[i] times one panel of keys.
 * Per step of d: 2 loads, 6 broadcasts, 12 FMAs. */
TILE_INLINE
void score_panel(float *scores, int stride, const float *x, const size_t offset[TILE_ROWS],
                 const float *panel, int d)
{
#define START(i)                                                                                   \
    const float *x##i = x + offset[i];                                                             \
    __m256 left##i = _mm256_setzero_ps(), right##i = _mm256_setzero_ps();
#define STEP(i)                                                                                    \
    {                                                                                              \
        __m256 value = _mm256_broadcast_ss(x##i + j);                                              \
        left##i = _mm256_fmadd_ps(value, k_left, left##i);                                         \
        right##i = _mm256_fmadd_ps(value, k_right, right##i);                                      \
    }
#define END(i)                                                                                     \
    _mm256_store_ps(scores + i * stride, left##i);                                                 \
    _mm256_store_ps(scores + i * stride + 8, right##i);
    TILE_ROWS_DO(START)
    for (int j = 0; j < d; j++) {
        __m256 k_left = _mm256_load_ps(panel + j * PANEL);
        __m256 k_right = _mm256_load_ps(panel + j * PANEL + 8);
        TILE_ROWS_DO(STEP)
    }
    TILE_ROWS_DO(END)
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

/* Scores of keys that a row does not see become -inf. Whole vectors: what is behind may be written
 * over as far as 7 beyond the tile's end, rounded up to 8. */
TARGET_AVX2
static inline void hide_keys(float *scores, const struct tile *tile, int row)
{
    int end = (tile->end + 7) / 8 * 8;
    for (int key = tile->n_visible[row]; key < end; key += 8)
        _mm256_storeu_ps(scores + key, _mm256_set1_ps(-INFINITY));
    for (int key = tile->begin; key < tile->n_hidden[row]; key++)
        scores[key] = -INFINITY;
}

/* Scores become probabilities exp(scale * (score - largest)), not yet divided by their sum. decay
 * (8): what the sums so far are to be multiplied with. */
TILE_INLINE
void softmax_tile(float *scores, int stride, float *decay, const struct tile *tile,
                  struct softmax_state *state, float scale)
{
    int begin = tile->begin, end = (tile->end + 7) / 8 * 8;
    float largest[8] = {0};
    __m256 totals[8];
    totals[6] = totals[7] = _mm256_setzero_ps();
    for (int row = 0; row < TILE_ROWS; row++) {
        float *s = scores + row * stride;
        hide_keys(s, tile, row);
        __m256 m = _mm256_load_ps(s + begin);
        for (int key = begin + 8; key < end; key += 8)
            m = _mm256_max_ps(m, _mm256_load_ps(s + key));
        __m128 h = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
        h = _mm_max_ps(h, _mm_movehl_ps(h, h));
        largest[row] = _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
    }
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
        float *s = scores + row * stride;
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

/* Up to 16 columns of n_rows rows: y[i] = (y[i] * decay[i] + sum over begin <= k < end of
 * p[i * p_row + k * p_step] * panel[k]) * factor[i], without y where decay is NULL. panel (end,
 * 16). Per step: 2 loads, 6 broadcasts, 12 FMAs. */
TILE_INLINE
void weigh_panel(float *y, const size_t offset[TILE_ROWS], int n_rows, int n_columns,
                 const float *p, int p_row, int p_step, const float *panel, int begin, int end,
                 const float *decay, const float *factor)
{
#define START(i)                                                                                   \
    __m256 left##i = _mm256_setzero_ps(), right##i = _mm256_setzero_ps();                          \
    if (decay && i < n_rows) {                                                                     \
        __m256 value = _mm256_broadcast_ss(decay + i);                                             \
        load_columns(&left##i, &right##i, y + offset[i], n_columns);                               \
        left##i = _mm256_mul_ps(left##i, value);                                                   \
        right##i = _mm256_mul_ps(right##i, value);                                                 \
    }
#define STEP(i)                                                                                    \
    {                                                                                              \
        __m256 value = _mm256_broadcast_ss(p + i * p_row + k * p_step);                            \
        left##i = _mm256_fmadd_ps(value, x_left, left##i);                                         \
        right##i = _mm256_fmadd_ps(value, x_right, right##i);                                      \
    }
#define END(i)                                                                                     \
    if (i < n_rows) {                                                                              \
        __m256 value = _mm256_broadcast_ss(factor + i);                                            \
        store_columns(y + offset[i], _mm256_mul_ps(left##i, value),                                \
                      _mm256_mul_ps(right##i, value), n_columns);                                  \
    }
    TILE_ROWS_DO(START)
    for (int k = begin; k < end; k++) {
        __m256 x_left = _mm256_load_ps(panel + k * PANEL);
        __m256 x_right = _mm256_load_ps(panel + k * PANEL + 8);
        TILE_ROWS_DO(STEP)
    }
    TILE_ROWS_DO(END)
#undef START
#undef STEP
#undef END
}
#endif

#endif
