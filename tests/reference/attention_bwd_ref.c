/* The gradient of attention in float64, naive: the softmax's by its definition, one query after the
 * other, from q, k and v alone. */
#include "kernels/attention.h"

#include <math.h>
#include <string.h>

static double dot(const double *a, const double *b, int d)
{
    double sum = 0;
    for (int c = 0; c < d; c++)
        sum += a[c] * b[c];
    return sum;
}

static double absolute_dot(const double *a, const double *b, int d)
{
    double sum = 0;
    for (int c = 0; c < d; c++)
        sum += fabs(a[c] * b[c]);
    return sum;
}

void attention_bwd_ref(double *dq, double *dk, double *dv, double *dq_magnitude,
                       double *dk_magnitude, double *dv_magnitude, const double *dout,
                       const double *q, const double *k, const double *v, const int32_t *cu_seqlens,
                       int n_texts, int n_heads, int n_kv_heads, int head_dim, double scale,
                       int window, double *scores)
{
    size_t n = (size_t)cu_seqlens[n_texts], d = (size_t)head_dim;
    size_t q_size = n * (size_t)n_heads * d, k_size = n * (size_t)n_kv_heads * d;
    double *outputs[] = {dq, dk, dv, dq_magnitude, dk_magnitude, dv_magnitude};
    for (int i = 0; i < 6; i++)
        if (outputs[i])
            memset(outputs[i], 0, (i % 3 ? k_size : q_size) * sizeof(double));
    for (int t = 0; t < n_texts; t++)
        for (int i = cu_seqlens[t]; i < cu_seqlens[t + 1]; i++)
            for (int h = 0; h < n_heads; h++) {
                size_t at_q = ((size_t)i * (size_t)n_heads + (size_t)h) * d;
                size_t head = (size_t)(h / (n_heads / n_kv_heads)) * d;
                size_t k_row = (size_t)n_kv_heads * d;
                const double *qi = q + at_q, *douti = dout + at_q;
                int begin = cu_seqlens[t];
                if (window > 0 && i - begin + 1 > window)
                    begin = i + 1 - window;
                double largest = -INFINITY, sum = 0, mean = 0, mean_magnitude = 0;
                double *slopes = scores + (i - begin + 1);
                for (int j = begin; j <= i; j++) {
                    scores[j - begin] = scale * dot(qi, k + (size_t)j * k_row + head, head_dim);
                    slopes[j - begin] = dot(douti, v + (size_t)j * k_row + head, head_dim);
                    largest = fmax(largest, scores[j - begin]);
                }
                for (int j = 0; j <= i - begin; j++)
                    sum += scores[j] = exp(scores[j] - largest);
                /* d loss / d score is P (slope - the mean of slopes). */
                for (int j = 0; j <= i - begin; j++) {
                    scores[j] /= sum;
                    mean += scores[j] * slopes[j];
                    if (dq_magnitude)
                        mean_magnitude +=
                            scores[j] *
                            absolute_dot(douti, v + (size_t)(begin + j) * k_row + head, head_dim);
                }
                for (int j = begin; j <= i; j++) {
                    size_t at_k = (size_t)j * k_row + head;
                    double weight = scores[j - begin];
                    double ds = scale * weight * (slopes[j - begin] - mean);
                    for (size_t c = 0; c < d; c++) {
                        dq[at_q + c] += ds * k[at_k + c];
                        dk[at_k + c] += ds * q[at_q + c];
                        dv[at_k + c] += weight * dout[at_q + c];
                    }
                    if (!dq_magnitude)
                        continue;
                    ds =
                        scale * weight * (absolute_dot(douti, v + at_k, head_dim) + mean_magnitude);
                    for (size_t c = 0; c < d; c++) {
                        dq_magnitude[at_q + c] += ds * fabs(k[at_k + c]);
                        dk_magnitude[at_k + c] += ds * fabs(q[at_q + c]);
                        dv_magnitude[at_k + c] += weight * fabs(dout[at_q + c]);
                    }
                }
            }
}

/* In units of u = 2^-24. A chain of n fused steps leaves n roundings of random sign, each of at
 * most half a unit of partial sums that stay below the sum of magnitudes: 1.5 sqrt(n) is five
 * deviations.
 *
 * A weight exp(scale (s - largest)) / sum: its score's error, a chain over head_dim, and two
 * roundings of an exponent of up to 2 `score`; twice, since the sum has the like; exp, the sum and
 * the reciprocal. dout . v and dout . out: chains over head_dim, and `out` has a weight's error
 * itself. Then the last sum over the terms, and a few products. */
double attention_bwd_tolerance(int head_dim, int n_terms, double score)
{
    double weight = 2 * (1.5 * sqrt(head_dim) * score + 4 * score) + 1.5 * sqrt(n_terms) + 8;
    return 0x1p-24 * (2 * weight + 3 * sqrt(head_dim) + 1.5 * sqrt(n_terms) + 8);
}

/* attention_fwd_cuda_tolerance says what a weight errs by and what an mma may cut; units of 2^-23,
 * and beside them roundings to bfloat16, 2^-8 each, which are nearly all.
 *
 * dS = weight (dout . v - dout . out). dout . v is a chain over the columns. `out` has a forward's
 * whole error, relative to the average of |v|, and one rounding to bfloat16, at most of that too:
 * 2 roundings in all, and those of its product with dout, 8 columns a lane and chunk. The weight's
 * own error. dS is rounded to bfloat16: a third rounding. (The weight of dv has one only.) Then the
 * sum over the terms, in steps of 64 rows for each head, the rescaling of dq being in the weight's
 * error; factors, a product and the roundings of these errors' sum with each other: 16. */
double attention_bwd_cuda_tolerance(int head_dim, int n_keys, int n_terms, double score)
{
    double columns = (head_dim + 31) / 32 * 32, terms = n_terms + 64.0 * (n_terms / n_keys);
    double forward = attention_fwd_cuda_tolerance(head_dim, n_keys, score);
    double weight = forward - 0x1p-8; /* twice that of 2^x, and that of the sum */
    double out = (1 + 0x1p-8) * (1 + forward) - 1;
    double slope = 0x1p-23 * 10 * columns / 8 + out + 0x1p-24 * (columns / 4 + 4);
    double sums = 0x1p-23 * (10 * terms / 8 + 16);
    return (1 + slope) * (1 + weight) * (1 + 0x1p-8) * (1 + sums) - 1;
}
