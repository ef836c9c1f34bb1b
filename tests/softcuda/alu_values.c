/* Edge values. See alu.h. */
#include <stdlib.h>
#include <string.h>
#include "tests/softcuda/alu.h"

static const uint64_t i16[] = {0,    1,    2,      0xFFFF, 0x7FFF, 0x8000, 0x8001,
                               3,    7,    0xFFFE, 15,     16,     0xFF,   0x100,
                               0x80, 0x7F, 0x55AA, 0x1234, 0xFF80, 0xFF7F};
static const uint64_t i32[] = {
    0,    1,          2,          0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x80000001, 31,
    32,   0xFFFFFFFE, 0xFFFF,     0x10000,    0x7FFFFF,   0x800000,   0xFFFFFF,   0x01000000,
    0x80, 0xFF,       0x12345678, 0xDEADBEEF, 0x55555555, 0xAAAAAAAA, 0xFFFF8000, 0x7FFF};
static const uint64_t i64[] = {0,
                               1,
                               2,
                               UINT64_MAX,
                               INT64_MAX,
                               (uint64_t)1 << 63,
                               ((uint64_t)1 << 63) + 1,
                               0xFFFFFFFF,
                               0x100000000,
                               0x80000000,
                               0xFFFFFFFF80000000,
                               0x7FFFFFFF,
                               0xFFFFFFFF00000000,
                               63,
                               64,
                               ((uint64_t)1 << 53) + 1,
                               ((uint64_t)1 << 24) + 1,
                               0x0123456789ABCDEF,
                               0xFEDCBA9876543210,
                               0xFFFFFFFFFFFFFF7F,
                               0x7FFFFFFFFFFFFC00,
                               0x7FFFFFFFFFFFFBFF,
                               0xFFFFFFFFFFFFF400};
static const uint64_t shifts[] = {0,  1,   31,  32,  33,  63,  64,         65,
                                  15, 16,  17,  8,   4,   2,   0xFFFFFFFF, 0x80000000,
                                  5,  127, 128, 255, 256, 257, 0x1F00,     24};
static const uint64_t f16[] = {0,      0x8000, 0x3C00, 0xBC00, 0x7C00, 0xFC00, 0x7E00, 0x0001,
                               0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0xFE00, 0x7C01, 0x8001, 0x83FF,
                               0x8400, 0x3C01, 0x3BFF, 0x3800, 0x4000, 0x1400, 0x6400, 0x5640};
static const uint64_t bf16[] = {0,      0x8000, 0x3F80, 0xBF80, 0x7F80, 0xFF80, 0x7FC0, 0x0001,
                                0x007F, 0x0080, 0x7F7F, 0xFF7F, 0xFFC0, 0x7F81, 0x8001, 0x807F,
                                0x8080, 0x3F81, 0x3F7F, 0x3F00, 0x4000, 0x0C00, 0x7300, 0x4B80};
static const uint64_t f16x2[] = {0x00008000, 0x3C00BC00, 0x7C00FC00, 0x7E000001, 0x03FF0400,
                                 0x7BFFFBFF, 0x00017E00, 0x80003C00, 0x83FF8001, 0x7C017C00,
                                 0x3C013BFF, 0x40003800, 0x14006400};
static const uint64_t bf16x2[] = {0x00008000, 0x3F80BF80, 0x7F80FF80, 0x7FC00001, 0x007F0080,
                                  0x7F7FFF7F, 0x00017FC0, 0x80003F80, 0x807F8001, 0x7F817F80,
                                  0x3F813F7F, 0x40003F00, 0x0C007300};
static const uint64_t f32[] = {0,          0x80000000, 0x3F800000,
                               0xBF800000, 0x7F800000, 0xFF800000, /* zeros to infinities */
                               0x7FC00000, 0x00000001, 0x007FFFFF,
                               0x00800000, 0x7F7FFFFF, 0x33800000, /* NaN .. 2^-24 */
                               0xFFC12345, 0x7F800001, 0x80000001,
                               0x807FFFFF, 0x80800000, 0xFF7FFFFF, /* other NaN .. */
                               0x3F7FFFFF, 0x3F800001, 0x3F000000,
                               0xBF000000, 0x3FC00000, 0x40200000, /* 0.5, 1.5, 2.5 */
                               0x4B000000, 0x4B7FFFFF, 0x4F000000,
                               0xCF000000, 0x4F800000, 0x5F000000, /* 2^23, 2^31, 2^63 */
                               0x40490FDB, 0xC2C80000, 0x7EFFFFFF,
                               0x7F000000, 0x00400000, 0x3EAAAAAB};
static const uint64_t f64[] = {0,
                               (uint64_t)1 << 63,
                               0x3FF0000000000000,
                               0xBFF0000000000000,
                               0x7FF0000000000000,
                               0xFFF0000000000000,
                               0x7FF8000000000000,
                               1,
                               0x000FFFFFFFFFFFFF,
                               0x0010000000000000,
                               0x7FEFFFFFFFFFFFFF,
                               0x3CA0000000000000,
                               0xFFF8123456789ABC,
                               0x7FF0000000000001,
                               0x8000000000000001,
                               0x800FFFFFFFFFFFFF,
                               0xFFEFFFFFFFFFFFFF,
                               0x3FEFFFFFFFFFFFFF,
                               0x3FF0000000000001,
                               0x3FE0000000000000,
                               0x4004000000000000,
                               0x47EFFFFFE0000000, /* FLT_MAX */
                               0x47EFFFFFF0000000, /* the middle above it */
                               0x380FFFFFC0000000, /* below the smallest normal binary32 */
                               0x36A0000000000000, /* 2^-149 */
                               0x3690000000000000, /* 2^-150 */
                               0x40EFFC0000000000, /* 65504 */
                               0x40EFFE0000000000, /* the middle above it */
                               0x3E60000000000001, /* just above 2^-25 */
                               0x41DFFFFFFFC00000,
                               0xC1E0000000000000,
                               0xC1E0000000200000,
                               0x43E0000000000000,
                               0x43F0000000000000,
                               0x3FD0000000000000};
static const uint64_t counts[] = {0,          1,  0xFFFFFFFF, 2,          0xFFFFFFFE, 5,
                                  0xFFFFFFFB, 31, 0xFFFFFFE1, 32,         0xFFFFFFE0, 33,
                                  3,          17, 0x80000000, 0x7FFFFFFF, 0xFFFFFFFD, 9};
static const uint64_t predicates[] = {0, 1};

#define SET(values, n_core)                                                                        \
    do {                                                                                           \
        *out = values;                                                                             \
        int n = (int)(sizeof(values) / sizeof *(values));                                          \
        *core = n < (n_core) ? n : (n_core);                                                       \
        return n;                                                                                  \
    } while (0)

static uint64_t all16[1 << 16], around_f16[1 << 18], around_bf16[1 << 18];

/* Each number of a 16-bit format as f32, the middle to the next one, and the middle's neighbours;
 * all four are exact in f32 but for the middle beside f16's and bf16's smallest, which are too. */
static void fill_around(uint64_t *out, const struct exact_format *format)
{
    for (uint32_t i = 0; i < 1 << 16; i++) {
        uint32_t magnitude = i & 0x7FFF;
        quad x = exact_value(i, format), middle = x;
        uint64_t infinity = 0x7FFFu & (uint32_t)(-(1 << format->fraction_bits));
        if (magnitude + 1 < infinity)
            middle = (x + exact_value(i + 1, format)) / 2;
        else if (magnitude + 1 == infinity) /* where rounding overflows */
            middle = x + (x - exact_value(i - 1, format)) / 2;
        uint64_t bits = exact_round(middle, 0, &exact_f32, EXACT_RN);
        out[4 * i] = exact_round(x, 0, &exact_f32, EXACT_RN);
        out[4 * i + 1] = bits;
        out[4 * i + 2] = bits + 1;
        out[4 * i + 3] = bits - ((bits & 0x7FFFFFFF) != 0);
    }
}

int alu_edges(char kind, int bits, const uint64_t **out, int *core)
{
    if (around_f16[4] == 0) {
        for (uint32_t i = 0; i < 1 << 16; i++)
            all16[i] = i;
        fill_around(around_f16, &exact_f16);
        fill_around(around_bf16, &exact_bf16);
    }
    switch (kind) {
    case 's':
        SET(shifts, 12);
    case 'n':
        SET(counts, 12);
    case 'h':
        SET(f16, 12);
    case 'b':
        SET(bf16, 12);
    case 'H':
        SET(f16x2, 8);
    case 'B':
        SET(bf16x2, 8);
    case 'f':
        SET(f32, 12);
    case 'e':
        SET(f64, 12);
    case 'p':
        SET(predicates, 2);
    case 'x':
        SET(all16, 1 << 16);
    case 'u':
        SET(around_f16, 1 << 18);
    case 'v':
        SET(around_bf16, 1 << 18);
    }
    if (bits == 16)
        SET(i16, 9);
    if (bits == 32)
        SET(i32, 12);
    SET(i64, 12);
}

uint64_t alu_random(char kind, int bits, uint64_t *state)
{
    const uint64_t *edges;
    int core, n = alu_edges(kind, bits, &edges, &core);
    uint64_t mixed = mix64(0x5EED, ++*state), other = mix64(0xFACE, *state);
    uint64_t mask = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    if (kind == 'p')
        return mixed & 1;
    if (kind == 's' && mixed & 1)
        return other & 127;
    switch (mixed >> 60 & 7) {
    case 0: /* an edge, or a small step from it */
    case 1:
        return (edges[other % (uint64_t)n] + (mixed & 3) - 1) & mask;
    case 2: /* floating point near 1, so that sums cancel; small integers */
        return kind == 'f'   ? 0x3F000000 + (other & 0x80FFFFFF)
               : kind == 'e' ? 0x3FE0000000000000 + (other & 0x801FFFFFFFFFFFFF)
                             : other & 0xFF & mask;
    default:
        return other & mask;
    }
}
