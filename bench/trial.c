/* See trial.h and operation.h. */
#include "bench/trial.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include "host/base/cuda_memory.h"
#include "host/base/float16.h"
#include "host/base/philox.h"

#define STREAM_OPERANDS 0xBE7C4u /* philox: which tensor adds to it */

/* ---- tensors -------------------------------------------------------------------------------- */

static size_t host_bytes(enum tensor_type type)
{
    switch (type) {
    case TENSOR_ACTIVATIONS:
    case TENSOR_F32:
    case TENSOR_I32:
        return 4;
    case TENSOR_F64:
    case TENSOR_I64:
        return 8;
    case TENSOR_BF16:
        return 2;
    case TENSOR_U8:
        return 1;
    }
    return 0;
}

static bool is_cuda(const struct trial *trial)
{
    return trial->device->kind == DEVICE_CUDA;
}

static size_t device_bytes(const struct trial *trial, const struct tensor *tensor)
{
    if (tensor->type == TENSOR_ACTIVATIONS && is_cuda(trial))
        return 2 * tensor->n;
    return host_bytes(tensor->type) * tensor->n;
}

static float uniform_value(size_t i, int which, double limit)
{
    return (float)(limit * (2 * philox_uniform(0, 0, STREAM_OPERANDS + (uint32_t)which, i) - 1));
}

void trial_uniform(float *values, int64_t n, int which, double limit)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = uniform_value((size_t)i, which, limit);
}

/* Rounded to what the device stores. */
static void fill_tensor(const struct trial *trial, struct tensor *tensor, double limit)
{
    bool rounded = tensor->type == TENSOR_ACTIVATIONS && is_cuda(trial);
    for (size_t i = 0; i < tensor->n; i++) {
        float value = uniform_value(i, trial->n_tensors, limit);
        uint16_t half = bf16_from_float(value);
        if (tensor->type == TENSOR_BF16)
            ((uint16_t *)tensor->host)[i] = half;
        else if (tensor->type == TENSOR_F64)
            ((double *)tensor->host)[i] = (double)value;
        else
            ((float *)tensor->host)[i] = rounded ? bf16_to_float(half) : value;
    }
}

enum status trial_tensor(struct trial *trial, enum tensor_type type, enum tensor_role role,
                         int64_t n, double fill, struct err *err)
{
    assert(trial->n_tensors < TRIAL_TENSORS && n >= 0);
    struct tensor *tensor = &trial->tensors[trial->n_tensors];
    *tensor = (struct tensor){.type = type, .role = role, .n = (size_t)n};
    tensor->host = trial_alloc(trial, n, host_bytes(type));
    if (!tensor->host)
        return err_no_memory(err, "a bench row's operands",
                             (unsigned long long)n * host_bytes(type));
    if (fill != 0)
        fill_tensor(trial, tensor, fill);
    else
        memset(tensor->host, 0, tensor->n * host_bytes(type));
    trial->n_tensors++;
    double bytes = (double)device_bytes(trial, tensor);
    trial->bytes_read += role == TENSOR_READ || role == TENSOR_UPDATED ? bytes : 0;
    trial->bytes_written += role == TENSOR_WRITTEN || role == TENSOR_UPDATED ? bytes : 0;
    trial->bytes_updated += role == TENSOR_UPDATED ? bytes : 0;
    return STATUS_OK;
}

void *trial_at(const struct trial *trial, int tensor)
{
    const struct tensor *t = &trial->tensors[tensor];
    return is_cuda(trial) ? (void *)(uintptr_t)t->device[trial->turn] : t->host;
}

void *trial_alloc(struct trial *trial, int64_t count, size_t size)
{
    return arena_alloc(&trial->arena, (size_t)count, size);
}

double *trial_wanted(struct trial *trial, int64_t n)
{
    return trial_alloc(trial, n, sizeof(double));
}

double *trial_doubles(struct trial *trial, int tensor)
{
    const struct tensor *t = &trial->tensors[tensor]; /* of a floating-point type of the host's */
    double *values = trial_wanted(trial, (int64_t)t->n);
    const void *from = t->role == TENSOR_UPDATED ? t->first : t->host;
    for (size_t i = 0; values && i < t->n; i++)
        values[i] = t->type == TENSOR_BF16  ? bf16_to_float(((const uint16_t *)from)[i])
                    : t->type == TENSOR_F64 ? ((const double *)from)[i]
                                            : (double)((const float *)from)[i];
    return values;
}

double trial_rounding(const struct trial *trial)
{
    return is_cuda(trial) ? 0x1p-8 : 0x1p-24;
}

/* ---- a GPU's copies ------------------------------------------------------------------------- */

/* Activations as the device holds them, or the host's own bytes. `packed`: room for them. */
static const void *to_device(const struct trial *trial, const struct tensor *tensor, void *packed)
{
    if (tensor->type != TENSOR_ACTIVATIONS || !is_cuda(trial))
        return tensor->host;
    for (size_t i = 0; i < tensor->n; i++)
        ((uint16_t *)packed)[i] = bf16_from_float(((const float *)tensor->host)[i]);
    return packed;
}

static enum status upload(struct trial *trial, struct tensor *tensor, int turn, struct err *err)
{
    struct cuda_device *cuda = trial->device->cuda;
    size_t bytes = device_bytes(trial, tensor);
    void *packed = mem_alloc(bytes, 1);
    if (!packed)
        return err_no_memory(err, "a bench row's operands", bytes);
    enum status status =
        cuda_check(&cuda->driver,
                   cuda->driver.MemcpyHtoDAsync(
                       tensor->device[turn], to_device(trial, tensor, packed), bytes, cuda->stream),
                   "cuMemcpyHtoDAsync", err);
    if (status == STATUS_OK)
        status = cuda_synchronise(cuda, err);
    mem_free(packed);
    return status;
}

/* An empty one has an address too. */
static size_t allocated_bytes(const struct trial *trial, const struct tensor *tensor)
{
    size_t bytes = device_bytes(trial, tensor);
    return bytes ? bytes : 1;
}

static enum status upload_all(struct trial *trial, struct err *err)
{
    for (int i = 0; i < trial->n_tensors; i++) {
        struct tensor *tensor = &trial->tensors[i];
        for (int turn = 0; turn < 2; turn++) {
            TRY(cuda_memory_take(trial->device->cuda, &tensor->device[turn],
                                 allocated_bytes(trial, tensor), "one of a bench row's operands",
                                 "choose smaller shapes", err));
            TRY(upload(trial, tensor, turn, err));
        }
    }
    return STATUS_OK;
}

static enum status download(struct trial *trial, struct tensor *tensor, struct err *err)
{
    struct cuda_device *cuda = trial->device->cuda;
    size_t bytes = device_bytes(trial, tensor);
    CUDA_TRY(&cuda->driver, err, MemcpyDtoHAsync, tensor->host, tensor->device[trial->turn], bytes,
             cuda->stream);
    TRY(cuda_synchronise(cuda, err));
    if (tensor->type == TENSOR_ACTIVATIONS) /* bfloat16 lies in the lower half: widen from behind */
        for (size_t i = tensor->n; i-- > 0;) {
            uint16_t half;
            memcpy(&half, (const char *)tensor->host + 2 * i, sizeof half);
            ((float *)tensor->host)[i] = bf16_to_float(half);
        }
    return STATUS_OK;
}

/* ---- trials --------------------------------------------------------------------------------- */

enum status trial_open(struct trial *trial, const struct bench_operation *operation,
                       const int64_t *size, struct device *device, struct err *err)
{
    *trial = (struct trial){.operation = operation, .device = device};
    memcpy(trial->size, size, sizeof trial->size);
    TRY(operation->prepare(trial, err));
    for (int i = 0; i < trial->n_tensors; i++) {
        struct tensor *tensor = &trial->tensors[i];
        size_t bytes = tensor->n * host_bytes(tensor->type);
        if (tensor->role != TENSOR_UPDATED)
            continue;
        tensor->first = trial_alloc(trial, (int64_t)bytes, 1);
        if (!tensor->first)
            return err_no_memory(err, "a bench row's operands", bytes);
        memcpy(tensor->first, tensor->host, bytes);
    }
    return is_cuda(trial) ? upload_all(trial, err) : STATUS_OK;
}

void trial_close(struct trial *trial)
{
    for (int i = 0; i < trial->n_tensors; i++)
        for (int turn = 0; turn < 2; turn++)
            if (trial->tensors[i].device[turn])
                cuda_memory_drop(trial->device->cuda, trial->tensors[i].device[turn],
                                 allocated_bytes(trial, &trial->tensors[i]));
    arena_free(&trial->arena);
    trial->n_tensors = 0;
}

enum status trial_run(struct trial *trial, struct err *err)
{
    trial->turn = 1 - trial->turn;
    return trial->operation->run(trial, err);
}

static bool is_output(const struct tensor *tensor)
{
    return tensor->role == TENSOR_WRITTEN || tensor->role == TENSOR_UPDATED;
}

/* What a run only writes is spoiled first, so that a value which it leaves out is seen. */
static enum status reset(struct trial *trial, struct err *err)
{
    for (int i = 0; i < trial->n_tensors; i++) {
        struct tensor *tensor = &trial->tensors[i];
        size_t bytes = tensor->n * host_bytes(tensor->type);
        if (tensor->role == TENSOR_WRITTEN)
            memset(tensor->host, 0xFF, bytes); /* NaN */
        if (tensor->role == TENSOR_UPDATED)
            memcpy(tensor->host, tensor->first, bytes);
        if (is_cuda(trial) && is_output(tensor))
            TRY(upload(trial, tensor, 1 - trial->turn, err));
    }
    return STATUS_OK;
}

enum status trial_verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    *verdict = (struct verdict){0, 0};
    TRY(reset(trial, err));
    TRY(trial_run(trial, err));
    for (int i = 0; is_cuda(trial) && i < trial->n_tensors; i++)
        if (is_output(&trial->tensors[i]))
            TRY(download(trial, &trial->tensors[i], err));
    struct arena_mark mark = arena_mark(&trial->arena);
    enum status status = trial->operation->verify(trial, verdict, err);
    arena_reset(&trial->arena, mark);
    if (verdict->n == 0)
        verdict->worst = INFINITY;
    return status;
}

void verdict_value(struct verdict *verdict, double got, double want, double allowed)
{
    double error = fabs(got - want);
    double share = error == 0 ? 0 : error / allowed;
    if (!(share <= verdict->worst)) /* NaN too */
        verdict->worst = isnan(share) ? INFINITY : share;
    verdict->n++;
}

void verdict_floats(struct verdict *verdict, const float *got, const double *want, int64_t n,
                    double absolute, double relative)
{
    for (int64_t i = 0; i < n; i++)
        verdict_value(verdict, got[i], want[i], absolute + relative * fabs(want[i]));
}
