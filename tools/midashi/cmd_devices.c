/* midashi devices: where this machine can compute. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "host/base/cuda_device.h"
#include "host/base/device.h"
#include "host/base/memory.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/output.h"
#include "tools/midashi/system.h"

/* ---- GPUs ----------------------------------------------------------------------------------- */

struct gpus {
    struct cuda_driver driver;
    int n;
    struct cuda_info *info; /* (n) */
    struct err missing;     /* why there is no driver */
};

static enum status find_gpus(struct gpus *gpus, struct err *err)
{
    *gpus = (struct gpus){.n = 0};
    if (cuda_driver_open(&gpus->driver, &gpus->missing) != STATUS_OK)
        return STATUS_OK;
    CUDA_TRY(&gpus->driver, err, DeviceGetCount, &gpus->n);
    gpus->info = mem_alloc_zero((size_t)gpus->n, sizeof *gpus->info);
    if (!gpus->info)
        return err_no_memory(err, "the list of devices", 0);
    for (int i = 0; i < gpus->n; i++)
        TRY(cuda_info_get(&gpus->driver, i, &gpus->info[i], err));
    return STATUS_OK;
}

static void print_gpu(const struct gpus *gpus, int i)
{
    const struct cuda_info *info = &gpus->info[i];
    printf("cuda:%d: %s%s, sm_%d%d, %d SMs, %.1f GB of memory, driver of CUDA %d.%d\n", i,
           info->name, gpus->driver.software ? " (a software device, no GPU)" : "", info->major,
           info->minor, info->n_sms, (double)info->memory / 1e9, gpus->driver.version / 1000,
           gpus->driver.version % 1000 / 10);
    if (!cuda_info_usable(info))
        printf("cuda:%d: cannot be used: sm_%d is the oldest that can, GeForce RTX 30 or A100\n", i,
               CUDA_OLDEST);
}

static void print_gpus(const struct gpus *gpus)
{
    for (int i = 0; i < gpus->n; i++)
        print_gpu(gpus, i);
    if (!gpus->driver.library)
        printf("%s%s\n",
               strncmp(gpus->missing.text, "cuda: ", 6) == 0 ? "" : "cuda: ", gpus->missing.text);
    else if (gpus->n == 0)
        puts("cuda: no GPU");
    if (!cuda_has_kernels())
        puts("cuda: this build has no CUDA kernels, since there was no nvcc");
}

static json_t *gpu_json(const struct gpus *gpus, int i)
{
    const struct cuda_info *info = &gpus->info[i];
    char name[16], architecture[24], version[24];
    snprintf(name, sizeof name, "cuda:%d", i);
    snprintf(architecture, sizeof architecture, "sm_%d%d", info->major, info->minor);
    snprintf(version, sizeof version, "%d.%d", gpus->driver.version / 1000,
             gpus->driver.version % 1000 / 10);
    return json_pack("{s:s, s:s, s:s, s:i, s:f, s:s, s:b, s:b}", "name", name, "card", info->name,
                     "architecture", architecture, "sms", info->n_sms, "memory_gb",
                     (double)info->memory / 1e9, "driver_cuda", version, "software",
                     (int)gpus->driver.software, "usable",
                     cuda_info_usable(info) && cuda_has_kernels());
}

/* ---- all ------------------------------------------------------------------------------------ */

static enum status print_all(const struct options *options, const struct device *device,
                             const struct gpus *gpus, struct err *err)
{
    char processor[128];
    processor_name(processor, sizeof processor);
    int threads = threads_size(device->threads);
    double gigabytes = (double)physical_memory() / 1e9;
    if (!options->json) {
        printf("cpu: %s, %d thread%s, %s kernels, %.1f GB of memory\n", processor, threads,
               threads == 1 ? "" : "s", cpu_isa_name(device->isa), gigabytes);
        print_gpus(gpus);
        return STATUS_OK;
    }
    json_t *root = json_pack("{s:[{s:s, s:s, s:s, s:i, s:f}]}", "devices", "name", "cpu",
                             "processor", processor, "instructions", cpu_isa_name(device->isa),
                             "threads", threads, "memory_gb", gigabytes);
    for (int i = 0; root && i < gpus->n; i++)
        if (json_array_append_new(json_object_get(root, "devices"), gpu_json(gpus, i)) != 0) {
            json_decref(root);
            root = NULL;
        }
    return print_json(root, err);
}

static enum status run(const struct options *options, struct err *err)
{
    struct device device;
    struct gpus gpus = {.n = 0};
    TRY(open_cpu_device(&device, options, err));
    enum status status = find_gpus(&gpus, err);
    if (status == STATUS_OK)
        status = print_all(options, &device, &gpus, err);
    mem_free(gpus.info);
    cuda_driver_close(&gpus.driver);
    device_close(&device);
    return status;
}

static const char *const option_names[] = {"--device", "--threads", "--json",
                                           "--quiet",  "--help",    NULL};

const struct command command_devices = {
    .name = "devices",
    .usage = "[options]",
    .summary = "where this machine can compute",
    .details = "The environment's MIDASHI_CPU=portable|avx2 forces the kernels of the CPU, and\n"
               "MIDASHI_CUDA_DRIVER=FILE names the CUDA driver to load, such as softcuda's.",
    .options = option_names,
    .least_arguments = 0,
    .most_arguments = 0,
    .cpu_only = true,
    .run = run,
};
