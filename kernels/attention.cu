/* Packed causal attention on a GPU. See attention.h.
 *
 * A block of 4 warps takes 64 queries of one text under one head, a warp 16 of them; keys come in
 * tiles of KEYS, counted from the text's first, two of which lie in shared memory while a third may
 * be on its way:
 *
 *     loaded      tile t+1 ........  tile t+2 ........     by all warps, 16 bytes a thread and copy
 *     barrier   |                  |
 *     computed    scores, softmax, weighted sum of tile t  by the warps whose queries see it
 *
 * Queries live in registers as fragments of mma.m16n8k16, scores and sums as its accumulators, and
 * the probabilities of a tile become fragments of the second product where they lie. So shared
 * memory is read for K and V alone, 16 bytes a lane and ldmatrix.
 *
 * Which text. The host knows only the number of texts, so blocks have slots: text t owns those from
 * cu_seqlens[t] / 64 + t on. They are always enough, since floor((c + length) / 64) + 1 >=
 * floor(c / 64) + ceil(length / 64); a block whose slot nobody uses leaves at once. Slots are taken
 * from the last on, since late tiles of a long text have the most keys.
 *
 * Order of summation. A score is one chain of head_dim / 16 mma. A row's sums run over the tiles
 * from the first that its warp sees, and over the keys of a tile in order; the sum of probabilities
 * in four chains, by key / 2 modulo 4, which are added at the end. All of that is fixed by the
 * query's position in its text and by the window; keys that other rows of the warp see add zeros.
 * A tile in which a row sees no key (under a window) leaves it with a largest score of -FLT_MAX and
 * sums of 0, which is how it began. */
#include <cfloat>
#include "kernels/attention.cuh"

/* ---- a tile of keys ------------------------------------------------------------------------- */

/* What a warp keeps of its 16 rows; a lane has two of them, lane / 4 and the one 8 further. */
template <int D> struct rows {
    unsigned queries[D / 16][4];
    float sums[D / 8][4]; /* of probability times v, as mma accumulates them */
    float largest[2];     /* score so far, the same in a quad */
    float total[2];       /* of the probabilities, each lane's own */
};

/* at: places of the lane's row of a group of 16 keys; values lie `bytes` behind keys. MASKED: the
 * first n_groups groups have some that a row sees; `above` is how far the lane's first query stands
 * behind its first key. scale: times log2(e). */
template <int D, int KEYS, bool MASKED>
static __device__ __forceinline__ void add_tile(rows<D> &r, const unsigned *at, int n_groups,
                                                int above, int window, float scale)
{
    const int bytes = KEYS * D * 2, steps = D / 16, groups = KEYS / 16;
    float scores[KEYS / 8][4] = {};
    /* Masked, a group at a time, for the sake of few branches; otherwise in turns, so that more mma
     * are under way. */
#pragma unroll
    for (int i = 0; i < steps * groups; i++) {
        const int s = MASKED ? i % steps : i / groups, g = MASKED ? i / steps : i % groups;
        unsigned key[4];
        if (MASKED && g >= n_groups)
            continue;
        load_matrices(key, place<D>(at, s) + g * 16 * D * 2);
        mma(scores[2 * g], r.queries[s], key[0], key[2]);
        mma(scores[2 * g + 1], r.queries[s], key[1], key[3]);
    }
    if (MASKED)
        hide<KEYS>(scores, above, window);
    weigh<D, KEYS>(scores, r.sums, r.largest, r.total, scale);
#pragma unroll
    for (int g = 0; g < groups; g++) {
        unsigned p[4];
        pack_fragment(p, scores + 2 * g);
        if (MASKED && g >= n_groups)
            continue;
        add_rows<D, D>(r.sums, p, at, g * 16 * D * 2 + bytes);
    }
}

/* ---- a tile of queries ---------------------------------------------------------------------- */

struct operands {
    bf16 *out;
    const bf16 *q, *k, *v;
    const int *cu_seqlens;
    int n_texts, group, head_dim, q_stride, kv_stride;
    float scale; /* times log2(e) */
    int window;
};

/* VECTORS: the rows of all four are whole vectors of 16 bytes. */
template <int D, int KEYS, bool VECTORS>
static __device__ __forceinline__ void attention(const operands &o)
{
    extern __shared__ __align__(128) char stages[]; /* 2 of (K, V) */
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, head = blockIdx.y;
    int slot = gridDim.x - 1 - blockIdx.x;
    const block_rows block(o.cu_seqlens, o.n_texts, slot);
    if (block.first >= block.length)
        return;
    int begin = block.begin, first_query = block.first, end = block.end;
    int first_tile = max(first_query - o.window + 1, 0) / KEYS, last_tile = (end - 1) / KEYS;
    const bf16 *k = o.k + (size_t)begin * o.kv_stride + head / o.group * o.head_dim;
    const bf16 *v = o.v + (size_t)begin * o.kv_stride + head / o.group * o.head_dim;

    /* Two tiles at once: many texts have no third. */
    load_keys<D, KEYS, VECTORS>(stages, k, v, o.kv_stride, first_tile, end, o.head_dim,
                                threadIdx.x);
    commit();
    if (first_tile < last_tile)
        load_keys<D, KEYS, VECTORS>(stages, k, v, o.kv_stride, first_tile + 1, end, o.head_dim,
                                    threadIdx.x);
    commit();

    int row = first_query + 16 * warp; /* the warp's first; it may have none */
    rows<D> r = {};
    if (row < end)
        load_fragments<D, VECTORS>(r.queries,
                                   o.q + (size_t)(begin + row) * o.q_stride + head * o.head_dim,
                                   o.q_stride, end - row, o.head_dim);
    r.largest[0] = r.largest[1] = -FLT_MAX;
    unsigned lane_at = shared_address(stages) + chunk_offset<D>(lane % 16, lane / 16);

    for (int tile = first_tile; tile <= last_tile; tile++) {
        int first_key = tile * KEYS, n_groups = (row + 16 - first_key) / 16;
        if (tile == first_tile)
            wait<1>();
        else
            wait<0>();
        /* Behind it the tile is there, and the one before it is done with. */
        __syncthreads();
        if (first_tile < tile && tile < last_tile)
            load_keys<D, KEYS, VECTORS>(stages, k, v, o.kv_stride, tile + 1, end, o.head_dim,
                                        threadIdx.x);
        commit();
        if (row >= end || n_groups <= 0 || first_key + KEYS <= row - o.window + 1)
            continue;
        unsigned at[4];
        set_places(at, lane_at + tile % 2 * 2 * KEYS * D * 2);
        if (n_groups > KEYS / 16 && first_key > row + 15 - o.window)
            add_tile<D, KEYS, false>(r, at, 0, 0, 0, o.scale);
        else
            add_tile<D, KEYS, true>(r, at, n_groups,
                                    row + lane / 4 - first_key - 2 * (lane % 4), o.window, o.scale);
    }
    if (row < end) {
        const float factor[2] = {1.0f / quad_sum(r.total[0]), 1.0f / quad_sum(r.total[1])};
        store_rows<D, VECTORS>(o.out + ((size_t)(begin + row) * gridDim.y + head) * o.head_dim,
                               gridDim.y * o.head_dim, r.sums, factor, end - row, o.head_dim);
    }
}

/* KEYS: as many as two stages of K and V in 32 KB allow, so that an SM with 100 KB has three
 * blocks; 64 at most. BLOCKS: of an SM, what registers must allow. */
#define KERNEL(NAME, D, KEYS, VECTORS, BLOCKS)                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                  \
        NAME(bf16 *out, const bf16 *q, const bf16 *k, const bf16 *v, const int *cu_seqlens,        \
             int n_texts, int group, int head_dim, int q_stride, int kv_stride, float scale,       \
             int window)                                                                           \
    {                                                                                              \
        const operands o = {out,      q,        k,         v,     cu_seqlens, n_texts, group,      \
                            head_dim, q_stride, kv_stride, scale, window};                         \
        attention<D, KEYS, VECTORS>(o);                                                            \
    }
#define KERNELS(D, KEYS, BLOCKS)                                                                   \
    KERNEL(attention_##D, D, KEYS, true, BLOCKS)                                                   \
    KERNEL(attention_##D##_elements, D, KEYS, false, 1)

KERNELS(32, 64, 4)
KERNELS(64, 64, 3)
KERNELS(96, 32, 3)
KERNELS(128, 32, 3)
KERNELS(256, 16, 1)
