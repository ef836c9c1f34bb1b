/* Attention in float64: for each query all scores, then the softmax, then the weighted sum. */
#include "kernels/attention.h"

#include <math.h>

void attention_fwd_ref(double *out, const double *q, const double *k, const double *v,
                       const int32_t *cu_seqlens, int n_texts, int n_heads, int n_kv_heads,
                       int head_dim, double scale, int window, double *scores)
{
    size_t q_row = (size_t)n_heads * (size_t)head_dim,
           k_row = (size_t)n_kv_heads * (size_t)head_dim;
    for (int t = 0; t < n_texts; t++)
        for (int i = cu_seqlens[t]; i < cu_seqlens[t + 1]; i++)
            for (int h = 0; h < n_heads; h++) {
                size_t query = (size_t)i * q_row + (size_t)h * (size_t)head_dim;
                size_t head = (size_t)(h / (n_heads / n_kv_heads)) * (size_t)head_dim;
                int begin = cu_seqlens[t];
                if (window > 0 && i - begin + 1 > window)
                    begin = i + 1 - window;
                double largest = -INFINITY, sum = 0;
                for (int j = begin; j <= i; j++) {
                    double score = 0;
                    for (int c = 0; c < head_dim; c++)
                        score += q[query + (size_t)c] * k[(size_t)j * k_row + head + (size_t)c];
                    scores[j - begin] = score * scale;
                    largest = fmax(largest, score * scale);
                }
                for (int j = 0; j <= i - begin; j++)
                    sum += exp(scores[j] - largest);
                for (int c = 0; c < head_dim; c++)
                    out[query + (size_t)c] = 0;
                for (int j = begin; j <= i; j++) {
                    double weight = exp(scores[j - begin] - largest) / sum;
                    for (int c = 0; c < head_dim; c++)
                        out[query + (size_t)c] += weight * v[(size_t)j * k_row + head + (size_t)c];
                }
            }
}

/* With u = 2^-24 and deviation 1.5, a scaled score is a chain of d products of about 2.25 / sqrt(d)
 * each; its partial sums reach 2.25, so d roundings of random sign leave u * 2.25 * sqrt(d), which
 * becomes a relative error of a probability. Sums over n keys in order add u * sqrt(n); exp, the
 * rescaling and the division a few u. |v| < 5, and 5 is also the factor between the deviation of
 * such an error and the largest of a million. Measured: a third of this. */
double attention_fwd_tolerance(int head_dim, int n_keys)
{
    return 0x1p-24 * 5 * (2.25 * sqrt(head_dim) + sqrt(n_keys) + 8);
}

/* A weight is rounded to bfloat16: 2^-8 of it. The rest counts in units of 2^-23.
 *
 * mma. It adds 8 products to a sum and may cut each of the nine, and the result, by a unit of the
 * largest: 10 units of the sum of magnitudes for every 8 columns (head_dim in steps of 32), and for
 * every 8 keys (in steps of 64).
 *
 * A weight 2^x. A score's error is its own. x has three roundings of half a unit, to a weight
 * 126 ln 2 of each (where x is below -126 it is 0; rescaling only divides x into several steps);
 * ex2.approx 2 units; each rescaling, for at most every 32 keys, 3 more. All of that enters twice,
 * since the weights are divided by their sum.
 *
 * That sum: keys / 4 additions in a lane, half a unit each, two in a quad, a reciprocal, a product.
 */
double attention_fwd_cuda_tolerance(int head_dim, int n_keys, double magnitude)
{
    double columns = (head_dim + 31) / 32 * 32, keys = (n_keys + 63) / 64 * 64;
    double score = 10 * columns / 8 * magnitude;
    double weight = score + 1.5 * 126 * 0.7 + 2 + 3 * keys / 32;
    double sums = 10 * keys / 8 + keys / 8 + 2;
    return 0x1p-8 + 0x1p-23 * (2 * weight + sums);
}
