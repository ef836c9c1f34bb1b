/* See system.h. */
#include "tools/midashi/system.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "host/base/cuda_device.h"
#include "host/base/cuda_memory.h"
#include "host/base/memory.h"
#include "host/llama.h"

enum status open_device(struct device *device, const struct options *options, struct meter *meter,
                        struct err *err)
{
    TRY(device_open(device, options->device, options->threads, err));
    if (device->passed_over.text[0])
        meter_note(meter, "%s; computing on the CPU", device->passed_over.text);
    const struct cuda_device *cuda = device->cuda;
    if (cuda)
        meter_note(meter, "cuda:%d: %s%s, sm_%d%d", cuda->ordinal, cuda->info.name,
                   cuda->driver.software ? " (a software device, no GPU)" : "", cuda->info.major,
                   cuda->info.minor);
    return STATUS_OK;
}

enum status open_model_device(struct device *device, const struct options *options,
                              enum precision precision, struct meter *meter, struct err *err)
{
    TRY(open_device(device, options, meter, err));
    if (strcmp(options->device, "auto") != 0 ||
        llama_check_precision(device, precision, NULL) == STATUS_OK)
        return STATUS_OK;
    device_close(device);
    meter_note(meter, "--precision %s is the CPU's; computing on the CPU",
               precision_name(precision));
    return device_open(device, "cpu", options->threads, err);
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

/* Where --memory is auto: of what the system says is free, and of what is free on a GPU. */
#define MEMORY_SHARE     0.8
#define GPU_MEMORY_SHARE 0.95

enum status parse_memory(size_t *bytes, const char *word, const struct device *device,
                         struct err *err)
{
    static const char units[] = "KMGT";
    size_t length = strlen(word);
    char digits[32];
    double value = 0, factor = 1;
    *bytes = 0;
    if (strcmp(word, "auto") == 0 && device->kind == DEVICE_CUDA) {
        TRY(cuda_memory_free(device->cuda, bytes, err));
        *bytes = (size_t)(GPU_MEMORY_SHARE * (double)*bytes);
        return STATUS_OK;
    }
    if (strcmp(word, "auto") == 0) {
        *bytes = (size_t)(MEMORY_SHARE * (double)mem_available());
        return STATUS_OK;
    }
    length -= length > 0 && word[length - 1] == 'B';
    bool binary = length > 0 && word[length - 1] == 'i';
    length -= binary;
    const char *unit = length > 0 ? strchr(units, word[length - 1]) : NULL;
    for (const char *u = units; unit && u <= unit; u++)
        factor *= binary ? 1024 : 1000;
    length = binary && !unit ? 0 : length - (unit != NULL);
    if (length > 0 && length < sizeof digits) {
        memcpy(digits, word, length);
        digits[length] = '\0';
        if (parse_decimal(digits, 0, 1e15, &value) && value > 0) {
            *bytes = (size_t)fmin(value * factor, 1e18);
            return STATUS_OK;
        }
    }
    return err_set(err, STATUS_USAGE, "--memory %s: use auto, or a size such as 6G, 6Gi or 800M",
                   word);
}
