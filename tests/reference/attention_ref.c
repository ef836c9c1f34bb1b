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
