/* Packed batches of q, k and v for the tests of attention on a GPU, values as bfloat16 holds them.
 */
#ifndef MIDASHI_TESTS_ATTENTION_BATCH_H
#define MIDASHI_TESTS_ATTENTION_BATCH_H

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/float16.h"
#include "tests/cuda_support.h"

/* One packed batch. q, k and v are parts of one buffer, or three with gaps; what no row has is NaN,
 * which must not be read into anything. */
struct batch {
    int n_texts, n_heads, n_kv_heads, head_dim, window;
    bool joined;
    int32_t *cu_seqlens;
    int n, q_row, k_row;                    /* elements of a row */
    int q_stride, kv_stride;                /* and from one to the next */
    size_t q_begin, k_begin, v_begin, size; /* in `buffer` */
    float *buffer;
    float scale;
};

#define GAP 8 /* elements between the rows of buffers apart; odd sizes have odd strides */

static struct batch make_batch(const int *lengths, int n_texts, int n_heads, int n_kv_heads,
                               int head_dim, bool joined)
{
    struct batch b = {.n_texts = n_texts,
                      .n_heads = n_heads,
                      .n_kv_heads = n_kv_heads,
                      .head_dim = head_dim,
                      .joined = joined,
                      .q_row = n_heads * head_dim,
                      .k_row = n_kv_heads * head_dim,
                      .scale = 1 / sqrtf((float)head_dim)};
    b.cu_seqlens = malloc(((size_t)n_texts + 1) * sizeof *b.cu_seqlens);
    b.cu_seqlens[0] = 0;
    for (int t = 0; t < n_texts; t++)
        b.cu_seqlens[t + 1] = b.cu_seqlens[t] + lengths[t];
    b.n = b.cu_seqlens[n_texts];
    if (joined) {
        b.q_stride = b.kv_stride = b.q_row + 2 * b.k_row;
        b.k_begin = (size_t)b.q_row;
        b.v_begin = (size_t)(b.q_row + b.k_row);
        b.size = (size_t)b.n * (size_t)b.q_stride;
    } else {
        b.q_stride = b.q_row + GAP;
        b.kv_stride = b.k_row + GAP;
        /* Each begins at a multiple of 16 bytes. */
        b.k_begin = ((size_t)b.n * (size_t)b.q_stride + 7) / 8 * 8;
        b.v_begin = (b.k_begin + (size_t)b.n * (size_t)b.kv_stride + 7) / 8 * 8;
        b.size = b.v_begin + (size_t)b.n * (size_t)b.kv_stride;
    }
    b.buffer = malloc(b.size * sizeof *b.buffer + 1);
    for (size_t i = 0; i < b.size; i++)
        b.buffer[i] = NAN;
    return b;
}

static void fill_rows(const struct batch *b, size_t begin, int row, int stride, uint64_t seed,
                      float deviation)
{
    float *values = malloc((size_t)b->n * (size_t)row * sizeof *values + 1);
    fill_normal(values, (size_t)b->n * (size_t)row, seed, deviation);
    for (int i = 0; i < b->n; i++)
        memcpy(b->buffer + begin + (size_t)i * (size_t)stride, values + (size_t)i * (size_t)row,
               (size_t)row * sizeof *values);
    free(values);
    for (size_t i = 0; i < b->size; i++)
        b->buffer[i] = bf16_to_float(bf16_from_float(b->buffer[i]));
}

static void fill_batch(const struct batch *b, float deviation)
{
    fill_rows(b, b->q_begin, b->q_row, b->q_stride, 1, deviation);
    fill_rows(b, b->k_begin, b->k_row, b->kv_stride, 2, deviation);
    fill_rows(b, b->v_begin, b->k_row, b->kv_stride, 3, 1.0f);
}

static void free_batch(struct batch *b)
{
    free(b->cu_seqlens), free(b->buffer);
}

static double *rows_of(const struct batch *b, size_t begin, int row, int stride, bool magnitudes)
{
    double *values = malloc((size_t)b->n * (size_t)row * sizeof *values + 1);
    for (int i = 0; i < b->n; i++)
        for (int j = 0; j < row; j++) {
            float x = b->buffer[begin + (size_t)i * (size_t)stride + (size_t)j];
            values[(size_t)i * (size_t)row + (size_t)j] = (double)(magnitudes ? fabsf(x) : x);
        }
    return values;
}

/* Where row `first` of each begins, in a buffer of the device that lies as `buffer` does. */
struct places {
    const uint16_t *q, *k, *v;
};

static struct places places_of(const struct batch *b, const struct cuda_tensor *buffer, int first)
{
    const uint16_t *at = cuda_pointer(buffer);
    return (struct places){
        .q = at + b->q_begin + (size_t)first * (size_t)b->q_stride,
        .k = at + b->k_begin + (size_t)first * (size_t)b->kv_stride,
        .v = at + b->v_begin + (size_t)first * (size_t)b->kv_stride,
    };
}

/* The key that has the largest score with row j of head h, and no other near it; one text and one
 * kv head. */
static int best_key(const struct batch *b, int j, int h)
{
    const float *q = b->buffer + b->q_begin + j * b->q_stride + h * b->head_dim;
    double largest = -INFINITY;
    int best = 0;
    for (int key = 0; key <= j; key++) {
        const float *k = b->buffer + b->k_begin + key * b->kv_stride;
        double score = 0;
        for (int c = 0; c < b->head_dim; c++)
            score += (double)q[c] * (double)k[c];
        if (score > largest)
            largest = score, best = key;
    }
    return best;
}

/* Of rows begin up to end, one head of each, all scores overflow. */
static void overflow_rows(const struct batch *b, int begin, int end, bool negative)
{
    for (int j = begin; j < end; j++)
        for (int c = 0; c < b->head_dim; c++) {
            b->buffer[(size_t)(j * b->q_stride + c)] = 0x1p126f;
            b->buffer[b->k_begin + (size_t)(j * b->kv_stride + c)] =
                negative ? -0x1p126f : 0x1p126f;
        }
}

/* Rows of `row` columns within tolerance * magnitude and the rounding of the result. */
static void check_rows(const struct batch *b, const char *name, const float *got,
                       const double *want, const double *magnitude, size_t size, int row,
                       double tolerance)
{
    for (size_t i = 0; i < size; i++) {
        double allowed = cuda_bfloat16_allowed(want[i], tolerance * magnitude[i]);
        if (!(fabs((double)got[i] - want[i]) <= allowed))
            ck_abort_msg("%d/%d x %d, window %d%s: %s, row %zu, column %zu is %g, not %g +- %g",
                         b->n_heads, b->n_kv_heads, b->head_dim, b->window,
                         b->joined ? ", joined" : "", name, i / (size_t)row, i % (size_t)row,
                         (double)got[i], want[i], allowed);
    }
}

/* The largest length of a head's vector. */
static double largest_norm(const double *x, size_t n_vectors, int head_dim)
{
    double largest = 0;
    for (size_t i = 0; i < n_vectors; i++) {
        double square = 0;
        for (int c = 0; c < head_dim; c++)
            square += x[i * (size_t)head_dim + (size_t)c] * x[i * (size_t)head_dim + (size_t)c];
        largest = square > largest ? square : largest;
    }
    return sqrt(largest);
}

/* No score is larger, of these rows of q and k. */
static double largest_score(const struct batch *b, const double *q, const double *k)
{
    return (double)b->scale * largest_norm(q, (size_t)b->n * (size_t)b->n_heads, b->head_dim) *
           largest_norm(k, (size_t)b->n * (size_t)b->n_kv_heads, b->head_dim);
}

/* The longest text. */
static int longest_of(const struct batch *b)
{
    int longest = 0;
    for (int t = 0; t < b->n_texts; t++) {
        int length = b->cu_seqlens[t + 1] - b->cu_seqlens[t];
        longest = length > longest ? length : longest;
    }
    return longest;
}

#endif
