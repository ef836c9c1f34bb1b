/* See bench_machine.h. */
#include "tools/midashi/bench_machine.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include "build/commit.h"
#include "host/base/cuda_device.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/system.h"

static void utc_now(char *text, size_t size)
{
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

json_t *machine_json(void)
{
    char processor[128], when[32];
    struct utsname system;
    processor_name(processor, sizeof processor);
    utc_now(when, sizeof when);
    if (uname(&system) != 0)
        memset(&system, 0, sizeof system);
    return json_pack("{s:s, s:i, s:f, s:f, s:s, s:s, s:s, s:s, s:s}", "processor", processor,
                     "processors", processor_count(), "clock_mhz", processor_clock(), "memory_gb",
                     (double)physical_memory() / 1e9, "system", system.release, "compiler",
                     COMPILER, "version", MIDASHI_VERSION, "commit", MIDASHI_COMMIT, "time", when);
}

static json_t *gpu_json(const struct cuda_device *cuda)
{
    return json_pack("{s:s, s:i, s:i, s:i, s:b}", "card", cuda->info.name, "architecture",
                     10 * cuda->info.major + cuda->info.minor, "sms", cuda->info.n_sms,
                     "driver_cuda", cuda->driver.version, "software", (int)cuda->driver.software);
}

json_t *limits_json(const struct bench_place *place)
{
    const struct device *device = &place->device;
    if (device->kind == DEVICE_CPU)
        return json_pack("{s:s, s:i, s:f, s:f, s:f}", "instructions", cpu_isa_name(device->isa),
                         "threads", threads_size(device->threads), "flops_per_second",
                         place->cpu.arithmetic, "read_bytes_per_second", place->cpu.read,
                         "copy_bytes_per_second", place->cpu.copy);
    if (place->software)
        return gpu_json(device->cuda);
    json_t *gpu = gpu_json(device->cuda);
    json_t *limits = json_pack("{s:f, s:f, s:f, s:i}", "flops_per_second", place->cuda.tensor,
                               "copy_bytes_per_second", place->cuda.copy, "launch_seconds",
                               place->cuda.launch_seconds, "clock_mhz", place->cuda.clock_mhz);
    if (!gpu || json_object_update(gpu, limits) != 0) {
        json_decref(gpu);
        gpu = NULL;
    }
    json_decref(limits);
    return gpu;
}

void print_machine(void)
{
    char processor[128];
    processor_name(processor, sizeof processor);
    printf("%s, %d processors; midashi %s (%s), %s\n", processor, processor_count(),
           MIDASHI_VERSION, MIDASHI_COMMIT, COMPILER);
}

void print_limits(const struct bench_place *place)
{
    const struct device *device = &place->device;
    int threads = threads_size(device->threads);
    if (device->kind == DEVICE_CPU)
        printf("\ncpu, %s, %d thread%s, at best now: %.1f GFLOP/s, reading %.1f GB/s, copying %.1f "
               "GB/s\n",
               cpu_isa_name(device->isa), threads, threads == 1 ? "" : "s",
               1e-9 * place->cpu.arithmetic, 1e-9 * place->cpu.read, 1e-9 * place->cpu.copy);
    else if (place->software)
        printf("\n%s, %s: a software device. Counted, not measured; a projection is no "
               "measurement.\n",
               place->name, device->cuda->info.name);
    else
        printf("\n%s, %s, at best now: %.1f TFLOP/s by mma of bf16, copying %.0f GB/s, a launch "
               "%.1f us\n",
               place->name, device->cuda->info.name, 1e-12 * place->cuda.tensor,
               1e-9 * place->cuda.copy, 1e6 * place->cuda.launch_seconds);
}
