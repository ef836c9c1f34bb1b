/* The CUDA driver, loaded when it is wanted: one binary starts on machines with and without it.
 *
 * Opened are, in this order, what MIDASHI_CUDA_DRIVER names, libcuda.so.1, and WSL's own place for
 * it. tools/softcuda has one that needs no GPU; it says so in `software`. */
#ifndef MIDASHI_BASE_CUDA_DRIVER_H
#define MIDASHI_BASE_CUDA_DRIVER_H

#include <stdbool.h>
#include "host/base/cuda_api.h"
#include "host/base/status.h"

/* Name here, symbol in the library: the drivers of today have the first versions of some calls
 * too, under the plain names. */
#define CUDA_DRIVER_FUNCTIONS(X)                                                                   \
    X(Init, "cuInit")                                                                              \
    X(DriverGetVersion, "cuDriverGetVersion")                                                      \
    X(GetErrorName, "cuGetErrorName")                                                              \
    X(GetErrorString, "cuGetErrorString")                                                          \
    X(DeviceGet, "cuDeviceGet")                                                                    \
    X(DeviceGetCount, "cuDeviceGetCount")                                                          \
    X(DeviceGetName, "cuDeviceGetName")                                                            \
    X(DeviceGetAttribute, "cuDeviceGetAttribute")                                                  \
    X(DeviceTotalMem, "cuDeviceTotalMem_v2")                                                       \
    X(DevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain")                                          \
    X(DevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2")                                     \
    X(CtxSetCurrent, "cuCtxSetCurrent")                                                            \
    X(MemGetInfo, "cuMemGetInfo_v2")                                                               \
    X(MemAlloc, "cuMemAlloc_v2")                                                                   \
    X(MemFree, "cuMemFree_v2")                                                                     \
    X(MemHostAlloc, "cuMemHostAlloc")                                                              \
    X(MemFreeHost, "cuMemFreeHost")                                                                \
    X(MemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2")                                                     \
    X(MemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2")                                                     \
    X(MemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2")                                                     \
    X(MemsetD8Async, "cuMemsetD8Async")                                                            \
    X(ModuleLoadData, "cuModuleLoadData")                                                          \
    X(ModuleUnload, "cuModuleUnload")                                                              \
    X(ModuleGetFunction, "cuModuleGetFunction")                                                    \
    X(FuncSetAttribute, "cuFuncSetAttribute")                                                      \
    X(LaunchKernel, "cuLaunchKernel")                                                              \
    X(StreamCreate, "cuStreamCreate")                                                              \
    X(StreamDestroy, "cuStreamDestroy_v2")                                                         \
    X(StreamSynchronize, "cuStreamSynchronize")                                                    \
    X(EventCreate, "cuEventCreate")                                                                \
    X(EventDestroy, "cuEventDestroy_v2")                                                           \
    X(EventRecord, "cuEventRecord")                                                                \
    X(EventSynchronize, "cuEventSynchronize")                                                      \
    X(EventElapsedTime, "cuEventElapsedTime")

struct cuda_driver {
    void *library; /* NULL: not open */
    int version;   /* 13000 is CUDA 13.0: the newest that it can run */
    bool software; /* softcuda: no GPU */
#define CUDA_DRIVER_POINTER(name, symbol) __typeof__(&cu##name) name;
    CUDA_DRIVER_FUNCTIONS(CUDA_DRIVER_POINTER)
#undef CUDA_DRIVER_POINTER
};

/* What MIDASHI_CUDA_DRIVER names; NULL: nothing. */
const char *cuda_driver_named(void);

/* Loads the library and calls cuInit. STATUS_RESOURCE: there is none, it lacks a function, or it
 * finds no device; the text says which. */
enum status cuda_driver_open(struct cuda_driver *driver, struct err *err);
void cuda_driver_close(struct cuda_driver *driver); /* a zeroed one is allowed */

/* STATUS_OK, or STATUS_RESOURCE with "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory". */
enum status cuda_check(const struct cuda_driver *driver, CUresult result, const char *call,
                       struct err *err);

/* Calls and passes a failure on: CUDA_TRY(driver, err, MemAlloc, &p, bytes); */
#define CUDA_TRY(driver, err, name, ...)                                                           \
    TRY(cuda_check(driver, (driver)->name(__VA_ARGS__), "cu" #name, err))

#endif
