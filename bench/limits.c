/* See limits.h. */
#include "bench/limits.h"

#include <math.h>
#include <string.h>
#include "host/base/clock.h"
#include "host/base/memory.h"
#include "kernels/cpu.h"

#define CHAINS 12   /* latency times throughput of a fused multiply-add is 8 to 10 */
#define STEPS  5000 /* of a task: about 10 us */

/* x -> x * 0.5 + 0.5 in every lane: stays near 1, and no compiler may shorten it. */
#define EACH_CHAIN(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11)

#if CPU_X86
TARGET_AVX2
static float arithmetic_avx2(float start)
{
#define START(i) __m256 sum##i = _mm256_set1_ps(start + i);
#define STEP(i)  sum##i = _mm256_fmadd_ps(sum##i, half, half);
#define END(i)   total = _mm256_add_ps(total, sum##i);
    __m256 half = _mm256_set1_ps(0.5f), total = _mm256_setzero_ps();
    EACH_CHAIN(START)
    for (int i = 0; i < STEPS; i++) {
        EACH_CHAIN(STEP)
    }
    EACH_CHAIN(END)
    return avx2_sum(total);
#undef START
#undef STEP
#undef END
}
#endif

static float arithmetic_portable(float start)
{
#define START(i) float4 sum##i = {start + i, start, start, start};
#define STEP(i)  sum##i = sum##i * half + half;
#define END(i)   total += sum##i;
    float4 half = {0.5f, 0.5f, 0.5f, 0.5f}, total = {0};
    EACH_CHAIN(START)
    for (int i = 0; i < STEPS; i++) {
        EACH_CHAIN(STEP)
    }
    EACH_CHAIN(END)
    return total[0] + total[1] + total[2] + total[3];
#undef START
#undef STEP
#undef END
}

static void arithmetic_task(void *context, int task, int worker)
{
    (void)task, (void)worker;
    const struct device *device = context;
    volatile float sink = 1;
#if CPU_X86
    if (device->isa == CPU_AVX2) {
        sink = arithmetic_avx2(sink);
        return;
    }
#endif
    (void)device;
    sink = arithmetic_portable(sink);
}

double measure_arithmetic(struct device *device, double seconds)
{
    /* One job of many tasks: a worker that is held up leaves its share to the others. */
    int n = threads_size(device->threads) * (8 + (int)(fmin(seconds, 1) / 10e-6));
    double width = device->isa == CPU_AVX2 ? 8 : 4, start = seconds_now();
    threads_run(device->threads, n, arithmetic_task, device);
    return 2 * width * CHAINS * STEPS * n / (seconds_now() - start);
}

/* ---- memory --------------------------------------------------------------------------------- */

enum status traffic_open(struct traffic *traffic, double read, double written, double updated,
                         struct err *err)
{
    *traffic = (struct traffic){
        .read = (size_t)read, .written = (size_t)written, .updated = (size_t)updated};
    traffic->from = mem_alloc(traffic->read, 1);
    traffic->to = mem_alloc(traffic->written, 1);
    traffic->in_place = mem_alloc(traffic->updated, 1);
    if (!traffic->from || !traffic->to || !traffic->in_place)
        return err_no_memory(err, "a bound of memory",
                             traffic->read + traffic->written + traffic->updated);
    memset(traffic->from, 1, traffic->read);
    memset(traffic->to, 1, traffic->written);
    memset(traffic->in_place, 1, traffic->updated);
    return STATUS_OK;
}

void traffic_close(struct traffic *traffic)
{
    mem_free(traffic->from);
    mem_free(traffic->to);
    mem_free(traffic->in_place);
    *traffic = (struct traffic){.from = NULL};
}

#if CPU_X86
TARGET_AVX2
static void read_avx2(const char *from, size_t bytes)
{
    __m256i sum[4] = {_mm256_setzero_si256()};
    for (size_t i = 0; i + 128 <= bytes; i += 128) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            const __m256i *at = (const __m256i *)(const void *)(from + i) + j;
            sum[j] = _mm256_xor_si256(sum[j], _mm256_loadu_si256(at));
        }
    }
    volatile __m256i sink =
        _mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]), _mm256_xor_si256(sum[2], sum[3]));
    (void)sink;
}

/* Turns signs. */
TARGET_AVX2
static void update_avx2(char *at, size_t bytes)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    for (size_t i = 0; i + 64 <= bytes; i += 64) {
        UNROLL
        for (int j = 0; j < 2; j++) {
            float *value = (float *)(void *)(at + i) + 8 * j;
            _mm256_storeu_ps(value, _mm256_xor_ps(_mm256_loadu_ps(value), sign));
        }
    }
}
#endif

static void read_portable(const char *from, size_t bytes)
{
    float4 sum[4] = {{0}};
    for (size_t i = 0; i + 64 <= bytes; i += 64)
        for (int j = 0; j < 4; j++)
            sum[j] += *(const float4_at_any_float *)(const void *)(from + i + 16 * (size_t)j);
    volatile float4 sink = sum[0] + sum[1] + sum[2] + sum[3];
    (void)sink;
}

static void update_portable(char *at, size_t bytes)
{
    for (size_t i = 0; i + 16 <= bytes; i += 16) {
        float4_at_any_float *value = (float4_at_any_float *)(void *)(at + i);
        *value = -*value;
    }
}

struct traffic_job {
    const struct traffic *traffic;
    enum cpu_isa isa;
    int n;
};

static void traffic_task(void *context, int task, int worker)
{
    (void)worker;
    const struct traffic_job *job = context;
    size_t read = job->traffic->read / (size_t)job->n / 64 * 64;
    size_t written = job->traffic->written / (size_t)job->n / 64 * 64;
    size_t updated = job->traffic->updated / (size_t)job->n / 64 * 64;
    size_t copied = read < written ? read : written;
    const char *from = job->traffic->from + (size_t)task * read;
    char *to = job->traffic->to + (size_t)task * written;
    char *in_place = job->traffic->in_place + (size_t)task * updated;
    memcpy(to, from, copied);
    memset(to + copied, task, written - copied);
#if CPU_X86
    if (job->isa == CPU_AVX2) {
        update_avx2(in_place, updated);
        read_avx2(from + copied, read - copied);
        return;
    }
#endif
    update_portable(in_place, updated);
    read_portable(from + copied, read - copied);
}

double measure_traffic(struct device *device, const struct traffic *traffic, int n_workers)
{
    struct traffic_job job = {traffic, device->isa, n_workers};
    double start = seconds_now();
    threads_run(device->threads, job.n, traffic_task, &job);
    return seconds_now() - start;
}

/* ---- the machine's own ---------------------------------------------------------------------- */

#define LIMIT_BYTES  ((size_t)128 << 20) /* beyond the caches of most machines */
#define LIMIT_SLICES 5

static enum status best_traffic(double *rate, struct device *device, double read, double written,
                                struct err *err)
{
    struct traffic traffic;
    int n_workers = threads_size(device->threads);
    enum status status = traffic_open(&traffic, read, written, 0, err);
    for (int i = 0; status == STATUS_OK && i < LIMIT_SLICES; i++) {
        double found = (read + written) / measure_traffic(device, &traffic, n_workers);
        *rate = found > *rate ? found : *rate;
    }
    traffic_close(&traffic);
    return status;
}

enum status measure_cpu_limits(struct cpu_limits *limits, struct device *device, struct err *err)
{
    *limits = (struct cpu_limits){0};
    for (int i = 0; i < LIMIT_SLICES; i++) {
        double found = measure_arithmetic(device, 0.02);
        limits->arithmetic = found > limits->arithmetic ? found : limits->arithmetic;
    }
    TRY(best_traffic(&limits->read, device, (double)LIMIT_BYTES, 0, err));
    return best_traffic(&limits->copy, device, (double)LIMIT_BYTES, (double)LIMIT_BYTES, err);
}
