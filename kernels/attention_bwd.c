/* The gradient of packed causal attention: the order of its work, and dispatch. The arithmetic of
 * one block of rows against one block of keys is attention_pair.c's.
 *
 * Row block i and key block j meet where j * group <= i (both have the same size, and `group` heads
 * make as many rows of a position) and the window allows. The order is fixed: dk and dv of a key
 * block take row blocks in ascending order, dq of a row block takes key blocks in descending order.
 * Two schedules keep to it:
 *
 *     by heads   a task is one text under one kv head: for i ascending, for j descending
 *     by rounds  in round t, the tasks are the pairs (i = j * group + t, j) of all j, texts and kv
 *                heads: no two have the same i or j, so that each may add where it likes
 *
 * Rounds serve long texts where there are fewer heads than threads could work on. They pack more
 * often, and keep maximum and sum of all rows, in what the workers' scratch has left. */
#include "kernels/attention.h"

#include <assert.h>
#include "kernels/attention_pair.h"

struct backward_job {
    struct attention_gradient gradient;
    int round;
    size_t states_of_worker; /* by rounds: block_states that a worker's scratch has room for */
};

static int length_of(const struct attention_shape *shape, int text)
{
    return shape->cu_seqlens[text + 1] - shape->cu_seqlens[text];
}

/* Row block i of a text under a kv head. Returns false where the text has none. */
static bool set_rows(struct row_block *rows, const struct attention_shape *shape, int text,
                     int kv_head, int i)
{
    int n = length_of(shape, text) * heads_of_group(shape);
    int64_t first = (int64_t)i * BLOCK_ROWS;
    if (first >= n)
        return false;
    int last = n - first < BLOCK_ROWS ? n : (int)first + BLOCK_ROWS;
    *rows = (struct row_block){shape->cu_seqlens[text], kv_head, (int)first, last};
    return true;
}

/* ---- by heads ------------------------------------------------------------------------------- */

static void heads_task(void *context, int task, int worker)
{
    const struct attention_gradient *g = &((const struct backward_job *)context)->gradient;
    int text = task / g->shape.n_kv_heads, kv_head = task % g->shape.n_kv_heads;
    struct block_states *states = pair_states(g, worker);
    struct row_block rows;
    for (int i = 0; set_rows(&rows, &g->shape, text, kv_head, i); i++) {
        struct key_range range = range_of(&g->shape, &rows);
        pair_prepare_rows(g, &rows, worker);
        if (!is_alone(&range))
            pair_find_states(states, g, &rows, worker);
        for (int j = range.last; j >= range.first; j--)
            pair_run(g, &rows, length_of(&g->shape, text), j, states, worker);
    }
}

/* ---- by rounds ------------------------------------------------------------------------------ */

/* The states of row block i, in what the workers' scratch has left. */
static struct block_states *states_at(const struct backward_job *job, int text, int kv_head, int i)
{
    const struct attention_gradient *g = &job->gradient;
    const struct attention_shape *shape = &g->shape;
    size_t slot = (size_t)(block_slot(shape, text, heads_of_group(shape), BLOCK_ROWS) + i);
    size_t index = slot * (size_t)shape->n_kv_heads + (size_t)kv_head;
    char *scratch = device_scratch(g->device, (int)(index / job->states_of_worker));
    return (struct block_states *)(scratch + pair_scratch_bytes(shape->head_dim)) +
           index % job->states_of_worker;
}

static void states_task(void *context, int task, int worker)
{
    const struct backward_job *job = context;
    const struct attention_gradient *g = &job->gradient;
    const struct attention_shape *shape = &g->shape;
    struct row_block rows;
    int kv_head = task % shape->n_kv_heads, text, i;
    if (!find_block(&text, &i, shape, task / shape->n_kv_heads, heads_of_group(shape), BLOCK_ROWS))
        return;
    set_rows(&rows, shape, text, kv_head, i);
    struct key_range range = range_of(shape, &rows);
    if (!is_alone(&range))
        pair_find_states(states_at(job, text, kv_head, i), g, &rows, worker);
}

static void round_task(void *context, int task, int worker)
{
    const struct backward_job *job = context;
    const struct attention_gradient *g = &job->gradient;
    const struct attention_shape *shape = &g->shape;
    struct row_block rows;
    int kv_head = task % shape->n_kv_heads, text, j;
    if (!find_block(&text, &j, shape, task / shape->n_kv_heads, 1, BLOCK_KEYS))
        return;
    int i = j * heads_of_group(shape) + job->round;
    if (!set_rows(&rows, shape, text, kv_head, i) || j < range_of(shape, &rows).first)
        return; /* no such rows, or the window hides the keys from them */
    pair_prepare_rows(g, &rows, worker);
    pair_run(g, &rows, length_of(shape, text), j, states_at(job, text, kv_head, i), worker);
}

static int longest_of(const struct attention_shape *shape)
{
    int longest = 0;
    for (int t = 0; t < shape->n_texts; t++)
        longest = length_of(shape, t) > longest ? length_of(shape, t) : longest;
    return longest;
}

/* True where tasks by heads would leave threads without work: one such task is more than a quarter
 * of a thread's share. */
static bool wants_rounds(const struct backward_job *job, int longest, int n_blocks)
{
    const struct attention_shape *shape = &job->gradient.shape;
    int n_threads = threads_size(job->gradient.device->threads);
    double work = 0;
    for (int t = 0; t < shape->n_texts; t++)
        work += (double)length_of(shape, t) * length_of(shape, t);
    return n_threads > 1 && longest > BLOCK_KEYS &&
           4.0 * longest * longest * n_threads > work * shape->n_kv_heads &&
           (size_t)n_blocks <= (size_t)n_threads * job->states_of_worker;
}

static void run_rounds(struct backward_job *job, int longest, int n_row_blocks)
{
    const struct attention_shape *shape = &job->gradient.shape;
    struct threads *threads = job->gradient.device->threads;
    int64_t group = heads_of_group(shape);
    int n_key_blocks = block_slot(shape, shape->n_texts, 1, BLOCK_KEYS) * shape->n_kv_heads;
    /* The last row that sees a key of a block, from the block's first. */
    int64_t reach = (int64_t)shape->window + BLOCK_KEYS - 1;
    int64_t n_rows = (reach < longest ? reach : longest) * group;
    threads_run(threads, n_row_blocks, states_task, job);
    for (job->round = 0; (int64_t)job->round * BLOCK_ROWS < n_rows; job->round++)
        threads_run(threads, n_key_blocks, round_task, job);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

void attention_bwd_cpu(struct device *device, float *dq, float *dk, float *dv, const float *dout,
                       const float *out, const float *q, const float *k, const float *v,
                       const int32_t *cu_seqlens, int n_texts, int n_heads, int n_kv_heads,
                       int head_dim, float scale, int window)
{
    assert(n_kv_heads >= 1 && n_heads % n_kv_heads == 0 && n_heads <= ATTENTION_HEADS_LARGEST);
    assert(head_dim >= 1 && head_dim <= ATTENTION_HEAD_DIM_LARGEST && window >= 0);
    if (n_texts == 0)
        return;
    assert((int64_t)cu_seqlens[n_texts] + n_texts <= ATTENTION_ROWS_LARGEST);
    struct backward_job job = {
        .gradient = {device,
                     attention_shape_of(cu_seqlens, n_texts, n_heads, n_kv_heads, head_dim, scale,
                                        window),
                     dq, dk, dv, dout, out, q, k, v},
        .states_of_worker =
            (DEVICE_SCRATCH_BYTES - pair_scratch_bytes(head_dim)) / sizeof(struct block_states),
    };
    const struct attention_shape *shape = &job.gradient.shape;
    int longest = longest_of(shape), group = heads_of_group(shape);
    int n_row_blocks = block_slot(shape, n_texts, group, BLOCK_ROWS) * n_kv_heads;
    if (wants_rounds(&job, longest, n_row_blocks))
        run_rounds(&job, longest, n_row_blocks);
    else
        threads_run(device->threads, n_texts * n_kv_heads, heads_task, &job);
}

enum status attention_bwd(struct device *device, void *dq, void *dk, void *dv, const void *dout,
                          const void *out, const void *q, const void *k, const void *v,
                          const int32_t *cu_seqlens, int n, int n_texts, int n_heads,
                          int n_kv_heads, int head_dim, float scale, int window, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        assert(n == (n_texts ? cu_seqlens[n_texts] : 0));
        attention_bwd_cpu(device, dq, dk, dv, dout, out, q, k, v, cu_seqlens, n_texts, n_heads,
                          n_kv_heads, head_dim, scale, window);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("attention_bwd", err);
}
