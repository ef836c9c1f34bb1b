/* See system.h. */
#include "tools/midashi/system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum status open_device(struct device *device, const struct options *options, struct meter *meter,
                        struct err *err)
{
    TRY(device_open(device, options->device, options->threads, err));
    if (device->passed_over.text[0])
        meter_note(meter, "%s; computing on the CPU", device->passed_over.text);
    return STATUS_OK;
}

enum status open_cpu_device(struct device *device, const struct options *options, struct err *err)
{
    const char *name = strcmp(options->device, "auto") == 0 ? "cpu" : options->device;
    if (strncmp(name, "cuda", 4) == 0)
        return err_set(err, STATUS_USAGE,
                       "--device %s: this command computes on the CPU; leave --device out", name);
    return device_open(device, name, options->threads, err);
}

/* The first line "KEY : VALUE" of /proc/cpuinfo; text stays as it is where there is none. */
static void read_cpuinfo(const char *key, char *text, size_t size)
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file)
        return;
    char line[512];
    while (fgets(line, sizeof line, file)) {
        const char *value = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !value)
            continue;
        value += 1 + strspn(value + 1, " \t");
        snprintf(text, size, "%.*s", (int)strcspn(value, "\n"), value);
        break;
    }
    fclose(file);
}

void processor_name(char *text, size_t size)
{
    snprintf(text, size, "unknown processor");
    read_cpuinfo("model name", text, size);
}

double processor_clock(void)
{
    char text[32] = "0";
    read_cpuinfo("cpu MHz", text, sizeof text);
    return atof(text);
}

int processor_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

size_t physical_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
    return pages > 0 && page > 0 ? (size_t)pages * (size_t)page : 0;
}
