/* Packed causal attention and its gradient: the CUDA launches. The kernels are attention.cu and
 * attention_bwd.cu. */
#include <assert.h>
#include <limits.h>
#include <stdbool.h>
#include "host/base/cuda_device.h"
#include "kernels/attention.h"

#define ROWS 64 /* of a block */

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

static enum status check_heads(int head_dim, struct err *err)
{
    if (head_dim <= ATTENTION_CUDA_HEAD_DIM_LARGEST)
        return STATUS_OK;
    return err_set(err, STATUS_RESOURCE,
                   "attention: heads of %d are too wide for the GPU's kernel, which takes up to "
                   "%d; use --device cpu",
                   head_dim, ATTENTION_CUDA_HEAD_DIM_LARGEST);
}

#define LOG2_E 1.44269504f /* the kernels raise 2 */

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
    TRY(check_heads(head_dim, err));
    if (n == 0)
        return STATUS_OK;
    while (instance->head_dim < head_dim)
        instance++;
    int group = n_heads / n_kv_heads, keys_seen = window > 0 ? window : INT_MAX;
    bool vectors = is_vector(out) && is_vector(q) && is_vector(k) && is_vector(v) &&
                   head_dim % 8 == 0 && q_stride % 8 == 0 && kv_stride % 8 == 0;
    float scale_of_two = scale * LOG2_E;
    void *values[] = {&out,   &q,        &k,        &v,         &cu_seqlens,   &n_texts,
                      &group, &head_dim, &q_stride, &kv_stride, &scale_of_two, &keys_seen};
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "attention",
                           .name = vectors ? instance->by_vectors : instance->by_elements,
                           .grid = {(unsigned)(n / ROWS + n_texts), (unsigned)n_heads, 1},
                           .block = {128, 1, 1},
                           .shared = (unsigned)(4 * instance->keys * instance->head_dim * 2),
                           .values = values,
                       },
                       err);
}

/* ---- the gradient --------------------------------------------------------------------------- */

/* Compiled for heads of up to head_dim, with stages of `tile` rows. */
static const struct backward_instance {
    int head_dim, tile;
    bool vectors;
    const char *by_queries, *by_keys;
} backward_instances[] = {
    {32, 64, true, "attention_bwd_queries_32", "attention_bwd_keys_32"},
    {64, 64, true, "attention_bwd_queries_64", "attention_bwd_keys_64"},
    {96, 32, true, "attention_bwd_queries_96", "attention_bwd_keys_96"},
    {128, 32, true, "attention_bwd_queries_128", "attention_bwd_keys_128"},
    {256, 16, true, "attention_bwd_queries_256", "attention_bwd_keys_256"},
    {32, 64, false, "attention_bwd_queries_32_elements", "attention_bwd_keys_32_elements"},
    {128, 32, false, "attention_bwd_queries_128_elements", "attention_bwd_keys_128_elements"},
    {256, 16, false, "attention_bwd_queries_256_elements", "attention_bwd_keys_256_elements"},
};

enum status attention_bwd_cuda(struct device *device, void *dq, int dq_stride, void *dk, void *dv,
                               int dkv_stride, const void *dout, const void *out, const void *q,
                               int q_stride, const void *k, const void *v, int kv_stride,
                               const int32_t *cu_seqlens, int n, int n_texts, int n_heads,
                               int n_kv_heads, int head_dim, float scale, int window,
                               float *scratch, struct err *err)
{
    const struct backward_instance *instance = backward_instances;
    int q_row = n_heads * head_dim, kv_row = n_kv_heads * head_dim;
    assert(n_kv_heads >= 1 && n_heads % n_kv_heads == 0 && n_heads <= ATTENTION_HEADS_LARGEST);
    assert(head_dim >= 1 && window >= 0 && (int64_t)n + n_texts <= ATTENTION_ROWS_LARGEST);
    assert(q_stride >= q_row && kv_stride >= kv_row && is_vector(scratch));
    assert(dq_stride >= q_row && dkv_stride >= kv_row);
    TRY(check_heads(head_dim, err));
    if (n == 0)
        return STATUS_OK;
    bool vectors = is_vector(dq) && is_vector(dk) && is_vector(dv) && is_vector(dout) &&
                   is_vector(out) && is_vector(q) && is_vector(k) && is_vector(v) &&
                   head_dim % 8 == 0 && dq_stride % 8 == 0 && dkv_stride % 8 == 0 &&
                   q_stride % 8 == 0 && kv_stride % 8 == 0;
    while (instance->head_dim < head_dim || instance->vectors != vectors)
        instance++;
    int group = n_heads / n_kv_heads, keys_seen = window > 0 ? window : INT_MAX;
    float scale_of_two = scale * LOG2_E;
    void *values[] = {&dq,        &dk,       &dv,           &dout,       &out,   &q,
                      &k,         &v,        &cu_seqlens,   &scratch,    &n,     &n_texts,
                      &group,     &head_dim, &dq_stride,    &dkv_stride, &q_row, &q_stride,
                      &kv_stride, &scale,    &scale_of_two, &keys_seen};
    /* Of heads of more than 128 the warps' own rows lie there too, in front of the stages, and a
     * block of the second pass has half of the columns. */
    bool wide = instance->head_dim > 128;
    unsigned row = 2 * 2 * (unsigned)instance->head_dim, own = wide ? ROWS * row : 0;
    unsigned tiles = 2 * (unsigned)instance->tile, slots = (unsigned)(n / ROWS + n_texts);
    TRY(cuda_launch(device->cuda,
                    &(struct cuda_launch){
                        .image = "attention_bwd",
                        .name = instance->by_queries,
                        .grid = {slots, (unsigned)n_heads, 1},
                        .block = {128, 1, 1},
                        .shared = own + tiles * row,
                        .values = values,
                    },
                    err));
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "attention_bwd",
                           .name = instance->by_keys,
                           .grid = {slots, (unsigned)n_kv_heads, wide ? 2 : 1},
                           .block = {128, 1, 1},
                           .shared = own + tiles * (row + 16), /* of a query: its statistics */
                           .values = values,
                       },
                       err);
}
