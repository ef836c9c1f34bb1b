/* midashi devices: where this machine can compute. */
#include <jansson.h>
#include <stdio.h>
#include "host/base/device.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/output.h"
#include "tools/midashi/system.h"

static enum status run(const struct options *options, struct err *err)
{
    struct device device;
    TRY(device_open(&device, options->device, options->threads, err));
    char processor[128];
    processor_name(processor, sizeof processor);
    int threads = threads_size(device.threads);
    double gigabytes = (double)physical_memory() / 1e9;
    enum status status = STATUS_OK;
    if (options->json) {
        json_t *root = json_pack("{s:[{s:s, s:s, s:s, s:i, s:f}]}", "devices", "name", "cpu",
                                 "processor", processor, "instructions", cpu_isa_name(device.isa),
                                 "threads", threads, "memory_gb", gigabytes);
        status = print_json(root, err);
    } else {
        printf("cpu: %s, %d thread%s, %s kernels, %.1f GB of memory\n", processor, threads,
               threads == 1 ? "" : "s", cpu_isa_name(device.isa), gigabytes);
        puts("cuda: this build has no CUDA kernels");
    }
    device_close(&device);
    return status;
}

static const char *const option_names[] = {"--device", "--threads", "--json",
                                           "--quiet",  "--help",    NULL};

const struct command command_devices = {
    .name = "devices",
    .usage = "[options]",
    .summary = "where this machine can compute",
    .details = "The environment's MIDASHI_CPU=portable|avx2 forces the kernels of the CPU.",
    .options = option_names,
    .least_arguments = 0,
    .most_arguments = 0,
    .run = run,
};
