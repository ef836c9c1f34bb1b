/* Softmax and cross-entropy: CPU code, CUDA launch, dispatch. On the CPU a row is passed over three
 * times: its largest value; the exponentials, stored, and their sum; a factor for each. A
 * vocabulary's row of 49,152 is 197 KB, so the second and the third pass find it in L2.
 *
 * The sum runs in float64: in float32 150,000 terms would lose more than all else does. It has
 * eight chains, by column modulo 8, added from the first to the eighth, on every instruction set;
 * cross_entropy has those of the columns before the label, then of those behind it. */
#include "kernels/cross_entropy.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include "host/base/cuda_device.h"
#include "kernels/cuda_rows.h"
#include "kernels/vector_math.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

/* What a row is made of, in one instruction set. */
struct row_functions {
    /* The largest; any value where there is a NaN, which the exponentials then bring out. */
    float (*largest)(const float *x, int d);
    /* e[j] = exp(x[j] - largest), not stored where e is NULL; e may be x. Returns the sum. */
    double (*exponentials)(float *e, const float *x, float largest, int d);
    void (*scale)(float *y, float factor, int d);
};

static float largest_portable(const float *x, int d)
{
    float largest = x[0];
    for (int j = 1; j < d; j++)
        largest = x[j] > largest ? x[j] : largest;
    return largest;
}

static double exponentials_portable(float *e, const float *x, float largest, int d)
{
    double chains[8] = {0}, sum = 0;
    for (int j = 0; j < d; j++) {
        float value = expf(x[j] - largest);
        chains[j % 8] += (double)value;
        if (e)
            e[j] = value;
    }
    for (int lane = 0; lane < 8; lane++)
        sum += chains[lane];
    return sum;
}

static void scale_portable(float *y, float factor, int d)
{
    for (int j = 0; j < d; j++)
        y[j] *= factor;
}

static const struct row_functions portable_rows = {largest_portable, exponentials_portable,
                                                   scale_portable};

#if CPU_X86
/* Four chains: a maximum has a latency of four cycles, and its order does not matter. */
TARGET_AVX2
static float largest_avx2(const float *x, int d)
{
    __m256 chains[4];
    float lane[8], largest = x[0];
    int j = 0;
    UNROLL
    for (int c = 0; c < 4; c++)
        chains[c] = _mm256_set1_ps(x[0]);
    for (; j + 32 <= d; j += 32) {
        UNROLL
        for (int c = 0; c < 4; c++)
            chains[c] = _mm256_max_ps(chains[c], _mm256_loadu_ps(x + j + 8 * c));
    }
    _mm256_storeu_ps(lane, _mm256_max_ps(_mm256_max_ps(chains[0], chains[1]),
                                         _mm256_max_ps(chains[2], chains[3])));
    for (int i = 0; i < 8; i++)
        largest = lane[i] > largest ? lane[i] : largest;
    for (; j < d; j++)
        largest = x[j] > largest ? x[j] : largest;
    return largest;
}

/* The tail goes through the same lanes: a lane beyond it holds -inf, whose exponential adds 0. */
TARGET_AVX2
static double exponentials_avx2(float *e, const float *x, float largest, int d)
{
    __m256 shift = _mm256_set1_ps(largest);
    __m256d low = _mm256_setzero_pd(), high = low; /* chains 0 to 3, and 4 to 7 */
    for (int j = 0; j < d; j += 8) {
        float tail[8];
        bool whole = j + 8 <= d;
        for (int i = 0; !whole && i < 8; i++)
            tail[i] = j + i < d ? x[j + i] : -INFINITY;
        __m256 value = avx2_exp(_mm256_sub_ps(_mm256_loadu_ps(whole ? x + j : tail), shift));
        low = _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_castps256_ps128(value)));
        high = _mm256_add_pd(high, _mm256_cvtps_pd(_mm256_extractf128_ps(value, 1)));
        if (e && whole)
            _mm256_storeu_ps(e + j, value);
        else if (e) {
            _mm256_storeu_ps(tail, value);
            for (int i = 0; j + i < d; i++)
                e[j + i] = tail[i];
        }
    }
    double chains[8], sum = 0;
    _mm256_storeu_pd(chains, low);
    _mm256_storeu_pd(chains + 4, high);
    for (int i = 0; i < 8; i++)
        sum += chains[i];
    return sum;
}

TARGET_AVX2
static void scale_avx2(float *y, float factor, int d)
{
    __m256 factors = _mm256_set1_ps(factor);
    int j = 0;
    for (; j + 8 <= d; j += 8)
        _mm256_storeu_ps(y + j, _mm256_mul_ps(_mm256_loadu_ps(y + j), factors));
    for (; j < d; j++)
        y[j] *= factor;
}

static const struct row_functions avx2_rows = {largest_avx2, exponentials_avx2, scale_avx2};
#endif

static const struct row_functions *rows_of(const struct device *device)
{
#if CPU_X86
    if (device->isa == CPU_AVX2)
        return &avx2_rows;
#endif
    (void)device;
    return &portable_rows;
}

/* Of one task: rows of a classification head are short, those of a vocabulary a task each. */
#define VALUES_PER_TASK 8192

static int rows_per_task(int d)
{
    return d < VALUES_PER_TASK ? VALUES_PER_TASK / d : 1;
}

static int count_tasks(int n, int d)
{
    return n / rows_per_task(d) + (n % rows_per_task(d) != 0);
}

/* The rows of a task: first, and how many. */
static int rows_of_task(int *first, int task, int n, int d)
{
    int rows = rows_per_task(d);
    *first = task * rows;
    return n - *first < rows ? n - *first : rows;
}

struct softmax_job {
    const struct row_functions *rows;
    float *y;
    const float *x;
    int n, d;
};

static void softmax_task(void *context, int task, int worker)
{
    (void)worker;
    const struct softmax_job *job = context;
    int first, n = rows_of_task(&first, task, job->n, job->d);
    for (int i = first; i < first + n; i++) {
        size_t at = (size_t)i * (size_t)job->d;
        float largest = job->rows->largest(job->x + at, job->d);
        double sum = job->rows->exponentials(job->y + at, job->x + at, largest, job->d);
        job->rows->scale(job->y + at, (float)(1 / sum), job->d);
    }
}

void softmax_fwd_cpu(struct device *device, float *y, const float *x, int n, int d)
{
    struct softmax_job job = {rows_of(device), y, x, n, d};
    threads_run(device->threads, count_tasks(n, d), softmax_task, &job);
}

struct cross_entropy_job {
    const struct row_functions *rows;
    float *losses, *dlogits;
    const float *logits;
    const int32_t *labels;
    int n, d;
    double weight;
};

/* The label's own exponential is kept out of the others' sum: softmax - 1 is minus their part, and
 * where it is small the difference would have lost it. */
static void cross_entropy_row(const struct cross_entropy_job *job, int i)
{
    const struct row_functions *rows = job->rows;
    int d = job->d, label = job->labels[i];
    const float *logits = job->logits + (size_t)i * (size_t)d;
    float *dlogits = job->dlogits ? job->dlogits + (size_t)i * (size_t)d : NULL;
    assert(label >= -1 && label < d);
    if (label < 0) {
        job->losses[i] = 0;
        for (int j = 0; dlogits && j < d; j++)
            dlogits[j] = 0;
        return;
    }
    float largest = rows->largest(logits, d);
    double own = (double)logits[label]; /* dlogits may take its place */
    float *behind = dlogits ? dlogits + label + 1 : NULL;
    double others = rows->exponentials(dlogits, logits, largest, label);
    others += rows->exponentials(behind, logits + label + 1, largest, d - label - 1);
    double sum = others + rows->exponentials(NULL, logits + label, largest, 1);
    job->losses[i] = (float)(log(sum) + ((double)largest - own));
    if (!dlogits)
        return;
    float factor = (float)(job->weight / sum);
    rows->scale(dlogits, factor, label);
    rows->scale(behind, factor, d - label - 1);
    dlogits[label] = (float)(-job->weight * (others / sum));
}

static void cross_entropy_task(void *context, int task, int worker)
{
    (void)worker;
    const struct cross_entropy_job *job = context;
    int first, n = rows_of_task(&first, task, job->n, job->d);
    for (int i = first; i < first + n; i++)
        cross_entropy_row(job, i);
}

void cross_entropy_cpu(struct device *device, float *losses, float *dlogits, const float *logits,
                       const int32_t *labels, int n, int d, float weight)
{
    struct cross_entropy_job job = {
        rows_of(device), losses, dlogits, logits, labels, n, d, (double)weight,
    };
    threads_run(device->threads, count_tasks(n, d), cross_entropy_task, &job);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

/* One block a row. */
static enum status launch_rows(struct device *device, const char *name, int width, int n, int d,
                               void **values, struct err *err)
{
    struct cuda_row_blocks blocks = cuda_row_blocks(d, width, 512); /* cross_entropy.cu's most */
    if (n == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "cross_entropy",
                           .name = name,
                           .grid = {(unsigned)n, 1, 1},
                           .block = {blocks.threads, 1, 1},
                           .values = values,
                       },
                       err);
}

enum status softmax_fwd_cuda(struct device *device, float *y, const float *x, int n, int d,
                             struct err *err)
{
    void *values[] = {&y, &x, &d};
    bool fours = d % 4 == 0;
    return launch_rows(device, fours ? "softmax_by_fours" : "softmax_by_elements", fours ? 4 : 1, n,
                       d, values, err);
}

enum status cross_entropy_cuda(struct device *device, enum precision type, float *losses,
                               void *dlogits, const void *logits, const int32_t *labels,
                               int32_t *correct, int n, int d, float weight, struct err *err)
{
    struct { /* cross_entropy.cu's cross_entropy_parameters */
        float *losses;
        void *dlogits;
        const void *logits;
        const int32_t *labels;
        int32_t *correct;
        int d;
        float weight;
    } parameters = {losses, dlogits, logits, labels, correct, d, weight};
    void *values[] = {&parameters};
    bool bf16 = type == PRECISION_BF16;
    int width = bf16 ? 8 : 4;
    if (d % width == 0)
        return launch_rows(device,
                           bf16 ? "cross_entropy_bf16_by_vectors" : "cross_entropy_f32_by_vectors",
                           width, n, d, values, err);
    return launch_rows(device,
                       bf16 ? "cross_entropy_bf16_by_elements" : "cross_entropy_f32_by_elements", 1,
                       n, d, values, err);
}

enum status losses_total_cuda(struct device *device, struct step_record *record,
                              const float *losses, const int32_t *correct, int n, struct err *err)
{
    if (n == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "cross_entropy",
                           .name = "losses_total",
                           .grid = {1, 1, 1},
                           .block = {256, 1, 1},
                           .values = (void *[]){&record, &losses, &correct, &n},
                       },
                       err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status softmax_fwd(struct device *device, void *y, const void *x, int n, int d,
                        struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        softmax_fwd_cpu(device, y, x, n, d);
        return STATUS_OK;
    case DEVICE_CUDA:
        return softmax_fwd_cuda(device, y, x, n, d, err);
    }
    return err_set(err, STATUS_RESOURCE, "softmax: no kernel for this device");
}

enum status cross_entropy(struct device *device, float *losses, void *dlogits, const void *logits,
                          const int32_t *labels, int n, int d, float weight, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        cross_entropy_cpu(device, losses, dlogits, logits, labels, n, d, weight);
        return STATUS_OK;
    case DEVICE_CUDA:
        return cross_entropy_cuda(device, PRECISION_BF16, losses, dlogits, logits, labels, NULL, n,
                                  d, weight, err);
    }
    return err_set(err, STATUS_RESOURCE, "cross_entropy: no kernel for this device");
}
