/* What the tests of the driver share: softcuda's libcuda.so.1 of this build, loaded by dlopen as
 * programs do. Each test runs in a process of its own, so that each has a fresh driver. */
#ifndef MIDASHI_TESTS_SOFTCUDA_DRIVER_RIG_H
#define MIDASHI_TESTS_SOFTCUDA_DRIVER_RIG_H

#include "host/base/cuda_api.h"
#include "tests/support.h"

/* The functions that the tests call: cu.MemAlloc is cuMemAlloc. */
/* clang-format off */
#define DRIVER_FUNCTIONS(X)                                                                       \
    X(Init) X(DriverGetVersion) X(GetErrorName) X(GetErrorString) X(GetProcAddress)               \
    X(GetProcAddress_v2) X(DeviceGet) X(DeviceGetCount) X(DeviceGetName) X(DeviceGetAttribute)    \
    X(DeviceTotalMem) X(DeviceComputeCapability) X(DeviceCanAccessPeer) X(DeviceGetUuid)          \
    X(DevicePrimaryCtxRetain) X(DevicePrimaryCtxRelease) X(DevicePrimaryCtxReset)                 \
    X(DevicePrimaryCtxGetState) X(DevicePrimaryCtxSetFlags) X(CtxCreate) X(CtxDestroy)            \
    X(CtxSetCurrent) X(CtxGetCurrent) X(CtxPushCurrent) X(CtxPopCurrent) X(CtxGetDevice)          \
    X(CtxSynchronize) X(MemGetInfo) X(MemAlloc) X(MemFree) X(MemAllocAsync) X(MemFreeAsync)       \
    X(MemGetAddressRange) X(MemAllocHost) X(MemHostAlloc) X(MemFreeHost)                          \
    X(MemHostGetDevicePointer) X(MemHostRegister) X(MemHostUnregister) X(PointerGetAttribute)     \
    X(Memcpy) X(MemcpyAsync) X(MemcpyHtoD) X(MemcpyDtoH) X(MemcpyDtoD) X(MemcpyHtoDAsync)         \
    X(MemcpyDtoHAsync) X(MemcpyDtoDAsync) X(MemsetD8) X(MemsetD16) X(MemsetD32) X(MemsetD8Async)  \
    X(MemsetD32Async) X(ModuleLoad) X(ModuleLoadData) X(ModuleLoadDataEx) X(ModuleLoadFatBinary)  \
    X(ModuleUnload) X(ModuleGetFunction) X(ModuleGetFunctionCount) X(ModuleGetGlobal)             \
    X(LibraryLoadData) X(LibraryGetKernel) X(LibraryUnload) X(KernelGetFunction)                  \
    X(FuncGetAttribute) X(FuncSetAttribute) X(FuncSetCacheConfig) X(FuncGetName)                  \
    X(OccupancyMaxActiveBlocksPerMultiprocessor) X(OccupancyMaxPotentialBlockSize)                \
    X(LaunchKernel) X(LaunchCooperativeKernel) X(LaunchKernelEx) X(LaunchHostFunc)                \
    X(StreamCreate) X(StreamCreateWithPriority) X(StreamDestroy) X(StreamGetPriority)             \
    X(StreamQuery) X(StreamSynchronize) X(StreamWaitEvent) X(EventCreate) X(EventDestroy)         \
    X(EventRecord) X(EventRecordWithFlags) X(EventQuery) X(EventSynchronize) X(EventElapsedTime)  \
    X(StreamBeginCapture) X(StreamEndCapture) X(StreamIsCapturing)                                \
    X(ThreadExchangeStreamCaptureMode) X(GraphGetNodes) X(GraphInstantiateWithFlags)              \
    X(GraphLaunch) X(GraphDestroy) X(GraphExecDestroy)
/* clang-format on */

struct driver_functions {
#define DRIVER_POINTER(name) __typeof__(&cu##name) name;
    DRIVER_FUNCTIONS(DRIVER_POINTER)
#undef DRIVER_POINTER
};
extern struct driver_functions cu;

/* dlopen and dlsym; no call yet. */
void driver_load(void);
/* Any other symbol of the library; NULL: it has none. */
void *driver_symbol(const char *name);
/* The same, cuInit, and the primary context made current. */
CUcontext driver_open(void);

/* The result is the code, or the test fails with both names. */
#define EXPECT(code, call) driver_expect(CUDA_##code, call, __FILE__, __LINE__, #call)
#define GOOD(call)         driver_expect(CUDA_SUCCESS, call, __FILE__, __LINE__, #call)
void driver_expect(CUresult want, CUresult got, const char *file, int line, const char *call);

/* A module of PTX with these kernels, of 64-bit and 32-bit parameters:
 *   store(p, v)     *p = v
 *   append(p, v)    p[++p[0]] = v
 *   copy(to, from)  *to = *from
 *   scale(p, n, f)  p[i] *= f, f32
 *   trap()          trap
 *   limited(p)      .maxntid 64, 1 KB of static shared memory
 *   dynamic(p)      writes the last word of its dynamic shared memory to p
 *   fixed(p)        .reqntid 32 */
extern const char driver_ptx[];
CUmodule driver_module(void);
CUfunction driver_function(CUmodule module, const char *name);

/* The text of build/tests/ptx/NAME.ptx, allocated; NULL: it is not there, since it needs nvcc. */
char *driver_kernel_text(const char *name);
/* A module of it, and how many seconds of the processors its loading took. */
CUmodule driver_load_timed(const char *text, double *seconds);

/* One thread of store, append or copy on a stream. */
void driver_store(CUfunction function, CUdeviceptr p, uint32_t value, CUstream stream);
void driver_copy(CUfunction function, CUdeviceptr to, CUdeviceptr from, CUstream stream);

#endif
