/* The gradient of packed causal attention on a GPU. See attention.h; attention.cuh has what it
 * shares with attention.cu, whose first comment tells of slots, tiles and stages.
 *
 * Two launches, each with blocks of 4 warps for 64 rows of one text, 16 a warp. A warp's own rows
 * are the left operands of mma and stay where they are, the others come by tiles into two stages:
 *
 *     by queries   own q, dout     tiles of k, v         dq, and what the other needs of each row
 *     by keys      own k, v        tiles of q, dout      dk, dv
 *
 * Both compute probabilities again, since no sum may be put together by two blocks in the order of
 * their arrival: seven products instead of five. The pass by queries needs no pass for maximum and
 * sum in front. It takes both along, as the online softmax does, and multiplies what dq has so far
 * when a larger score comes: dq = scale / l sum_j exp(s_j - m) (dout . v_j - dout . out) k_j. It
 * leaves m, 1 / l and dout . out of each row and head; m and l apart, so that the largest score has
 * a difference of 0, whatever its size.
 *
 * The pass by keys goes through the heads of the group, and in each through the queries that see
 * one of its keys, so scores come transposed, a query a column:
 *
 *     S' = k q'    dP' = v dout'    dv += P' dout    dk += dS' q
 *
 * and probabilities become left operands of the last two where they lie, as in attention.cu.
 *
 * Heads of more than 128: registers do not hold a warp's own rows beside the sums, so that they
 * stay in shared memory; and a block of the pass by keys has half of the columns of dk and dv.
 *
 * Order of summation. Scores, dout . v: one chain of head_dim / 16 mma. dq: as a query's sums in
 * attention.cu. dk, dv: one chain of mma of 16 queries each, counted from the text's first, which
 * ascend, head after head of the group; groups of queries of which none sees one of the warp's keys
 * are left out, and what other keys of the warp see adds zeros. dout . out: a lane has chunks of 8
 * columns, every fourth, one chain; the four lanes are added. All of that is fixed by positions in
 * the text and the window. */
#include <cfloat>
#include "kernels/attention.cuh"

/* ---- a warp's own rows ---------------------------------------------------------------------- */

/* 16 rows of two matrices as fragments, or where they lie in shared memory. */
template <int D> struct own_rows {
    static const bool kept = D <= 128;
    unsigned x[2][kept ? D / 16 : 1][4];
    unsigned at[4]; /* places of the lane's row */
};

/* Columns 16 s and on of the first or second. */
template <int D>
static __device__ __forceinline__ void own_fragment(unsigned *a, const own_rows<D> &own, int which,
                                                    int s)
{
    if constexpr (own_rows<D>::kept) {
#pragma unroll
        for (int i = 0; i < 4; i++)
            a[i] = own.x[which][s][i];
    } else {
        load_matrices(a, place<D>(own.at, s) + which * ROWS * D * 2);
    }
}

/* A warp's rows of x and y, of which n_there are there. Where shared memory has them the block's
 * load_pair puts them to `shared`. */
template <int D, bool VECTORS>
static __device__ __forceinline__ void set_own(own_rows<D> &own, const char *shared, const bf16 *x,
                                               int x_stride, const bf16 *y, int y_stride,
                                               int n_there, int head_dim)
{
    if constexpr (own_rows<D>::kept) {
        load_fragments<D, VECTORS>(own.x[0], x, x_stride, n_there, head_dim);
        load_fragments<D, VECTORS>(own.x[1], y, y_stride, n_there, head_dim);
    } else {
        int row = threadIdx.x / 32 * 16 + threadIdx.x % 16, chunk = threadIdx.x % 32 / 16;
        set_places(own.at, shared_address(shared) + chunk_offset<D>(row, chunk));
    }
}

/* Bytes of shared memory in front of the stages. */
template <int D> struct own_bytes {
    static const int n = own_rows<D>::kept ? 0 : 2 * ROWS * D * 2;
};

/* ---- by queries ----------------------------------------------------------------------------- */

/* What the pass by queries leaves of a query and head. */
struct row_statistics {
    float largest;         /* score, not scaled */
    float reciprocal;      /* of the sum of 2^(scale (score - largest)) */
    float product, unused; /* dout . out */
};

/* What a warp keeps of its 16 queries; a lane has two of them, lane / 4 and the one 8 further. */
template <int D> struct query_rows {
    float sums[D / 8][4]; /* dq, not yet divided and scaled */
    float largest[2], total[2];
    float product[2];
};

/* dout . out of 16 rows, of which n_there are there. */
template <int D, bool VECTORS>
static __device__ __forceinline__ void multiply_rows(float *product, const bf16 *x, const bf16 *y,
                                                     int stride, int n_there, int head_dim)
{
    int t = threadIdx.x % 4;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int row = threadIdx.x % 32 / 4 + 8 * h;
        const bf16 *a = x + (size_t)row * stride, *b = y + (size_t)row * stride;
        float sum = 0;
#pragma unroll
        for (int c = 0; c < D / 32; c++) {
            int column = 8 * (4 * c + t);
            if (row >= n_there)
                continue;
            if (VECTORS) {
                if (column < head_dim) {
                    vector_of<bf16> left = vector_load(a + column), right = vector_load(b + column);
#pragma unroll
                    for (int i = 0; i < 8; i++)
                        sum += to_float(left.of[i]) * to_float(right.of[i]);
                }
            } else {
                for (int i = column; i < min(column + 8, head_dim); i++)
                    sum += to_float(a[i]) * to_float(b[i]);
            }
        }
        product[h] = quad_sum(sum);
    }
}

/* As add_tile in attention.cu: at, n_groups, above and scale are its own. */
template <int D, int KEYS, bool MASKED>
static __device__ __forceinline__ void add_keys(query_rows<D> &r, const own_rows<D> &own,
                                                const unsigned *at, int n_groups, int above,
                                                int window, float scale)
{
    const int bytes = KEYS * D * 2, steps = D / 16, groups = KEYS / 16;
    float scores[KEYS / 8][4] = {}, slopes[KEYS / 8][4] = {}; /* q . k, dout . v */
#pragma unroll
    for (int i = 0; i < steps * groups; i++) {
        const int s = MASKED ? i % steps : i / groups, g = MASKED ? i / steps : i % groups;
        unsigned key[4], value[4], a[4];
        if (MASKED && g >= n_groups)
            continue;
        load_matrices(key, place<D>(at, s) + g * 16 * D * 2);
        load_matrices(value, place<D>(at, s) + g * 16 * D * 2 + bytes);
        own_fragment<D>(a, own, 0, s);
        mma(scores[2 * g], a, key[0], key[2]);
        mma(scores[2 * g + 1], a, key[1], key[3]);
        own_fragment<D>(a, own, 1, s);
        mma(slopes[2 * g], a, value[0], value[2]);
        mma(slopes[2 * g + 1], a, value[1], value[3]);
    }
    if (MASKED)
        hide<KEYS>(scores, above, window);
    weigh<D, KEYS>(scores, r.sums, r.largest, r.total, scale);
#pragma unroll
    for (int g = 0; g < groups; g++) {
        unsigned ds[4];
        if (MASKED && g >= n_groups)
            continue;
#pragma unroll
        for (int j = 2 * g; j < 2 * g + 2; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                scores[j][e] *= slopes[j][e] - r.product[e / 2];
        pack_fragment(ds, scores + 2 * g);
        add_rows<D, D>(r.sums, ds, at, g * 16 * D * 2);
    }
}

struct operands {
    bf16 *dq, *dk, *dv;
    const bf16 *dout, *out, *q, *k, *v;
    const int *cu_seqlens;
    row_statistics *statistics; /* (heads, n) */
    int n, n_texts, group, head_dim, dq_stride, dkv_stride, out_stride, q_stride, kv_stride;
    float scale, scale_of_two; /* the latter times log2(e) */
    int window;
};

/* VECTORS: the rows of all are whole vectors of 16 bytes. */
template <int D, int KEYS, bool VECTORS>
static __device__ __forceinline__ void by_queries(const operands &o)
{
    extern __shared__ __align__(128) char shared[]; /* own rows; 2 of (K, V) */
    char *stages = shared + own_bytes<D>::n;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, head = blockIdx.y;
    int slot = gridDim.x - 1 - blockIdx.x; /* late ones, which have the most keys, first */
    const block_rows block(o.cu_seqlens, o.n_texts, slot);
    if (block.first >= block.length)
        return;
    int begin = block.begin, first_query = block.first, end = block.end;
    int first_tile = max(first_query - o.window + 1, 0) / KEYS, last_tile = (end - 1) / KEYS;
    const bf16 *k = o.k + (size_t)begin * o.kv_stride + head / o.group * o.head_dim;
    const bf16 *v = o.v + (size_t)begin * o.kv_stride + head / o.group * o.head_dim;

    if (!own_rows<D>::kept) {
        size_t first = (size_t)(begin + first_query);
        load_pair<D, ROWS, VECTORS>(shared, o.q + first * o.q_stride + head * o.head_dim,
                                    o.q_stride, o.dout + first * o.out_stride + head * o.head_dim,
                                    o.out_stride, end - first_query, o.head_dim, threadIdx.x);
    }
    load_keys<D, KEYS, VECTORS>(stages, k, v, o.kv_stride, first_tile, end, o.head_dim,
                                threadIdx.x);
    commit();
    if (first_tile < last_tile)
        load_keys<D, KEYS, VECTORS>(stages, k, v, o.kv_stride, first_tile + 1, end, o.head_dim,
                                    threadIdx.x);
    commit();

    int row = first_query + 16 * warp; /* the warp's first; it may have none */
    query_rows<D> r = {};
    own_rows<D> own = {};
    if (row < end) {
        size_t first = (size_t)(begin + row);
        const bf16 *dout = o.dout + first * o.out_stride + head * o.head_dim;
        set_own<D, VECTORS>(own, shared, o.q + first * o.q_stride + head * o.head_dim, o.q_stride,
                            dout, o.out_stride, end - row, o.head_dim);
        multiply_rows<D, VECTORS>(r.product, dout,
                                  o.out + first * o.out_stride + head * o.head_dim, o.out_stride,
                                  end - row, o.head_dim);
    }
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
                                        D > 64 ? opaque(threadIdx.x) : threadIdx.x);
        commit();
        if (row >= end || n_groups <= 0 || first_key + KEYS <= row - o.window + 1)
            continue;
        unsigned at[4];
        set_places(at, lane_at + tile % 2 * 2 * KEYS * D * 2);
        if (n_groups > KEYS / 16 && first_key > row + 15 - o.window)
            add_keys<D, KEYS, false>(r, own, at, 0, 0, 0, o.scale_of_two);
        else
            add_keys<D, KEYS, true>(r, own, at, n_groups,
                                    row + lane / 4 - first_key - 2 * (lane % 4), o.window,
                                    o.scale_of_two);
    }
    if (row >= end)
        return;
    float factor[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int query = row + lane / 4 + 8 * h;
        factor[h] = 1.0f / quad_sum(r.total[h]);
        if (lane % 4 == 0 && query < end)
            *(float4 *)(o.statistics + (size_t)head * o.n + begin + query) =
                make_float4(r.largest[h], factor[h], r.product[h], 0.0f);
        factor[h] *= o.scale;
    }
    store_rows<D, VECTORS>(o.dq + (size_t)(begin + row) * o.dq_stride + head * o.head_dim,
                           o.dq_stride, r.sums, factor, end - row, o.head_dim);
}

/* ---- by keys -------------------------------------------------------------------------------- */

/* Columns of dk and dv that a block has. */
template <int D> struct columns { static const int n = D > 128 ? 128 : D; };

/* What a warp has summed of its 16 keys. */
template <int D> struct key_rows {
    float dk[columns<D>::n / 8][4]; /* not yet scaled */
    float dv[columns<D>::n / 8][4];
};

/* 16 queries. at: places of the lane's row of them, dout's `bytes` behind q's; at_columns: those
 * of the block's columns. statistics: of the lane's first column. ahead: how far that query stands
 * behind the lane's first key. MASKED: some key is not seen by some query. */
template <int D>
static __device__ __forceinline__ void add_queries(key_rows<D> &r, const own_rows<D> &own,
                                                   const unsigned *at, int first_column, int bytes,
                                                   const row_statistics *statistics,
                                                   bool masked, int ahead, int window, float scale)
{
    const int n = columns<D>::n;
    float scores[2][4] = {}, slopes[2][4] = {};
    unsigned p[4], ds[4];
#pragma unroll
    for (int s = 0; s < D / 16; s++) {
        unsigned query[4], slope[4], a[4];
        load_matrices(query, place<D>(at, s));
        load_matrices(slope, place<D>(at, s) + bytes);
        own_fragment<D>(a, own, 0, s);
        mma(scores[0], a, query[0], query[2]);
        mma(scores[1], a, query[1], query[3]);
        own_fragment<D>(a, own, 1, s);
        mma(slopes[0], a, slope[0], slope[2]);
        mma(slopes[1], a, slope[1], slope[3]);
    }
    if (masked) {
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if ((unsigned)(ahead + 8 * j + e % 2 - e / 2 * 8) >= (unsigned)window)
                    scores[j][e] = -INFINITY;
    }
#pragma unroll
    for (int j = 0; j < 2; j++)
#pragma unroll
        for (int c = 0; c < 2; c++) {
            float4 row = *(const float4 *)(statistics + 8 * j + c);
#pragma unroll
            for (int e = c; e < 4; e += 2) {
                scores[j][e] = power_of_two((scores[j][e] - row.x) * scale) * row.y;
                slopes[j][e] = scores[j][e] * (slopes[j][e] - row.z);
            }
        }
    pack_fragment(p, scores);
    pack_fragment(ds, slopes);
    add_rows<D, n>(r.dv, p, at, first_column * 2 + bytes);
    add_rows<D, n>(r.dk, ds, at, first_column * 2);
}

template <int D, int QUERIES, bool VECTORS>
static __device__ __forceinline__ void by_keys(const operands &o)
{
    extern __shared__ __align__(128) char shared[]; /* own rows; 2 of (Q, dout, statistics) */
    const int bytes = QUERIES * D * 2;
    const int stage_bytes = 2 * bytes + QUERIES * (int)sizeof(row_statistics);
    char *stages = shared + own_bytes<D>::n;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, kv_head = blockIdx.y;
    int slot = blockIdx.x; /* early ones, which the most queries see, first */
    const block_rows block(o.cu_seqlens, o.n_texts, slot);
    if (block.first >= block.length)
        return;
    int begin = block.begin, length = block.length, first_key = block.first, end_key = block.end;
    int end = length - end_key < o.window ? length : end_key + o.window - 1; /* of the queries */
    int first_tile = first_key / QUERIES;
    size_t first = (size_t)(begin + first_key);
    const bf16 *k = o.k + first * o.kv_stride + kv_head * o.head_dim;
    const bf16 *v = o.v + first * o.kv_stride + kv_head * o.head_dim;

    int first_head = kv_head * o.group, end_head = first_head + o.group;
    auto load = [&](int stage, int head, int tile) {
        int query = tile * QUERIES, n_there = min(end - query, QUERIES);
        size_t token = (size_t)(begin + query);
        char *to = stages + stage;
        unsigned thread = opaque(threadIdx.x);
        load_pair<D, QUERIES, VECTORS>(to, o.q + token * o.q_stride + head * o.head_dim, o.q_stride,
                                       o.dout + token * o.out_stride + head * o.head_dim,
                                       o.out_stride, n_there, o.head_dim, thread);
        if (thread < (n_there + 15) / 16 * 16)
            copy16(to + 2 * bytes + thread * sizeof(row_statistics),
                   o.statistics + (size_t)head * o.n + token + thread, thread < n_there);
    };
    /* What comes behind a tile: the next of the head, the first of the next head, or none. */
    auto load_next = [&](int stage, int head, int tile) {
        bool last = (tile + 1) * QUERIES >= end;
        if (head + last < end_head)
            load(stage, head + last, last ? first_tile : tile + 1);
    };
    if (!own_rows<D>::kept)
        load_pair<D, ROWS, VECTORS>(shared, k, o.kv_stride, v, o.kv_stride, end_key - first_key,
                                    o.head_dim, threadIdx.x);
    load(0, first_head, first_tile);
    commit();
    load_next(stage_bytes, first_head, first_tile);
    commit();

    int row = first_key + 16 * warp; /* the warp's first; it may have none */
    int first_column = D > 128 ? (int)blockIdx.z * columns<D>::n : 0;
    key_rows<D> r = {};
    own_rows<D> own = {};
    if (row < end_key)
        set_own<D, VECTORS>(own, shared, k + (size_t)(16 * warp) * o.kv_stride, o.kv_stride,
                            v + (size_t)(16 * warp) * o.kv_stride, o.kv_stride, end_key - row,
                            o.head_dim);
    unsigned lane_at = shared_address(stages) + chunk_offset<D>(lane % 16, lane / 16);
    int head = first_head, tile = first_tile, stage = 0; /* the last in bytes */

    while (head < end_head) {
        bool first_step = head == first_head && tile == first_tile;
        if (first_step)
            wait<1>();
        else
            wait<0>();
        /* Behind it the tile is there, and the one before it is done with. */
        __syncthreads();
        if (!first_step)
            load_next(stage_bytes - stage, head, tile);
        commit();
#pragma unroll 1
        for (int query = max(tile * QUERIES, row), past = min(tile * QUERIES + QUERIES, end);
             query < past; query += 16) {
            unsigned at[4], thread = opaque(threadIdx.x);
            int in_tile = query % QUERIES, column = 2 * (thread % 4);
            if (row >= end_key || query - row - 15 >= o.window)
                break;
            set_places(at, lane_at + stage + in_tile * D * 2);
            add_queries<D>(r, own, at, first_column, bytes,
                           (const row_statistics *)(stages + stage + 2 * bytes) + in_tile +
                               column,
                           query == row || query - row + 15 >= o.window,
                           query - row + column - (int)(thread % 32 / 4), o.window, o.scale_of_two);
        }
        stage = stage_bytes - stage;
        tile++;
        if (tile * QUERIES >= end)
            tile = first_tile, head++;
    }
    if (row >= end_key)
        return;
    size_t at = (size_t)(begin + row) * o.dkv_stride + kv_head * o.head_dim + first_column;
    const float factor[2] = {o.scale, o.scale}, one[2] = {1.0f, 1.0f};
    store_rows<columns<D>::n, VECTORS>(o.dk + at, o.dkv_stride, r.dk, factor, end_key - row,
                                       o.head_dim - first_column);
    store_rows<columns<D>::n, VECTORS>(o.dv + at, o.dkv_stride, r.dv, one, end_key - row,
                                       o.head_dim - first_column);
}

/* ---- instances ------------------------------------------------------------------------------ */

/* TILE: as many rows as two stages in 34 KB allow, 64 at most. BLOCKS: of an SM, what registers
 * must allow. */
#define KERNEL(NAME, PASS, D, TILE, VECTORS, BLOCKS)                                               \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                  \
        NAME(bf16 *dq, bf16 *dk, bf16 *dv, const bf16 *dout, const bf16 *out, const bf16 *q,       \
             const bf16 *k, const bf16 *v, const int *cu_seqlens, row_statistics *statistics,      \
             int n, int n_texts, int group, int head_dim, int dq_stride, int dkv_stride,           \
             int out_stride, int q_stride, int kv_stride, float scale, float scale_of_two,         \
             int window)                                                                           \
    {                                                                                              \
        const operands o = {dq,        dk,         dv,           dout,       out,        q,        \
                            k,         v,          cu_seqlens,   statistics, n,          n_texts,  \
                            group,     head_dim,   dq_stride,    dkv_stride, out_stride, q_stride, \
                            kv_stride, scale,      scale_of_two, window};                          \
        PASS<D, TILE, VECTORS>(o);                                                                 \
    }
#define KERNELS(D, TILE, QUERY_BLOCKS, KEY_BLOCKS)                                                 \
    KERNEL(attention_bwd_queries_##D, by_queries, D, TILE, true, QUERY_BLOCKS)                     \
    KERNEL(attention_bwd_keys_##D, by_keys, D, TILE, true, KEY_BLOCKS)
#define ELEMENTS(D, TILE)                                                                          \
    KERNEL(attention_bwd_queries_##D##_elements, by_queries, D, TILE, false, 1)                    \
    KERNEL(attention_bwd_keys_##D##_elements, by_keys, D, TILE, false, 1)

KERNELS(32, 64, 3, 4)
KERNELS(64, 64, 3, 3)
KERNELS(96, 32, 3, 2)
KERNELS(128, 32, 2, 2)
KERNELS(256, 16, 1, 1)
ELEMENTS(32, 64)
ELEMENTS(128, 32)
ELEMENTS(256, 16)
