/* Contrastive loss: CPU code, CUDA launches, dispatch.
 *
 *   norms      |a_i|, |p_j|                                            2 n tasks
 *   losses     a row of cosines, its softmax, g[i,j] = weight / t      n tasks
 *              * (softmax[i,j] - (i == j)) in the cosines' place
 *   gradients  v = sum_j g[i,j] p_j / |p_j| for an anchor, and less    2 n tasks
 *              what lies along a_i itself, since a cosine does not
 *              change with its length; by |a_i|. For a positive the
 *              same with a column of g
 *
 * All in float64, n^2 d multiply-adds three times: a batch of 256 texts of width 576 is 0.1 GFLOP,
 * while the model's step over them is some thousand. Softmax at a low temperature (0.05) has errors
 * of cosines times twenty; here they do not matter. */
#include "kernels/contrastive.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include "host/base/cuda_device.h"
#include "host/base/divide_up.h"
#include "kernels/cpu.h"

#define SHORTEST 1e-8 /* torch's eps */

/* ---- CPU ------------------------------------------------------------------------------------ */

/* Four chains, by column modulo 4, added from the first to the fourth, then the columns behind the
 * last whole four; the AVX2 code has the same order, with fused multiply-adds. */
static double dot_portable(const float *x, const float *y, int d)
{
    double chains[4] = {0};
    int j = 0;
    for (; j + 4 <= d; j += 4)
        for (int lane = 0; lane < 4; lane++)
            chains[lane] += (double)x[j + lane] * (double)y[j + lane];
    double sum = ((chains[0] + chains[1]) + chains[2]) + chains[3];
    for (; j < d; j++)
        sum += (double)x[j] * (double)y[j];
    return sum;
}

/* sum += factor * x */
static void add_scaled_portable(double *sum, const float *x, double factor, int d)
{
    for (int j = 0; j < d; j++)
        sum[j] += factor * (double)x[j];
}

#if CPU_X86
TARGET_AVX2
static inline __m256d load_4(const float *x)
{
    return _mm256_cvtps_pd(_mm_loadu_ps(x));
}

TARGET_AVX2
static double dot_avx2(const float *x, const float *y, int d)
{
    __m256d chains = _mm256_setzero_pd();
    double lane[4];
    int j = 0;
    for (; j + 4 <= d; j += 4)
        chains = _mm256_fmadd_pd(load_4(x + j), load_4(y + j), chains);
    _mm256_storeu_pd(lane, chains);
    double sum = ((lane[0] + lane[1]) + lane[2]) + lane[3];
    for (; j < d; j++)
        sum += (double)x[j] * (double)y[j];
    return sum;
}

TARGET_AVX2
static void add_scaled_avx2(double *sum, const float *x, double factor, int d)
{
    __m256d factors = _mm256_set1_pd(factor);
    int j = 0;
    for (; j + 4 <= d; j += 4)
        _mm256_storeu_pd(sum + j,
                         _mm256_fmadd_pd(factors, load_4(x + j), _mm256_loadu_pd(sum + j)));
    for (; j < d; j++)
        sum[j] += factor * (double)x[j];
}
#endif

struct contrastive_job {
    const struct device *device;
    double (*dot)(const float *, const float *, int);
    void (*add_scaled)(double *, const float *, double, int);
    float *losses;
    float *gradients[2];     /* of the anchors and of the positives */
    const float *vectors[2]; /* anchors, positives */
    const uint8_t *excluded;
    int n, d;
    double temperature, weight;
    double *lengths[2]; /* (n) each */
    double *g;          /* (n, n): cosines over the temperature, then the gradient by cosines */
};

static const float *vector_of(const struct contrastive_job *job, int side, int i)
{
    return job->vectors[side] + (size_t)i * (size_t)job->d;
}

/* Tasks 0 .. n-1 are the anchors', the others the positives'. */
static void length_task(void *context, int task, int worker)
{
    (void)worker;
    const struct contrastive_job *job = context;
    int side = task >= job->n, i = task - side * job->n;
    const float *x = vector_of(job, side, i);
    job->lengths[side][i] = sqrt(job->dot(x, x, job->d));
}

/* What a vector is divided by: NaN stays NaN. */
static double divisor(double length)
{
    return length < SHORTEST ? SHORTEST : length;
}

static bool meets(const struct contrastive_job *job, int i, int j)
{
    return i == j || !job->excluded || !job->excluded[(size_t)i * (size_t)job->n + (size_t)j];
}

static void loss_task(void *context, int i, int worker)
{
    (void)worker;
    const struct contrastive_job *job = context;
    int n = job->n;
    double *g = job->g + (size_t)i * (size_t)n, largest = -INFINITY;
    for (int j = 0; j < n; j++) {
        g[j] = -INFINITY;
        if (!meets(job, i, j))
            continue;
        g[j] = job->dot(vector_of(job, 0, i), vector_of(job, 1, j), job->d) /
               divisor(job->lengths[0][i]) / divisor(job->lengths[1][j]) / job->temperature;
        largest = g[j] > largest ? g[j] : largest;
    }
    double own = g[i], others = 0;
    for (int j = 0; j < n; j++) {
        g[j] = exp(g[j] - largest);
        others += j == i ? 0 : g[j];
    }
    double sum = others + g[i];
    job->losses[i] = (float)(log(sum) + (largest - own));
    /* softmax - 1 as minus the others' part, which does not cancel. */
    for (int j = 0; j < n; j++)
        g[j] *= job->weight / job->temperature / sum;
    g[i] = -others / sum * (job->weight / job->temperature);
}

static void gradient_task(void *context, int task, int worker)
{
    const struct contrastive_job *job = context;
    int n = job->n, d = job->d, side = task >= n, i = task - side * n;
    double *sum = device_scratch(job->device, worker), length = job->lengths[side][i];
    float *gradient = job->gradients[side] + (size_t)i * (size_t)d;
    const float *x = vector_of(job, side, i);
    for (int k = 0; k < d; k++)
        sum[k] = 0;
    for (int j = 0; j < n; j++) {
        size_t at = side ? (size_t)j * (size_t)n + (size_t)i : (size_t)i * (size_t)n + (size_t)j;
        if (side ? meets(job, j, i) : meets(job, i, j))
            job->add_scaled(sum, vector_of(job, !side, j),
                            job->g[at] / divisor(job->lengths[!side][j]), d);
    }
    double along = 0;
    for (int k = 0; k < d; k++)
        along += sum[k] * (double)x[k];
    along /= length * length;
    for (int k = 0; k < d; k++)
        gradient[k] = length < SHORTEST ? 0 : (float)((sum[k] - along * (double)x[k]) / length);
}

static void contrastive_cpu(struct device *device, struct contrastive_job *job)
{
    job->device = device;
    job->dot = dot_portable, job->add_scaled = add_scaled_portable;
#if CPU_X86
    if (device->isa == CPU_AVX2)
        job->dot = dot_avx2, job->add_scaled = add_scaled_avx2;
#endif
    threads_run(device->threads, 2 * job->n, length_task, job);
    threads_run(device->threads, job->n, loss_task, job);
    if (job->gradients[0])
        threads_run(device->threads, 2 * job->n, gradient_task, job);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

size_t contrastive_cuda_scratch(int n)
{
    return 2 * (size_t)n * (size_t)n + 2 * (size_t)n;
}

/* contrastive.cu's. */
struct contrastive_parameters {
    float *losses;
    float *gradients[2];
    const float *vectors[2];
    const uint8_t *excluded;
    int n, d;
    double temperature, weight;
    double *lengths[2];
    double *dots, *g;
};

static enum status launch(struct device *device, const char *name, const unsigned grid[3],
                          unsigned threads, struct contrastive_parameters *parameters,
                          struct err *err)
{
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "contrastive",
                           .name = name,
                           .grid = {grid[0], grid[1], grid[2]},
                           .block = {threads, 1, 1},
                           .values = (void *[]){parameters},
                       },
                       err);
}

/* The grids are contrastive.cu's: tiles of 4 anchors and 4 positives, 4 vectors and 256 columns.
 */
enum status contrastive_cuda(struct device *device, float *losses, float *danchor, float *dpositive,
                             const float *anchor, const float *positive, const uint8_t *excluded,
                             int n, int d, float temperature, float weight, double *scratch,
                             struct err *err)
{
    size_t size = (size_t)n * (size_t)n;
    struct contrastive_parameters p = {
        .losses = losses,
        .gradients = {danchor, dpositive},
        .vectors = {anchor, positive},
        .excluded = excluded,
        .n = n,
        .d = d,
        .temperature = (double)temperature,
        .weight = (double)weight,
        .lengths = {scratch, scratch + n},
        .dots = scratch + 2 * (size_t)n,
        .g = scratch + 2 * (size_t)n + size,
    };
    bool fours = d % 4 == 0;
    unsigned rows = (unsigned)n;
    if (n == 0)
        return STATUS_OK;
    TRY(launch(device, fours ? "contrastive_lengths_by_fours" : "contrastive_lengths_by_elements",
               (unsigned[]){rows, 2, 1}, 32, &p, err));
    TRY(launch(device, fours ? "contrastive_dots_by_fours" : "contrastive_dots_by_elements",
               (unsigned[]){(unsigned)divide_up(n, 4), (unsigned)divide_up(n, 4), 1}, 32, &p, err));
    TRY(launch(device, "contrastive_losses", (unsigned[]){rows, 1, 1}, 32, &p, err));
    if (!danchor)
        return STATUS_OK;
    return launch(device, "contrastive_gradients",
                  (unsigned[]){(unsigned)divide_up(n, 4), (unsigned)divide_up(d, 256), 2}, 256, &p,
                  err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

size_t contrastive_scratch(int n)
{
    return (size_t)n * (size_t)n + 2 * (size_t)n;
}

enum status contrastive(struct device *device, float *losses, float *danchor, float *dpositive,
                        const float *anchor, const float *positive, const uint8_t *excluded, int n,
                        int d, float temperature, float weight, double *scratch, struct err *err)
{
    assert(d <= CONTRASTIVE_WIDTH_LARGEST && !danchor == !dpositive);
    struct contrastive_job job = {
        .losses = losses,
        .gradients = {danchor, dpositive},
        .vectors = {anchor, positive},
        .excluded = excluded,
        .n = n,
        .d = d,
        .temperature = (double)temperature,
        .weight = (double)weight,
        .lengths = {scratch, scratch + n},
        .g = scratch + 2 * (size_t)n,
    };
    switch (device->kind) {
    case DEVICE_CPU:
        contrastive_cpu(device, &job);
        return STATUS_OK;
    case DEVICE_CUDA:
        return contrastive_cuda(device, losses, danchor, dpositive, anchor, positive, excluded, n,
                                d, temperature, weight, scratch, err);
    }
    return err_set(err, STATUS_RESOURCE, "contrastive: no kernel for this device");
}
