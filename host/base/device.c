/* Opening and closing devices. See device.h. */
#include "host/base/device.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/cuda_device.h"
#include "host/base/memory.h"

void device_kernels(const struct device *device, char text[DEVICE_KERNELS_SIZE])
{
    if (device->kind == DEVICE_CUDA)
        snprintf(text, DEVICE_KERNELS_SIZE, "cuda-sm_%d%d", device->cuda->info.major,
                 device->cuda->info.minor);
    else
        snprintf(text, DEVICE_KERNELS_SIZE, "cpu-%s", cpu_isa_name(device->isa));
}

/* "cuda" or "cuda:N". */
static bool cuda_ordinal(const char *name, int *ordinal)
{
    char *end;
    *ordinal = 0;
    if (strncmp(name, "cuda", 4) != 0)
        return false;
    if (name[4] == '\0')
        return true;
    if (name[4] != ':' || name[5] < '0' || name[5] > '9' || strlen(name) > 8)
        return false;
    *ordinal = (int)strtol(name + 5, &end, 10);
    return *end == '\0';
}

static enum status open_cuda(struct device *device, int ordinal, struct err *err)
{
    device->kind = DEVICE_CUDA;
    device->cuda = mem_alloc_zero(1, sizeof *device->cuda);
    if (!device->cuda)
        return err_no_memory(err, "a device", sizeof *device->cuda);
    return cuda_device_open(device->cuda, ordinal, err);
}

static enum status open_cpu(struct device *device, int n_threads, struct err *err)
{
    TRY(cpu_choose(&device->isa, err));
    TRY(threads_create(&device->threads, n_threads, err));
    size_t n_workers = (size_t)threads_size(device->threads);
    device->scratch = mem_alloc(n_workers, DEVICE_SCRATCH_BYTES);
    return device->scratch ? STATUS_OK
                           : err_no_memory(err, "scratch memory", n_workers * DEVICE_SCRATCH_BYTES);
}

/* The first GPU, if there is one that can be used. No driver and no GPU are nothing to tell, but
 * where a driver was named. */
static void try_cuda(struct device *device)
{
    struct cuda_driver driver;
    struct err err = {0};
    bool named = cuda_driver_named() != NULL;
    if ((!cuda_has_kernels() && !named) || open_cuda(device, 0, &err) == STATUS_OK)
        return;
    mem_free(device->cuda);
    *device = (struct device){.kind = DEVICE_CPU};
    if (named || cuda_driver_open(&driver, NULL) == STATUS_OK)
        device->passed_over = err;
    if (!named)
        cuda_driver_close(&driver);
}

enum status device_open(struct device *device, const char *name, int n_threads, struct err *err)
{
    int ordinal;
    enum status status = STATUS_OK;
    memset(device, 0, sizeof *device);
    device->kind = DEVICE_CPU;
    if (cuda_ordinal(name, &ordinal))
        status = open_cuda(device, ordinal, err);
    else if (strcmp(name, "auto") == 0)
        try_cuda(device);
    else if (strcmp(name, "cpu") != 0)
        status = err_set(err, STATUS_USAGE, "--device %s: use auto, cpu, cuda or cuda:N", name);
    if (status == STATUS_OK)
        status = open_cpu(device, n_threads, err);
    if (status != STATUS_OK)
        device_close(device);
    return status;
}

struct device device_cpu(const struct device *device)
{
    struct device cpu = *device;
    cpu.kind = DEVICE_CPU;
    cpu.cuda = NULL;
    return cpu;
}

enum status device_lacks(const char *operation, struct err *err)
{
    return err_set(err, STATUS_RESOURCE, "%s: no kernel for this device; use --device cpu",
                   operation);
}

void device_close(struct device *device)
{
    if (device->cuda)
        cuda_device_close(device->cuda);
    mem_free(device->cuda);
    threads_destroy(device->threads);
    mem_free(device->scratch);
    memset(device, 0, sizeof *device);
}
