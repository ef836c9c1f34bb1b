/* Opening and closing devices. See device.h. */
#include "host/base/device.h"

#include <stdlib.h>
#include <string.h>
#include "host/base/memory.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

const char *cpu_isa_name(enum cpu_isa isa)
{
    return isa == CPU_AVX2 ? "avx2" : "portable";
}

int cpu_has(enum cpu_isa isa)
{
    if (isa == CPU_PORTABLE)
        return 1;
#if defined(__x86_64__)
    /* Older clangs do not know the name "f16c": CPUID leaf 1 says it. */
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
#else
    return 0;
#endif
}

static enum status choose_isa(enum cpu_isa *isa, struct err *err)
{
    const char *forced = getenv("MIDASHI_CPU");
    if (!forced || !*forced) {
        *isa = cpu_has(CPU_AVX2) ? CPU_AVX2 : CPU_PORTABLE;
        return STATUS_OK;
    }
    if (strcmp(forced, "portable") == 0)
        *isa = CPU_PORTABLE;
    else if (strcmp(forced, "avx2") == 0)
        *isa = CPU_AVX2;
    else
        return err_set(err, STATUS_USAGE, "MIDASHI_CPU=%s: use portable or avx2", forced);
    if (!cpu_has(*isa))
        return err_set(err, STATUS_RESOURCE, "MIDASHI_CPU=%s: this processor lacks it; unset it",
                       forced);
    return STATUS_OK;
}

enum status device_open(struct device *device, const char *name, int n_threads, struct err *err)
{
    memset(device, 0, sizeof *device);
    device->kind = DEVICE_CPU;
    if (strncmp(name, "cuda", 4) == 0)
        return err_set(err, STATUS_RESOURCE,
                       "--device %s: this build has no CUDA kernels; use --device cpu", name);
    if (strcmp(name, "auto") != 0 && strcmp(name, "cpu") != 0)
        return err_set(err, STATUS_USAGE, "--device %s: use auto or cpu", name);
    TRY(choose_isa(&device->isa, err));
    TRY(threads_create(&device->threads, n_threads, err));
    size_t n_workers = (size_t)threads_size(device->threads);
    device->scratch = mem_alloc(n_workers, DEVICE_SCRATCH_BYTES);
    if (!device->scratch) {
        device_close(device);
        return err_no_memory(err, "scratch memory", n_workers * DEVICE_SCRATCH_BYTES);
    }
    return STATUS_OK;
}

void device_close(struct device *device)
{
    threads_destroy(device->threads);
    mem_free(device->scratch);
    memset(device, 0, sizeof *device);
}
