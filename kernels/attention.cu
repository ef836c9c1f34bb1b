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
#include "kernels/cuda.cuh"
#include "kernels/tensor.cuh"

#define QUERIES 64
#define THREADS 128
#define ALL     0xFFFFFFFFu

typedef __nv_bfloat16 bf16;

/* ---- which queries -------------------------------------------------------------------------- */

/* The last text whose first slot is not beyond `slot`: each lane looks at one of 32 places, until
 * they lie side by side. Two rounds for up to 1,024 texts. Each warp looks for itself: the others
 * would only wait for the one. */
static __device__ __forceinline__ int find_text(const int *cu_seqlens, int n_texts, int slot)
{
    int lane = threadIdx.x % 32, low = 0, n = n_texts;
    while (n > 1) {
        int step = (n + 31) / 32, ahead = lane * step;
        bool begins = ahead < n && cu_seqlens[low + ahead] / QUERIES + low + ahead <= slot;
        ahead = step * (__popc(__ballot_sync(ALL, begins)) - 1);
        low += ahead;
        n = min(step, n - ahead);
    }
    return low;
}

/* ---- tiles in shared memory ----------------------------------------------------------------- */

/* A tile's rows are D elements, in chunks of 8. The 8 rows that a quarter of an ldmatrix reads lie
 * in different banks where the chunks of row r change places: by XOR with r % 8 in rows of 128
 * bytes or a multiple, with r / 2 % 4 in rows of 64 bytes or an odd multiple, two of which fill the
 * banks. */
template <int D> static __device__ __forceinline__ int chunk_offset(int row, int chunk)
{
    int turn = D % 64 == 0 ? row % 8 : row / 2 % 4;
    return row * D * 2 + 16 * (chunk ^ turn);
}

/* Keys' tile `tile` of the text at k and v into its stage, whole up to key `end` of the text; up to
 * the next multiple of 16, and in columns behind head_dim, zeros. (0 times whatever lay there might
 * be NaN.) */
template <int D, int KEYS, bool VECTORS>
static __device__ __forceinline__ void load_stage(char *stages, const bf16 *k, const bf16 *v,
                                                  int stride, int tile, int end, int head_dim)
{
    const int chunks = D / 8, bytes = KEYS * D * 2;
    int n_there = min(end - tile * KEYS, KEYS), n_filled = (n_there + 15) / 16 * 16;
    char *to = stages + tile % 2 * 2 * bytes;
    k += (size_t)(tile * KEYS) * stride;
    v += (size_t)(tile * KEYS) * stride;
    if (VECTORS) {
#pragma unroll
        for (int i = 0; i < KEYS * chunks / THREADS; i++) {
            /* Where a row's chunks divide the block a thread keeps to one column. */
            int at = THREADS % chunks ? threadIdx.x + THREADS * i : threadIdx.x;
            int row = at / chunks + (THREADS % chunks ? 0 : THREADS / chunks * i);
            int chunk = at % chunks;
            size_t from = (size_t)row * stride + 8 * chunk;
            bool there = row < n_there && 8 * chunk < head_dim;
            if (row < n_filled) {
                copy16(to + chunk_offset<D>(row, chunk), k + from, there);
                copy16(to + bytes + chunk_offset<D>(row, chunk), v + from, there);
            }
        }
    } else {
        for (int at = threadIdx.x; at < n_filled * D; at += THREADS) {
            int row = at / D, column = at % D;
            int offset = chunk_offset<D>(row, column / 8) + column % 8 * 2;
            bool there = row < n_there && column < head_dim;
            size_t from = (size_t)row * stride + column;
            *(bf16 *)(to + offset) = there ? k[from] : __float2bfloat16_rn(0.0f);
            *(bf16 *)(to + bytes + offset) = there ? v[from] : __float2bfloat16_rn(0.0f);
        }
    }
}

/* ---- rows in registers ---------------------------------------------------------------------- */

/* Among the four lanes of a quad: word j of lane i becomes word i of lane j. A fragment has word i
 * of four chunks in lane i; memory wants whole chunks, 64 bytes a row. */
static __device__ __forceinline__ void transpose_quad(unsigned *word)
{
#pragma unroll
    for (int bit = 1; bit <= 2; bit *= 2)
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (!(j & bit)) {
                bool high = threadIdx.x & bit;
                unsigned kept = high ? word[j | bit] : word[j];
                unsigned other = __shfl_xor_sync(ALL, high ? word[j] : word[j | bit], bit);
                word[j] = high ? other : kept;
                word[j | bit] = high ? kept : other;
            }
}

static __device__ __forceinline__ unsigned element(const bf16 *row, int column, int head_dim)
{
    return column < head_dim ? __bfloat16_as_ushort(row[column]) : 0u;
}

/* 16 rows of q as fragments: row lane / 4 in words 0 and 2, the row 8 further in 1 and 3. Behind
 * n_there rows and head_dim columns zeros. */
template <int D, bool VECTORS>
static __device__ __forceinline__ void load_queries(unsigned (*queries)[4], const bf16 *q,
                                                    int stride, int n_there, int head_dim)
{
    int row = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    if (VECTORS) {
        uint4 chunks[D / 32][2];
#pragma unroll
        for (int c = 0; c < D / 32; c++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                int column = 8 * (4 * c + t);
                chunks[c][h] = make_uint4(0, 0, 0, 0);
                if (row + 8 * h < n_there && column < head_dim)
                    chunks[c][h] = *(const uint4 *)(q + (size_t)(row + 8 * h) * stride + column);
            }
#pragma unroll
        for (int c = 0; c < D / 32; c++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                uint4 chunk = chunks[c][h];
                unsigned word[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
                transpose_quad(word);
                queries[2 * c][h] = word[0];
                queries[2 * c][h + 2] = word[1];
                queries[2 * c + 1][h] = word[2];
                queries[2 * c + 1][h + 2] = word[3];
            }
    } else {
#pragma unroll
        for (int s = 0; s < D / 16; s++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const bf16 *from = q + (size_t)(row + i % 2 * 8) * stride;
                int column = 16 * s + i / 2 * 8 + 2 * t;
                queries[s][i] = row + i % 2 * 8 < n_there
                                    ? element(from, column, head_dim) |
                                          element(from, column + 1, head_dim) << 16
                                    : 0u;
            }
    }
}

static __device__ __forceinline__ float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(ALL, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL, x, 2));
}

static __device__ __forceinline__ float quad_sum(float x)
{
    x += __shfl_xor_sync(ALL, x, 1);
    return x + __shfl_xor_sync(ALL, x, 2);
}

/* At a multiple of 16. As an assignment the compiler makes four stores of some, each of which would
 * touch half of its sectors. */
static __device__ __forceinline__ void store16(bf16 *to, const unsigned *word)
{
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
                 "r"(word[0]), "r"(word[1]), "r"(word[2]), "r"(word[3])
                 : "memory");
}

/* 16 rows of sums (accumulators of D / 8 mma), divided by their totals, to n_there rows of out. */
template <int D, bool VECTORS>
static __device__ __forceinline__ void store_rows(bf16 *out, int stride, float (*sums)[4],
                                                  const float *total, int n_there, int head_dim)
{
    int t = threadIdx.x % 4;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int row = threadIdx.x % 32 / 4 + 8 * h;
        float factor = 1.0f / quad_sum(total[h]);
        bf16 *to = out + (size_t)row * stride;
#pragma unroll
        for (int c = 0; c < D / 32; c++) {
            unsigned word[4];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float *pair = &sums[4 * c + j][2 * h];
                word[j] = pack(pair[0] * factor, pair[1] * factor);
            }
            if (VECTORS) {
                int column = 8 * (4 * c + t);
                transpose_quad(word);
                if (row < n_there && column < head_dim)
                    store16(to + column, word);
            } else {
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    int column = 8 * (4 * c + i / 2) + 2 * t + i % 2;
                    if (row < n_there && column < head_dim)
                        to[column] =
                            __ushort_as_bfloat16((unsigned short)(word[i / 2] >> i % 2 * 16));
                }
            }
        }
    }
}

/* ---- a tile of keys ------------------------------------------------------------------------- */

/* 2^x, within 2^-22 of it; 0 for -inf and where it is less than 2^-126. */
static __device__ __forceinline__ float power_of_two(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* What a warp keeps of its 16 rows; a lane has two of them, lane / 4 and the one 8 further. */
template <int D> struct rows {
    unsigned queries[D / 16][4];
    float sums[D / 8][4]; /* of probability times v, as mma accumulates them */
    float largest[2];     /* score so far, the same in a quad */
    float total[2];       /* of the probabilities, each lane's own */
};

/* at: where in the tile the lane's row and chunk of 16 rows lie, for 4 or 2 pairs of chunks, after
 * which they come again; values lie `bytes` behind keys. MASKED: the first n_groups groups of 16
 * keys have some that a row sees; `above` is how far the lane's first query stands behind its first
 * key. scale: times log2(e). */
template <int D, int KEYS, bool MASKED>
static __device__ __forceinline__ void add_tile(rows<D> &r, const unsigned *at, int n_groups,
                                                int above, int window, float scale)
{
    const int bytes = KEYS * D * 2, period = D % 64 == 0 ? 4 : 2;
    const int steps = D / 16, groups = KEYS / 16;
    float scores[KEYS / 8][4] = {};
    /* Masked, a group at a time, for the sake of few branches; otherwise in turns, so that more mma
     * are under way. */
#pragma unroll
    for (int i = 0; i < steps * groups; i++) {
        const int s = MASKED ? i % steps : i / groups, g = MASKED ? i / steps : i % groups;
        unsigned key[4];
        if (MASKED && g >= n_groups)
            continue;
        load_matrices(key, at[s % period] + 32 * (s - s % period) + g * 16 * D * 2);
        mma(scores[2 * g], r.queries[s], key[0], key[2]);
        mma(scores[2 * g + 1], r.queries[s], key[1], key[3]);
    }
    if (MASKED) {
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if ((unsigned)(above + e / 2 * 8 - 8 * j - e % 2) >= (unsigned)window)
                    scores[j][e] = -INFINITY;
    }
    float decay[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float now = r.largest[h];
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
            now = fmaxf(now, fmaxf(scores[j][2 * h], scores[j][2 * h + 1]));
        now = quad_max(now);
        /* The difference before the scale: 0 for the largest score, whatever its size. */
        decay[h] = power_of_two((r.largest[h] - now) * scale);
        r.largest[h] = now;
        r.total[h] *= decay[h];
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int e = 2 * h; e < 2 * h + 2; e++) {
                scores[j][e] = power_of_two((scores[j][e] - now) * scale);
                r.total[h] += scores[j][e];
            }
    }
    /* The later the tile, the fewer rows find a larger score; times 1 changes no bit. */
    if (__any_sync(ALL, decay[0] != 1.0f || decay[1] != 1.0f)) {
#pragma unroll
        for (int j = 0; j < D / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                r.sums[j][e] *= decay[e / 2];
    }
#pragma unroll
    for (int g = 0; g < groups; g++) {
        unsigned p[4] = {pack(scores[2 * g][0], scores[2 * g][1]),
                         pack(scores[2 * g][2], scores[2 * g][3]),
                         pack(scores[2 * g + 1][0], scores[2 * g + 1][1]),
                         pack(scores[2 * g + 1][2], scores[2 * g + 1][3])};
        if (MASKED && g >= n_groups)
            continue;
#pragma unroll
        for (int s = 0; s < steps; s++) {
            unsigned value[4];
            load_matrices<true>(value, at[s % period] + 32 * (s - s % period) + g * 16 * D * 2 +
                                              bytes);
            mma(r.sums[2 * s], p, value[0], value[1]);
            mma(r.sums[2 * s + 1], p, value[2], value[3]);
        }
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
    int text = find_text(o.cu_seqlens, o.n_texts, slot);
    int begin = o.cu_seqlens[text], length = o.cu_seqlens[text + 1] - begin;
    int first_query = QUERIES * (slot - begin / QUERIES - text);
    if (first_query >= length)
        return;
    int end = min(first_query + QUERIES, length);
    int first_tile = max(first_query - o.window + 1, 0) / KEYS, last_tile = (end - 1) / KEYS;
    const bf16 *k = o.k + (size_t)begin * o.kv_stride + head / o.group * o.head_dim;
    const bf16 *v = o.v + (size_t)begin * o.kv_stride + head / o.group * o.head_dim;

    /* Two tiles at once: many texts have no third. */
    load_stage<D, KEYS, VECTORS>(stages, k, v, o.kv_stride, first_tile, end, o.head_dim);
    commit();
    if (first_tile < last_tile)
        load_stage<D, KEYS, VECTORS>(stages, k, v, o.kv_stride, first_tile + 1, end, o.head_dim);
    commit();

    int row = first_query + 16 * warp; /* the warp's first; it may have none */
    rows<D> r = {};
    if (row < end)
        load_queries<D, VECTORS>(r.queries,
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
            load_stage<D, KEYS, VECTORS>(stages, k, v, o.kv_stride, tile + 1, end, o.head_dim);
        commit();
        if (row >= end || n_groups <= 0 || first_key + KEYS <= row - o.window + 1)
            continue;
        unsigned at[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            at[i] = opaque((lane_at + tile % 2 * 2 * KEYS * D * 2) ^ (32 * i));
        if (n_groups > KEYS / 16 && first_key > row + 15 - o.window)
            add_tile<D, KEYS, false>(r, at, 0, 0, 0, o.scale);
        else
            add_tile<D, KEYS, true>(r, at, n_groups,
                                    row + lane / 4 - first_key - 2 * (lane % 4), o.window, o.scale);
    }
    if (row < end)
        store_rows<D, VECTORS>(o.out + ((size_t)(begin + row) * gridDim.y + head) * o.head_dim,
                               gridDim.y * o.head_dim, r.sums, r.total, end - row, o.head_dim);
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
