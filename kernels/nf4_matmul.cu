/* Matrix product with an NF4 weight on a GPU: see nf4_matmul.h, nf4_layout.h for how W lies, and
 * product.cuh for the tiles and the loop.
 *
 * W never becomes a matrix of bfloat16, not even in shared memory: the lane's 16 bytes of a tile
 * are what its mma want, so a warp copies its tiles into its own piece of a stage, reads them back
 * and decodes them into B fragments. Each weight is decoded once a CTA, for all its rows of X. */
#include "kernels/nf4.cuh"
#include "kernels/product.cuh"

/* ---- codes ---------------------------------------------------------------------------------- */

template <typename S> struct nf4_codes {
    static const int tiles = S::warp_columns / 16, groups = S::columns / 16;
    static const int stage_bytes = groups * NF4_TILE_BYTES;

    const nf4_tiles &w;
    const unsigned char *from; /* the lane's bytes of the warp's first tile, of step 0 */
    unsigned char *stages;     /* their place in the first one */
    int lane, group;           /* group: the warp's first */
    uint4 words[tiles];        /* of a step */

    __device__ __forceinline__ nf4_codes(const nf4_tiles &weight, const product_place &at,
                                         unsigned char *first)
        : w(weight), lane(at.lane), group((at.column + at.warp_column) / 16)
    {
        from = w.codes + (size_t)group * w.n_steps * NF4_TILE_BYTES + 16 * lane;
        stages = first + opaque(at.warp_column / 16 * NF4_TILE_BYTES + 16 * lane);
    }

    __device__ __forceinline__ int width() const
    {
        return 16 * w.n_groups;
    }

    __device__ __forceinline__ void load_codes(int step, int stage)
    {
        const unsigned char *at = from + (size_t)step * NF4_TILE_BYTES;
#pragma unroll
        for (int t = 0; t < tiles; t++, at += (size_t)w.n_steps * NF4_TILE_BYTES)
            copy16(stages + stage * stage_bytes + t * NF4_TILE_BYTES, at, group + t < w.n_groups);
    }

    __device__ __forceinline__ void read_codes(int stage)
    {
#pragma unroll
        for (int t = 0; t < tiles; t++)
            words[t] = *(const uint4 *)(stages + stage * stage_bytes + t * NF4_TILE_BYTES);
    }

    __device__ __forceinline__ unsigned word(int t, int s) const
    {
        return s == 0 ? words[t].x : s == 1 ? words[t].y : s == 2 ? words[t].z : words[t].w;
    }

    __device__ __forceinline__ int column_of_y(int column) const
    {
        if (column / 16 >= w.n_groups)
            return -1;
        const nf4_segment &segment = nf4_segment_of(w, column / 16);
        int row = column - 16 * segment.first_group;
        return row < segment.rows ? segment.first_row + row : -1;
    }
};

/* ---- absmax by tiles ------------------------------------------------------------------------ */

/* absmax codes come for 4 steps at a time, 64 bytes of a row of tiles, so that sectors of 32 bytes
 * are used whole; there is room for two such runs, step by step: the 16 or 32 bytes of a warp's
 * tiles. Copies run ahead by less than 4 steps, since a shape has at most 4 stages: the run that is
 * overwritten has been read. A lane makes the absmax of
 * one row of W and hands it on by shuffles. A row's nested absmax changes at most every 256 steps,
 * and the following one is on its way for as long. */
#define RUN_STEPS 4

template <typename S> struct nf4_weight : nf4_codes<S> {
    typedef nf4_codes<S> base;
    static const int tiles = base::tiles, rows = NF4_TILE_ROWS * tiles;
    static const int more_bytes = 2 * RUN_STEPS * NF4_TILE_ROWS * base::groups;

    unsigned char *runs; /* the warp's: [2 * RUN_STEPS][tiles][16] */
    unsigned own;        /* where in a step this lane has its row */
    nf4_nested map;
    float entry = nf4_entry();
    int boundary; /* the step of the following nested absmax */
    const float *at, *last;
    float nested, following, offset;
    float low[tiles], high[tiles]; /* of a step: absmax of rows lane / 4 and that + 8 */

    __device__ __forceinline__ nf4_weight(const nf4_tiles &weight, const product_place &place,
                                          unsigned char *stages, unsigned char *more)
        : base(weight, place, stages), runs(more + place.warp_column * 2 * RUN_STEPS),
          own(opaque(place.lane % rows))
    {
        int own_tile = place.lane / 16 % tiles;
        const nf4_segment &segment = nf4_segment_of(weight, base::group + own_tile);
        int row = 16 * (base::group + own_tile - segment.first_group) + base::lane % 16;
        boundary = 0x7FFFFFFF;
        nested = following = offset = 0;
        at = last = segment.nested_absmax;
        if (row >= segment.rows)
            return; /* it fills up a tile: absmax 0 */
        int block = row * weight.n_steps; /* as many as rows * columns / 64 */
        at += block >> 8;
        last += (segment.rows * weight.n_steps - 1) >> 8;
        boundary = 256 - (block & 255);
        offset = segment.offset;
        nested = *at;
        at += at < last;
        following = *at;
    }

    __device__ __forceinline__ void load(int step, int stage)
    {
        const nf4_tiles &w = base::w;
        base::load_codes(step, stage);
        if (step % RUN_STEPS == 0 && base::lane < RUN_STEPS * tiles) {
            int t = base::lane / RUN_STEPS, i = base::lane % RUN_STEPS;
            bool there = base::group + t < w.n_groups && step + i < w.n_steps;
            size_t tile = there ? (size_t)(base::group + t) * w.n_steps + step + i : 0;
            copy16(runs + (step + i) % (2 * RUN_STEPS) * rows + NF4_TILE_ROWS * t,
                   w.absmax_codes + tile * NF4_TILE_ROWS, there);
        }
    }

    __device__ __forceinline__ void start(int step, int stage)
    {
        if (step == boundary) {
            nested = following;
            boundary += 256;
            at += at < last;
            following = *at;
        }
        unsigned code = runs[step % (2 * RUN_STEPS) * rows + own];
        float absmax = __fadd_rn(__fmul_rn(map.value(code), nested), offset);
#pragma unroll
        for (int t = 0; t < tiles; t++) {
            low[t] = __shfl_sync(0xFFFFFFFF, absmax, 16 * t + base::lane / 4);
            high[t] = __shfl_sync(0xFFFFFFFF, absmax, 16 * t + 8 + base::lane / 4);
        }
        base::read_codes(stage);
    }

    __device__ __forceinline__ void fragments(unsigned (*b)[4], int s) const
    {
#pragma unroll
        for (int t = 0; t < tiles; t++) {
            unsigned word = base::word(t, s);
            b[t][0] = nf4_pair(entry, word, 0, low[t]);
            b[t][1] = nf4_pair(entry, word, 8, low[t]);
            b[t][2] = nf4_pair(entry, word, 16, high[t]);
            b[t][3] = nf4_pair(entry, word, 24, high[t]);
        }
    }
};

/* ---- absmax by block ------------------------------------------------------------------------ */

/* For flat tiles: each weight looks its block's absmax up. Slow; for small models. */
template <typename S> struct nf4_flat_weight : nf4_codes<S> {
    typedef nf4_codes<S> base;
    static const int more_bytes = 16;
    int step;

    __device__ __forceinline__ nf4_flat_weight(const nf4_tiles &weight, const product_place &place,
                                               unsigned char *stages, unsigned char *)
        : base(weight, place, stages)
    {
    }

    __device__ __forceinline__ void load(int ahead, int stage)
    {
        base::load_codes(ahead, stage);
    }

    __device__ __forceinline__ void start(int now, int stage)
    {
        step = now;
        base::read_codes(stage);
    }

    __device__ __forceinline__ float value(const nf4_segment &segment, int row, int k,
                                           unsigned code) const
    {
        if (row >= segment.rows || k >= base::w.columns)
            return 0;
        size_t block = ((size_t)row * base::w.columns + k) / 64;
        return nf4_map[code] * nf4_flat_absmax(segment, block);
    }

    __device__ __forceinline__ void fragments(unsigned (*b)[4], int s) const
    {
        for (int t = 0; t < base::tiles; t++) {
            const nf4_segment &segment = nf4_segment_of(base::w, base::group + t);
            int row0 = 16 * (base::group + t - segment.first_group) + base::lane / 4;
            unsigned word = base::word(t, s);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int row = row0 + 8 * (i / 2);
                int k = K_STEP * step + 16 * s + 8 * (i % 2) + base::lane % 4 * 2;
                float even = value(segment, row, k, word >> (8 * i + 4) & 15);
                b[t][i] = pack(even, value(segment, row, k + 1, word >> 8 * i & 15));
            }
        }
    }
};

/* ---- kernels -------------------------------------------------------------------------------- */

template <typename S, template <typename> class WEIGHT, bool VECTORS>
static __device__ __forceinline__ void nf4_product(const product &p, const nf4_tiles &w)
{
    typedef WEIGHT<S> weight;
    extern __shared__ __align__(128) unsigned char shared[];
    unsigned char *stages = shared + S::stages * S::x_bytes;
    product_place at = product_place_of<S>(p, 16 * w.n_groups);
    weight of(w, at, stages, stages + S::stages * weight::stage_bytes);
    product_tile<S, weight, VECTORS>(p, of, at, shared);
}

/* Shapes: rows of X, columns of a warp, warps, stages, CTAs side by side; nf4_matmul.c's table has
 * the same. */
#define NF4_MATMUL(name, ROWS, WARP_COLUMNS, WARPS, STAGES, SIDE)                                  \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, SIDE)                                 \
        nf4_matmul_##name(const __grid_constant__ product p, const __grid_constant__ nf4_tiles w)  \
    {                                                                                              \
        nf4_product<product_shape<ROWS, WARP_COLUMNS, 1, WARPS, STAGES>, nf4_weight, true>(p, w);  \
    }
NF4_MATMUL(128x256, 128, 32, 8, 3, 1)
NF4_MATMUL(96x256, 96, 32, 8, 3, 1)
NF4_MATMUL(96x128, 96, 32, 4, 2, 2)
NF4_MATMUL(64x128, 64, 32, 4, 3, 3)
NF4_MATMUL(32x128, 32, 32, 4, 4, 4)
NF4_MATMUL(32x64, 32, 16, 4, 4, 5)
NF4_MATMUL(16x64, 16, 16, 4, 4, 6)

extern "C" __global__ void __launch_bounds__(128)
    nf4_matmul_flat(const __grid_constant__ product p, const __grid_constant__ nf4_tiles w)
{
    nf4_product<product_shape<32, 16, 1, 4, 2>, nf4_flat_weight, false>(p, w);
}
