/* Packed causal attention with grouped queries. For query i of text t, head h, kv head
 * g = h / (n_heads / n_kv_heads), over the keys j of the same text with j <= i, and j > i - window
 * where there is a window:
 *
 *     out[i,h] = sum_j softmax_j(scale * q[i,h] . k[j,g]) * v[j,g]
 *
 * Vaswani et al. 2017 (arXiv:1706.03762); grouped queries: Ainslie et al. 2023 (arXiv:2305.13245);
 * the sliding window: Jiang et al. 2023 (arXiv:2310.06825), as transformers masks it.
 * Computed block by block with the online softmax of Milakov and Gimelshein 2018
 * (arXiv:1805.02867), as FlashAttention does (arXiv:2205.14135): memory does not grow with the
 * length of a text. */
#ifndef MIDASHI_KERNELS_ATTENTION_H
#define MIDASHI_KERNELS_ATTENTION_H

#include <stdint.h>
#include "host/base/device.h"

/* Beyond these a worker's scratch or the count of tasks would not do; whoever loads a model refuses
 * it. (The largest Llama has 128 heads of 128.) */
#define ATTENTION_HEAD_DIM_LARGEST 1024
#define ATTENTION_HEADS_LARGEST    512
#define ATTENTION_ROWS_LARGEST     (1 << 21) /* n + n_texts */
/* Of head_dim on a GPU, where sums live in registers. */
#define ATTENTION_CUDA_HEAD_DIM_LARGEST 256

/* out        (n, n_heads, head_dim)     must not overlap q, k or v
 * q          (n, n_heads, head_dim)     rotary embedding already applied, as to k
 * k, v       (n, n_kv_heads, head_dim)
 * cu_seqlens (n_texts + 1)              text t is rows cu_seqlens[t] .. cu_seqlens[t+1]-1, in
 *                                       order from cu_seqlens[0] = 0; a text may be empty
 * n                                     = cu_seqlens[n_texts], which on a GPU the host cannot see
 * scale                                 > 0; 1 / sqrt(head_dim) in Llama
 * window                                keys that a query sees at most, itself included; 0: all
 * n_texts >= 0; n + n_texts <= ATTENTION_ROWS_LARGEST; n_kv_heads divides n_heads;
 * 1 <= n_heads <= ATTENTION_HEADS_LARGEST; 1 <= head_dim <= ATTENTION_HEAD_DIM_LARGEST.
 *
 * Scores may be as large as float32 holds. A query all of whose scores are -inf, or one of whose
 * scores is +inf or NaN, gives NaN, as a softmax does.
 *
 * The order of summation of a query depends on its position in its text alone: a text gets the same
 * bytes alone or in company, with any number of threads, and no longer than the window, with and
 * without it. NaN and infinities stay in their text
 * (those of k and v in their kv head too). */
enum status attention_fwd(struct device *device, void *out, const void *q, const void *k,
                          const void *v, const int32_t *cu_seqlens, int n, int n_texts, int n_heads,
                          int n_kv_heads, int head_dim, float scale, int window, struct err *err);

void attention_fwd_cpu(struct device *device, float *out, const float *q, const float *k,
                       const float *v, const int32_t *cu_seqlens, int n_texts, int n_heads,
                       int n_kv_heads, int head_dim, float scale, int window);

/* bfloat16 in and out; cu_seqlens in the device's memory too. q_stride, kv_stride: elements from
 * one token's row to the next's, so that q, k and v may be parts of one buffer: of
 * (n, n_heads + 2 n_kv_heads, head_dim) both are that times head_dim. What lies between rows is not
 * read. out is contiguous, as above, and apart from the rest. It is fast where the rows of all four
 * are whole vectors of 16 bytes: starts at multiples of 16, head_dim and strides multiples of 8.
 * Queued on the device's stream. STATUS_RESOURCE: head_dim > ATTENTION_CUDA_HEAD_DIM_LARGEST.
 *
 * Scores and sums are float32, the weights of the second product bfloat16 (docs/numerics.md), and a
 * weight below 2^-126 of the largest is 0. All that is said above holds: a query's bytes by its
 * position in its text (and the card, whose mma has its own way to sum), scores of any size, NaN
 * where a softmax has it. A score overflows where a partial sum of q . k does. An infinity in v is
 * NaN to a query that gives it a weight of 0 (so on the CPU, where fewer weights are 0). */
enum status attention_fwd_cuda(struct device *device, void *out, const void *q, int q_stride,
                               const void *k, const void *v, int kv_stride,
                               const int32_t *cu_seqlens, int n, int n_texts, int n_heads,
                               int n_kv_heads, int head_dim, float scale, int window,
                               struct err *err);

/* The gradient of a number by q, k and v, where `dout` is its gradient by out:
 *
 *     dq[i,h] = sum_j dS[i,j,h] k[j,g]
 *     dk[j,g] = sum_{i,h} dS[i,j,h] q[i,h]      over the queries that see j and the heads of g
 *     dv[j,g] = sum_{i,h} P[i,j,h] dout[i,h]
 *     dS = scale * P * (dout[i,h] . v[j,g] - dout[i,h] . out[i,h])      P: the softmax above
 *
 * dq, dk, dv  as q, k, v; written whole, not added to; must not overlap each other or the inputs
 * dout        (n, n_heads, head_dim)
 * out         what attention_fwd gave for these q, k and v, on this device
 * the rest    as above, with the same limits
 *
 * Probabilities are computed again, block by block: no memory but the workers' scratch. Of scores,
 * NaN and infinities all holds that is said above, but that a NaN may reach every row of its text,
 * in the query heads of its kv head. The order of every sum depends on the text and the window
 * alone: a text gets the same bytes alone, in company, and with any number of threads. On a GPU
 * STATUS_RESOURCE: attention_bwd_cuda there wants memory of the caller's. */
enum status attention_bwd(struct device *device, void *dq, void *dk, void *dv, const void *dout,
                          const void *out, const void *q, const void *k, const void *v,
                          const int32_t *cu_seqlens, int n, int n_texts, int n_heads,
                          int n_kv_heads, int head_dim, float scale, int window, struct err *err);

void attention_bwd_cpu(struct device *device, float *dq, float *dk, float *dv, const float *dout,
                       const float *out, const float *q, const float *k, const float *v,
                       const int32_t *cu_seqlens, int n_texts, int n_heads, int n_kv_heads,
                       int head_dim, float scale, int window);

/* bfloat16 in and out, with the strides of attention_fwd_cuda, and likewise dq_stride and
 * dkv_stride: dq, dk and dv may be parts of one buffer. What lies between rows is not written. dout
 * and out are contiguous, `out` what attention_fwd_cuda gave. Fast where the rows of all are whole
 * vectors of 16 bytes.
 *
 * scratch (n_heads, n, 4) float32, at a multiple of 16: what the pass by queries leaves of each row
 * for the pass by keys. Two launches on the device's stream. STATUS_RESOURCE: head_dim >
 * ATTENTION_CUDA_HEAD_DIM_LARGEST.
 *
 * Scores and sums are float32, P and dS rounded to bfloat16 before the sums over rows
 * (docs/numerics.md). All that is said above holds: the order of every sum depends on the text, the
 * window and the card, scores may have any size, NaN where a softmax has it. */
enum status attention_bwd_cuda(struct device *device, void *dq, int dq_stride, void *dk, void *dv,
                               int dkv_stride, const void *dout, const void *out, const void *q,
                               int q_stride, const void *k, const void *v, int kv_stride,
                               const int32_t *cu_seqlens, int n, int n_texts, int n_heads,
                               int n_kv_heads, int head_dim, float scale, int window,
                               float *scratch, struct err *err);

/* The same in float64, naive. scores: room for the longest text. Tests and bench
 * only (tests/reference). */
void attention_fwd_ref(double *out, const double *q, const double *k, const double *v,
                       const int32_t *cu_seqlens, int n_texts, int n_heads, int n_kv_heads,
                       int head_dim, double scale, int window, double *scores);
/* What float32 may differ by, absolutely, for q, k and v of deviation 1 to 1.5 and the usual scale,
 * over at most n_keys keys. */
double attention_fwd_tolerance(int head_dim, int n_keys);
/* What attention_fwd_cuda may differ by, relative to sum_j softmax_j |v[j,g]|, before out is
 * rounded. magnitude: the largest scale * sum_c |q[c] k[c]|. */
double attention_fwd_cuda_tolerance(int head_dim, int n_keys, double magnitude);

/* The gradient in float64, naive, from q, k and v alone. The magnitudes have the shapes of the
 * gradients, or are all NULL: what float32's errors are proportional to, each term of the sums by
 * its absolute value, dS by scale * P * (sum |dout v| + sum |dout| |out|). scores: twice the
 * longest text. */
void attention_bwd_ref(double *dq, double *dk, double *dv, double *dq_magnitude,
                       double *dk_magnitude, double *dv_magnitude, const double *dout,
                       const double *q, const double *k, const double *v, const int32_t *cu_seqlens,
                       int n_texts, int n_heads, int n_kv_heads, int head_dim, double scale,
                       int window, double *scores);
/* What float32 may differ by, as a share of the magnitude. n_terms: the longest text times the
 * heads of a group. score: the largest scale * sum_c |q[c] k[c]|. */
double attention_bwd_tolerance(int head_dim, int n_terms, double score);
/* The same of attention_bwd_cuda, before its results are rounded. n_keys: the longest text;
 * n_terms: that times the heads of a group. */
double attention_bwd_cuda_tolerance(int head_dim, int n_keys, int n_terms, double score);

#endif
