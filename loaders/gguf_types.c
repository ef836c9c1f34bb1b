/* ggml's tensor types. See gguf_types.h. Bytes to float32, with the roundings of ggml: a product
 * and a sum round apart, and halves widen exactly. */
#include "loaders/gguf_types.h"

#include <string.h>
#include "host/base/float16.h"
#include "loaders/little_endian.h"

/* Loops of a fixed length over what cannot overlap (`restrict`): that is what compilers vectorise
 * at -O2, and it is worth a factor of five here. */
#define GROUP 32

static void read_f32(const unsigned char *restrict blocks, size_t n_blocks, float *restrict out)
{
    if (n_blocks > 0)
        memcpy(out, blocks, n_blocks * sizeof *out);
}

static void read_f16(const unsigned char *restrict blocks, size_t n_blocks, float *restrict out)
{
    size_t i = 0;
    for (; i + GROUP <= n_blocks; i += GROUP)
        for (int j = 0; j < GROUP; j++)
            out[i + j] = f16_to_float(le_u16(blocks + 2 * (i + j)));
    for (; i < n_blocks; i++)
        out[i] = f16_to_float(le_u16(blocks + 2 * i));
}

static void read_bf16(const unsigned char *restrict blocks, size_t n_blocks, float *restrict out)
{
    size_t i = 0;
    for (; i + GROUP <= n_blocks; i += GROUP)
        for (int j = 0; j < GROUP; j++)
            out[i + j] = bf16_to_float(le_u16(blocks + 2 * (i + j)));
    for (; i < n_blocks; i++)
        out[i] = bf16_to_float(le_u16(blocks + 2 * i));
}

/* Half scale d, then 32 codes of 4 bits: value = d * (code - 8). Byte j holds code j low and code
 * j + 16 high. */
static void read_q4_0(const unsigned char *restrict blocks, size_t n_blocks, float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, blocks += 18, out += 32) {
        float d = f16_to_float(le_u16(blocks));
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((blocks[2 + j] & 15) - 8);
            out[j + 16] = d * (float)((blocks[2 + j] >> 4) - 8);
        }
    }
}

/* Half scale d, half minimum m, then 32 codes as in Q4_0: value = d * code + m. */
static void read_q4_1(const unsigned char *restrict blocks, size_t n_blocks, float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, blocks += 20, out += 32) {
        float d = f16_to_float(le_u16(blocks)), m = f16_to_float(le_u16(blocks + 2));
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(blocks[4 + j] & 15) + m;
            out[j + 16] = d * (float)(blocks[4 + j] >> 4) + m;
        }
    }
}

/* high[j] = 16 where bit j of the four bytes is set, else 0: eight bits at a time become eight
 * bytes, each holding its own bit alone, and then 16 times whether it is zero. */
static inline void spread_high_bits(const unsigned char *bits, unsigned char *restrict high)
{
    for (int i = 0; i < 4; i++) {
        uint64_t own = (bits[i] * 0x0101010101010101u) & 0x8040201008040201u;
        uint64_t set = (own + 0x7F7F7F7F7F7F7F7Fu) >> 3 & 0x1010101010101010u;
        memcpy(high + 8 * i, &set, 8);
    }
}

/* Half scale d, 32 high bits, then 32 codes as in Q4_0: value = d * (code - 16), where high bit j
 * is worth 16 in code j. */
static void read_q5_0(const unsigned char *restrict blocks, size_t n_blocks, float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, blocks += 22, out += 32) {
        float d = f16_to_float(le_u16(blocks));
        unsigned char high[32];
        spread_high_bits(blocks + 2, high);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(((blocks[6 + j] & 15) | high[j]) - 16);
            out[j + 16] = d * (float)((blocks[6 + j] >> 4 | high[j + 16]) - 16);
        }
    }
}

/* Half scale d, half minimum m, then high bits and codes as in Q5_0: value = d * code + m. */
static void read_q5_1(const unsigned char *restrict blocks, size_t n_blocks, float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, blocks += 24, out += 32) {
        float d = f16_to_float(le_u16(blocks)), m = f16_to_float(le_u16(blocks + 2));
        unsigned char high[32];
        spread_high_bits(blocks + 4, high);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((blocks[8 + j] & 15) | high[j]) + m;
            out[j + 16] = d * (float)(blocks[8 + j] >> 4 | high[j + 16]) + m;
        }
    }
}

/* Half scale d, then 32 signed bytes: value = d * byte. */
static void read_q8_0(const unsigned char *restrict blocks, size_t n_blocks, float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, blocks += 34, out += 32) {
        float d = f16_to_float(le_u16(blocks));
        for (int j = 0; j < 32; j++)
            out[j] = d * (float)(signed char)blocks[2 + j];
    }
}

/* ---- K types: blocks of 256 ------------------------------------------------------------------
 *
 * A block has a half scale d (some a half dmin too) and a small scale for each 16 or 32 values. The
 * codes stand in planes: byte j of 32 holds code j of several groups of 32, 2 or 4 bits each. */

/* 16 small scales (low half of a byte) and minima (high half), 64 bytes of 2-bit codes, d, dmin:
 * value = (d * scale) * code - dmin * minimum. */
static void read_q2_k(const unsigned char *restrict blocks, size_t n_blocks, float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, blocks += 84) {
        float d = f16_to_float(le_u16(blocks + 80)), dmin = f16_to_float(le_u16(blocks + 82));
        for (int group = 0; group < 16; group++, out += 16) {
            const unsigned char *codes = blocks + 16 + group / 8 * 32 + group % 2 * 16;
            float scale = d * (float)(blocks[group] & 15);
            float minimum = dmin * (float)(blocks[group] >> 4);
            int shift = group / 2 % 4 * 2;
            for (int j = 0; j < 16; j++)
                out[j] = scale * (float)(codes[j] >> shift & 3) - minimum;
        }
    }
}

/* 32 bytes of high bits, 64 bytes of 2-bit codes, 12 bytes of small scales, d: value = (d * (scale
 * - 32)) * (code - 4), a set high bit being worth 4 in the code. A small scale has 6 bits: 4 in the
 * first 8 bytes, as in Q4_0, and 2 in the last 4. */
static void read_q3_k(const unsigned char *restrict blocks, size_t n_blocks, float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, blocks += 110) {
        const unsigned char *scales = blocks + 96;
        float d = f16_to_float(le_u16(blocks + 108));
        for (int group = 0; group < 16; group++, out += 16) {
            const unsigned char *codes = blocks + 32 + group / 8 * 32 + group % 2 * 16;
            const unsigned char *high = blocks + group % 2 * 16;
            int low = scales[group % 8] >> group / 8 * 4 & 15;
            int upper = scales[8 + group % 4] >> group / 4 * 2 & 3;
            float scale = d * (float)((low | upper << 4) - 32);
            int shift = group / 2 % 4 * 2, bit = group / 2;
            for (int j = 0; j < 16; j++) {
                int code = codes[j] >> shift & 3;
                out[j] = scale * (float)((code | (high[j] >> bit & 1) << 2) - 4);
            }
        }
    }
}

/* Small scale and minimum of group 0 .. 7 from the 12 bytes of Q4_K and Q5_K, 6 bits each: those of
 * groups 0 .. 3 in the low bits of bytes 0 .. 3 and 4 .. 7; those of groups 4 .. 7 have 4 bits in
 * bytes 8 .. 11 and their upper 2 on top of the others. */
static void scale_and_minimum(const unsigned char *scales, int group, int *scale, int *minimum)
{
    if (group < 4) {
        *scale = scales[group] & 63;
        *minimum = scales[group + 4] & 63;
    } else {
        *scale = (scales[group + 4] & 15) | scales[group - 4] >> 6 << 4;
        *minimum = scales[group + 4] >> 4 | scales[group] >> 6 << 4;
    }
}

/* d, dmin, 12 bytes of small scales and minima, 128 bytes of 4-bit codes: value = (d * scale) *
 * code - dmin * minimum. */
static void read_q4_k(const unsigned char *restrict blocks, size_t n_blocks, float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, blocks += 144) {
        float d = f16_to_float(le_u16(blocks)), dmin = f16_to_float(le_u16(blocks + 2));
        for (int group = 0; group < 8; group++, out += 32) {
            const unsigned char *codes = blocks + 16 + group / 2 * 32;
            int small_scale, small_minimum, shift = group % 2 * 4;
            scale_and_minimum(blocks + 4, group, &small_scale, &small_minimum);
            float scale = d * (float)small_scale, minimum = dmin * (float)small_minimum;
            for (int j = 0; j < 32; j++)
                out[j] = scale * (float)(codes[j] >> shift & 15) - minimum;
        }
    }
}

/* As Q4_K, with 32 bytes of high bits before the codes: bit g of byte j is worth 16 in code j of
 * group g. */
static void read_q5_k(const unsigned char *restrict blocks, size_t n_blocks, float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, blocks += 176) {
        const unsigned char *high = blocks + 16;
        float d = f16_to_float(le_u16(blocks)), dmin = f16_to_float(le_u16(blocks + 2));
        for (int group = 0; group < 8; group++, out += 32) {
            const unsigned char *codes = blocks + 48 + group / 2 * 32;
            int small_scale, small_minimum, shift = group % 2 * 4;
            scale_and_minimum(blocks + 4, group, &small_scale, &small_minimum);
            float scale = d * (float)small_scale, minimum = dmin * (float)small_minimum;
            for (int j = 0; j < 32; j++) {
                int code = (codes[j] >> shift & 15) | (high[j] >> group & 1) << 4;
                out[j] = scale * (float)code - minimum;
            }
        }
    }
}

/* 128 bytes with the low 4 bits of the codes, 64 with the upper 2, 16 signed small scales, d:
 * value = (d * scale) * (code - 32). */
static void read_q6_k(const unsigned char *restrict blocks, size_t n_blocks, float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, blocks += 210) {
        float d = f16_to_float(le_u16(blocks + 208));
        for (int group = 0; group < 16; group++, out += 16) {
            int half = group / 8, quarter = group / 2 % 4, part = group % 2 * 16;
            const unsigned char *codes = blocks + half * 64 + quarter % 2 * 32 + part;
            const unsigned char *high = blocks + 128 + half * 32 + part;
            float scale = d * (float)(signed char)blocks[192 + group];
            int shift = quarter / 2 * 4, high_shift = quarter * 2;
            for (int j = 0; j < 16; j++) {
                int code = (codes[j] >> shift & 15) | (high[j] >> high_shift & 3) << 4;
                out[j] = scale * (float)(code - 32);
            }
        }
    }
}

/* ---- the table ------------------------------------------------------------------------------ */

const char gguf_readable_types[] =
    "F32, F16, BF16, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0";

/* The index is ggml's number. Gaps are types that ggml withdrew, or has for arithmetic only. */
static const struct gguf_tensor_type types[] = {
    [0] = {"F32", 1, 4, read_f32},
    [1] = {"F16", 1, 2, read_f16},
    [2] = {"Q4_0", 32, 18, read_q4_0},
    [3] = {"Q4_1", 32, 20, read_q4_1},
    [6] = {"Q5_0", 32, 22, read_q5_0},
    [7] = {"Q5_1", 32, 24, read_q5_1},
    [8] = {"Q8_0", 32, 34, read_q8_0},
    [10] = {"Q2_K", 256, 84, read_q2_k},
    [11] = {"Q3_K", 256, 110, read_q3_k},
    [12] = {"Q4_K", 256, 144, read_q4_k},
    [13] = {"Q5_K", 256, 176, read_q5_k},
    [14] = {"Q6_K", 256, 210, read_q6_k},
    [16] = {"IQ2_XXS", 256, 66, NULL},
    [17] = {"IQ2_XS", 256, 74, NULL},
    [18] = {"IQ3_XXS", 256, 98, NULL},
    [19] = {"IQ1_S", 256, 50, NULL},
    [20] = {"IQ4_NL", 32, 18, NULL},
    [21] = {"IQ3_S", 256, 110, NULL},
    [22] = {"IQ2_S", 256, 82, NULL},
    [23] = {"IQ4_XS", 256, 136, NULL},
    [24] = {"I8", 1, 1, NULL},
    [25] = {"I16", 1, 2, NULL},
    [26] = {"I32", 1, 4, NULL},
    [27] = {"I64", 1, 8, NULL},
    [28] = {"F64", 1, 8, NULL},
    [29] = {"IQ1_M", 256, 56, NULL},
    [30] = {"BF16", 1, 2, read_bf16},
    [34] = {"TQ1_0", 256, 54, NULL},
    [35] = {"TQ2_0", 256, 66, NULL},
    [39] = {"MXFP4", 32, 17, NULL},
};
#define N_TYPES (sizeof types / sizeof *types)

const struct gguf_tensor_type *gguf_tensor_type(uint32_t number)
{
    if (number >= N_TYPES || !types[number].name)
        return NULL;
    return &types[number];
}

const struct gguf_tensor_type *gguf_tensor_type_named(const char *name)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].read && strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}
