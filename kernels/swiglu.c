/* SwiGLU: CPU code, CUDA launch, dispatch. 12 bytes move for one exponential and one division. */
#include "kernels/swiglu.h"

#include <math.h>
#include "host/base/cuda_device.h"
#include "kernels/cuda_rows.h"
#include "kernels/vector_math.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

static void swiglu_portable(float *y, const float *gate, const float *up, size_t size)
{
    for (size_t i = 0; i < size; i++)
        y[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

#if CPU_X86
TARGET_AVX2
static inline __m256 swiglu_lanes(__m256 gate, __m256 up)
{
    __m256 one = _mm256_set1_ps(1.0f), minus_zero = _mm256_set1_ps(-0.0f);
    __m256 e = avx2_exp(_mm256_xor_ps(gate, minus_zero));
    return _mm256_mul_ps(_mm256_div_ps(gate, _mm256_add_ps(one, e)), up);
}

/* The tail goes through the same lanes as the rest: an element's bits do not depend on where the
 * rows of a batch put it. */
TARGET_AVX2
static void swiglu_avx2(float *y, const float *gate, const float *up, size_t size)
{
    size_t i = 0;
    for (; i + 8 <= size; i += 8)
        _mm256_storeu_ps(y + i, swiglu_lanes(_mm256_loadu_ps(gate + i), _mm256_loadu_ps(up + i)));
    if (i < size) {
        float tail[2][8] = {{0}};
        for (size_t j = i; j < size; j++)
            tail[0][j - i] = gate[j], tail[1][j - i] = up[j];
        _mm256_storeu_ps(tail[0], swiglu_lanes(_mm256_loadu_ps(tail[0]), _mm256_loadu_ps(tail[1])));
        for (size_t j = i; j < size; j++)
            y[j] = tail[0][j - i];
    }
}
#endif

#define VALUES_PER_TASK 8192 /* 96 KB moved */

struct swiglu_job {
    float *y;
    const float *gate, *up;
    size_t size;
    enum cpu_isa isa;
};

static void swiglu_task(void *context, int task, int worker)
{
    (void)worker;
    const struct swiglu_job *job = context;
    size_t first = (size_t)task * VALUES_PER_TASK;
    size_t size = job->size - first < VALUES_PER_TASK ? job->size - first : VALUES_PER_TASK;
    float *y = job->y + first;
    const float *gate = job->gate + first, *up = job->up + first;
#if CPU_X86
    if (job->isa == CPU_AVX2) {
        swiglu_avx2(y, gate, up, size);
        return;
    }
#endif
    swiglu_portable(y, gate, up, size);
}

void swiglu_fwd_cpu(struct device *device, float *y, const float *gate, const float *up, int n,
                    int d)
{
    struct swiglu_job job = {y, gate, up, (size_t)n * (size_t)d, device->isa};
    int n_tasks = (int)((job.size + VALUES_PER_TASK - 1) / VALUES_PER_TASK);
    threads_run(device->threads, n_tasks, swiglu_task, &job);
}

/* ---- CPU: the gradient ---------------------------------------------------------------------- */

/* s and 1 - s by exp(-|gate|), which does not overflow: 1 / (1 + e) is the larger of the two,
 * e / (1 + e) the smaller. */
static void swiglu_bwd_portable(float *dgate, float *dup, const float *dy, const float *gate,
                                const float *up, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        float g = gate[i], e = expf(-fabsf(g)), larger = 1.0f / (1.0f + e), smaller = e * larger;
        float s = g < 0 ? smaller : larger, rest = g < 0 ? larger : smaller;
        float by_silu = dy[i] * up[i];
        float by_up = dy[i] * (g * s);
        dgate[i] = by_silu * (s * (1.0f + g * rest));
        dup[i] = by_up;
    }
}

#if CPU_X86
TARGET_AVX2
static inline void swiglu_bwd_lanes(float *dgate, float *dup, const float *dy, const float *gate,
                                    const float *up)
{
    __m256 one = _mm256_set1_ps(1.0f), minus_zero = _mm256_set1_ps(-0.0f);
    __m256 g = _mm256_loadu_ps(gate), dout = _mm256_loadu_ps(dy);
    __m256 by_silu = _mm256_mul_ps(dout, _mm256_loadu_ps(up));
    __m256 e = avx2_exp(_mm256_or_ps(g, minus_zero));
    __m256 larger = _mm256_div_ps(one, _mm256_add_ps(one, e)), smaller = _mm256_mul_ps(e, larger);
    __m256 s = _mm256_blendv_ps(larger, smaller, g), rest = _mm256_blendv_ps(smaller, larger, g);
    __m256 slope = _mm256_mul_ps(s, _mm256_fmadd_ps(g, rest, one));
    _mm256_storeu_ps(dgate, _mm256_mul_ps(by_silu, slope));
    _mm256_storeu_ps(dup, _mm256_mul_ps(dout, _mm256_mul_ps(g, s)));
}

/* The tail as in the forward code. */
TARGET_AVX2
static void swiglu_bwd_avx2(float *dgate, float *dup, const float *dy, const float *gate,
                            const float *up, size_t size)
{
    size_t i = 0;
    for (; i + 8 <= size; i += 8)
        swiglu_bwd_lanes(dgate + i, dup + i, dy + i, gate + i, up + i);
    if (i < size) {
        float tail[3][8] = {{0}}, results[2][8];
        for (size_t j = i; j < size; j++)
            tail[0][j - i] = dy[j], tail[1][j - i] = gate[j], tail[2][j - i] = up[j];
        swiglu_bwd_lanes(results[0], results[1], tail[0], tail[1], tail[2]);
        for (size_t j = i; j < size; j++)
            dgate[j] = results[0][j - i], dup[j] = results[1][j - i];
    }
}
#endif

struct swiglu_bwd_job {
    float *dgate, *dup;
    const float *dy, *gate, *up;
    size_t size;
    enum cpu_isa isa;
};

static void swiglu_bwd_task(void *context, int task, int worker)
{
    (void)worker;
    const struct swiglu_bwd_job *job = context;
    size_t first = (size_t)task * VALUES_PER_TASK;
    size_t size = job->size - first < VALUES_PER_TASK ? job->size - first : VALUES_PER_TASK;
    float *dgate = job->dgate + first, *dup = job->dup + first;
    const float *dy = job->dy + first, *gate = job->gate + first, *up = job->up + first;
#if CPU_X86
    if (job->isa == CPU_AVX2) {
        swiglu_bwd_avx2(dgate, dup, dy, gate, up, size);
        return;
    }
#endif
    swiglu_bwd_portable(dgate, dup, dy, gate, up, size);
}

void swiglu_bwd_cpu(struct device *device, float *dgate, float *dup, const float *dy,
                    const float *gate, const float *up, int n, int d)
{
    struct swiglu_bwd_job job = {dgate, dup, dy, gate, up, (size_t)n * (size_t)d, device->isa};
    int n_tasks = (int)((job.size + VALUES_PER_TASK - 1) / VALUES_PER_TASK);
    threads_run(device->threads, n_tasks, swiglu_bwd_task, &job);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

enum status swiglu_fwd_cuda(struct device *device, void *y, const void *gate, const void *up,
                            size_t stride, int n, int d, struct err *err)
{
    int width = d % 8 == 0 && stride % 8 == 0 ? 8 : 1;
    struct cuda_row_blocks blocks = cuda_row_blocks(d, width, 256);
    void *values[] = {&y, &gate, &up, &stride, &d};
    if (n == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "swiglu",
                           .name = width == 8 ? "swiglu_by_vectors" : "swiglu_by_elements",
                           .grid = {(unsigned)n, blocks.n, 1},
                           .block = {blocks.threads, 1, 1},
                           .values = values,
                       },
                       err);
}

enum status swiglu_bwd_cuda(struct device *device, void *dgate, void *dup, size_t dstride,
                            const void *dy, const void *gate, const void *up, size_t stride, int n,
                            int d, struct err *err)
{
    int width = d % 8 == 0 && stride % 8 == 0 && dstride % 8 == 0 ? 8 : 1;
    struct cuda_row_blocks blocks = cuda_row_blocks(d, width, 256);
    void *values[] = {&dgate, &dup, &dstride, &dy, &gate, &up, &stride, &d};
    if (n == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "swiglu",
                           .name = width == 8 ? "swiglu_bwd_by_vectors" : "swiglu_bwd_by_elements",
                           .grid = {(unsigned)n, blocks.n, 1},
                           .block = {blocks.threads, 1, 1},
                           .values = values,
                       },
                       err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status swiglu_fwd(struct device *device, void *y, const void *gate, const void *up, int n,
                       int d, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        swiglu_fwd_cpu(device, y, gate, up, n, d);
        return STATUS_OK;
    case DEVICE_CUDA:
        return swiglu_fwd_cuda(device, y, gate, up, (size_t)d, n, d, err);
    }
    return err_set(err, STATUS_RESOURCE, "swiglu: no kernel for this device");
}

enum status swiglu_bwd(struct device *device, void *dgate, void *dup, const void *dy,
                       const void *gate, const void *up, int n, int d, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        swiglu_bwd_cpu(device, dgate, dup, dy, gate, up, n, d);
        return STATUS_OK;
    case DEVICE_CUDA:
        return swiglu_bwd_cuda(device, dgate, dup, (size_t)d, dy, gate, up, (size_t)d, n, d, err);
    }
    return err_set(err, STATUS_RESOURCE, "swiglu_bwd: no kernel for this device");
}
