/* Matrix product with an NF4 weight: CPU code, CUDA launches, dispatch. The CPU's product itself is
 * kernels/gemm.c; here is what decodes 16 rows of W into its panels.
 *
 * The AVX2 decoder takes 16 rows x 64 columns, one block of each row, at a time. A panel is
 * [k][16], so codes must be transposed, and that is cheapest while they are still packed: 64 byte
 * unpacks turn 16 rows of 32 bytes into 32 vectors' halves that each hold one byte (two codes) of
 * the 16 rows. A code becomes a float32 by four table look-ups in pshufb, one for each byte of the
 * float, and three levels of unpacking; this takes about half the shuffles of vpermps with a blend.
 * In all about 900 instructions for 1024 weights, where a product with 256 rows has 32768
 * multiply-adds.
 *
 * For the gradient of the input a panel is 16 columns of W: 8 bytes of each row, which need no
 * transposition; two rows at a time fill a vector. */
#include "kernels/nf4_matmul.h"

#include <assert.h>
#include "host/base/cuda_device.h"
#include "host/base/float16.h"
#include "kernels/cpu.h"
#include "kernels/gemm.h"
#include "kernels/product_shape.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

static void decode_portable(float *panel, const void *matrix, int row, int n_rows, int k, int n_k)
{
    const struct nf4_matrix *w = matrix;
    for (int r = 0; r < n_rows; r++)
        nf4_decode(panel + r, GEMM_PANEL, w, (int64_t)(row + r) * w->columns + k, n_k);
}

#if CPU_X86
/* One step of a 16 x 16 byte transposition within each 128-bit half: out[2i], out[2i+1] interleave
 * the bytes of in[i] and in[i+8]. Four such steps transpose: each moves one bit of the row number
 * into the byte number. */
TARGET_AVX2
static inline void interleave_bytes(__m256i out[16], const __m256i in[16])
{
    UNROLL
    for (int i = 0; i < 8; i++) {
        out[2 * i] = _mm256_unpacklo_epi8(in[i], in[i + 8]);
        out[2 * i + 1] = _mm256_unpackhi_epi8(in[i], in[i + 8]);
    }
}

/* plane[b] byte c, in both halves: byte b (from the lowest) of nf4_map[c]. */
TARGET_AVX2
static inline void load_byte_planes(__m256i plane[4])
{
    uint8_t byte[4][16];
    for (int c = 0; c < 16; c++)
        for (int b = 0; b < 4; b++)
            byte[b][c] = (uint8_t)(bits_from_float(nf4_map[c]) >> 8 * b);
    UNROLL
    for (int b = 0; b < 4; b++)
        plane[b] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)byte[b]));
}

/* 16 codes in each half -> 16 weights to low (lower half) and 16 to high.
 * absmax[i]: of rows 4i .. 4i+3, in both halves. */
TARGET_AVX2
static inline void decode_codes(float *low, float *high, __m256i codes, const __m256i plane[4],
                                const __m256 absmax[4])
{
    __m256i byte0 = _mm256_shuffle_epi8(plane[0], codes);
    __m256i byte1 = _mm256_shuffle_epi8(plane[1], codes);
    __m256i byte2 = _mm256_shuffle_epi8(plane[2], codes);
    __m256i byte3 = _mm256_shuffle_epi8(plane[3], codes);
    __m256i low01 = _mm256_unpacklo_epi8(byte0, byte1), high01 = _mm256_unpackhi_epi8(byte0, byte1);
    __m256i low23 = _mm256_unpacklo_epi8(byte2, byte3), high23 = _mm256_unpackhi_epi8(byte2, byte3);
    __m256i bits[4] = {_mm256_unpacklo_epi16(low01, low23), _mm256_unpackhi_epi16(low01, low23),
                       _mm256_unpacklo_epi16(high01, high23),
                       _mm256_unpackhi_epi16(high01, high23)};
    __m256 weights[4];
    UNROLL
    for (int i = 0; i < 4; i++)
        weights[i] = _mm256_mul_ps(_mm256_castsi256_ps(bits[i]), absmax[i]);
    UNROLL
    for (int i = 0; i < 4; i++)
        _mm_store_ps(low + 4 * i, _mm256_castps256_ps128(weights[i]));
    UNROLL
    for (int i = 0; i < 4; i++)
        _mm_store_ps(high + 4 * i, _mm256_extractf128_ps(weights[i], 1));
}

/* For columns that are a multiple of 64: n_k is one too, and no block runs on into another row. */
TARGET_AVX2
static void decode_avx2(float *panel, const void *matrix, int row, int n_rows, int k, int n_k)
{
    const struct nf4_matrix *w = matrix;
    __m256i plane[4], nibble = _mm256_set1_epi8(15);
    load_byte_planes(plane);
    const uint8_t *codes[GEMM_PANEL];
    int64_t block[GEMM_PANEL];
    UNROLL
    for (int r = 0; r < GEMM_PANEL; r++) {
        /* Lanes beyond the last row repeat it. */
        int64_t from = (int64_t)(row + (r < n_rows ? r : n_rows - 1)) * w->columns + k;
        codes[r] = w->codes + from / 2;
        block[r] = from / NF4_BLOCK;
    }
    /* The next panel's codes lie in 16 other rows, too far for the hardware to guess. */
    int64_t ahead = row + 2 * GEMM_PANEL <= w->rows ? (int64_t)GEMM_PANEL * w->columns / 2 : 0;
    for (int i = 0; i < n_k / NF4_BLOCK; i++, panel += NF4_BLOCK * GEMM_PANEL) {
        __m256i a[16], b[16];
        float scale[16];
        UNROLL
        for (int r = 0; r < GEMM_PANEL; r++) {
            a[r] = _mm256_loadu_si256((const __m256i *)(codes[r] + i * NF4_BLOCK / 2));
            __builtin_prefetch(codes[r] + i * NF4_BLOCK / 2 + ahead);
            scale[r] = nf4_block_absmax(w, block[r] + i);
        }
        __m256 absmax[4];
        UNROLL
        for (int r = 0; r < 4; r++)
            absmax[r] = _mm256_broadcast_ps((const __m128 *)(scale + 4 * r));
        interleave_bytes(b, a);
        interleave_bytes(a, b);
        interleave_bytes(b, a);
        interleave_bytes(a, b);
        /* a[j]: byte j of the 16 rows below, byte 16 + j above. */
        for (int j = 0; j < 16; j++) {
            float *low = panel + 2 * j * GEMM_PANEL, *high = low + 32 * GEMM_PANEL;
            __m256i first = _mm256_and_si256(_mm256_srli_epi16(a[j], 4), nibble);
            decode_codes(low, high, first, plane, absmax);
            __m256i second = _mm256_and_si256(a[j], nibble);
            decode_codes(low + GEMM_PANEL, high + GEMM_PANEL, second, plane, absmax);
        }
    }
}
#endif

/* The same of 16 columns of W, from `column` on: a panel of Wᵀ. */
static void decode_columns_portable(float *panel, const void *matrix, int column, int n_columns,
                                    int k, int n_k)
{
    const struct nf4_matrix *w = matrix;
    for (int i = 0; i < n_k; i++)
        nf4_decode(panel + i * GEMM_PANEL, 1, w, (int64_t)(k + i) * w->columns + column, n_columns);
}

#if CPU_X86
/* Columns of W in a cache line of codes. */
#define LINE_COLUMNS 128

/* Two rows of 16 columns, each within a block, to 32 floats. In each half of a vector bytes lie as
 * the unpacking below takes them apart: columns 0-3, 8-11 of the first row and then of the second
 * in the lower half, columns 4-7, 12-15 in the upper one. So the results are whole vectors. */
TARGET_AVX2
static inline void decode_two_rows(float *out, const uint8_t *first, const uint8_t *second,
                                   __m256 first_absmax, __m256 second_absmax,
                                   const __m256i plane[4])
{
    const __m256i order = _mm256_setr_epi8(0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13, /* */
                                           2, 2, 3, 3, 6, 6, 7, 7, 10, 10, 11, 11, 14, 14, 15, 15);
    __m128i packed = _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)first),
                                        _mm_loadl_epi64((const __m128i *)second));
    __m256i pairs = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(packed), order);
    /* Each byte stands twice: its high nibble comes first. */
    __m256i codes =
        _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(pairs, 4), _mm256_set1_epi16(0x000F)),
                        _mm256_and_si256(pairs, _mm256_set1_epi16(0x0F00)));
    __m256i byte0 = _mm256_shuffle_epi8(plane[0], codes);
    __m256i byte1 = _mm256_shuffle_epi8(plane[1], codes);
    __m256i byte2 = _mm256_shuffle_epi8(plane[2], codes);
    __m256i byte3 = _mm256_shuffle_epi8(plane[3], codes);
    __m256i low01 = _mm256_unpacklo_epi8(byte0, byte1), high01 = _mm256_unpackhi_epi8(byte0, byte1);
    __m256i low23 = _mm256_unpacklo_epi8(byte2, byte3), high23 = _mm256_unpackhi_epi8(byte2, byte3);
    __m256 bits[4] = {_mm256_castsi256_ps(_mm256_unpacklo_epi16(low01, low23)),
                      _mm256_castsi256_ps(_mm256_unpackhi_epi16(low01, low23)),
                      _mm256_castsi256_ps(_mm256_unpacklo_epi16(high01, high23)),
                      _mm256_castsi256_ps(_mm256_unpackhi_epi16(high01, high23))};
    _mm256_store_ps(out, _mm256_mul_ps(bits[0], first_absmax));
    _mm256_store_ps(out + 8, _mm256_mul_ps(bits[1], first_absmax));
    _mm256_store_ps(out + 16, _mm256_mul_ps(bits[2], second_absmax));
    _mm256_store_ps(out + 24, _mm256_mul_ps(bits[3], second_absmax));
}

/* For columns that are a multiple of 16: n_columns is 16, and they lie within a block. */
TARGET_AVX2
static void decode_columns_avx2(float *panel, const void *matrix, int column, int n_columns, int k,
                                int n_k)
{
    const struct nf4_matrix *w = matrix;
    __m256i plane[4];
    load_byte_planes(plane);
    int64_t at = (int64_t)k * w->columns + column;
    /* Eight panels read the same lines, one of each row: those of the next eight in time. */
    bool looks_ahead = column % LINE_COLUMNS == 0 && column + LINE_COLUMNS < w->columns;
    int i = 0;
    for (; i + 2 <= n_k; i += 2, at += 2 * (int64_t)w->columns, panel += 2 * GEMM_PANEL) {
        int64_t next = at + w->columns;
        const uint8_t *first = w->codes + at / 2, *second = w->codes + next / 2;
        if (looks_ahead) {
            __builtin_prefetch(first + LINE_COLUMNS / 2, 0, 2);
            __builtin_prefetch(second + LINE_COLUMNS / 2, 0, 2);
        }
        decode_two_rows(panel, first, second, _mm256_set1_ps(nf4_block_absmax(w, at / NF4_BLOCK)),
                        _mm256_set1_ps(nf4_block_absmax(w, next / NF4_BLOCK)), plane);
    }
    decode_columns_portable(panel, w, column, n_columns, k + i, n_k - i);
}
#endif

void nf4_matmul_fwd_cpu(struct device *device, float *y, const float *x, const struct nf4_matrix *w,
                        int m, bool add)
{
    struct gemm_weight weight = {w->rows, w->columns, w, decode_portable};
#if CPU_X86
    if (device->isa == CPU_AVX2 && w->columns % NF4_BLOCK == 0)
        weight.decode = decode_avx2;
#endif
    gemm_cpu(device, y, x, &weight, m, add);
}

void nf4_matmul_bwd_input_cpu(struct device *device, float *dx, const float *dy,
                              const struct nf4_matrix *w, int m, bool add)
{
    struct gemm_weight weight = {w->columns, w->rows, w, decode_columns_portable};
#if CPU_X86
    if (device->isa == CPU_AVX2 && w->columns % GEMM_PANEL == 0)
        weight.decode = decode_columns_avx2;
#endif
    gemm_cpu(device, dx, dy, &weight, m, add);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

/* Those of nf4_matmul.cu. Large tiles read and decode least; small ones fill the card where Y is
 * small. */
static const struct product_shape shapes[NF4_MATMUL_SHAPES] = {
    {"nf4_matmul_128x256", 128, 256, 1, 8, 3, 1}, {"nf4_matmul_96x256", 96, 256, 1, 8, 3, 1},
    {"nf4_matmul_96x128", 96, 128, 1, 4, 2, 2},   {"nf4_matmul_64x128", 64, 128, 1, 4, 3, 3},
    {"nf4_matmul_32x128", 32, 128, 1, 4, 4, 4},   {"nf4_matmul_32x64", 32, 64, 1, 4, 4, 5},
    {"nf4_matmul_16x64", 16, 64, 1, 4, 4, 6},
};
static const struct product_shape flat_shape = {"nf4_matmul_flat", 32, 64, 1, 4, 2, 4};

/* 64 weights: 32 bytes of codes and one of absmax. 64 look-ups by shuffles of 32 lanes, which go
 * through the unit of shared memory: 2 passes; a quarter each for codes that come and go. */
static const struct product_weight weight_cost = {33, 2.5, 0, 32, 8};

/* Whether the columns of y are those of the tiles, and vectors of 8. */
static bool takes_vectors(const struct nf4_tiles *w)
{
    for (int i = 0; i + 1 < w->n_segments; i++)
        if (w->segments[i].rows % NF4_TILE_ROWS != 0)
            return false;
    return w->rows % 8 == 0;
}

static struct product product_of(void *y, const void *x, const struct nf4_tiles *w,
                                 const float *bias, int m, bool add)
{
    return (struct product){
        .y = y,
        .x = x,
        .bias = bias,
        .m = m,
        .rows = w->rows,
        .columns = w->columns,
        .add = add,
        .vectors = takes_vectors(w),
    };
}

enum status nf4_matmul_shape_fwd_cuda(struct device *device, int shape, void *y, const void *x,
                                      const struct nf4_tiles *w, const float *bias, int m, bool add,
                                      const struct lora_parts *parts, const void *s,
                                      struct err *err)
{
    struct product product = product_of(y, x, w, bias, m, add);
    struct nf4_tiles tiles = *w;
    assert(shape >= 0 && shape < NF4_MATMUL_SHAPES);
    product_set_low_rank(&product, parts, s);
    if (m == 0)
        return STATUS_OK;
    return product_launch(device->cuda, "nf4_matmul", w->flat ? &flat_shape : &shapes[shape],
                          &weight_cost, &product, NF4_TILE_ROWS * w->n_groups, &tiles, err);
}

enum status nf4_matmul_lora_fwd_cuda(struct device *device, void *y, const void *x,
                                     const struct nf4_tiles *w, const float *bias, int m, bool add,
                                     const struct lora_parts *parts, const void *s, struct err *err)
{
    int shape = product_shape_choose(shapes, NF4_MATMUL_SHAPES, &weight_cost, &device->cuda->info,
                                     m, NF4_TILE_ROWS * w->n_groups);
    return nf4_matmul_shape_fwd_cuda(device, shape, y, x, w, bias, m, add, parts, s, err);
}

enum status nf4_matmul_fwd_cuda(struct device *device, void *y, const void *x,
                                const struct nf4_tiles *w, const float *bias, int m, bool add,
                                struct err *err)
{
    return nf4_matmul_lora_fwd_cuda(device, y, x, w, bias, m, add, NULL, NULL, err);
}

/* Of nf4_matmul_few.cu; bytes of a run of a row of X in shared memory. */
#define FEW_WARPS 8
#define FEW_X_RUN (2 * (4 * 64 + 8))

enum status nf4_matmul_few_fwd_cuda(struct device *device, void *y, const void *x,
                                    const struct nf4_tiles *w, const float *bias, int m, bool add,
                                    struct err *err)
{
    struct product product = product_of(y, x, w, bias, m, add);
    struct nf4_tiles tiles = *w;
    void *values[] = {&product, &tiles};
    assert(m <= NF4_MATMUL_FEW);
    if (w->flat)
        return nf4_matmul_fwd_cuda(device, y, x, w, bias, m, add, err);
    if (m == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "nf4_matmul_few",
                           .name = "nf4_matmul_few",
                           .grid = {(unsigned)w->n_groups, 1, 1},
                           .block = {32 * FEW_WARPS, 1, 1},
                           .shared = (unsigned)(FEW_WARPS * FEW_X_RUN * m),
                           .values = values,
                       },
                       err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status nf4_matmul_fwd(struct device *device, void *y, const void *x,
                           const struct nf4_matrix *w, int m, bool add, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        nf4_matmul_fwd_cpu(device, y, x, w, m, add);
        return STATUS_OK;
    case DEVICE_CUDA:
        assert(w->tiles);
        return nf4_matmul_fwd_cuda(device, y, x, w->tiles, NULL, m, add, err);
    }
    return err_set(err, STATUS_RESOURCE, "nf4_matmul: no kernel for this device");
}

enum status nf4_matmul_bwd_input(struct device *device, void *dx, const void *dy,
                                 const struct nf4_matrix *w, int m, bool add, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        nf4_matmul_bwd_input_cpu(device, dx, dy, w, m, add);
        return STATUS_OK;
    case DEVICE_CUDA:
        assert(w->tiles);
        return nf4_matmul_bwd_input_cuda(device, dx, dy, w->tiles, m, add, NULL, NULL, NULL, err);
    }
    return err_set(err, STATUS_RESOURCE, "nf4_matmul: no kernel for this device");
}
