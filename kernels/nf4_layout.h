/* An NF4 matrix as the GPU's kernels read it. No includes of the host's, since nvcc reads it too;
 * nf4_tiles.h says how one is made.
 *
 * Codes lie in tiles of 16 rows x 64 columns, 512 bytes, tile by tile along a row of tiles. A tile
 * is lane-major: lane l of a warp (g = l / 4, q = l % 4) owns bytes 16 l to 16 l + 15, four words
 * of 32 bits, word s for the k16 step s of an mma.m16n8k16:
 *
 *              k = 16 s + 2 q, + 1    k = 16 s + 8 + 2 q, + 1
 *   row g      byte 0                 byte 1
 *   row g + 8  byte 2                 byte 3                      in a byte the even k is the high
 *                                                                 nibble
 * A warp's load of a tile is 512 bytes in a row. Decoded, the four bytes of a word are the B
 * fragments (b0, b1) of two n8 tiles; in the order 0, 2, 1, 3 they are an A fragment m16k16.
 *
 * absmax codes lie beside, [row / 16][column / 64][16]: the 16 of a tile are 16 bytes.
 *
 * A matrix may be joined from segments, rows of several tensors (q, k, v; gate, up), each with its
 * own double quantisation and its own count of blocks. A segment begins with a tile; its last tile
 * is filled up with rows of code 7, which is 0.0. So padded rows and columns of the product are not
 * the same: first_row is in columns of the product, first_group in tiles. */
#ifndef MIDASHI_KERNELS_NF4_LAYOUT_H
#define MIDASHI_KERNELS_NF4_LAYOUT_H

#define NF4_TILE_ROWS    16
#define NF4_TILE_COLUMNS 64
#define NF4_TILE_BYTES   512
#define NF4_SEGMENTS     3

struct nf4_segment {
    int rows, first_row, first_group;
    float offset;
    const float *nested_absmax; /* NULL: absmax is float32, in flat_absmax */
    const void *flat_absmax;    /* of a flat matrix: by block, codes or float32 */
};

/* Addresses are the device's. */
struct nf4_tiles {
    int rows, columns;     /* of the joined matrix: columns of y, columns of x */
    int n_groups, n_steps; /* rows of tiles, tiles in a row */
    int n_segments;
    /* Blocks of 64 are not those of the tiles (the columns are no multiple of 64), or a segment is
     * not double-quantised: absmax lies by block, as in nf4.h. Slower kernels. */
    int flat;
    const unsigned char *codes;        /* (n_groups, n_steps, 512) */
    const unsigned char *absmax_codes; /* (n_groups, n_steps, 16); NULL where flat */
    struct nf4_segment segments[NF4_SEGMENTS];
};

#endif
