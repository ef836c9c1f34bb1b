/* See cuda_rows.h. */
#include "bench/cuda_rows.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bench/scratch.h"
#include "host/base/clock.h"
#include "host/base/cuda_memory.h"
#include "loaders/json.h"

/* ---- events --------------------------------------------------------------------------------- */

struct stopwatch {
    struct cuda_device *cuda;
    CUevent begin, end;
};

static enum status stopwatch_open(struct stopwatch *watch, struct device *device, struct err *err)
{
    *watch = (struct stopwatch){.cuda = device->cuda};
    CUDA_TRY(&device->cuda->driver, err, EventCreate, &watch->begin, CU_EVENT_DEFAULT);
    CUDA_TRY(&device->cuda->driver, err, EventCreate, &watch->end, CU_EVENT_DEFAULT);
    return STATUS_OK;
}

static void stopwatch_close(struct stopwatch *watch)
{
    if (watch->begin)
        watch->cuda->driver.EventDestroy(watch->begin);
    if (watch->end)
        watch->cuda->driver.EventDestroy(watch->end);
}

static enum status stopwatch_start(struct stopwatch *watch, struct err *err)
{
    CUDA_TRY(&watch->cuda->driver, err, EventRecord, watch->begin, watch->cuda->stream);
    return STATUS_OK;
}

/* Waits for the end. */
static enum status stopwatch_stop(struct stopwatch *watch, double *seconds, struct err *err)
{
    float milliseconds;
    const struct cuda_driver *driver = &watch->cuda->driver;
    CUDA_TRY(driver, err, EventRecord, watch->end, watch->cuda->stream);
    CUDA_TRY(driver, err, EventSynchronize, watch->end);
    CUDA_TRY(driver, err, EventElapsedTime, &milliseconds, watch->begin, watch->end);
    *seconds = 1e-3 * (double)milliseconds;
    return STATUS_OK;
}

/* ---- limits --------------------------------------------------------------------------------- */

/* On softcuda, where the numbers mean nothing, the least of each. */
#define COPY_BYTES(cuda) ((size_t)((cuda)->driver.software ? 1 : 256) << 20)
#define COPIES           5
#define LAUNCHES(cuda)   ((cuda)->driver.software ? 1 : 200)
#define MMA_STEPS(cuda)  ((cuda)->driver.software ? 1 : 20000)
#define MMA_CHAINS       8 /* of bench/probe.cu */
#define MMA_THREADS      256

static enum status measure_copy(double *rate, struct stopwatch *watch, CUdeviceptr buffer,
                                struct err *err)
{
    double seconds;
    const struct cuda_driver *driver = &watch->cuda->driver;
    size_t bytes = COPY_BYTES(watch->cuda);
    for (int i = 0; i < COPIES; i++) {
        TRY(stopwatch_start(watch, err));
        CUDA_TRY(driver, err, MemcpyDtoDAsync, buffer + bytes, buffer, bytes, watch->cuda->stream);
        TRY(stopwatch_stop(watch, &seconds, err));
        double found = 2.0 * (double)bytes / seconds;
        *rate = found > *rate ? found : *rate;
    }
    return STATUS_OK;
}

static enum status measure_launch(double *seconds, struct stopwatch *watch, struct err *err)
{
    struct cuda_launch launch = {
        .image = "probe", .name = "probe_empty", .grid = {1, 1, 1}, .block = {32, 1, 1}};
    int n = LAUNCHES(watch->cuda);
    TRY(cuda_launch(watch->cuda, &launch, err)); /* loads it */
    TRY(stopwatch_start(watch, err));
    for (int i = 0; i < n; i++)
        TRY(cuda_launch(watch->cuda, &launch, err));
    TRY(stopwatch_stop(watch, seconds, err));
    *seconds /= n;
    return STATUS_OK;
}

/* Two blocks of 8 warps for each multiprocessor. */
static enum status measure_tensor(double *rate, struct stopwatch *watch, CUdeviceptr out,
                                  struct err *err)
{
    double seconds;
    struct cuda_device *cuda = watch->cuda;
    int steps = MMA_STEPS(cuda);
    unsigned blocks = 2 * (unsigned)cuda->info.n_sms;
    void *values[] = {&out, &steps};
    struct cuda_launch launch = {.image = "probe",
                                 .name = "probe_mma",
                                 .grid = {blocks, 1, 1},
                                 .block = {MMA_THREADS, 1, 1},
                                 .values = values};
    for (int i = 0; i < 2; i++) { /* the first one brings the clocks up */
        TRY(stopwatch_start(watch, err));
        TRY(cuda_launch(cuda, &launch, err));
        TRY(stopwatch_stop(watch, &seconds, err));
    }
    *rate = 2.0 * 16 * 8 * 16 * MMA_CHAINS * steps * (MMA_THREADS / 32) * blocks / seconds;
    return STATUS_OK;
}

enum status cuda_measure_limits(struct cuda_limits *limits, struct device *device, struct err *err)
{
    struct stopwatch watch;
    CUdeviceptr buffer = 0;
    struct cuda_device *cuda = device->cuda;
    *limits = (struct cuda_limits){0};
    enum status status = stopwatch_open(&watch, device, err);
    if (status == STATUS_OK)
        status = cuda_check(&cuda->driver,
                            cuda->driver.DeviceGetAttribute(
                                &limits->clock_mhz, CU_DEVICE_ATTRIBUTE_CLOCK_RATE, cuda->ordinal),
                            "cuDeviceGetAttribute", err);
    limits->clock_mhz /= 1000; /* from kHz */
    if (status == STATUS_OK)
        status = cuda_memory_take(cuda, &buffer, 2 * COPY_BYTES(cuda), "measuring its limits",
                                  "close other programs", err);
    if (status == STATUS_OK)
        status =
            cuda_check(&cuda->driver,
                       cuda->driver.MemsetD8Async(buffer, 0, 2 * COPY_BYTES(cuda), cuda->stream),
                       "cuMemsetD8Async", err);
    if (status == STATUS_OK)
        status = measure_copy(&limits->copy, &watch, buffer, err);
    if (status == STATUS_OK)
        status = measure_launch(&limits->launch_seconds, &watch, err);
    if (status == STATUS_OK)
        status = measure_tensor(&limits->tensor, &watch, buffer, err);
    cuda_memory_drop(cuda, buffer, 2 * COPY_BYTES(cuda));
    stopwatch_close(&watch);
    return status;
}

/* ---- timing --------------------------------------------------------------------------------- */

/* Twice the L2 cache, to be written between runs. */
struct flush {
    CUdeviceptr buffer;
    size_t bytes;
};

static enum status flush_open(struct flush *flush, struct cuda_device *cuda, struct err *err)
{
    int l2;
    *flush = (struct flush){0};
    CUDA_TRY(&cuda->driver, err, DeviceGetAttribute, &l2, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE,
             cuda->ordinal);
    flush->bytes = 2 * (size_t)l2;
    return cuda_memory_take(cuda, &flush->buffer, flush->bytes, "twice the L2 cache",
                            "close other programs, or choose smaller shapes", err);
}

static enum status time_run(struct trial *trial, struct stopwatch *watch, const struct flush *flush,
                            double *seconds, struct err *err)
{
    CUDA_TRY(&watch->cuda->driver, err, MemsetD8Async, flush->buffer, 0, flush->bytes,
             watch->cuda->stream);
    TRY(stopwatch_start(watch, err));
    TRY(trial_run(trial, err));
    return stopwatch_stop(watch, seconds, err);
}

static enum status take(double *runs, int *n, struct trial *trial, struct stopwatch *watch,
                        const struct flush *flush, double seconds, struct err *err)
{
    double start = seconds_now();
    TRY(time_run(trial, watch, flush, &runs[0], err)); /* the first one loads the kernel */
    while (*n < RUNS_MOST && (*n < RUNS_LEAST || seconds_now() - start < seconds)) {
        TRY(time_run(trial, watch, flush, &runs[*n], err));
        ++*n;
    }
    return STATUS_OK;
}

static void summarise(struct measurement *m, const struct trial *trial,
                      const struct cuda_limits *limits, double *runs, int n, double *scratch)
{
    double arithmetic = trial->operations / limits->tensor;
    double memory = (trial->bytes_read + trial->bytes_written) / limits->copy;
    measurement_set_runs(m, runs, n, scratch);
    measurement_set_bound(m, arithmetic > memory ? BOUND_ARITHMETIC : BOUND_MEMORY,
                          arithmetic > memory ? arithmetic : memory);
}

enum status cuda_measure_trial(struct measurement *measurement, struct trial *trial,
                               const struct cuda_limits *limits, double seconds, struct err *err)
{
    struct stopwatch watch;
    struct flush flush = {0};
    struct cuda_device *cuda = trial->device->cuda;
    int n = 0;
    double *runs = mem_alloc(2 * RUNS_MOST, sizeof *runs);
    *measurement = (struct measurement){.n_runs = 0};
    enum status status = stopwatch_open(&watch, trial->device, err);
    if (status == STATUS_OK && !runs)
        status = err_no_memory(err, "a bench row", 0);
    if (status == STATUS_OK)
        status = flush_open(&flush, cuda, err);
    if (status == STATUS_OK)
        status = take(runs, &n, trial, &watch, &flush, seconds, err);
    if (status == STATUS_OK)
        summarise(measurement, trial, limits, runs, n, runs + RUNS_MOST);
    cuda_memory_drop(cuda, flush.buffer, flush.bytes);
    stopwatch_close(&watch);
    mem_free(runs);
    return status;
}

/* ---- counting ------------------------------------------------------------------------------- */

#define REPORT_LARGEST ((size_t)64 << 20) /* bytes */

static enum status count_run(struct trial *trial, const char *path, struct err *err)
{
    const struct cuda_driver *driver = &trial->device->cuda->driver;
    CUresult (*begin)(void), (*end)(const char *);
    *(void **)&begin = dlsym(driver->library, "softcudaCountBegin");
    *(void **)&end = dlsym(driver->library, "softcudaCountEnd");
    if (!begin || !end)
        return err_set(err, STATUS_FAILED, "the CUDA driver cannot count: it is no softcuda");
    TRY(cuda_check(driver, begin(), "softcudaCountBegin", err));
    enum status status = trial_run(trial, err);
    CUresult ended = end(path);
    return status == STATUS_OK ? cuda_check(driver, ended, "softcudaCountEnd", err) : status;
}

enum status cuda_count_trial(json_t **report, struct trial *trial, struct err *err)
{
    char folder[PATH_MAX], path[PATH_MAX + 16];
    *report = NULL;
    if (getenv("SOFTCUDA_REPORT"))
        return err_set(err, STATUS_USAGE,
                       "SOFTCUDA_REPORT counts the whole process, and bench each row; unset it");
    TRY(scratch_open(folder, err));
    snprintf(path, sizeof path, "%s/report.json", folder);
    enum status status = count_run(trial, path, err);
    if (status == STATUS_OK)
        status = json_read_file(report, path, REPORT_LARGEST, 0, err);
    scratch_remove(folder);
    return status;
}
