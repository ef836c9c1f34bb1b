/* Sums of clusters on a GPU. See cluster_sums_cuda.h.
 *
 *   cluster_moves   the moves of a unit (a block of 65,536 rows of a run), sorted by cluster, and
 *                   where each cluster's begin and end                        a block a unit
 *   cluster_sums    of each cluster with moves, a chain for each column       a thread 4 columns
 *   cluster_fold    what the blocks found, added to the sums block by block   a thread 4 columns
 *
 * Where a launch has one block of each run, cluster_sums adds to the sums itself.
 *
 * The sort is by digits of 8 bits, lowest first, and keeps the order of the rows: each warp has a
 * run of rows, or of moves, of its own and counts what digits they have; the warps' counts, digit by
 * digit, make places; then it goes through its run again, 32 at a time, and lanes of equal digits
 * take places in the order of the lanes. The first pass takes the rows as they lie, so that with up
 * to 256 clusters it is the only one. Where few rows move, what is left is to read both labels of
 * each, twice.
 *
 * Sums. A lane has four columns of one cluster, so four chains; with few columns several clusters
 * share a warp. A chain is bound to its order, and float64 of a GeForce card is slow, 2 lanes a
 * clock and multiprocessor: a warp's addition takes 16 clocks, and about 45 until its sum is there,
 * so four chains keep it busy. The conversion from float32 would take as long again, and is made of
 * integer instructions instead. Blocks are one warp, so that a large cluster's columns spread over
 * many multiprocessors. Runs stand side by side: their warps go through the same rows from the
 * first to the last, and find them in L2. */
#include "kernels/cluster_sums_job.h"
#include "kernels/cuda.cuh"
#include "kernels/widen.cuh"

#define ALL    0xFFFFFFFF
#define WARPS  (CLUSTER_SUMS_THREADS / 32)
#define DIGITS (1 << CLUSTER_SUMS_BITS)

/* ---- the sort ------------------------------------------------------------------------------- */

/* Of each warp and digit: how many moves, then where the next of them goes. */
typedef int counters[WARPS][DIGITS];

static __device__ unsigned digit_of(int cluster, int shift)
{
    return (unsigned)cluster >> shift & (DIGITS - 1);
}

/* The part of n that a warp has, whole groups of 32 but for the last: first .. last-1. */
static __device__ void part_of_warp(int n, int &first, int &last)
{
    int size = (n + CLUSTER_SUMS_THREADS - 1) / CLUSTER_SUMS_THREADS * 32;
    first = min(n, (int)threadIdx.x / 32 * size);
    last = min(n, first + size);
}

/* Behind all that any warp has done with them, and with what it put. */
static __device__ void clear(counters &of)
{
    __syncthreads();
    for (int i = threadIdx.x; i < WARPS * DIGITS; i += CLUSTER_SUMS_THREADS)
        of[i / DIGITS][i % DIGITS] = 0;
    __syncthreads();
}

/* From counts to places: digit by digit, warp by warp. Returns how many moves there are. */
static __device__ int make_places(counters &of)
{
    __shared__ int of_warp[DIGITS / 32], n_moves;
    int digit = threadIdx.x, lane = digit % 32, total = 0, up_to = 0;
    __syncthreads();
    if (digit < DIGITS) {
        for (int w = 0; w < WARPS; w++)
            total += of[w][digit];
        up_to = total;
        for (int step = 1; step < 32; step *= 2) {
            int below = __shfl_up_sync(ALL, up_to, step);
            if (lane >= step)
                up_to += below;
        }
        if (lane == 31)
            of_warp[digit / 32] = up_to;
    }
    __syncthreads();
    if (digit < DIGITS) {
        int place = up_to - total;
        for (int w = 0; w < digit / 32; w++)
            place += of_warp[w];
        for (int w = 0; w < WARPS; w++) {
            int count = of[w][digit];
            of[w][digit] = place;
            place += count;
        }
        if (digit == DIGITS - 1)
            n_moves = place;
    }
    __syncthreads();
    return n_moves;
}

/* The lanes' moves, in their order; a negative cluster is none. The whole warp must come. places:
 * the warp's. */
static __device__ void put(cluster_move *out, int *places, int cluster, unsigned row, int shift)
{
    unsigned digit = cluster < 0 ? DIGITS : digit_of(cluster, shift);
    unsigned equal = __match_any_sync(ALL, digit);
    int rank = __popc(equal & ((1u << threadIdx.x % 32) - 1));
    int place = cluster < 0 ? 0 : places[digit];
    __syncwarp();
    if (cluster >= 0) {
        if (rank == 0)
            places[digit] = place + __popc(equal);
        out[place + rank] = cluster_move{cluster, row};
    }
    __syncwarp();
}

/* ---- rows as they lie ----------------------------------------------------------------------- */

#define AHEAD 4 /* groups of 32 whose labels are fetched together */

struct unit_rows {
    int32_t *label;
    const int32_t *next;
    int n;
    bool none_before;
};

/* what(row, from, to) for the warp's rows, 32 at a time; -1 and -1 behind the block's last. */
template <typename F> static __device__ void each_group(const unit_rows &rows, F what)
{
    int first, last, lane = threadIdx.x % 32;
    part_of_warp(rows.n, first, last);
    for (int group = first; group < last; group += 32 * AHEAD) {
        int from[AHEAD], to[AHEAD];
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            int row = group + 32 * a + lane;
            to[a] = row < last ? max(rows.next[row], -1) : -1;
            from[a] = row < last && !rows.none_before ? max(rows.label[row], -1) : -1;
        }
#pragma unroll
        for (int a = 0; a < AHEAD; a++)
            if (group + 32 * a < last)
                what(group + 32 * a + lane, from[a], to[a]);
    }
}

/* Returns how many moves there are, by the lowest digit in `out`, and makes the labels what they
 * are next. A row's two moves are in neighbouring lanes. */
static __device__ int sort_rows(cluster_move *out, counters &of, const unit_rows &rows,
                                int64_t *n_moved)
{
    int *own = of[threadIdx.x / 32], lane = threadIdx.x % 32, changes = 0;
    clear(of);
    each_group(rows, [&](int, int from, int to) {
        if (from == to)
            return;
        if (from >= 0)
            atomicAdd(&own[digit_of(from, 0)], 1);
        if (to >= 0)
            atomicAdd(&own[digit_of(to, 0)], 1);
    });
    int n_moves = make_places(of);
    each_group(rows, [&](int row, int from, int to) {
        if (row < rows.n && (rows.none_before || from != to))
            rows.label[row] = to;
        unsigned changed = __ballot_sync(ALL, from != to);
        changes += __popc(changed);
        if (changed && rows.none_before)
            put(out, own, to, 2 * row, 0);
        for (int half = 0; half < 32 && !rows.none_before; half += 16) {
            if ((changed >> half & 0xFFFF) == 0)
                continue;
            int source = half + lane / 2, leaves = lane % 2;
            int old = __shfl_sync(ALL, from, source), now = __shfl_sync(ALL, to, source);
            int cluster = old == now ? -1 : leaves ? old : now;
            put(out, own, cluster, 2 * (row - lane + source) + leaves, 0);
        }
    });
    if (rows.none_before)
        changes = threadIdx.x == 0 ? rows.n : 0;
    if (lane == 0 && changes > 0)
        atomicAdd((unsigned long long *)n_moved, (unsigned long long)changes);
    return n_moves;
}

/* n moves from `in`, by the digit at shift, to `out`. */
static __device__ void sort_moves(cluster_move *out, counters &of, const cluster_move *in, int n,
                                  int shift)
{
    int *own = of[threadIdx.x / 32], lane = threadIdx.x % 32, first, last;
    part_of_warp(n, first, last);
    clear(of);
    for (int i = first + lane; i < last; i += 32)
        atomicAdd(&own[digit_of(in[i].cluster, shift)], 1);
    make_places(of);
    for (int group = first; group < last; group += 32 * AHEAD) {
        cluster_move move[AHEAD];
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            int i = group + 32 * a + lane;
            move[a] = i < last ? in[i] : cluster_move{-1, 0};
        }
#pragma unroll
        for (int a = 0; a < AHEAD; a++)
            put(out, own, move[a].cluster, move[a].row, shift);
    }
}

/* ---- units ---------------------------------------------------------------------------------- */

struct unit_of_launch {
    int index, run, block;

    __device__ unit_of_launch(const cluster_sums_job &p, int i)
        : index(i), run(p.runs.of[i % p.runs.n]), block(p.first_block + i / p.runs.n)
    {
    }
};

static __device__ cluster_move *moves_of(const cluster_sums_job &p, int unit, int pass)
{
    return p.moves[pass % 2] + (size_t)unit * p.most_moves;
}

static __device__ void find_ranges(const cluster_sums_job &p, int unit, const cluster_move *moves,
                                   int n)
{
    __shared__ int n_touched;
    cluster_range *range = p.range + (size_t)unit * p.k;
    int32_t *touched = p.touched + (size_t)unit * p.k;
    if (threadIdx.x == 0)
        n_touched = 0;
    for (int c = threadIdx.x; c < p.k; c += CLUSTER_SUMS_THREADS)
        range[c] = cluster_range{0, 0};
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += CLUSTER_SUMS_THREADS) {
        int cluster = moves[i].cluster, before = i > 0 ? moves[i - 1].cluster : -1;
        if (cluster != before) {
            range[cluster].first = i;
            touched[atomicAdd(&n_touched, 1)] = cluster;
        }
        if (cluster != before && i > 0)
            range[before].last = i;
        if (i == n - 1)
            range[cluster].last = n;
    }
    __syncthreads();
    if (threadIdx.x == 0)
        p.n_touched[unit] = n_touched;
}

extern "C" __global__ void __launch_bounds__(CLUSTER_SUMS_THREADS)
    cluster_moves(const __grid_constant__ cluster_sums_job p)
{
    __shared__ counters of;
    unit_of_launch unit(p, blockIdx.x);
    int first = unit.block * CLUSTER_SUMS_BLOCK;
    size_t at = (size_t)unit.run * p.stride + first;
    unit_rows rows = {p.label + at, p.next + at, min(p.n - first, CLUSTER_SUMS_BLOCK),
                      p.none_before != 0};
    int n = sort_rows(moves_of(p, unit.index, 0), of, rows, p.n_moved + unit.run);
    for (int pass = 1; pass < p.n_passes; pass++)
        sort_moves(moves_of(p, unit.index, pass), of, moves_of(p, unit.index, pass - 1), n,
                   pass * CLUSTER_SUMS_BITS);
    find_ranges(p, unit.index, moves_of(p, unit.index, p.n_passes - 1), n);
}

/* ---- sums ----------------------------------------------------------------------------------- */

template <int W> struct doubles {
    double of[W];
};

template <int W> static __device__ doubles<W> load_doubles(const double *from)
{
    doubles<W> v;
    if constexpr (W == 1)
        v.of[0] = *from;
    else
        for (int i = 0; i < W; i += 2)
            *(double2 *)&v.of[i] = *(const double2 *)(from + i);
    return v;
}

template <int W> static __device__ void store_doubles(double *to, const doubles<W> &v)
{
    if constexpr (W == 1)
        *to = v.of[0];
    else
        for (int i = 0; i < W; i += 2)
            *(double2 *)(to + i) = *(const double2 *)&v.of[i];
}

/* Of W floats, or of what they are with the other sign: by integers where all are normal. */
template <int W> static __device__ doubles<W> widened(const floats<W> &x, unsigned sign)
{
    doubles<W> wide;
    floats<W> turned;
    bool normal = true;
#pragma unroll
    for (int i = 0; i < W; i++) {
        normal &= is_normal(x.of[i]);
        turned.of[i] = __uint_as_float(__float_as_uint(x.of[i]) ^ sign);
    }
    if (normal)
#pragma unroll
        for (int i = 0; i < W; i++)
            wide.of[i] = shrunk(turned.of[i], 896);
    else
#pragma unroll
        for (int i = 0; i < W; i++)
            wide.of[i] = widened(turned.of[i]);
    return wide;
}

#define ROWS_AHEAD 8 /* that are fetched together, with the places of the next ones */

/* The chains of W columns over a cluster's moves. x: at the first of them in the block's first row.
 * *come: how many more come than leave. */
template <int W>
static __device__ doubles<W> chains(const float *x, const cluster_move *moves, cluster_range range,
                                    int d, int *come)
{
    doubles<W> sum = {};
    unsigned row[ROWS_AHEAD];
    int difference = 0;
#pragma unroll
    for (int a = 0; a < ROWS_AHEAD; a++)
        row[a] = moves[min(range.first + a, range.last - 1)].row;
    for (int i = range.first; i < range.last; i += ROWS_AHEAD) {
        floats<W> value[ROWS_AHEAD];
        unsigned leaves[ROWS_AHEAD];
#pragma unroll
        for (int a = 0; a < ROWS_AHEAD; a++) {
            value[a] = load_floats<W>(x + (size_t)(row[a] / 2) * d);
            leaves[a] = row[a] % 2;
            row[a] = moves[min(i + ROWS_AHEAD + a, range.last - 1)].row;
        }
#pragma unroll
        for (int a = 0; a < ROWS_AHEAD; a++) {
            if (i + a >= range.last)
                break;
            doubles<W> addend = widened(value[a], leaves[a] << 31);
#pragma unroll
            for (int j = 0; j < W; j++)
                sum.of[j] += addend.of[j];
            difference += leaves[a] ? -1 : 1;
        }
    }
    *come = difference;
    return sum;
}

/* Warp w of a unit's has the w-th 32 of its pieces of W columns, then every `warps`-th of these. */
template <int W> static __device__ void add_clusters(const cluster_sums_job &p)
{
    int n_units = p.n_blocks * p.runs.n, warps = gridDim.x / n_units;
    unit_of_launch unit(p, blockIdx.x % n_units);
    const cluster_move *moves = moves_of(p, unit.index, p.n_passes - 1);
    const float *x = p.x + (size_t)unit.block * CLUSTER_SUMS_BLOCK * p.d;
    size_t of_unit = (size_t)unit.index * p.k, of_run = (size_t)unit.run * p.k;
    unsigned pieces = p.d / W, n_items = p.n_touched[unit.index] * pieces;
    for (unsigned item = blockIdx.x / n_units * 32 + threadIdx.x; item < n_items;
         item += warps * 32) {
        int cluster = p.touched[of_unit + item / pieces], j = item % pieces * W, come;
        cluster_range range = p.range[of_unit + cluster];
        doubles<W> sum = chains<W>(x + j, moves, range, p.d, &come);
        if (j == 0)
            atomicAdd((unsigned long long *)&p.counts[of_run + cluster],
                      (unsigned long long)(long long)come);
        if (p.partial) {
            store_doubles(p.partial + (of_unit + cluster) * p.d + j, sum);
            continue;
        }
        double *at = p.sums + (of_run + cluster) * p.d + j;
        doubles<W> total = load_doubles<W>(at);
#pragma unroll
        for (int i = 0; i < W; i++)
            total.of[i] += sum.of[i];
        store_doubles(at, total);
    }
}

extern "C" __global__ void __launch_bounds__(32)
    cluster_sums_by_fours(const __grid_constant__ cluster_sums_job p)
{
    add_clusters<4>(p);
}

extern "C" __global__ void __launch_bounds__(32)
    cluster_sums_by_elements(const __grid_constant__ cluster_sums_job p)
{
    add_clusters<1>(p);
}

/* ---- blocks together ------------------------------------------------------------------------ */

template <int W> static __device__ void fold(const cluster_sums_job &p)
{
    int place = blockIdx.x % p.runs.n, run = p.runs.of[place];
    unsigned pieces = p.d / W, item = blockIdx.x / p.runs.n * CLUSTER_SUMS_FOLD + threadIdx.x;
    unsigned cluster = item / pieces;
    if (cluster >= (unsigned)p.k)
        return;
    size_t j = (size_t)(item % pieces) * W;
    double *at = p.sums + ((size_t)run * p.k + cluster) * p.d + j;
    doubles<W> total = {};
    bool touched = false;
    for (int b = 0; b < p.n_blocks; b++) {
        size_t of_unit = ((size_t)b * p.runs.n + place) * p.k + cluster;
        cluster_range range = p.range[of_unit];
        if (range.first == range.last)
            continue;
        if (!touched)
            total = load_doubles<W>(at);
        touched = true;
        doubles<W> sum = load_doubles<W>(p.partial + of_unit * p.d + j);
#pragma unroll
        for (int i = 0; i < W; i++)
            total.of[i] += sum.of[i];
    }
    if (touched)
        store_doubles(at, total);
}

extern "C" __global__ void __launch_bounds__(CLUSTER_SUMS_FOLD)
    cluster_fold_by_fours(const __grid_constant__ cluster_sums_job p)
{
    fold<4>(p);
}

extern "C" __global__ void __launch_bounds__(CLUSTER_SUMS_FOLD)
    cluster_fold_by_elements(const __grid_constant__ cluster_sums_job p)
{
    fold<1>(p);
}
