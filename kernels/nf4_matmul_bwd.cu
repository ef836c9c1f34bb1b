/* dX = dY W with an NF4 weight on a GPU, from the tiles of the forward product: see nf4_matmul.h,
 * nf4_layout.h for how W lies, product.cuh for the loop and product_bwd.cuh for its end.
 *
 * Here k runs along W's rows: a step of 64 is 4 rows of tiles, of which a CTA takes as many side by
 * side as its columns need. A k16 step is a row of tiles. Of it lane (g, q) wants, for the B
 * fragment of an n8 tile, column g of rows 2 q, 2 q + 1 (b0) and those 8 further down (b1):
 *
 *   packed for lane      word         byte             nibble
 *   8 q + g / 2          columns/16   columns/8 % 2    g even: the high one    rows 2 q, 2 q + 8
 *   8 q + 4 + g / 2      the same                                              rows 2 q + 1, + 9
 *
 * the rows 8 further down two bytes higher. So a warp, 32 columns wide, reads two words of both
 * lanes, 8 bytes each, which make four n8 tiles; the neighbour g ^ 1 uses the other nibbles. In
 * shared memory the 16 bytes packed for lane l lie at place l ^ 2 (l / 8): the 8 places that half a
 * warp reads, q = 0..3 and two of g / 2, are in different banks then, and so are the 8 that a
 * quarter of a warp copies.
 *
 * absmax goes with k, so each lane needs those of four rows a k16 step. A CTA has as many absmax a
 * step as columns and threads: each thread makes one, when the step's codes are asked for, and
 * leaves it in the stage as float32, the four that a lane needs side by side. Its code and its
 * nested absmax have been on their way since the step before. */
#include "kernels/nf4.cuh"
#include "kernels/product_bwd.cuh"

#define STEP_GROUPS (K_STEP / NF4_TILE_ROWS) /* rows of tiles in a step */

/* ---- absmax by tiles ------------------------------------------------------------------------ */

/* The segments' rows fill whole tiles, but for the last one's: k counts rows of tiles. */
template <typename S> struct nf4_transposed {
    static const int tiles = S::columns / NF4_TILE_COLUMNS; /* side by side */
    static const int group_bytes = tiles * NF4_TILE_BYTES;  /* of a row of tiles in a stage */
    static const int absmax_at = STEP_GROUPS * group_bytes; /* in a stage */
    static const int stage_bytes = absmax_at + 4 * S::columns, more_bytes = 0;
    static_assert(S::threads == S::columns && S::warp_columns == 32, "an absmax a thread");

    const nf4_tiles &w;
    const product_adapters &adapters;
    unsigned char *stages;

    /* The copies of codes: 16 bytes of every second row of tiles. */
    const unsigned char *from;
    int groups; /* that there are from the first on */
    unsigned to;

    /* The absmax of a row of a step, and those of the following step, on their way. */
    const unsigned char *codes;
    unsigned absmax_to;
    int row, steps;         /* of step 0; steps that have such a row */
    int tile, end;          /* end: of the segment's rows, of k */
    const float *nested_of; /* the segment's; block 0 is that of its first row */
    int first_block;
    float offset_of;
    unsigned code;
    float nested, offset;
    nf4_nested map;

    /* The warp's fragments. */
    float entry = nf4_entry();
    unsigned high; /* 4: the lane's nibbles are the high ones */
    unsigned even_place, odd_place, absmax_place;
    const unsigned char *even_now, *odd_now, *absmax_now; /* in the step's stage */
    uint2 even, odd;                                      /* rows 2 q, 2 q + 8; the next ones */
    float4 absmax; /* of rows 2 q, 2 q + 1, 2 q + 8, 2 q + 9 */

    __device__ __forceinline__ nf4_transposed(const nf4_matmul_bwd &all, const product_place &at,
                                              unsigned char *first_stage)
        : w(all.w), adapters(all.adapters), stages(first_stage)
    {
        int lane = at.lane, g = lane / 4, q = lane % 4, first_tile = at.column / NF4_TILE_COLUMNS;
        int group = threadIdx.x / (32 * tiles), piece = threadIdx.x % (32 * tiles);
        from = w.codes + ((size_t)group * w.n_steps + first_tile) * NF4_TILE_BYTES + 16 * piece;
        groups = first_tile + piece / 32 < w.n_steps ? w.n_groups - group : 0;
        to = opaque(group * group_bytes + piece / 32 * NF4_TILE_BYTES +
                    16 * (lane ^ 2 * (lane / 8)));

        group = threadIdx.x / (NF4_TILE_ROWS * tiles);
        piece = threadIdx.x % (NF4_TILE_ROWS * tiles);
        int in_tile = piece % NF4_TILE_ROWS;
        codes = w.absmax_codes + ((size_t)group * w.n_steps + first_tile) * NF4_TILE_ROWS + piece;
        absmax_to = opaque(absmax_at + 4 * (threadIdx.x - in_tile + in_tile % 8 / 2 * 4 +
                                            in_tile % 2 + in_tile / 8 * 2));
        row = NF4_TILE_ROWS * group + in_tile;
        tile = first_tile + piece / NF4_TILE_ROWS;
        steps = tile < w.n_steps ? (w.rows - row + K_STEP - 1) / K_STEP : 0;
        end = 0;
        code = 0;
        fetch(0);

        int column = at.warp_column % NF4_TILE_COLUMNS;
        int own = at.warp_column / NF4_TILE_COLUMNS;
        high = opaque(g % 2 ? 0 : 4);
        even_place = own * NF4_TILE_BYTES + 16 * (8 * q + (g / 2 ^ 2 * q)) + column / 4;
        odd_place = opaque(even_place ^ 16 * 4);
        even_place = opaque(even_place);
        absmax_place = opaque(absmax_at + 4 * (own * NF4_TILE_ROWS + 4 * q));
    }

    __device__ __forceinline__ int width() const
    {
        return w.columns;
    }

    __device__ __forceinline__ int column_of_y(int column) const
    {
        return column < w.columns ? column : -1;
    }

    /* Asks for the absmax's code and nested absmax of a step. Where it has no such row, it is 0. */
    __device__ __forceinline__ void fetch(int step)
    {
        nested = offset = 0;
        if (step >= steps)
            return;
        int now = row + K_STEP * step;
        if (now >= end) {
            const nf4_segment &segment = nf4_segment_of(w, now / NF4_TILE_ROWS);
            end = segment.first_row + segment.rows;
            nested_of = segment.nested_absmax;
            offset_of = segment.offset;
            first_block = tile - segment.first_row * w.n_steps;
        }
        code = codes[(size_t)(unsigned)step * (STEP_GROUPS * NF4_TILE_ROWS * w.n_steps)];
        nested = nested_of[(first_block + now * w.n_steps) >> 8];
        offset = offset_of;
    }

    __device__ __forceinline__ void load(int step, int stage)
    {
        unsigned group_bytes_of_w = NF4_TILE_BYTES * w.n_steps;
        const unsigned char *at = from + (size_t)(unsigned)step * (STEP_GROUPS * group_bytes_of_w);
        unsigned char *own = stages + stage * stage_bytes;
#pragma unroll
        for (int i = 0; i < STEP_GROUPS; i += 2)
            copy16(own + to + i * group_bytes, at + (size_t)(unsigned)i * group_bytes_of_w,
                   STEP_GROUPS * step + i < groups);
        *(float *)(own + absmax_to) = __fadd_rn(__fmul_rn(map.value(code), nested), offset);
        fetch(step + 1);
    }

    __device__ __forceinline__ void read(int s)
    {
        even = *(const uint2 *)(even_now + s * group_bytes);
        odd = *(const uint2 *)(odd_now + s * group_bytes);
        absmax = *(const float4 *)(absmax_now + s * tiles * NF4_TILE_ROWS * 4);
    }

    __device__ __forceinline__ void start(int, int stage)
    {
        even_now = stages + stage * stage_bytes + even_place;
        odd_now = stages + stage * stage_bytes + odd_place;
        absmax_now = stages + stage * stage_bytes + absmax_place;
        read(0);
    }

    __device__ __forceinline__ float value(unsigned word, int byte) const
    {
        return __shfl_sync(0xFFFFFFFF, entry, word >> 8 * byte, 16);
    }

    /* The following k16 step's words are read when this one's are used up, a k16 step's products
     * ahead. */
    __device__ __forceinline__ void fragments(unsigned (*b)[4], int s)
    {
        unsigned first[2] = {even.x >> high, even.y >> high};
        unsigned second[2] = {odd.x >> high, odd.y >> high};
#pragma unroll
        for (int t = 0; t < 2; t++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                b[t][2 * i] =
                    pack(value(first[t], i) * absmax.x, value(second[t], i) * absmax.y);
                b[t][2 * i + 1] =
                    pack(value(first[t], 2 + i) * absmax.z, value(second[t], 2 + i) * absmax.w);
            }
        if (s + 1 < STEP_GROUPS)
            read(s + 1);
    }
};

/* ---- any ------------------------------------------------------------------------------------ */

/* For flat tiles, and segments that do not fill theirs: each weight and its absmax is looked up in
 * memory. Slow; for small models. */
template <typename S> struct nf4_any_transposed {
    static const int stage_bytes = 0, more_bytes = 0;

    const nf4_tiles &w;
    const product_adapters &adapters;
    int row, column; /* of the lane's first element in the warp's first tile; row in a step */
    int step;

    __device__ __forceinline__ nf4_any_transposed(const nf4_matmul_bwd &all,
                                                  const product_place &at, unsigned char *)
        : w(all.w), adapters(all.adapters), row(at.lane % 4 * 2),
          column(at.column + at.warp_column + at.lane / 4)
    {
    }

    __device__ __forceinline__ int width() const
    {
        return w.columns;
    }

    __device__ __forceinline__ int column_of_y(int at) const
    {
        return at < w.columns ? at : -1;
    }

    __device__ __forceinline__ void load(int, int) const
    {
    }

    __device__ __forceinline__ void start(int now, int)
    {
        step = now;
    }

    __device__ __forceinline__ float value(int k, int at) const
    {
        if (k >= w.rows || at >= w.columns)
            return 0;
        int i = 0;
        while (i + 1 < w.n_segments && k >= w.segments[i + 1].first_row)
            i++;
        const nf4_segment &segment = w.segments[i];
        int of = k - segment.first_row, in_tile = of % NF4_TILE_ROWS;
        size_t tile = (size_t)(segment.first_group + of / NF4_TILE_ROWS) * w.n_steps +
                      at / NF4_TILE_COLUMNS;
        int lane = in_tile % 8 * 4 + at % 8 / 2, word = at % NF4_TILE_COLUMNS / 16;
        int byte = at / 8 % 2 + in_tile / 8 * 2;
        unsigned pair = w.codes[tile * NF4_TILE_BYTES + 16 * lane + 4 * word + byte];
        size_t block = ((size_t)of * w.columns + at) / 64;
        float absmax = w.flat ? nf4_flat_absmax(segment, block)
                              : nf4_absmax(w.absmax_codes[tile * NF4_TILE_ROWS + in_tile],
                                           segment.nested_absmax[block / 256], segment.offset);
        return nf4_map[pair >> (at % 2 ? 0 : 4) & 15] * absmax;
    }

    __device__ __forceinline__ void fragments(unsigned (*b)[4], int s) const
    {
        for (int t = 0; t < S::warp_columns / 16; t++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int k = K_STEP * step + 16 * s + 8 * (i % 2) + row;
                int at = column + 16 * t + 8 * (i / 2);
                float even = value(k, at);
                b[t][i] = pack(even, value(k + 1, at));
            }
    }
};

/* ---- kernels -------------------------------------------------------------------------------- */

template <typename S, template <typename> class WEIGHT, bool VECTORS>
static __device__ __forceinline__ void nf4_product_bwd(const product &p, const nf4_matmul_bwd &all)
{
    typedef WEIGHT<S> weight;
    extern __shared__ __align__(128) unsigned char shared[];
    product_place at = product_place_of<S>(p, all.w.columns);
    weight of(all, at, shared + S::stages * S::x_bytes);
    product_tile<S, weight, VECTORS, adapters_epilogue<S, VECTORS>>(p, of, at, shared);
}

/* Shapes: rows of dY, warps of 32 columns, stages, CTAs side by side; nf4_matmul_bwd.c's table has
 * the same. */
#define NF4_MATMUL_BWD(name, ROWS, WARPS, STAGES, SIDE)                                            \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, SIDE)                                 \
        nf4_matmul_bwd_##name(const __grid_constant__ product p,                                   \
                              const __grid_constant__ nf4_matmul_bwd all)                          \
    {                                                                                              \
        nf4_product_bwd<product_shape<ROWS, 32, 1, WARPS, STAGES>, nf4_transposed, true>(p, all);  \
    }
NF4_MATMUL_BWD(128x256, 128, 8, 3, 1)
NF4_MATMUL_BWD(96x256, 96, 8, 3, 1)
NF4_MATMUL_BWD(96x128, 96, 4, 2, 2)
NF4_MATMUL_BWD(64x128, 64, 4, 3, 3)
NF4_MATMUL_BWD(32x128, 32, 4, 4, 4)
NF4_MATMUL_BWD(32x64, 32, 2, 4, 8)

extern "C" __global__ void __launch_bounds__(128)
    nf4_matmul_bwd_any(const __grid_constant__ product p,
                       const __grid_constant__ nf4_matmul_bwd all)
{
    nf4_product_bwd<product_shape<32, 16, 1, 4, 2>, nf4_any_transposed, false>(p, all);
}
