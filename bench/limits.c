/* See limits.h. */
#include "bench/limits.h"

#include <string.h>
#include <time.h>
#include "kernels/cpu.h"

double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#define CHAINS 12 /* latency times throughput of a fused multiply-add is 8 to 10 */
#define STEPS  500000

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
    int n = threads_size(device->threads);
    double width = device->isa == CPU_AVX2 ? 8 : 4, done = 0, elapsed, start = seconds_now();
    do {
        threads_run(device->threads, n, arithmetic_task, device);
        done += 2 * width * CHAINS * STEPS * n;
        elapsed = seconds_now() - start;
    } while (elapsed < seconds);
    return done / elapsed;
}

double measure_copy(char *to, const char *from)
{
    double start = seconds_now();
    memcpy(to, from, COPY_BYTES);
    return 2.0 * (double)COPY_BYTES / (seconds_now() - start);
}
