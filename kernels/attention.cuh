/* What attention and its gradient share on a GPU: where a block's rows lie, tiles of two matrices
 * in shared memory, rows as fragments of mma, and the steps of the online softmax. attention.cu
 * tells how they go together. */
#ifndef MIDASHI_KERNELS_ATTENTION_CUH
#define MIDASHI_KERNELS_ATTENTION_CUH

#include "kernels/cuda.cuh"
#include "kernels/tensor.cuh"

#define ROWS    64 /* of one text, that a block works on; a warp has 16 of them */
#define THREADS 128
#define ALL     0xFFFFFFFFu

typedef __nv_bfloat16 bf16;

/* ---- which rows ----------------------------------------------------------------------------- */

/* The last text whose first slot is not beyond `slot`: each lane looks at one of 32 places, until
 * they lie side by side. Two rounds for up to 1,024 texts. Each warp looks for itself: the others
 * would only wait for the one. */
static __device__ __forceinline__ int find_text(const int *cu_seqlens, int n_texts, int slot)
{
    int lane = threadIdx.x % 32, low = 0, n = n_texts;
    while (n > 1) {
        int step = (n + 31) / 32, ahead = lane * step;
        bool begins = ahead < n && cu_seqlens[low + ahead] / ROWS + low + ahead <= slot;
        ahead = step * (__popc(__ballot_sync(ALL, begins)) - 1);
        low += ahead;
        n = min(step, n - ahead);
    }
    return low;
}

/* Which rows a slot has (attention.cu tells of slots): none where first >= length. */
struct block_rows {
    int begin, length; /* of the text */
    int first, end;    /* in it */

    __device__ __forceinline__ block_rows(const int *cu_seqlens, int n_texts, int slot)
    {
        int text = find_text(cu_seqlens, n_texts, slot);
        begin = cu_seqlens[text];
        length = cu_seqlens[text + 1] - begin;
        first = ROWS * (slot - begin / ROWS - text);
        end = min(first + ROWS, length);
    }
};

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

/* How many chunk pairs of a lane's row, 32 bytes each, have places of their own: those after them
 * lie as those before, so many further. */
template <int D> struct turns { static const int n = D % 64 == 0 ? 4 : 2; };

/* Where chunks 2 s and 2 s + 1 of a lane's row lie, of which `at` has the first turns<D>::n. */
template <int D> static __device__ __forceinline__ unsigned place(const unsigned *at, int s)
{
    return at[s % turns<D>::n] + 32 * (s - s % turns<D>::n);
}

/* Those, from where the first is. The compiler would rather compute them again than keep them. */
static __device__ __forceinline__ void set_places(unsigned *at, unsigned first)
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        at[i] = opaque(first ^ (32 * i));
}

/* A tile of two matrices, N rows of each, the second behind the first: n_there rows from x and y
 * on; up to the next multiple of 16, and in columns behind head_dim, zeros. (0 times whatever lay
 * there might be NaN.) thread: of the block; opaque where the compiler is not to keep what follows
 * from it through a loop. */
template <int D, int N, bool VECTORS>
static __device__ __forceinline__ void load_pair(char *to, const bf16 *x, int x_stride,
                                                 const bf16 *y, int y_stride, int n_there,
                                                 int head_dim, unsigned thread)
{
    const int chunks = D / 8, bytes = N * D * 2;
    int n_filled = (n_there + 15) / 16 * 16;
    if (VECTORS) {
#pragma unroll
        for (int i = 0; i < N * chunks / THREADS; i++) {
            /* Where a row's chunks divide the block a thread keeps to one column. */
            int at = THREADS % chunks ? thread + THREADS * i : thread;
            int row = at / chunks + (THREADS % chunks ? 0 : THREADS / chunks * i);
            int chunk = at % chunks;
            bool there = row < n_there && 8 * chunk < head_dim;
            if (row < n_filled) {
                copy16(to + chunk_offset<D>(row, chunk), x + (size_t)row * x_stride + 8 * chunk,
                       there);
                copy16(to + bytes + chunk_offset<D>(row, chunk),
                       y + (size_t)row * y_stride + 8 * chunk, there);
            }
        }
    } else {
        for (int at = thread; at < n_filled * D; at += THREADS) {
            int row = at / D, column = at % D;
            int offset = chunk_offset<D>(row, column / 8) + column % 8 * 2;
            bool there = row < n_there && column < head_dim;
            bf16 zero = __float2bfloat16_rn(0.0f);
            *(bf16 *)(to + offset) = there ? x[(size_t)row * x_stride + column] : zero;
            *(bf16 *)(to + bytes + offset) = there ? y[(size_t)row * y_stride + column] : zero;
        }
    }
}

/* Keys' tile `tile` of the text at k and v into its stage, of which there are two; as far as key
 * `end` of the text. */
template <int D, int KEYS, bool VECTORS>
static __device__ __forceinline__ void load_keys(char *stages, const bf16 *k, const bf16 *v,
                                                 int stride, int tile, int end, int head_dim,
                                                 unsigned thread)
{
    load_pair<D, KEYS, VECTORS>(stages + tile % 2 * 2 * KEYS * D * 2,
                                k + (size_t)(tile * KEYS) * stride, stride,
                                v + (size_t)(tile * KEYS) * stride, stride,
                                min(end - tile * KEYS, KEYS), head_dim, thread);
}

/* ---- rows in registers ---------------------------------------------------------------------- */

static __device__ __forceinline__ unsigned element(const bf16 *row, int column, int head_dim)
{
    return column < head_dim ? __bfloat16_as_ushort(row[column]) : 0u;
}

/* 16 rows as fragments, left operands of mma: row lane / 4 in words 0 and 2, the row 8 further in 1
 * and 3. Behind n_there rows and head_dim columns zeros. */
template <int D, bool VECTORS>
static __device__ __forceinline__ void load_fragments(unsigned (*fragments)[4], const bf16 *x,
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
                    chunks[c][h] = *(const uint4 *)(x + (size_t)(row + 8 * h) * stride + column);
            }
#pragma unroll
        for (int c = 0; c < D / 32; c++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                uint4 chunk = chunks[c][h];
                unsigned word[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
                transpose_quad(word);
                fragments[2 * c][h] = word[0];
                fragments[2 * c][h + 2] = word[1];
                fragments[2 * c + 1][h] = word[2];
                fragments[2 * c + 1][h + 2] = word[3];
            }
    } else {
#pragma unroll
        for (int s = 0; s < D / 16; s++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const bf16 *from = x + (size_t)(row + i % 2 * 8) * stride;
                int column = 16 * s + i / 2 * 8 + 2 * t;
                fragments[s][i] = row + i % 2 * 8 < n_there
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

/* 16 rows of sums (accumulators of D / 8 mma), each times its factor, to n_there rows of out. */
template <int D, bool VECTORS>
static __device__ __forceinline__ void store_rows(bf16 *out, int stride, float (*sums)[4],
                                                  const float *factor, int n_there, int head_dim)
{
    int t = threadIdx.x % 4;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int row = threadIdx.x % 32 / 4 + 8 * h;
        bf16 *to = out + (size_t)row * stride;
#pragma unroll
        for (int c = 0; c < D / 32; c++) {
            unsigned word[4];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float *pair = &sums[4 * c + j][2 * h];
                word[j] = pack(pair[0] * factor[h], pair[1] * factor[h]);
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

/* ---- scores and sums ------------------------------------------------------------------------ */

/* 2^x, within 2^-22 of it; 0 for -inf and where it is less than 2^-126. */
static __device__ __forceinline__ float power_of_two(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Scores of keys that their query does not see become -inf. above: how far the lane's first query
 * stands behind its first key. */
template <int KEYS>
static __device__ __forceinline__ void hide(float (*scores)[4], int above, int window)
{
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            if ((unsigned)(above + e / 2 * 8 - 8 * j - e % 2) >= (unsigned)window)
                scores[j][e] = -INFINITY;
}

/* A step of the online softmax over a warp's 16 queries, of which a lane has two, lane / 4 and the
 * one 8 further: scores become 2^(scale (score - largest)), the D / 8 mma's sums of before and the
 * totals are made to fit a larger score. largest: the same in a quad; total: each lane's own. */
template <int D, int KEYS>
static __device__ __forceinline__ void weigh(float (*scores)[4], float (*sums)[4], float *largest,
                                             float *total, float scale)
{
    float decay[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float now = largest[h];
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
            now = fmaxf(now, fmaxf(scores[j][2 * h], scores[j][2 * h + 1]));
        now = quad_max(now);
        /* The difference before the scale: 0 for the largest score, whatever its size. */
        decay[h] = power_of_two((largest[h] - now) * scale);
        largest[h] = now;
        total[h] *= decay[h];
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int e = 2 * h; e < 2 * h + 2; e++) {
                scores[j][e] = power_of_two((scores[j][e] - now) * scale);
                total[h] += scores[j][e];
            }
    }
    /* The later the tile, the fewer rows find a larger score; times 1 changes no bit. */
    if (__any_sync(ALL, decay[0] != 1.0f || decay[1] != 1.0f)) {
#pragma unroll
        for (int j = 0; j < D / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                sums[j][e] *= decay[e / 2];
    }
}

/* Two neighbouring accumulators as the left operand of a product over their 16 columns. */
static __device__ __forceinline__ void pack_fragment(unsigned *a, float (*x)[4])
{
    a[0] = pack(x[0][0], x[0][1]);
    a[1] = pack(x[0][2], x[0][3]);
    a[2] = pack(x[1][0], x[1][1]);
    a[3] = pack(x[1][2], x[1][3]);
}

/* sums (16, COLUMNS) += a (16, 16) times 16 rows of a tile, `offset` behind the lane's places. */
template <int D, int COLUMNS>
static __device__ __forceinline__ void add_rows(float (*sums)[4], const unsigned *a,
                                                const unsigned *at, unsigned offset)
{
#pragma unroll
    for (int s = 0; s < COLUMNS / 16; s++) {
        unsigned b[4];
        load_matrices<true>(b, place<D>(at, s) + offset);
        mma(sums[2 * s], a, b[0], b[1]);
        mma(sums[2 * s + 1], a, b[2], b[3]);
    }
}

#endif
