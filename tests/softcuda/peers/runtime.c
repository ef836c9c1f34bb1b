/* As much of the CUDA runtime as another program's host code needs to launch its kernels: what nvcc
 * makes of <<<...>>> and of registering kernels, on the driver API. Compiled into a library with
 * that code (host_code.py), its own launchers then choose kernels, grids and shared memory on
 * softcuda as they do on a card.
 *
 * Memory, streams and contexts stay with the caller, who has made a context current. One device,
 * one thread. A module is loaded with its first kernel, and lives as long as the context. Launchers
 * tend not to look at results, so the first call that fails is kept: runtime_failure(). */
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define MODULES 16
#define KERNELS 1024

/* A fat binary: one for each source file. */
struct module {
    const void *image;
    CUmodule handle; /* NULL: not loaded yet */
};

/* stub: the function on the host that stands for the kernel. */
struct kernel {
    const void *stub;
    const char *name;
    struct module *module;
};

static struct module modules[MODULES];
static struct kernel kernels[KERNELS];
static int n_modules, n_kernels;

static struct {
    dim3 grid, block;
    size_t shared;
    cudaStream_t stream;
} configuration;

static char failure[200];

/* NULL: no call has failed. */
const char *runtime_failure(void);

const char *runtime_failure(void)
{
    return failure[0] ? failure : NULL;
}

static cudaError_t answer(CUresult result, const char *call, const char *of)
{
    const char *name = "?";
    if (result == CUDA_SUCCESS)
        return cudaSuccess;
    if (!failure[0]) {
        cuGetErrorName(result, &name);
        snprintf(failure, sizeof failure, "%s, %s: %s", of, call, name);
    }
    return cudaErrorUnknown;
}

/* ---- registering, before main ---------------------------------------------------------------- */

void **__cudaRegisterFatBinary(void *wrapper);
void __cudaRegisterFatBinaryEnd(void **handle);
void __cudaUnregisterFatBinary(void **handle);
char __cudaInitModule(void **handle);
void __cudaRegisterVar(void **handle, char *host, char *address, const char *name, int external,
                       size_t size, int constant, int global);
void __cudaRegisterFunction(void **handle, const char *stub, char *function, const char *name,
                            int thread_limit, void *thread, void *block, void *block_size,
                            void *grid_size, int *warp_size);

void **__cudaRegisterFatBinary(void *wrapper)
{
    if (n_modules == MODULES)
        abort();
    modules[n_modules].image = wrapper;
    return (void **)&modules[n_modules++];
}

void __cudaRegisterFatBinaryEnd(void **handle)
{
    (void)handle;
}

void __cudaUnregisterFatBinary(void **handle)
{
    (void)handle;
}

char __cudaInitModule(void **handle)
{
    (void)handle;
    return 1;
}

/* Variables keep the values that the image gives them. */
void __cudaRegisterVar(void **handle, char *host, char *address, const char *name, int external,
                       size_t size, int constant, int global)
{
    (void)handle, (void)host, (void)address, (void)name, (void)external, (void)size;
    (void)constant, (void)global;
}

void __cudaRegisterFunction(void **handle, const char *stub, char *function, const char *name,
                            int thread_limit, void *thread, void *block, void *block_size,
                            void *grid_size, int *warp_size)
{
    (void)function, (void)thread_limit, (void)thread, (void)block, (void)block_size;
    (void)grid_size, (void)warp_size;
    if (n_kernels == KERNELS)
        abort();
    kernels[n_kernels++] = (struct kernel){stub, name, (struct module *)handle};
}

/* ---- launching ------------------------------------------------------------------------------- */

static cudaError_t find(CUfunction *function, const void *stub)
{
    for (int i = 0; i < n_kernels; i++) {
        struct kernel *kernel = &kernels[i];
        struct module *module = kernel->module;
        if (kernel->stub != stub)
            continue;
        if (!module->handle &&
            answer(cuModuleLoadData(&module->handle, module->image), "load", kernel->name))
            return cudaErrorUnknown;
        return answer(cuModuleGetFunction(function, module->handle, kernel->name), "function",
                      kernel->name);
    }
    return answer(CUDA_ERROR_NOT_FOUND, "function", "a kernel that nobody registered");
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, cudaStream_t stream);
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream);
cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *stub);
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **values,
                               size_t shared, cudaStream_t stream);

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, cudaStream_t stream)
{
    configuration.grid = grid;
    configuration.block = block;
    configuration.shared = shared;
    configuration.stream = stream;
    return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream)
{
    *grid = configuration.grid;
    *block = configuration.block;
    *shared = configuration.shared;
    *(cudaStream_t *)stream = configuration.stream;
    return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void *stub, dim3 grid, dim3 block, void **values, size_t shared,
                             cudaStream_t stream)
{
    CUfunction function;
    if (find(&function, stub))
        return cudaErrorUnknown;
    return answer(cuLaunchKernel(function, grid.x, grid.y, grid.z, block.x, block.y, block.z,
                                 (unsigned)shared, stream, values, NULL),
                  "launch", "a kernel");
}

/* Since CUDA 12.8 host code asks for a handle first; a stub is its own. */
cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *stub)
{
    *kernel = (cudaKernel_t)(uintptr_t)stub;
    return cudaSuccess;
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **values,
                               size_t shared, cudaStream_t stream)
{
    return cudaLaunchKernel((const void *)kernel, grid, block, values, shared, stream);
}

/* ---- what launchers ask ---------------------------------------------------------------------- */

cudaError_t cudaFuncSetAttribute(const void *stub, enum cudaFuncAttribute attribute, int value)
{
    CUfunction function;
    if (find(&function, stub))
        return cudaErrorUnknown;
    return answer(cuFuncSetAttribute(function, (CUfunction_attribute)attribute, value), "attribute",
                  "a kernel");
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

/* Attributes have the same numbers in both interfaces. */
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    return answer(cuDeviceGetAttribute(value, (CUdevice_attribute)attribute, device), "attribute",
                  "the device");
}

cudaError_t cudaGetLastError(void)
{
    return failure[0] ? cudaErrorUnknown : cudaSuccess;
}

cudaError_t cudaPeekAtLastError(void)
{
    return cudaGetLastError();
}
