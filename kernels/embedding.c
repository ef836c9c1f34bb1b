/* Embedding lookup: CPU code, CUDA launch, dispatch. A copy of rows, with bfloat16 widened on the
 * way. */
#include "kernels/embedding.h"

#include <assert.h>
#include <string.h>
#include "host/base/cuda_device.h"
#include "host/base/float16.h"
#include "kernels/cpu.h"
#include "kernels/cuda_rows.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

/* Elements first .. d-1 of a row. */
static void widen_portable(float *y, const uint16_t *row, int d, int first)
{
    for (int j = first; j < d; j++)
        y[j] = bf16_to_float(row[j]);
}

#if CPU_X86
TARGET_AVX2
static void widen_avx2(float *y, const uint16_t *row, int d)
{
    int j = 0;
    for (; j + 8 <= d; j += 8) {
        __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(row + j)));
        _mm256_storeu_ps(y + j, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
    }
    widen_portable(y, row, d, j);
}
#endif

#define ROWS_PER_TASK 16

struct embedding_job {
    float *y;
    const int32_t *tokens;
    const struct dense_matrix *table;
    int n;
    enum cpu_isa isa;
};

static void embedding_task(void *context, int task, int worker)
{
    (void)worker;
    const struct embedding_job *job = context;
    const struct dense_matrix *table = job->table;
    size_t d = (size_t)table->columns;
    int first = task * ROWS_PER_TASK;
    int last = first + ROWS_PER_TASK < job->n ? first + ROWS_PER_TASK : job->n;
    for (int i = first; i < last; i++) {
        assert(job->tokens[i] >= 0 && job->tokens[i] < table->rows);
        float *y = job->y + (size_t)i * d;
        size_t offset = (size_t)job->tokens[i] * d;
        if (table->type == PRECISION_F32) {
            memcpy(y, (const float *)table->data + offset, d * sizeof *y);
            continue;
        }
        const uint16_t *row = (const uint16_t *)table->data + offset;
#if CPU_X86
        if (job->isa == CPU_AVX2) {
            widen_avx2(y, row, table->columns);
            continue;
        }
#endif
        widen_portable(y, row, table->columns, 0);
    }
}

void embedding_fwd_cpu(struct device *device, float *y, const int32_t *tokens,
                       const struct dense_matrix *table, int n)
{
    assert(table->type == PRECISION_F32 || table->type == PRECISION_BF16);
    struct embedding_job job = {y, tokens, table, n, device->isa};
    threads_run(device->threads, (n + ROWS_PER_TASK - 1) / ROWS_PER_TASK, embedding_task, &job);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

enum status embedding_fwd_cuda(struct device *device, void *y, const int32_t *tokens,
                               const struct dense_matrix *table, int n, struct err *err)
{
    const void *rows = table->data;
    int d = table->columns, width = d % 8 == 0 ? 8 : 1;
    struct cuda_row_blocks blocks = cuda_row_blocks(d, width, 256);
    void *values[] = {&y, &tokens, &rows, &d};
    if (table->type != PRECISION_BF16)
        return err_set(err, STATUS_RESOURCE, "embedding: a GPU takes tables of bfloat16");
    if (n == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "embedding",
                           .name = width == 8 ? "embedding_by_vectors" : "embedding_by_elements",
                           .grid = {(unsigned)n, blocks.n, 1},
                           .block = {blocks.threads, 1, 1},
                           .values = values,
                       },
                       err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status embedding_fwd(struct device *device, void *y, const int32_t *tokens,
                          const struct dense_matrix *table, int n, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        embedding_fwd_cpu(device, y, tokens, table, n);
        return STATUS_OK;
    case DEVICE_CUDA:
        return embedding_fwd_cuda(device, y, tokens, table, n, err);
    }
    return err_set(err, STATUS_RESOURCE, "embedding: no kernel for this device");
}
