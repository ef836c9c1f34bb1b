/* See bench_machine.h. */
#include "tools/midashi/bench_machine.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include "build/commit.h"
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

json_t *machine_json(const struct device *device)
{
    char processor[128], when[32];
    struct utsname system;
    processor_name(processor, sizeof processor);
    utc_now(when, sizeof when);
    if (uname(&system) != 0)
        memset(&system, 0, sizeof system);
    return json_pack("{s:s, s:s, s:i, s:f, s:f, s:s, s:s, s:s, s:s, s:s}", "processor", processor,
                     "instructions", cpu_isa_name(device->isa), "threads",
                     threads_size(device->threads), "clock_mhz", processor_clock(), "memory_gb",
                     (double)physical_memory() / 1e9, "system", system.release, "compiler",
                     COMPILER, "version", MIDASHI_VERSION, "commit", MIDASHI_COMMIT, "time", when);
}

json_t *limits_json(const struct device *device, const struct cpu_limits *limits)
{
    return json_pack("{s:{s:s, s:i, s:f, s:f, s:f}}", "cpu", "instructions",
                     cpu_isa_name(device->isa), "threads", threads_size(device->threads),
                     "flops_per_second", limits->arithmetic, "read_bytes_per_second", limits->read,
                     "copy_bytes_per_second", limits->copy);
}

void print_machine(const struct device *device, const struct cpu_limits *limits)
{
    char processor[128];
    int threads = threads_size(device->threads);
    processor_name(processor, sizeof processor);
    printf("%s, %d thread%s, %s; midashi %s (%s), %s\n", processor, threads,
           threads == 1 ? "" : "s", cpu_isa_name(device->isa), MIDASHI_VERSION, MIDASHI_COMMIT,
           COMPILER);
    printf("limits measured now: %.1f GFLOP/s, reading %.1f GB/s, copying %.1f GB/s\n",
           1e-9 * limits->arithmetic, 1e-9 * limits->read, 1e-9 * limits->copy);
}
