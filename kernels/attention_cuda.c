/* Packed causal attention: the CUDA launch. The kernels are attention.cu. */
#include <assert.h>
#include <limits.h>
#include <stdbool.h>
#include "host/base/cuda_device.h"
#include "kernels/attention.h"

#define QUERIES 64 /* of a block */

/* Compiled for heads of up to head_dim, with stages of `keys` keys. */
static const struct instance {
    int head_dim, keys;
    const char *by_vectors, *by_elements;
} instances[] = {
    {32, 64, "attention_32", "attention_32_elements"},
    {64, 64, "attention_64", "attention_64_elements"},
    {96, 32, "attention_96", "attention_96_elements"},
    {128, 32, "attention_128", "attention_128_elements"},
    {256, 16, "attention_256", "attention_256_elements"},
};

static bool is_vector(const void *p)
{
    return (uintptr_t)p % 16 == 0;
}

enum status attention_fwd_cuda(struct device *device, void *out, const void *q, int q_stride,
                               const void *k, const void *v, int kv_stride,
                               const int32_t *cu_seqlens, int n, int n_texts, int n_heads,
                               int n_kv_heads, int head_dim, float scale, int window,
                               struct err *err)
{
    const struct instance *instance = instances;
    assert(n_kv_heads >= 1 && n_heads % n_kv_heads == 0 && n_heads <= ATTENTION_HEADS_LARGEST);
    assert(head_dim >= 1 && window >= 0 && (int64_t)n + n_texts <= ATTENTION_ROWS_LARGEST);
    assert(q_stride >= n_heads * head_dim && kv_stride >= n_kv_heads * head_dim);
    if (head_dim > ATTENTION_CUDA_HEAD_DIM_LARGEST)
        return err_set(
            err, STATUS_RESOURCE,
            "attention: heads of %d are too wide for the GPU's kernel, which takes up to "
            "%d; use --device cpu",
            head_dim, ATTENTION_CUDA_HEAD_DIM_LARGEST);
    if (n == 0)
        return STATUS_OK;
    while (instance->head_dim < head_dim)
        instance++;
    int group = n_heads / n_kv_heads, keys_seen = window > 0 ? window : INT_MAX;
    bool vectors = is_vector(out) && is_vector(q) && is_vector(k) && is_vector(v) &&
                   head_dim % 8 == 0 && q_stride % 8 == 0 && kv_stride % 8 == 0;
    float scale_of_two = scale * 1.44269504f; /* log2(e): the kernel raises 2 */
    void *values[] = {&out,   &q,        &k,        &v,         &cu_seqlens,   &n_texts,
                      &group, &head_dim, &q_stride, &kv_stride, &scale_of_two, &keys_seen};
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "attention",
                           .name = vectors ? instance->by_vectors : instance->by_elements,
                           .grid = {(unsigned)(n / QUERIES + n_texts), (unsigned)n_heads, 1},
                           .block = {128, 1, 1},
                           .shared = (unsigned)(4 * instance->keys * instance->head_dim * 2),
                           .values = values,
                       },
                       err);
}
