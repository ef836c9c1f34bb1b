/* The nearest centre on tensor cores: see nearest_cuda.h, and docs/numerics.md for the bounds.
 *
 * A CTA takes a tile of rows and goes with it over all centres of a run, a tile of those at a time;
 * scores stay in registers. A tile is a loop over 64 columns a step as in product.cuh, with its stages and
 * its swizzle; the ring of copies runs on from one tile of centres to the next.
 *
 *            warp 0   warp 1   warp 2   warp 3       rows: bfloat16 of x - shift (A)
 *   rows   +--------+--------+--------+--------+     centres: bfloat16 of c - shift (B)
 *          |        |        |        |        |
 *          +--------+--------+--------+--------+     a quad of lanes has 2 rows of each m16, each
 *            centres                                 lane 2 centres of each n8
 *
 * An element's sum: a step's 64 columns are a chain of four mma from 0, the steps' sums are added
 * in float32. A chain over all columns would have an error that grows by 2.5 units a column, if
 * cards cut off what they add: of 4,096 columns as much as bfloat16's own, and far more than what
 * the split leaves. So it is 160 units and one for each step.
 *
 * The split takes three parts of each step, high x high, high x low, low x high: the same loop over
 * three times as many steps, of which the parts of the same columns follow one another and find
 * their operands in L2.
 *
 * What follows a sum: the upper bound of the score, rounded up all the way,
 *
 *   U = (sum + half[c]) + b[i] length[c] + a[i] lost[c]      a: the row's length, b: what it lost
 *
 * of which a lane keeps best, second best and label for each of its rows; a tile's end merges quads
 * by shuffles and goes to the warp's own slots in shared memory. A row whose second best is below
 * what its best score is at least has its label; the others go into a list, by an atomic place that
 * only says where a row is listed. The list's rows are scored once more (the same sums), and
 * centres that are not below become candidates, for float64 (nearest_rows.cu). */
#include <math.h>
#include "kernels/nearest.cuh"
#include "kernels/product.cuh"

/* ---- copies --------------------------------------------------------------------------------- */

/* Rows of a step by their numbers, wherever they lie; rows are whole vectors. */
template <int N, int THREADS> struct row_picks {
    static const int PITCH = THREADS / 8, EACH = N / PITCH;

    const __nv_bfloat16 *from[EACH];
    int place;

    template <typename F>
    __device__ __forceinline__ row_picks(const void *matrix, int stride, const F &number_of)
    {
        int vector = threadIdx.x % 8, row = threadIdx.x / 8;
#pragma unroll
        for (int i = 0; i < EACH; i++)
            from[i] = (const __nv_bfloat16 *)matrix +
                      (size_t)number_of(row + i * PITCH) * stride + 8 * vector;
        place = opaque(row * ROW_BYTES + 16 * (vector ^ row % 8));
    }

    /* offset: elements from step 0. */
    __device__ __forceinline__ void copy(unsigned char *to, int64_t offset) const
    {
#pragma unroll
        for (int i = 0; i < EACH; i++)
            copy16(to + place + i * PITCH * ROW_BYTES, from[i] + offset, true);
    }
};

/* The rows of a tile of centres: all are there. */
template <int N, int THREADS> struct centre_rows {
    static const int PITCH = THREADS / 8;

    const __nv_bfloat16 *from;
    int stride, place;

    __device__ __forceinline__ centre_rows(const void *matrix, int row_stride, int first)
    {
        int vector = threadIdx.x % 8, row = threadIdx.x / 8;
        from = (const __nv_bfloat16 *)matrix + (size_t)(first + row) * row_stride + 8 * vector;
        stride = row_stride;
        place = opaque(row * ROW_BYTES + 16 * (vector ^ row % 8));
    }

    __device__ __forceinline__ void copy(unsigned char *to, int64_t offset) const
    {
        const __nv_bfloat16 *at = from + offset;
#pragma unroll
        for (int i = 0; i < N; i += PITCH, at += (size_t)PITCH * stride)
            copy16(to + place + i * ROW_BYTES, at, true);
    }
};

/* Which step is copied next. */
template <typename S, int PARTS> struct steps_ahead {
    int tile, column, part;

    __device__ __forceinline__ steps_ahead() : tile(0), column(0), part(0)
    {
    }

    template <typename X, typename C>
    __device__ __forceinline__ void copy(const nearest_job &job, const X &x, const C &centres,
                                         unsigned char *stage)
    {
        if (tile < job.n_tiles) {
            int64_t of_centres = (int64_t)tile * S::columns * job.stride + column;
            x.copy(stage, part == 2 ? column + job.x_low : column);
            centres.copy(stage + S::x_bytes,
                         part == 1 ? of_centres + job.centres_low : of_centres);
            if (++part == PARTS) {
                part = 0, column += K_STEP;
                if (column == job.stride)
                    column = 0, tile++;
            }
        }
        commit();
    }
};

/* ---- a tile's sums --------------------------------------------------------------------------- */

/* sums += a step's products of a warp's rows and centres, from ldmatrix's addresses of this lane.
 */
template <typename S>
static __device__ __forceinline__ void add_step(float (*sums)[S::warp_columns / 8][4], unsigned x,
                                                unsigned centres)
{
    const int m16 = S::warp_rows / 16, n8 = S::warp_columns / 8;
    float chain[m16][n8][4];
    unsigned b[2][n8 / 2][4];
#pragma unroll
    for (int t = 0; t < n8 / 2; t++)
        load_matrices(b[0][t], centres + 16 * ROW_BYTES * t);
#pragma unroll
    for (int s = 0; s < K_STEP / 16; s++) {
        if (s + 1 < K_STEP / 16)
#pragma unroll
            for (int t = 0; t < n8 / 2; t++)
                load_matrices(b[(s + 1) % 2][t],
                              (centres ^ 32 * (s + 1)) + 16 * ROW_BYTES * t);
#pragma unroll
        for (int i = 0; i < m16; i++) {
            unsigned a[4];
            load_matrices(a, (x ^ 32 * s) + 16 * ROW_BYTES * i);
#pragma unroll
            for (int j = 0; j < n8; j++) {
                const unsigned *of = &b[s % 2][j / 2][j % 2 * 2];
                if (s == 0)
                    mma_first(chain[i][j], a, of[0], of[1]);
                else
                    mma(chain[i][j], a, of[0], of[1]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < m16; i++)
#pragma unroll
        for (int j = 0; j < n8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                sums[i][j][e] += chain[i][j][e];
}

/* F: what is done with a tile's sums, in registers: tile(sums, the warp's first centre of the run).
 * at.column is the run's first centre among those of all runs. */
template <typename S, int PARTS, typename X, typename F>
static __device__ __forceinline__ void score(const nearest_job &job, const X &x, F &finish,
                                             const product_place &at, unsigned char *shared)
{
    const int stage_bytes = S::x_bytes + S::columns * ROW_BYTES;
    centre_rows<S::columns, S::threads> centres(job.centres, job.stride, at.column);
    int n_steps = job.stride / K_STEP * PARTS;
    unsigned of_x = opaque(shared_address(shared) + (at.warp_row + at.lane % 16) * ROW_BYTES +
                           16 * (at.lane / 16 ^ at.lane % 8));
    unsigned of_centres =
        opaque(shared_address(shared) + S::x_bytes +
               (at.warp_column + at.lane % 8 + at.lane / 16 * 8) * ROW_BYTES +
               16 * (at.lane / 8 % 2 ^ at.lane % 8));
    steps_ahead<S, PARTS> ahead;
#pragma unroll
    for (int stage = 0; stage < S::stages - 1; stage++)
        ahead.copy(job, x, centres, shared + stage * stage_bytes);
    int stage = 0, next = S::stages - 1;
    for (int tile = 0; tile < job.n_tiles; tile++) {
        int first = tile * S::columns + at.warp_column;
        bool idle = first >= job.k; /* it only copies */
        float sums[S::warp_rows / 16][S::warp_columns / 8][4] = {};
        for (int step = 0; step < n_steps; step++) {
            wait<S::stages - 2>();
            __syncthreads();
            ahead.copy(job, x, centres, shared + next * stage_bytes);
            if (!idle)
                add_step<S>(sums, of_x + stage * stage_bytes, of_centres + stage * stage_bytes);
            stage = stage + 1 == S::stages ? 0 : stage + 1;
            next = next + 1 == S::stages ? 0 : next + 1;
        }
        if (!idle)
            finish.tile(sums, first);
    }
    wait<0>();
}

/* ---- upper bounds ---------------------------------------------------------------------------- */

/* A row's a and b. INFINITY: nothing is known of its scores. */
static __device__ __forceinline__ float2 row_terms(const nearest_job &job, int row)
{
    float norm = job.norm[row], lost = __fmaf_ru(job.chain, norm, job.lost[row]);
    bool scored = norm < NEAREST_LONGEST && lost < NEAREST_LONGEST; /* NaN: no */
    return scored ? make_float2(norm, lost) : make_float2(INFINITY, INFINITY);
}

struct centre_terms {
    float half, lost, length;
};

/* Of centres column and column + 1 among those of all runs; column is even. */
static __device__ __forceinline__ void two_centres(centre_terms *of, const nearest_terms &terms,
                                                   int column)
{
    float2 half = *(const float2 *)(terms.half + column);
    float2 lost = *(const float2 *)(terms.lost + column);
    float2 length = *(const float2 *)(terms.length + column);
    of[0] = {half.x, lost.x, length.x};
    of[1] = {half.y, lost.y, length.y};
}

static __device__ __forceinline__ float upper(float sum, const centre_terms &centre, float2 row)
{
    return __fmaf_ru(row.x, centre.lost,
                     __fmaf_ru(row.y, centre.length, __fadd_ru(sum, centre.half)));
}

/* What the score of a centre (among all runs') is at least whose upper bound this is. -INFINITY
 * where that is unknown. */
static __device__ __forceinline__ float lower(const nearest_job &job, float bound, int centre,
                                              float2 row)
{
    float reach = __fmaf_ru(row.x, job.terms.lost[centre],
                            __fmul_ru(row.y, job.terms.length[centre]));
    float less = __fmaf_ru(2.0001f, reach, job.terms.slack[centre]);
    /* The bound was rounded up three times, its parts being below |bound| + reach. */
    less = __fmaf_ru(0x1p-21f, fabsf(bound), less);
    less = __fmaf_ru(__fmul_ru(job.distance, row.x), row.x, less);
    float least = __fsub_rd(bound, less);
    return least == least ? least : -INFINITY;
}

/* ---- best and second best -------------------------------------------------------------------- */

struct best_two {
    float best, second;
    int label;

    __device__ __forceinline__ void add(float value, int of)
    {
        second = fmaxf(second, fminf(best, value));
        label = value > best ? of : label;
        best = fmaxf(best, value);
    }

    __device__ __forceinline__ void add(const best_two &other)
    {
        second = fmaxf(fmaxf(second, other.second), fminf(best, other.best));
        label = other.best > best ? other.label : label;
        best = fmaxf(best, other.best);
    }
};

template <typename S> struct keep_best {
    /* Shared: of each row two terms, and what each warp beside another has found. */
    static const int bytes = S::rows * (8 + 12 * S::warps_wide);

    const nearest_job &job;
    const product_place &at;
    float2 *terms;
    float *best, *second; /* [warps_wide][rows] */
    int *label;

    __device__ __forceinline__ keep_best(const nearest_job &j, const product_place &place,
                                         unsigned char *shared)
        : job(j), at(place)
    {
        terms = (float2 *)shared;
        best = (float *)(terms + S::rows);
        second = best + S::warps_wide * S::rows;
        label = (int *)(second + S::warps_wide * S::rows);
        for (int i = threadIdx.x; i < S::rows; i += S::threads)
            terms[i] = row_terms(job, min(at.row + i, job.n - 1));
        for (int i = threadIdx.x; i < S::warps_wide * S::rows; i += S::threads)
            best[i] = second[i] = -INFINITY, label[i] = 0;
        /* The first step's barrier is before anybody reads them. */
    }

    __device__ __forceinline__ void tile(const float (*sums)[S::warp_columns / 8][4], int first)
    {
        const int m16 = S::warp_rows / 16;
        best_two of[2 * m16];
        float2 row[2 * m16];
        int g = at.lane / 4, q = at.lane % 4;
#pragma unroll
        for (int i = 0; i < 2 * m16; i++) {
            of[i] = {-INFINITY, -INFINITY, 0};
            row[i] = terms[at.warp_row + 8 * i + g];
        }
#pragma unroll
        for (int j = 0; j < S::warp_columns / 8; j++) {
            int column = first + 8 * j + 2 * q;
            centre_terms centre[2];
            two_centres(centre, job.terms, at.column + column);
#pragma unroll
            for (int i = 0; i < 2 * m16; i++)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    of[i].add(upper(sums[i / 2][j][i % 2 * 2 + e], centre[e], row[i]),
                              column + e);
        }
        int slot = at.warp_column / S::warp_columns * S::rows + at.warp_row + g;
#pragma unroll
        for (int i = 0; i < 2 * m16; i++) {
#pragma unroll
            for (int step = 1; step <= 2; step *= 2)
                of[i].add({__shfl_xor_sync(0xFFFFFFFF, of[i].best, step),
                           __shfl_xor_sync(0xFFFFFFFF, of[i].second, step),
                           __shfl_xor_sync(0xFFFFFFFF, of[i].label, step)});
            if (q == 0) {
                int here = slot + 8 * i;
                best_two before = {best[here], second[here], label[here]};
                before.add(of[i]);
                best[here] = before.best, second[here] = before.second;
                label[here] = before.label;
            }
        }
    }

    /* Labels, and the list of those that are not sure. By all threads. */
    __device__ __forceinline__ void store() const
    {
        __syncthreads();
        if (threadIdx.x >= (S::rows + 31) / 32 * 32)
            return;
        int run = run_of_block(job.runs);
        nearest_list list = list_of_run(job.list, run, job.n);
        int i = threadIdx.x, row = at.row + i;
        bool listed = false;
        float least = 0;
        if (i < S::rows && row < job.n) {
            best_two all = {best[i], second[i], label[i]};
#pragma unroll
            for (int w = 1; w < S::warps_wide; w++)
                all.add({best[w * S::rows + i], second[w * S::rows + i], label[w * S::rows + i]});
            least = lower(job, all.best, at.column + all.label, terms[i]);
            listed = !(all.second < least);
            job.label[run * job.label_stride + row] = all.label;
        }
        unsigned mask = __ballot_sync(0xFFFFFFFF, listed);
        int place = 0;
        if (at.lane == 0 && mask)
            place = atomicAdd(list.n, __popc(mask));
        place = __shfl_sync(0xFFFFFFFF, place, 0) + __popc(mask & ((1u << at.lane) - 1));
        if (listed) {
            list.row[place] = row;
            list.least[place] = least;
            list.n_candidates[place] = 0;
        }
    }
};

/* ---- candidates ------------------------------------------------------------------------------ */

template <typename S> struct list_candidates {
    static const int bytes = S::rows * 12;

    const nearest_job &job;
    const product_place &at;
    const nearest_list &list; /* the run's */
    float2 *terms;
    float *least;
    int n; /* rows listed */

    __device__ __forceinline__ list_candidates(const nearest_job &j, const product_place &place,
                                               const nearest_list &of_run, unsigned char *shared,
                                               int n_listed)
        : job(j), at(place), list(of_run), n(n_listed)
    {
        terms = (float2 *)shared;
        least = (float *)(terms + S::rows);
        for (int i = threadIdx.x; i < S::rows; i += S::threads) {
            int entry = min(at.row + i, n - 1);
            terms[i] = row_terms(job, list.row[entry]);
            least[i] = list.least[entry];
        }
    }

    __device__ void add(int entry, int centre) const
    {
        if (entry >= n || centre >= job.k)
            return;
        int place = atomicAdd(list.n_candidates + entry, 1);
        if (place < NEAREST_CANDIDATES)
            list.candidates[(size_t)entry * NEAREST_CANDIDATES + place] = centre;
    }

    __device__ __forceinline__ void tile(const float (*sums)[S::warp_columns / 8][4], int first)
    {
        int g = at.lane / 4, q = at.lane % 4;
#pragma unroll
        for (int j = 0; j < S::warp_columns / 8; j++) {
            int column = first + 8 * j + 2 * q;
            centre_terms centre[2];
            two_centres(centre, job.terms, at.column + column);
#pragma unroll
            for (int i = 0; i < 2 * (S::warp_rows / 16); i++) {
                int row = at.warp_row + 8 * i + g;
#pragma unroll
                for (int e = 0; e < 2; e++)
                    if (!(upper(sums[i / 2][j][i % 2 * 2 + e], centre[e], terms[row]) <
                          least[row]))
                        add(at.row + row, column + e);
            }
        }
    }
};

/* ---- kernels --------------------------------------------------------------------------------- */

template <typename S>
static __device__ __forceinline__ product_place place_of(const nearest_job &job)
{
    int warp = __shfl_sync(0xFFFFFFFF, threadIdx.x / 32, 0);
    product_place at;
    at.row = piece_of_block(job.runs) * S::rows;
    at.column = run_of_block(job.runs) * job.k_padded;
    at.warp_row = warp / S::warps_wide * S::warp_rows;
    at.warp_column = warp % S::warps_wide * S::warp_columns;
    at.lane = threadIdx.x % 32;
    return at;
}

template <typename S>
static const int ring_bytes = S::stages * (S::x_bytes + S::columns * ROW_BYTES);

template <typename S, int PARTS>
static __device__ __forceinline__ void assign(const nearest_job &job)
{
    extern __shared__ __align__(128) unsigned char shared[];
    product_place at = place_of<S>(job);
    keep_best<S> finish(job, at, shared + ring_bytes<S>);
    /* Rows behind the last are the last again. */
    row_picks<S::rows, S::threads> x(job.x, job.stride,
                                     [&](int i) { return min(at.row + i, job.n - 1); });
    score<S, PARTS>(job, x, finish, at, shared);
    finish.store();
}

template <typename S, int PARTS>
static __device__ __forceinline__ void find_candidates(const nearest_job &job)
{
    extern __shared__ __align__(128) unsigned char shared[];
    product_place at = place_of<S>(job);
    nearest_list list = list_of_run(job.list, run_of_block(job.runs), job.n);
    int n = *list.n;
    if (at.row >= n)
        return;
    list_candidates<S> finish(job, at, list, shared + ring_bytes<S>, n);
    row_picks<S::rows, S::threads> x(job.x, job.stride,
                                     [&](int i) { return list.row[min(at.row + i, n - 1)]; });
    score<S, PARTS>(job, x, finish, at, shared);
}

/* Shapes: rows, centres of a warp, warps high and wide, stages, CTAs side by side; nearest_cuda.c's
 * table has the same. */
#define NEAREST(name, what, PARTS, ROWS, WARP_COLUMNS, HIGH, WIDE, STAGES, SIDE)                   \
    extern "C" __global__ void __launch_bounds__(32 * HIGH * WIDE, SIDE)                           \
        nearest_##name(const __grid_constant__ nearest_job job)                                    \
    {                                                                                              \
        what<product_shape<ROWS, WARP_COLUMNS, HIGH, WIDE, STAGES>, PARTS>(job);                   \
    }
NEAREST(64x32, assign, 1, 64, 32, 4, 1, 3, 2)
NEAREST(64x64, assign, 1, 64, 32, 2, 2, 2, 3)
NEAREST(128x128, assign, 1, 128, 32, 2, 4, 2, 1)
NEAREST(64x256, assign, 1, 64, 32, 1, 8, 2, 1)
NEAREST(candidates, find_candidates, 1, 64, 32, 2, 2, 2, 3)
NEAREST(split_64x32, assign, 3, 64, 32, 4, 1, 3, 2)
NEAREST(split_64x64, assign, 3, 64, 32, 2, 2, 2, 3)
NEAREST(split_128x128, assign, 3, 128, 32, 2, 4, 2, 1)
NEAREST(split_64x256, assign, 3, 64, 32, 1, 8, 2, 1)
NEAREST(split_candidates, find_candidates, 3, 64, 32, 2, 2, 2, 3)
