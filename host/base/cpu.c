/* See cpu.h. */
#include "host/base/cpu.h"

#include <stdlib.h>
#include <string.h>
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

enum status cpu_choose(enum cpu_isa *isa, struct err *err)
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
