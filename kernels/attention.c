/* Packed causal attention: CPU code and dispatch (the CUDA launch is attention_cuda.c).
 *
 * A task is one block of queries of one text under one kv head, with all query heads of that kv
 * head: they read the same keys. The rows of a task (attention_tiles.h) are worked on in tiles of
 * TILE_ROWS. Keys are walked in blocks of KEY_BLOCK from the text's
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
#include "kernels/attention_tiles.h"

#define KEY_BLOCK 128 /* with head_dim 64, K and V panels are 32 KB each: L1 and L2 hold them */
#define TASK_ROWS 192 /* packing a key costs about as much as two rows of arithmetic on it: 1 % */
#define SCORE_ROW (KEY_BLOCK + 8) /* masking writes whole vectors and may run over by 7 */

struct attention_job {
    struct device *device;
    struct attention_shape shape;
    float *out;
    const float *q, *k, *v;
    int block; /* positions of a query block */
    int n_tasks;
};

/* The keys and values of one block. AVX2 reads panels, the portable code the tensors. */
struct key_block {
    const float *k, *v; /* (n_keys, head_dim), rows `stride` floats apart */
    size_t stride;
    float *k_panels; /* (n_keys / 16, head_dim, 16): key by key in a row; zeros behind the last */
    float *v_panels; /* (head_dim / 16, KEY_BLOCK, 16): columns in a row; zeros behind the last */
};

/* ---- portable ------------------------------------------------------------------------------- */

static void row_portable(const struct attention_job *job, const struct tile *tile, int row,
                         struct softmax_state *state, const struct key_block *keys)
{
    float p[KEY_BLOCK], *out = job->out + tile->offset[row];
    int begin = tile->n_hidden[row], end = tile->n_visible[row], d = job->shape.head_dim;
    for (int key = begin; key < end; key++)
        p[key] = dot_portable(job->q + tile->offset[row], keys->k + (size_t)key * keys->stride, d);
    float decay = softmax_row(p, begin, end, state, row, job->shape.scale, tile->is_first);
    for (int j = 0; j < d; j++)
        out[j] = tile->is_first ? 0 : out[j] * decay;
    for (int key = begin; key < end; key++)
        add_portable(out, keys->v + (size_t)key * keys->stride, p[key], d);
    if (tile->is_last)
        for (int j = 0; j < d; j++)
            out[j] /= state->sum[row];
}

static void tile_portable(const struct attention_job *job, const struct tile *tile,
                          struct softmax_state *state, const struct key_block *keys)
{
    for (int row = 0; row < tile->n_rows; row++)
        row_portable(job, tile, row, state, keys);
}

/* ---- AVX2 ----------------------------------------------------------------------------------- */

#if CPU_X86
TARGET_AVX2
static void tile_avx2(const struct attention_job *job, const struct tile *tile,
                      struct softmax_state *state, const struct key_block *keys)
{
    _Alignas(32) float scores[TILE_ROWS * SCORE_ROW];
    float decay[8], factor[8];
    int d = job->shape.head_dim;
    size_t depth = (size_t)(d + 7) / 8 * 8;
    for (int key = tile->begin; key < tile->end; key += PANEL)
        score_panel(scores + key, SCORE_ROW, job->q, tile->offset,
                    keys->k_panels + (size_t)key * depth, d);
    softmax_tile(scores, SCORE_ROW, decay, tile, state, job->shape.scale);
    __m256 one = _mm256_set1_ps(1.0f);
    _mm256_storeu_ps(factor, tile->is_last ? _mm256_div_ps(one, _mm256_loadu_ps(state->sum)) : one);
    for (int j = 0; j < d; j += PANEL)
        weigh_panel(job->out + j, tile->offset, tile->n_rows, d - j, scores, SCORE_ROW, 1,
                    keys->v_panels + (size_t)j * KEY_BLOCK, tile->begin, tile->end,
                    tile->is_first ? NULL : decay, factor);
}
#endif

/* ---- tasks ---------------------------------------------------------------------------------- */

/* A worker's scratch: K panels, V panels, one softmax_state a tile. */
static size_t panel_floats(int head_dim)
{
    return (size_t)(head_dim + PANEL - 1) / PANEL * PANEL * KEY_BLOCK;
}

static void set_key_block(struct key_block *keys, const struct attention_job *job,
                          const struct row_block *rows, int first_key, int last_key)
{
    const struct attention_shape *shape = &job->shape;
    size_t offset = key_offset(shape, rows, first_key);
    keys->stride = (size_t)shape->n_kv_heads * (size_t)shape->head_dim;
    keys->k = job->k + offset;
    keys->v = job->v + offset;
#if CPU_X86
    if (job->device->isa == CPU_AVX2) {
        int left = last_key - first_key, n_keys = left < KEY_BLOCK ? left : KEY_BLOCK;
        pack_keys(keys->k_panels, keys->k, keys->stride, n_keys, shape->head_dim);
        for (int key = 0; key < n_keys; key++)
            pack_row(keys->v_panels, keys->v + (size_t)key * keys->stride, key, KEY_BLOCK,
                     shape->head_dim);
    }
#endif
}

static void attention_task(void *context, int task, int worker)
{
    const struct attention_job *job = context;
    const struct attention_shape *shape = &job->shape;
    /* Late blocks of a text have the most keys: the last slots go first, so that no worker starts
     * on the longest task when the others are done. */
    int backwards = job->n_tasks - 1 - task, group = heads_of_group(shape), text, block;
    if (!find_block(&text, &block, shape, backwards / shape->n_kv_heads, 1, job->block))
        return;
    int begin = shape->cu_seqlens[text], length = shape->cu_seqlens[text + 1] - begin;
    int first = block * job->block;
    int last = length - first < job->block ? length : first + job->block;
    struct row_block rows = {begin, backwards % shape->n_kv_heads, first * group, last * group};
    struct key_block keys;
    keys.k_panels = device_scratch(job->device, worker);
    keys.v_panels = keys.k_panels + panel_floats(shape->head_dim);
    struct softmax_state *states = (void *)(keys.v_panels + panel_floats(shape->head_dim));
    int first_key = first_visible(shape, first) / KEY_BLOCK * KEY_BLOCK;
    for (; first_key < last; first_key += KEY_BLOCK) {
        set_key_block(&keys, job, &rows, first_key, last);
        for (int row = rows.first; row < rows.last; row += TILE_ROWS) {
            struct tile tile;
            struct softmax_state *state = &states[(row - rows.first) / TILE_ROWS];
            if (!set_tile(&tile, shape, &rows, row, first_key, KEY_BLOCK))
                continue;
#if CPU_X86
            if (job->device->isa == CPU_AVX2) {
                tile_avx2(job, &tile, state, &keys);
                continue;
            }
#endif
            tile_portable(job, &tile, state, &keys);
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
        .shape =
            attention_shape_of(cu_seqlens, n_texts, n_heads, n_kv_heads, head_dim, scale, window),
        .out = out,
        .q = q,
        .k = k,
        .v = v,
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
