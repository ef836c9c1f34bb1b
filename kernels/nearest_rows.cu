/* The nearest centre on a GPU, what is not scores: see nearest_cuda.h and nearest.cu.
 *
 *   nearest_rows_...    rows for the tensor cores, once for all iterations       a warp a row
 *   nearest_centres     the centres of an iteration                              a block a centre
 *   nearest_decide      listed rows, in float64, among their candidates          a quad a row
 *
 * GeForce cards have 2 units of float64 a multiprocessor, so what counts is how few pairs are
 * compared; candidates are two or three a row. */
#include <math.h>
#include "kernels/nearest.cuh"
#include "kernels/squared_distance.cuh"

/* ---- rows ------------------------------------------------------------------------------------ */

/* Lengths are rounded up. x - hi and that less lo are exact, being shorter than x; the difference
 * from the shift is rounded once, by up to 2^-24 of itself, which both lost parts hold too. */
template <typename T, int W> static __device__ void prepare_row(const nearest_rows_job &p)
{
    int row = blockIdx.x * NEAREST_WARP_ROWS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= p.n)
        return;
    const T *x = (const T *)p.x + (size_t)row * p.d;
    __nv_bfloat16 *hi = (__nv_bfloat16 *)p.hi + (size_t)row * p.stride;
    __nv_bfloat16 *lo = (__nv_bfloat16 *)p.lo + (size_t)row * p.stride;
    float square = 0, lost = 0, lost_split = 0;
    for (int j = lane * W; j < p.stride; j += 32 * W) {
        floats<W> v = {}, shift = {}, low;
        if (j < p.d) {
            v = load_floats<W>(x + j);
            if (p.shift)
                shift = load_floats<W>(p.shift + j);
        }
#pragma unroll
        for (int e = 0; e < W; e++) {
            float value = v.of[e] - shift.of[e];
            float high = to_float(__float2bfloat16_rn(value)), rest = value - high;
            float rest_high = to_float(__float2bfloat16_rn(rest)), rest_low = rest - rest_high;
            square = fmaf(value, value, square);
            lost = fmaf(rest, rest, lost);
            lost_split = fmaf(rest_low, rest_low, lost_split);
            v.of[e] = high, low.of[e] = rest_high;
        }
        store_floats(hi + j, v);
        if (p.lo)
            store_floats(lo + j, low);
    }
    square = warp_sum(square), lost = warp_sum(lost), lost_split = warp_sum(lost_split);
    if (lane > 0)
        return;
    float norm = __fsqrt_ru(__fmul_ru(__fadd_ru(square, p.smallest), p.growth));
    norm = __fmul_ru(norm, 1 + 0x1p-23f);
    lost = __fsqrt_ru(__fmul_ru(__fadd_ru(lost, p.smallest), p.growth));
    lost_split = __fsqrt_ru(__fmul_ru(__fadd_ru(lost_split, p.smallest), p.growth));
    p.norm[row] = norm;
    p.lost[row] = __fmaf_ru(norm, 0x1p-24f, lost);
    p.lost_split[row] = __fmaf_ru(norm, 0x1p-24f, lost_split);
}

#define NEAREST_ROWS(name, T, W)                                                                   \
    extern "C" __global__ void __launch_bounds__(32 * NEAREST_WARP_ROWS)                           \
        nearest_rows_##name(const __grid_constant__ nearest_rows_job p)                            \
    {                                                                                              \
        prepare_row<T, W>(p);                                                                      \
    }
NEAREST_ROWS(f32_by_fours, float, 4)
NEAREST_ROWS(f32_by_elements, float, 1)
NEAREST_ROWS(f16_by_fours, __half, 4)
NEAREST_ROWS(f16_by_elements, __half, 1)

/* ---- centres --------------------------------------------------------------------------------- */

#define CENTRE_WARPS 8

/* Four sums over all threads of the block, the same in each. Float64 is dear: lanes that give away
 * two of them, then one, keep one to add up, eight lanes the same. */
static __device__ void block_sums(double sums[4])
{
    __shared__ double of_warp[4][CENTRE_WARPS], whole[4];
    int lane = threadIdx.x % 32;
    bool high = lane & 16, last = lane & 8;
    double a = high ? sums[2] : sums[0], b = high ? sums[3] : sums[1];
    a += __shfl_xor_sync(0xFFFFFFFF, high ? sums[0] : sums[2], 16);
    b += __shfl_xor_sync(0xFFFFFFFF, high ? sums[1] : sums[3], 16);
    double one = last ? b : a;
    one += __shfl_xor_sync(0xFFFFFFFF, last ? a : b, 8);
    for (int step = 4; step > 0; step /= 2)
        one += __shfl_xor_sync(0xFFFFFFFF, one, step);
    if (lane % 8 == 0)
        of_warp[lane / 8][threadIdx.x / 32] = one;
    __syncthreads();
    if (threadIdx.x < 32) {
        one = of_warp[lane / 8][lane % 8]; /* eight warps */
        for (int step = 4; step > 0; step /= 2)
            one += __shfl_xor_sync(0xFFFFFFFF, one, step);
        if (lane % 8 == 0)
            whole[lane / 8] = one;
    }
    __syncthreads();
    for (int i = 0; i < 4; i++)
        sums[i] = whole[i];
}

static __device__ double length_of(const nearest_centres_job &p, double square)
{
    return sqrt(square * (1 + p.rounding)) * (1 + 0x1p-50);
}

/* Zeros for a centre's halves, by the threads that write them, and `half` for whatever is scored. */
static __device__ void leave_unscored(const nearest_centres_job &p, int c, float half)
{
    for (int j = threadIdx.x; j < p.stride; j += 32 * CENTRE_WARPS) {
        size_t at = (size_t)c * p.stride + j;
        ((__nv_bfloat16 *)p.hi)[at] = __float2bfloat16_rn(0);
        if (p.lo)
            ((__nv_bfloat16 *)p.lo)[at] = __float2bfloat16_rn(0);
    }
    if (threadIdx.x > 0)
        return;
    p.half[c] = half;
    p.lost[c] = p.length[c] = p.slack[c] = 0;
}

/* Of a centre: C = c - shift, exactly; high and low, its halves; and the sums of squares of C, of
 * what the halves leave of it, and of the halves. Centres behind a run's last are never best; one
 * that is too long is as good as possible for every row, so that none is sure. Blocks go through
 * the centres of all runs. */
extern "C" __global__ void __launch_bounds__(32 * CENTRE_WARPS)
    nearest_centres(const __grid_constant__ nearest_centres_job p)
{
    int c = blockIdx.x, run = c / p.k_padded, of_run = c % p.k_padded;
    const float *centre = p.centres + ((size_t)run * p.k + of_run) * p.d;
    __nv_bfloat16 *hi = (__nv_bfloat16 *)p.hi + (size_t)c * p.stride;
    __nv_bfloat16 *lo = (__nv_bfloat16 *)p.lo + (size_t)c * p.stride;
    double square = 0, lost = 0, high_square = 0, low_square = 0;
    if (of_run >= p.k) {
        leave_unscored(p, c, -INFINITY);
        return;
    }
    for (int j = threadIdx.x; j < p.stride; j += 32 * CENTRE_WARPS) {
        float x = j < p.d ? centre[j] : 0, shift = j < p.d && p.shift ? p.shift[j] : 0;
        float value = x - shift, low = 0;
        float high = to_float(__float2bfloat16_rn(value));
        hi[j] = __float2bfloat16_rn(high);
        if (p.lo) {
            lo[j] = __float2bfloat16_rn(value - high);
            low = to_float(lo[j]);
        }
        double exact = (double)x - (double)shift, rest = exact - (double)high - (double)low;
        square = fma(exact, exact, square), lost = fma(rest, rest, lost);
        high_square = fma((double)high, (double)high, high_square);
        low_square = fma((double)low, (double)low, low_square);
    }
    double sums[4] = {square, lost, high_square, low_square};
    block_sums(sums);
    square = sums[0], lost = sums[1], high_square = sums[2], low_square = sums[3];
    bool scored = length_of(p, square) < (double)NEAREST_LONGEST; /* NaN: no */
    if (!scored)
        leave_unscored(p, c, INFINITY);
    if (!scored || threadIdx.x > 0)
        return;
    double least = square / 2 * (1 - p.rounding), most = square / 2 * (1 + p.rounding);
    double length = length_of(p, square), low = length_of(p, low_square);
    float half = __double2float_ru(p.underflow - least);
    p.half[c] = half;
    /* A row's low half is at most 2^-8 of it; differences in float64 are rounded too. */
    double of_norm = length_of(p, lost) + 0x1p-8 * low + 0x1p-52 * length;
    p.lost[c] = __double2float_ru(of_norm * (1 + 0x1p-50));
    p.length[c] = __double2float_ru((length_of(p, high_square) + low) * (1 + 0x1p-50));
    p.slack[c] = __double2float_ru(
        ((double)half + most + p.underflow + 2 * p.distance * most) * (1 + 0x1p-50));
}

/* ---- float64 --------------------------------------------------------------------------------- */

struct nearest_so_far {
    double distance;
    int label;

    /* The lowest index of equals, in any order; NaN and infinities pass by. */
    __device__ void add(double other, int of)
    {
        if (other < distance || (other == distance && of < label))
            distance = other, label = of;
    }
};

/* A warp's eight listed rows, a quad each; those with more candidates than are listed by the whole
 * warp, one after another, a quad a centre. */
template <typename T> static __device__ void decide(const nearest_decide_job &p)
{
    int run = run_of_block(p.runs), piece = piece_of_block(p.runs);
    nearest_list list = list_of_run(p.list, run, p.n);
    int n = *list.n, lane = threadIdx.x % 32, quad = lane / 4;
    int first = piece * NEAREST_QUAD_ROWS + threadIdx.x / 32 * 8;
    if (piece == 0 && threadIdx.x == 0 && p.n_rechecked)
        p.n_rechecked[run] += n;
    if (first >= n)
        return;
    int entry = min(first + quad, n - 1), row = list.row[entry];
    int n_candidates = list.n_candidates[entry];
    bool all = n_candidates < 1 || n_candidates > NEAREST_CANDIDATES;
    const int32_t *candidates = list.candidates + (size_t)entry * NEAREST_CANDIDATES;
    const T *x = (const T *)p.x;
    const float *centres = p.centres + (size_t)run * p.k * p.d;
    nearest_so_far nearest = {INFINITY, -1};
    int own = all ? 0 : n_candidates, most = own;
    for (int step = 4; step < 32; step *= 2)
        most = max(most, __shfl_xor_sync(0xFFFFFFFF, most, step));
    for (int i = 0; i < most; i++) {
        int c = i < own ? candidates[i] : 0;
        double distance = quad_distance(x + (size_t)row * p.d, centres + (size_t)c * p.d, p.d);
        if (i < own)
            nearest.add(distance, c);
    }
    for (int other = 0; other < 8; other++) {
        if (!__shfl_sync(0xFFFFFFFF, all, 4 * other))
            continue;
        int its_row = __shfl_sync(0xFFFFFFFF, row, 4 * other);
        nearest_so_far of = {INFINITY, -1};
        for (int c = quad; c - quad < p.k; c += 8) {
            int there = min(c, p.k - 1);
            of.add(quad_distance(x + (size_t)its_row * p.d, centres + (size_t)there * p.d, p.d),
                   there);
        }
        for (int step = 4; step < 32; step *= 2) {
            double distance = __shfl_xor_sync(0xFFFFFFFF, of.distance, step);
            of.add(distance, __shfl_xor_sync(0xFFFFFFFF, of.label, step));
        }
        if (quad == other)
            nearest = of;
    }
    if (lane % 4 == 0 && first + quad < n)
        p.label[run * p.label_stride + row] = nearest.label;
}

#define NEAREST_DECIDE(name, T)                                                                    \
    extern "C" __global__ void __launch_bounds__(4 * NEAREST_QUAD_ROWS)                            \
        nearest_decide_##name(const __grid_constant__ nearest_decide_job p)                        \
    {                                                                                              \
        decide<T>(p);                                                                              \
    }
NEAREST_DECIDE(f32, float)
NEAREST_DECIDE(f16, __half)
