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

/* Half scale d, then 32 signed bytes: value = d * byte. */
static void read_q8_0(const unsigned char *restrict blocks, size_t n_blocks, float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, blocks += 34, out += 32) {
        float d = f16_to_float(le_u16(blocks));
        for (int j = 0; j < 32; j++)
            out[j] = d * (float)(signed char)blocks[2 + j];
    }
}

const char gguf_readable_types[] = "F32, F16, BF16, Q4_0, Q4_1, Q8_0";

/* The index is ggml's number. Gaps are types that ggml withdrew, or has for arithmetic only. */
static const struct gguf_tensor_type types[] = {
    [0] = {"F32", 1, 4, read_f32},     [1] = {"F16", 1, 2, read_f16},
    [2] = {"Q4_0", 32, 18, read_q4_0}, [3] = {"Q4_1", 32, 20, read_q4_1},
    [6] = {"Q5_0", 32, 22, NULL},      [7] = {"Q5_1", 32, 24, NULL},
    [8] = {"Q8_0", 32, 34, read_q8_0}, [10] = {"Q2_K", 256, 84, NULL},
    [11] = {"Q3_K", 256, 110, NULL},   [12] = {"Q4_K", 256, 144, NULL},
    [13] = {"Q5_K", 256, 176, NULL},   [14] = {"Q6_K", 256, 210, NULL},
    [16] = {"IQ2_XXS", 256, 66, NULL}, [17] = {"IQ2_XS", 256, 74, NULL},
    [18] = {"IQ3_XXS", 256, 98, NULL}, [19] = {"IQ1_S", 256, 50, NULL},
    [20] = {"IQ4_NL", 32, 18, NULL},   [21] = {"IQ3_S", 256, 110, NULL},
    [22] = {"IQ2_S", 256, 82, NULL},   [23] = {"IQ4_XS", 256, 136, NULL},
    [24] = {"I8", 1, 1, NULL},         [25] = {"I16", 1, 2, NULL},
    [26] = {"I32", 1, 4, NULL},        [27] = {"I64", 1, 8, NULL},
    [28] = {"F64", 1, 8, NULL},        [29] = {"IQ1_M", 256, 56, NULL},
    [30] = {"BF16", 1, 2, read_bf16},  [34] = {"TQ1_0", 256, 54, NULL},
    [35] = {"TQ2_0", 256, 66, NULL},   [39] = {"MXFP4", 32, 17, NULL},
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
