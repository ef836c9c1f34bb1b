/* Matrix product with a dense weight: CPU code, CUDA launch, dispatch. The CPU's product itself is
 * kernels/gemm.c; here is what brings 16 rows of W into its panels, a transposition, or 16 columns
 * for the gradient of the input, a copy. */
#include "kernels/matmul.h"

#include <assert.h>
#include <string.h>
#include "host/base/cuda_device.h"
#include "host/base/float16.h"
#include "kernels/cpu.h"
#include "kernels/gemm.h"
#include "kernels/product_shape.h"

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
/* Eight elements as float32. bf16 is a constant wherever this is inlined. */
TARGET_AVX2
static inline __m256 load_8(const char *from, bool bf16)
{
    if (!bf16)
        return _mm256_loadu_ps((const float *)from);
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

/* Of n_k columns the whole eights, 8 x 8 pieces through registers; returns how many columns that
 * were. Lanes beyond the last row repeat it. */
TARGET_AVX2
static inline __attribute__((always_inline)) int decode_eights(float *panel,
                                                               const struct dense_matrix *w,
                                                               int row, int n_rows, int k, int n_k,
                                                               bool bf16)
{
    size_t size = bf16 ? sizeof(uint16_t) : sizeof(float), columns = (size_t)w->columns;
    int per_line = bf16 ? 32 : 16; /* elements in a cache line */
    const char *from[GEMM_PANEL];
    for (int r = 0; r < GEMM_PANEL; r++)
        from[r] = (const char *)w->data +
                  ((size_t)(row + (r < n_rows ? r : n_rows - 1)) * columns + (size_t)k) * size;
    /* The next panel lies in 16 other rows, too far for the hardware to guess. */
    size_t ahead = row + 2 * GEMM_PANEL <= w->rows ? GEMM_PANEL * columns * size : 0;
    int i = 0;
    for (; i + 8 <= n_k; i += 8)
        for (int half = 0; half < GEMM_PANEL; half += 8) {
            __m256 in[8], out[8];
            UNROLL
            for (int r = 0; r < 8; r++) {
                const char *at = from[half + r] + (size_t)i * size;
                in[r] = load_8(at, bf16);
                if (i % per_line == 0)
                    __builtin_prefetch(at + ahead, 0, 2);
            }
            avx2_transpose(out, in);
            UNROLL
            for (int c = 0; c < 8; c++)
                _mm256_store_ps(panel + (i + c) * GEMM_PANEL + half, out[c]);
        }
    return i;
}

TARGET_AVX2
static void decode_f32_avx2(float *panel, const void *matrix, int row, int n_rows, int k, int n_k)
{
    int i = decode_eights(panel, matrix, row, n_rows, k, n_k, false);
    decode_f32_portable(panel + i * GEMM_PANEL, matrix, row, n_rows, k + i, n_k - i);
}

TARGET_AVX2
static void decode_bf16_avx2(float *panel, const void *matrix, int row, int n_rows, int k, int n_k)
{
    int i = decode_eights(panel, matrix, row, n_rows, k, n_k, true);
    decode_bf16_portable(panel + i * GEMM_PANEL, matrix, row, n_rows, k + i, n_k - i);
}
#endif

/* The same of 16 columns of W, from `column` on: a panel of Wᵀ. */
static void decode_columns_portable(float *panel, const void *matrix, int column, int n_columns,
                                    int k, int n_k)
{
    const struct dense_matrix *w = matrix;
    for (int i = 0; i < n_k; i++, panel += GEMM_PANEL) {
        size_t from = (size_t)(k + i) * (size_t)w->columns + (size_t)column;
        if (w->type == PRECISION_F32)
            memcpy(panel, (const float *)w->data + from, (size_t)n_columns * sizeof *panel);
        else
            for (int r = 0; r < n_columns; r++)
                panel[r] = bf16_to_float(((const uint16_t *)w->data)[from + (size_t)r]);
    }
}

#if CPU_X86
TARGET_AVX2
static inline __attribute__((always_inline)) void decode_whole_columns(float *panel,
                                                                       const struct dense_matrix *w,
                                                                       int column, int k, int n_k,
                                                                       bool bf16)
{
    size_t size = bf16 ? sizeof(uint16_t) : sizeof(float), stride = (size_t)w->columns * size;
    const char *from = (const char *)w->data + (size_t)k * stride + (size_t)column * size;
    /* The next panel's lines: a row of W apart, which the hardware does not guess. */
    size_t ahead = column + 2 * GEMM_PANEL <= w->columns ? GEMM_PANEL * size : 0;
    for (int i = 0; i < n_k; i++, from += stride, panel += GEMM_PANEL) {
        __builtin_prefetch(from + ahead, 0, 2);
        _mm256_store_ps(panel, load_8(from, bf16));
        _mm256_store_ps(panel + 8, load_8(from + 8 * size, bf16));
    }
}

TARGET_AVX2
static void decode_columns_avx2(float *panel, const void *matrix, int column, int n_columns, int k,
                                int n_k)
{
    const struct dense_matrix *w = matrix;
    if (n_columns < GEMM_PANEL)
        decode_columns_portable(panel, w, column, n_columns, k, n_k);
    else if (w->type == PRECISION_F32)
        decode_whole_columns(panel, w, column, k, n_k, false);
    else
        decode_whole_columns(panel, w, column, k, n_k, true);
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

void matmul_bwd_input_cpu(struct device *device, float *dx, const float *dy,
                          const struct dense_matrix *w, int m, bool add)
{
    assert(w->type == PRECISION_F32 || w->type == PRECISION_BF16);
    struct gemm_weight weight = {w->columns, w->rows, w, decode_columns_portable};
#if CPU_X86
    if (device->isa == CPU_AVX2)
        weight.decode = decode_columns_avx2;
#endif
    gemm_cpu(device, dx, dy, &weight, m, add);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

/* Those of matmul.cu. */
static const struct product_shape shapes[MATMUL_SHAPES] = {
    {"matmul_128x256", 128, 256, 1, 8, 2, 1}, {"matmul_128x128", 128, 128, 2, 4, 3, 2},
    {"matmul_96x256", 96, 256, 1, 8, 2, 1},   {"matmul_64x128", 64, 128, 1, 4, 2, 3},
    {"matmul_32x64", 32, 64, 1, 4, 4, 5},     {"matmul_16x64", 16, 64, 1, 4, 4, 6},
};
static const struct product_shape any_shape = {"matmul_any", 32, 64, 1, 4, 2, 4};

/* 64 weights: 128 bytes, a wavefront when they come and one for each warp that reads them. */
static const struct product_weight weight_cost = {128, 1, 1, 128, 0};

/* matmul.cu's `dense`. */
struct dense {
    const void *data;
    int rows, columns;
};

enum status matmul_shape_fwd_cuda(struct device *device, int shape, void *y, const void *x,
                                  const struct dense_matrix *w, const float *bias, int m, bool add,
                                  const struct lora_parts *parts, const void *s, struct err *err)
{
    struct product product = {
        .y = y,
        .x = x,
        .bias = bias,
        .m = m,
        .rows = w->rows,
        .columns = w->columns,
        .add = add,
        .vectors = w->rows % 8 == 0,
    };
    struct dense dense = {w->data, w->rows, w->columns};
    assert(shape >= 0 && shape < MATMUL_SHAPES);
    product_set_low_rank(&product, parts, s);
    if (w->type != PRECISION_BF16)
        return err_set(err, STATUS_RESOURCE, "matmul: a GPU takes weights in bf16");
    if (m == 0)
        return STATUS_OK;
    return product_launch(device->cuda, "matmul", w->columns % 8 == 0 ? &shapes[shape] : &any_shape,
                          &weight_cost, &product, w->rows, &dense, err);
}

enum status matmul_lora_fwd_cuda(struct device *device, void *y, const void *x,
                                 const struct dense_matrix *w, const float *bias, int m, bool add,
                                 const struct lora_parts *parts, const void *s, struct err *err)
{
    int shape =
        product_shape_choose(shapes, MATMUL_SHAPES, &weight_cost, &device->cuda->info, m, w->rows);
    return matmul_shape_fwd_cuda(device, shape, y, x, w, bias, m, add, parts, s, err);
}

enum status matmul_fwd_cuda(struct device *device, void *y, const void *x,
                            const struct dense_matrix *w, const float *bias, int m, bool add,
                            struct err *err)
{
    return matmul_lora_fwd_cuda(device, y, x, w, bias, m, add, NULL, NULL, err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status matmul_fwd(struct device *device, void *y, const void *x, const struct dense_matrix *w,
                       int m, bool add, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        matmul_fwd_cpu(device, y, x, w, m, add);
        return STATUS_OK;
    case DEVICE_CUDA:
        return matmul_fwd_cuda(device, y, x, w, NULL, m, add, err);
    }
    return err_set(err, STATUS_RESOURCE, "matmul: no kernel for this device");
}

enum status matmul_bwd_input(struct device *device, void *dx, const void *dy,
                             const struct dense_matrix *w, int m, bool add, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        matmul_bwd_input_cpu(device, dx, dy, w, m, add);
        return STATUS_OK;
    case DEVICE_CUDA:
        return matmul_bwd_input_cuda(device, dx, dy, w, m, add, NULL, NULL, NULL, err);
    }
    return err_set(err, STATUS_RESOURCE, "matmul: no kernel for this device");
}
