/* The end of a gradient by the input: the adapters' term, masked, is added to the sums of
 * product.cuh while they lie as mma has them, before its epilogue.
 *
 * ds · A is a small product for each part, over its ranks, from 0. Both operands come straight from
 * memory: of 16 ranks lane q of a quad has four in a row, 8 bytes, which stand for k = 2 q,
 * 2 q + 1, 2 q + 8, 2 q + 9 of the mma. So a row's 32 bytes are read whole; in which order 16
 * products of one mma are numbered does not matter as long as ds and A agree.
 *
 * A counter of Philox serves the 8 columns of a row in an n8 tile, of which each lane of a quad has
 * two: a word of the four. So each lane makes the counters of one tile, rows g and g + 8, and a
 * transposition in the quad gives it its own words of all four tiles. The counters take as long as
 * the operands need to come. */
#ifndef MIDASHI_KERNELS_PRODUCT_BWD_CUH
#define MIDASHI_KERNELS_PRODUCT_BWD_CUH

#include "kernels/dropout.cuh"
#include "kernels/product.cuh"
#include "kernels/product_bwd.h"

/* ALIGNED: columns are multiples of 8, so that a tile's 8 columns share a counter. */
template <typename S, bool ALIGNED> struct adapters_epilogue {
    static const int n8 = S::warp_columns / 8;
    static_assert(n8 <= 4, "a quad makes the counters of four tiles");

    /* Operands of 16 ranks: ds of rows g and g + 8, A of columns g of each tile. */
    struct ranks {
        uint2 ds[2], a[n8];

        __device__ __forceinline__ void load(const product &p, const product_adapters &adapters,
                                             const lora_part &part, int row, int column, int rank)
        {
            const __nv_bfloat16 *from = (const __nv_bfloat16 *)adapters.ds + part.first_rank + rank;
#pragma unroll
            for (int h = 0; h < 2; h++)
                ds[h] = row + 8 * h < p.m ? *(const uint2 *)(from + (size_t)(row + 8 * h) *
                                                                        adapters.parts.padded)
                                          : make_uint2(0, 0);
            from = (const __nv_bfloat16 *)part.a_transposed + rank;
#pragma unroll
            for (int t = 0; t < n8; t++)
                a[t] = column + 8 * t < p.rows
                           ? *(const uint2 *)(from + (size_t)(column + 8 * t) * part.padded)
                           : make_uint2(0, 0);
        }

        __device__ __forceinline__ void multiply(float (*low)[4]) const
        {
            unsigned rows[4] = {ds[0].x, ds[1].x, ds[0].y, ds[1].y};
#pragma unroll
            for (int t = 0; t < n8; t++)
                mma(low[t], rows, a[t].x, a[t].y);
        }
    };

    /* half[h][t]: the 16-bit halves of the lane's two elements of row g + 8 h in tile t. */
    static __device__ __forceinline__ void draw(unsigned (*half)[4], const product &p,
                                                const dropout &of, int row, int column0, int lane)
    {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            if constexpr (ALIGNED) {
                dropout_halves drawn(
                    of, dropout_group(of, row + 8 * h, column0 + 8 * (lane % 4), p.rows));
#pragma unroll
                for (int t = 0; t < 4; t++)
                    half[h][t] = drawn.word[t];
                transpose_quad(half[h]);
            } else {
                for (int t = 0; t < n8; t++) {
                    half[h][t] = 0;
                    for (int e = 0; e < 2; e++) {
                        int column = column0 + 8 * t + lane % 4 * 2 + e;
                        uint64_t element =
                            (uint64_t)(of.first_row + row + 8 * h) * p.rows + column;
                        dropout_halves drawn(of, element / DROPOUT_GROUP);
                        unsigned word = drawn.word[0];
                        for (int i = 1; i < 4; i++)
                            word = element % DROPOUT_GROUP / 2 == i ? drawn.word[i] : word;
                        half[h][t] |= (word >> 16 * (element % 2) & 0xFFFF) << 16 * e;
                    }
                }
            }
        }
    }

    /* 16 rows from row0 on. */
    static __device__ __forceinline__ void add(const product &p, const product_adapters &adapters,
                                               const lora_part &part, const dropout &of,
                                               float (*sums)[4], int row0, int column0, int lane)
    {
        /* Opaque, so that ptxas does not keep what all 16 rows share and each needs once. */
        int row = opaque(row0 + lane / 4), column = column0 + lane / 4, rank = lane % 4 * 4;
        unsigned half[2][4] = {};
        float low[n8][4] = {};
        ranks first, second;
        first.load(p, adapters, part, row, column, rank);
        bool more = part.padded > LORA_RANK_STEP;
        if (more)
            second.load(p, adapters, part, row, column, rank + LORA_RANK_STEP);
        if (of.threshold)
            draw(half, p, of, row, column0, lane);
        first.multiply(low);
        if (more)
            second.multiply(low);
#pragma unroll 1
        for (int at = 2 * LORA_RANK_STEP; at < part.padded; at += LORA_RANK_STEP) {
            first.load(p, adapters, part, row, column, rank + at);
            first.multiply(low);
        }
        float scale = dropout_scale_of(of.threshold);
#pragma unroll
        for (int t = 0; t < n8; t++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if ((half[e / 2][t] >> 16 * (e % 2) & 0xFFFF) >= of.threshold)
                    sums[t][e] = __fmaf_rn(low[t][e], scale, sums[t][e]);
    }

    template <typename W>
    static __device__ __forceinline__ void store(const product &p, const W &w,
                                                 float (*sums)[n8][4], unsigned char *shared,
                                                 const product_place &at)
    {
        const product_adapters &adapters = w.adapters;
        dropout of = adapters.dropout;
        for (int i = 0; i < adapters.parts.n_parts; i++) {
            const lora_part &part = adapters.parts.parts[i];
            of.stream = part.stream;
            if (part.rank == 0)
                continue;
#pragma unroll
            for (int j = 0; j < S::warp_rows / 16; j++) {
                int row0 = at.row + at.warp_row + 16 * j;
                if (row0 < p.m)
                    add(p, adapters, part, of, sums[j], row0, at.column + at.warp_column, at.lane);
            }
        }
        product_epilogue<S>::store(p, w, sums, shared, at);
    }
};

#endif
