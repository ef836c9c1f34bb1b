/* The gradients by weights on a GPU: see weight_gradient.h and lora.h.
 *
 * A CTA makes a tile of one gradient, 64 columns of the wide operand by all (at most 64) of the
 * narrow one, over all rows t of the pass, which are what tensor cores sum over:
 *
 *            NARROW columns            wide and narrow lie row by row, t by t, so both fragments
 *          +----------------+          come by ldmatrix.trans: 8 x 8 pieces whose rows are t.
 *   warp 0 | 16 of wide     |
 *   warp 1 |                |          D[i][j] is mma.m16n8k16's: 16 columns of wide by 8 of narrow
 *   warp 2 |                |
 *   warp 3 |                |
 *          +----------------+
 *
 * Such a product does little: 32 multiply-adds for each element of the wide operand, which is read
 * once, in rows of 128 bytes. So it is bound by memory, and what counts is that copies are always
 * under way: 32 rows a step, by cp.async, three steps ahead.
 *
 * Order of an element's sum: a chain of mma over its unit's rows, 16 at a time from the unit's
 * first, from 0, rows behind the unit's end being zeros; at the end of a unit the sum is added to
 * what the gradient held, in a register that is loaded at the start and stored at the end. So it
 * depends on the rows of each unit and on nothing else.
 *
 * Dropout: who copied a vector of 16 bytes waits for it, makes its counter's mask meanwhile, and
 * drops it in place, before the barrier behind which all read it. The parts of a joined matrix read
 * the same input with masks of their own; their CTAs run at a time, and L2 has it.
 *
 * Shared memory: a row of 64 is 128 bytes, and vector c of row t lies at place c ^ (t % 8); a row
 * of 32 is 64 bytes, c at c ^ (t / 2 % 4). So 8 rows of an ldmatrix, and what 8 lanes copy or drop,
 * lie in different banks. */
#include "kernels/cuda.cuh"
#include "kernels/dropout.cuh"
#include "kernels/tensor.cuh"
#include "kernels/weight_gradient_parts.h"

#define TOKENS 32 /* rows of a step */
#define STAGES 4

/* The steps of a pass, each of at most TOKENS rows of one unit; of empty units there are none. */
struct unit_steps {
    const int *units;
    int n_units, unit; /* the next one */
    int first, end;    /* of the step; of its unit */

    __device__ __forceinline__ unit_steps(const gradient_parts &p)
        : units(p.units), n_units(p.n_units), unit(0), first(0), end(0)
    {
        find();
    }

    __device__ __forceinline__ void find()
    {
        while (first >= end && unit < n_units) {
            first = units[unit++];
            end = units[unit];
        }
    }

    __device__ __forceinline__ bool there() const
    {
        return first < end;
    }

    /* It has no more rows than an mma. */
    __device__ __forceinline__ bool is_short() const
    {
        return first + 16 >= end;
    }

    __device__ __forceinline__ bool is_units_last() const
    {
        return first + TOKENS >= end;
    }

    __device__ __forceinline__ void next()
    {
        first += TOKENS;
        find();
    }
};

/* Where vector `vector` of row t of a step lies in shared memory. */
template <int COLUMNS> static __device__ __forceinline__ int place_of(int t, int vector)
{
    return 2 * COLUMNS * t + 16 * (vector ^ (COLUMNS == 64 ? t % 8 : t / 2 % 4));
}

/* Copies of COLUMNS columns, a step's rows, to shared memory. A thread has a vector of every
 * PITCHth row. */
template <int COLUMNS> struct step_copies {
    static const int VECTORS = COLUMNS / 8, PITCH = GRADIENT_THREADS / VECTORS;
    static const int N = TOKENS / PITCH, BYTES = 2 * COLUMNS * TOKENS;

    const __nv_bfloat16 *from;
    int stride, columns; /* from row to row; that there are from this thread's on */
    int row, place;
    bool vectors;

    __device__ __forceinline__ step_copies(const void *matrix, int n_columns, int row_stride,
                                           int first_column, bool by_vectors)
    {
        int vector = threadIdx.x % VECTORS;
        row = threadIdx.x / VECTORS;
        from = (const __nv_bfloat16 *)matrix + first_column + 8 * vector;
        stride = row_stride;
        columns = n_columns - first_column - 8 * vector;
        place = place_of<COLUMNS>(row, vector);
        vectors = by_vectors;
    }

    /* kept: for this thread's elements of row t, a bit each. */
    template <typename K>
    __device__ __forceinline__ void copy(unsigned char *to, const unit_steps &step, float scale,
                                         const K &kept) const
    {
#pragma unroll
        for (int i = 0; i < N; i++) {
            int t = step.first + row + i * PITCH, there = t < step.end ? columns : 0;
            const __nv_bfloat16 *at = from + (size_t)t * stride;
            unsigned char *place_to = to + place + i * PITCH * 2 * COLUMNS;
            if (vectors) {
                copy16(place_to, at, there > 0);
            } else {
                vector_of<__nv_bfloat16> values;
                unsigned bits = there > 0 ? kept(t) : 0;
                for (int e = 0; e < 8; e++)
                    values.of[e] = __float2bfloat16_rn(
                        e < there && bits >> e & 1 ? to_float(at[e]) * scale : 0.0f);
                vector_store((__nv_bfloat16 *)place_to, values);
            }
        }
    }
};

/* The dropout of a part's wide operand. */
struct wide_dropout {
    dropout of;
    float scale;
    int columns;        /* of a row */
    int first_column;   /* of this thread */
    uint64_t group;     /* of its vector in the pass's row `row`, where columns are whole groups */
    unsigned row_groups; /* from row to row */

    __device__ __forceinline__ wide_dropout(const dropout &all, const gradient_part &part,
                                            int column, int row)
        : of(all)
    {
        of.stream = part.stream;
        of.threshold = part.dropped ? all.threshold : 0;
        scale = dropout_scale_of(of.threshold);
        columns = part.n_wide;
        first_column = column;
        group = dropout_group(of, row, column, columns);
        row_groups = (unsigned)columns / DROPOUT_GROUP;
    }

    /* Which of this thread's 8 elements of row t are kept, a bit each, the first one lowest. */
    __device__ __forceinline__ unsigned bits(int t) const
    {
        if (of.threshold == 0)
            return 0xFF;
        dropout_halves halves =
            dropout_halves_from(of, (uint64_t)(of.first_row + t) * columns + first_column);
        unsigned kept = 0;
#pragma unroll
        for (int e = 0; e < DROPOUT_GROUP; e++)
            kept |= (unsigned)halves.keep(e, of.threshold) << e;
        return kept;
    }

    /* Of the two vectors that this thread has copied, 16 rows apart: masks first, while they are on
     * their way. The second may be behind the unit's end, for all threads. */
    __device__ __forceinline__ void drop(unsigned char *at, const unit_steps &step) const
    {
        typedef step_copies<GRADIENT_WIDE> copies;
        static_assert(copies::N == 2 && copies::PITCH == 16, "two vectors a thread");
        uint64_t of_first = group + (uint64_t)(unsigned)step.first * row_groups;
        uint4 *a = (uint4 *)at, *b = (uint4 *)(at + copies::BYTES / 2);
        if (step.is_short()) {
            dropout_halves one(of, of_first);
            wait<STAGES - 2>();
            *a = dropout_eight(*a, one, of.threshold, scale);
            return;
        }
        dropout_halves one(of, of_first), two(of, of_first + copies::PITCH * row_groups);
        wait<STAGES - 2>();
        *a = dropout_eight(*a, one, of.threshold, scale);
        *b = dropout_eight(*b, two, of.threshold, scale);
    }
};

/* A lane's elements of its warp's 16 x NARROW of out: mma's, (g, 2 q), (g, 2 q + 1), and 8 columns
 * of wide further. Loads and stores are whole sectors of 32 bytes: 8 columns of wide in a row, or
 * of narrow by pairs. */
template <int NARROW> struct out_tile {
    static const int n8 = NARROW / 8;

    float *at; /* this lane's first */
    size_t wide_step, narrow_step;
    int wide_left, narrow_left; /* columns that there are from it on */
    bool pairs;

    __device__ __forceinline__ out_tile(const gradient_part &part, int wide, int narrow, int lane)
    {
        int i = wide + lane / 4, j = narrow + lane % 4 * 2;
        wide_step = part.narrow_first ? 1 : part.n_narrow;
        narrow_step = part.narrow_first ? part.n_wide : 1;
        at = part.out + i * wide_step + j * narrow_step;
        wide_left = part.n_wide - i;
        narrow_left = part.n_narrow - j;
        pairs = !part.narrow_first && part.n_narrow % 2 == 0 && (size_t)part.out % 8 == 0;
    }

    /* Each place of the 2 n8 that are 8 columns of wide, or of narrow, apart. */
    template <typename F>
    __device__ __forceinline__ void each(float (*sums)[4], const F &visit) const
    {
#pragma unroll
        for (int k = 0; k < 2 * n8; k++) {
            int down = 8 * (k % 2), right = k / 2 * 8;
            if (down < wide_left)
                visit(at + down * wide_step + right * narrow_step, &sums[k / 2][k % 2 * 2],
                      narrow_left - right);
        }
    }

    template <bool STORE> __device__ __forceinline__ void move(float (*sums)[4]) const
    {
        if (pairs)
            each(sums, [](float *to, float *own, int left) {
                if (left > 0 && STORE)
                    *(float2 *)to = make_float2(own[0], own[1]);
                else if (left > 0)
                    *(float2 *)own = *(const float2 *)to;
            });
        else
            each(sums, [this](float *to, float *own, int left) {
#pragma unroll
                for (int e = 0; e < 2; e++)
                    if (e < left && STORE)
                        to[e * narrow_step] = own[e];
                    else if (e < left)
                        own[e] = to[e * narrow_step];
            });
    }
};

template <int NARROW>
static __device__ __forceinline__ void multiply(float (*sums)[4], unsigned wide, unsigned narrow,
                                                const unit_steps &step)
{
#pragma unroll
    for (int s = 0; s < TOKENS / 16; s++) {
        if (s > 0 && step.is_short())
            break;
        unsigned a[4], b[4];
        load_matrices<true>(a, wide + s * 16 * 2 * GRADIENT_WIDE);
#pragma unroll
        for (int t = 0; t < NARROW / 16; t++) {
            load_matrices<true>(b, (narrow ^ 32 * t) + s * 16 * 2 * NARROW);
            mma(sums[2 * t], a, b[0], b[1]);
            mma(sums[2 * t + 1], a, b[2], b[3]);
        }
    }
}

template <int NARROW>
static __device__ __forceinline__ void gradient_tile(const gradient_parts &p, unsigned char *shared)
{
    typedef step_copies<GRADIENT_WIDE> wide_copies;
    typedef step_copies<NARROW> narrow_copies;
    const int stage_bytes = wide_copies::BYTES + narrow_copies::BYTES, n8 = NARROW / 8;
    int which = 0;
    while (which + 1 < p.n_parts && (int)blockIdx.x >= p.parts[which + 1].first_tile)
        which++;
    const gradient_part &part = p.parts[which];
    int tile = blockIdx.x - part.first_tile, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int wide0 = tile / part.narrow_tiles * GRADIENT_WIDE;
    int narrow0 = tile % part.narrow_tiles * NARROW;
    wide_copies wide(part.wide, part.n_wide, part.wide_stride, wide0, part.wide_vectors);
    narrow_copies narrow(part.narrow, part.narrow_there, part.narrow_stride, narrow0,
                         part.narrow_vectors);
    wide_dropout mask(p.dropout, part, part.n_wide - wide.columns, wide.row);
    bool drop_in_place = mask.of.threshold && part.wide_vectors;
    auto copy = [&](int stage, const unit_steps &step) {
        unsigned char *to = shared + stage * stage_bytes;
        wide.copy(to, step, mask.scale, [&](int t) { return mask.bits(t); });
        narrow.copy(to + wide_copies::BYTES, step, 1.0f, [](int) { return 0xFFu; });
    };

    float totals[n8][4] = {}, sums[n8][4] = {};
    out_tile<NARROW>(part, wide0 + 16 * warp, narrow0, lane).template move<false>(totals);

    /* This lane's row of an ldmatrix: of wide 8 x 8 pieces (t, columns), the second to the right,
     * the third and fourth below; of narrow the second below. */
    unsigned first = shared_address(shared);
    unsigned wide_at =
        first + place_of<GRADIENT_WIDE>(lane % 8 + lane / 16 * 8, 2 * warp + lane / 8 % 2);
    unsigned narrow_at = first + wide_copies::BYTES + place_of<NARROW>(lane % 16, lane / 16);

    unit_steps ahead(p), now(p);
#pragma unroll 1
    for (int stage = 0; stage < STAGES - 1; stage++) {
        if (ahead.there()) {
            copy(stage, ahead);
            ahead.next();
        }
        commit();
    }
    for (int stage = 0; now.there(); stage = (stage + 1) % STAGES) {
        if (drop_in_place)
            mask.drop(shared + stage * stage_bytes + wide.place, now);
        else
            wait<STAGES - 2>();
        __syncthreads();
        if (ahead.there()) {
            copy((stage + STAGES - 1) % STAGES, ahead);
            ahead.next();
        }
        commit();
        multiply<NARROW>(sums, wide_at + stage * stage_bytes, narrow_at + stage * stage_bytes, now);
        if (now.is_units_last())
#pragma unroll
            for (int i = 0; i < 4 * n8; i++) {
                totals[i / 4][i % 4] += sums[i / 4][i % 4];
                sums[i / 4][i % 4] = 0;
            }
        now.next();
    }
    /* Opaque: else addresses would be kept in registers all along. */
    out_tile<NARROW>(part, wide0 + 16 * warp, narrow0, opaque(lane)).template move<true>(totals);
}

#define GRADIENT(NARROW, SIDE)                                                                     \
    extern "C" __global__ void __launch_bounds__(GRADIENT_THREADS, SIDE)                           \
        weight_gradient_##NARROW(const __grid_constant__ gradient_parts p)                         \
    {                                                                                              \
        __shared__ __align__(128) unsigned char shared[STAGES * 2 * TOKENS *                       \
                                                       (GRADIENT_WIDE + NARROW)];                  \
        gradient_tile<NARROW>(p, shared);                                                          \
    }
GRADIENT(32, 5)
GRADIENT(64, 4)
