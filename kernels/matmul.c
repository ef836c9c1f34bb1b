/* Matrix product with a dense weight: CPU code and dispatch. The product itself is kernels/gemm.c;
 * here is what brings 16 rows of W into its panels, a transposition. */
#include "kernels/matmul.h"

#include <assert.h>
#include "host/base/float16.h"
#include "kernels/cpu.h"
#include "kernels/gemm.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

static void decode_f32_portable(float *panel, const void *matrix, int row, int n_rows, int k,
                                int n_k)
{
    const struct dense_matrix *w = matrix;
    for (int r = 0; r < n_rows; r++) {
        const float *from = (const float *)w->data + (size_t)(row + r) * (size_t)w->columns + k;
        for (int i = 0; i < n_k; i++)
            panel[i * GEMM_PANEL + r] = from[i];
    }
}

static void decode_bf16_portable(float *panel, const void *matrix, int row, int n_rows, int k,
                                 int n_k)
{
    const struct dense_matrix *w = matrix;
    for (int r = 0; r < n_rows; r++) {
        const uint16_t *from =
            (const uint16_t *)w->data + (size_t)(row + r) * (size_t)w->columns + k;
        for (int i = 0; i < n_k; i++)
            panel[i * GEMM_PANEL + r] = bf16_to_float(from[i]);
    }
}

#if CPU_X86
/* out[c] row r = in[r] column c. */
TARGET_AVX2
static inline void transpose_8x8(__m256 out[8], const __m256 in[8])
{
    __m256 pair[8], quad[8];
    UNROLL
    for (int i = 0; i < 4; i++) {
        pair[2 * i] = _mm256_unpacklo_ps(in[2 * i], in[2 * i + 1]);
        pair[2 * i + 1] = _mm256_unpackhi_ps(in[2 * i], in[2 * i + 1]);
    }
    UNROLL
    for (int i = 0; i < 8; i += 4) {
        UNROLL
        for (int j = 0; j < 2; j++) {
            quad[i + 2 * j] = _mm256_shuffle_ps(pair[i + j], pair[i + 2 + j], 0x44);
            quad[i + 2 * j + 1] = _mm256_shuffle_ps(pair[i + j], pair[i + 2 + j], 0xEE);
        }
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        out[i] = _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x20);
        out[i + 4] = _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x31);
    }
}

/* Both types: 8 x 8 pieces through registers. The columns that are left over, and lanes beyond the
 * last row, go by the portable code and by repeating the last row. */
TARGET_AVX2
static void decode_f32_avx2(float *panel, const void *matrix, int row, int n_rows, int k, int n_k)
{
    const struct dense_matrix *w = matrix;
    const float *from[GEMM_PANEL];
    for (int r = 0; r < GEMM_PANEL; r++)
        from[r] = (const float *)w->data +
                  (size_t)(row + (r < n_rows ? r : n_rows - 1)) * (size_t)w->columns + k;
    size_t ahead = row + 2 * GEMM_PANEL <= w->rows ? (size_t)GEMM_PANEL * (size_t)w->columns : 0;
    int i = 0;
    for (; i + 8 <= n_k; i += 8)
        for (int half = 0; half < GEMM_PANEL; half += 8) {
            __m256 in[8], out[8];
            UNROLL
            for (int r = 0; r < 8; r++) {
                in[r] = _mm256_loadu_ps(from[half + r] + i);
                if (i % 16 == 0)
                    __builtin_prefetch(from[half + r] + i + ahead, 0, 2);
            }
            transpose_8x8(out, in);
            UNROLL
            for (int c = 0; c < 8; c++)
                _mm256_store_ps(panel + (i + c) * GEMM_PANEL + half, out[c]);
        }
    if (i < n_k)
        decode_f32_portable(panel + i * GEMM_PANEL, matrix, row, n_rows, k + i, n_k - i);
}

TARGET_AVX2
static void decode_bf16_avx2(float *panel, const void *matrix, int row, int n_rows, int k, int n_k)
{
    const struct dense_matrix *w = matrix;
    const uint16_t *from[GEMM_PANEL];
    for (int r = 0; r < GEMM_PANEL; r++)
        from[r] = (const uint16_t *)w->data +
                  (size_t)(row + (r < n_rows ? r : n_rows - 1)) * (size_t)w->columns + k;
    size_t ahead = row + 2 * GEMM_PANEL <= w->rows ? (size_t)GEMM_PANEL * (size_t)w->columns : 0;
    int i = 0;
    for (; i + 8 <= n_k; i += 8)
        for (int half = 0; half < GEMM_PANEL; half += 8) {
            __m256 in[8], out[8];
            UNROLL
            for (int r = 0; r < 8; r++) {
                __m128i bits = _mm_loadu_si128((const __m128i *)(from[half + r] + i));
                if (i % 32 == 0)
                    __builtin_prefetch(from[half + r] + i + ahead, 0, 2);
                in[r] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
            }
            transpose_8x8(out, in);
            UNROLL
            for (int c = 0; c < 8; c++)
                _mm256_store_ps(panel + (i + c) * GEMM_PANEL + half, out[c]);
        }
    if (i < n_k)
        decode_bf16_portable(panel + i * GEMM_PANEL, matrix, row, n_rows, k + i, n_k - i);
}
#endif

void matmul_fwd_cpu(struct device *device, float *y, const float *x, const struct dense_matrix *w,
                    int m, bool add)
{
    assert(w->type == PRECISION_F32 || w->type == PRECISION_BF16);
    struct gemm_weight weight = {w->rows, w->columns, w, NULL};
    weight.decode = w->type == PRECISION_F32 ? decode_f32_portable : decode_bf16_portable;
#if CPU_X86
    if (device->isa == CPU_AVX2)
        weight.decode = w->type == PRECISION_F32 ? decode_f32_avx2 : decode_bf16_avx2;
#endif
    gemm_cpu(device, y, x, &weight, m, add);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status matmul_fwd(struct device *device, void *y, const void *x, const struct dense_matrix *w,
                       int m, bool add, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        matmul_fwd_cpu(device, y, x, w, m, add);
        return STATUS_OK;
    }
    return err_set(err, STATUS_RESOURCE, "matmul: no kernel for this device");
}
