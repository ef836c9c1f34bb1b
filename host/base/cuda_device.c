/* See cuda_device.h. */
#include "host/base/cuda_device.h"

#include <string.h>
#include "host/base/cuda_images.h"

/* ---- what there is -------------------------------------------------------------------------- */

enum status cuda_info_get(const struct cuda_driver *driver, int ordinal, struct cuda_info *info,
                          struct err *err)
{
    CUdevice device;
    *info = (struct cuda_info){.major = 0};
    CUDA_TRY(driver, err, DeviceGet, &device, ordinal);
    CUDA_TRY(driver, err, DeviceGetName, info->name, (int)sizeof info->name, device);
    CUDA_TRY(driver, err, DeviceGetAttribute, &info->major,
             CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
    CUDA_TRY(driver, err, DeviceGetAttribute, &info->minor,
             CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
    CUDA_TRY(driver, err, DeviceGetAttribute, &info->n_sms,
             CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device);
    CUDA_TRY(driver, err, DeviceTotalMem, &info->memory, device);
    return STATUS_OK;
}

bool cuda_info_usable(const struct cuda_info *info)
{
    return info->major * 10 + info->minor >= CUDA_OLDEST;
}

bool cuda_has_kernels(void)
{
    return cuda_images[0].name != NULL;
}

/* ---- opening -------------------------------------------------------------------------------- */

static enum status open_context(struct cuda_device *cuda, int ordinal, struct err *err)
{
    const struct cuda_driver *driver = &cuda->driver;
    int n;
    CUDA_TRY(driver, err, DeviceGetCount, &n);
    if (ordinal >= n)
        return err_set(err, STATUS_RESOURCE,
                       "cuda:%d: this machine has %d GPU%s; see midashi devices", ordinal, n,
                       n == 1 ? "" : "s");
    TRY(cuda_info_get(driver, ordinal, &cuda->info, err));
    if (!cuda_info_usable(&cuda->info))
        return err_set(err, STATUS_RESOURCE,
                       "cuda:%d: %s is of sm_%d%d, and sm_%d is the oldest that can be used; use "
                       "--device cpu",
                       ordinal, cuda->info.name, cuda->info.major, cuda->info.minor, CUDA_OLDEST);
    CUDA_TRY(driver, err, DeviceGet, &cuda->ordinal, ordinal);
    CUDA_TRY(driver, err, DevicePrimaryCtxRetain, &cuda->context, cuda->ordinal);
    CUDA_TRY(driver, err, CtxSetCurrent, cuda->context);
    CUDA_TRY(driver, err, StreamCreate, &cuda->stream, CU_STREAM_NON_BLOCKING);
    return STATUS_OK;
}

enum status cuda_device_open(struct cuda_device *cuda, int ordinal, struct err *err)
{
    memset(cuda, 0, sizeof *cuda);
    if (!cuda_has_kernels())
        return err_set(
            err, STATUS_RESOURCE,
            "cuda: this build has no CUDA kernels, since there was no nvcc; use --device "
            "cpu, or run tools/setup.sh --cuda and make again");
    TRY(cuda_driver_open(&cuda->driver, err));
    enum status status = open_context(cuda, ordinal, err);
    if (status != STATUS_OK)
        cuda_device_close(cuda);
    return status;
}

void cuda_device_close(struct cuda_device *cuda)
{
    const struct cuda_driver *driver = &cuda->driver;
    if (cuda->stream)
        driver->StreamDestroy(cuda->stream);
    for (int i = 0; i < cuda->n_modules; i++)
        driver->ModuleUnload(cuda->modules[i].module);
    if (cuda->context)
        driver->DevicePrimaryCtxRelease(cuda->ordinal);
    cuda_driver_close(&cuda->driver);
    memset(cuda, 0, sizeof *cuda);
}

/* ---- kernels -------------------------------------------------------------------------------- */

static enum status no_memory_for(const struct cuda_device *cuda, const char *image, struct err *err)
{
    return err_set(err, STATUS_RESOURCE,
                   "cuda:%d: no memory is free for the kernels of %s; close other programs, or use "
                   "--device cpu",
                   cuda->ordinal, image);
}

static enum status load_module(struct cuda_device *cuda, const char *name, CUmodule *module,
                               struct err *err)
{
    const struct cuda_image *image = cuda_images;
    for (int i = 0; i < cuda->n_modules; i++)
        if (strcmp(cuda->modules[i].image, name) == 0) {
            *module = cuda->modules[i].module;
            return STATUS_OK;
        }
    while (image->name && strcmp(image->name, name) != 0)
        image++;
    if (!image->name || cuda->n_modules == CUDA_MODULES_LARGEST)
        return err_set(err, STATUS_RESOURCE, "cuda: this build has no kernels of %s", name);
    CUresult result = cuda->driver.ModuleLoadData(module, image->data);
    if (result == CUDA_ERROR_OUT_OF_MEMORY)
        return no_memory_for(cuda, name, err);
    if (cuda_check(&cuda->driver, result, "cuModuleLoadData", err) != STATUS_OK) {
        char refused[sizeof err->text];
        if (!err)
            return STATUS_RESOURCE;
        memcpy(refused, err->text, sizeof refused);
        return err_set(err, STATUS_RESOURCE,
                       "%s: the kernels of %s, built with CUDA %d.%d, are refused by the driver, "
                       "which knows CUDA %d.%d; a newer driver helps",
                       refused, name, cuda_build_version / 1000, cuda_build_version % 1000 / 10,
                       cuda->driver.version / 1000, cuda->driver.version % 1000 / 10);
    }
    cuda->modules[cuda->n_modules].image = image->name;
    cuda->modules[cuda->n_modules++].module = *module;
    return STATUS_OK;
}

/* More dynamic shared memory than this a kernel must ask for. */
#define CUDA_SHARED_WITHOUT_ASKING (48u << 10)

enum status cuda_function(struct cuda_device *cuda, const char *image, const char *name,
                          struct cuda_function **function, struct err *err)
{
    CUmodule module;
    for (int i = 0; i < cuda->n_functions; i++) {
        *function = &cuda->functions[i];
        if (strcmp((*function)->name, name) == 0 && strcmp((*function)->image, image) == 0)
            return STATUS_OK;
    }
    TRY(load_module(cuda, image, &module, err));
    if (cuda->n_functions == CUDA_FUNCTIONS_LARGEST)
        return err_set(err, STATUS_FAILED, "more than %d kernels", CUDA_FUNCTIONS_LARGEST);
    *function = &cuda->functions[cuda->n_functions];
    **function = (struct cuda_function){image, name, NULL, CUDA_SHARED_WITHOUT_ASKING};
    CUresult result = cuda->driver.ModuleGetFunction(&(*function)->function, module, name);
    if (result == CUDA_ERROR_OUT_OF_MEMORY) /* drivers load some kernels only now */
        return no_memory_for(cuda, image, err);
    TRY(cuda_check(&cuda->driver, result, "cuModuleGetFunction", err));
    cuda->n_functions++;
    return STATUS_OK;
}

enum status cuda_load(struct cuda_device *cuda, const char *image, struct err *err)
{
    CUmodule module;
    struct cuda_function *function;
    const struct cuda_image *at = cuda_images;
    TRY(load_module(cuda, image, &module, err));
    while (strcmp(at->name, image) != 0)
        at++;
    for (int i = 0; at->kernels[i]; i++)
        TRY(cuda_function(cuda, at->name, at->kernels[i], &function, err));
    return STATUS_OK;
}

enum status cuda_launch(struct cuda_device *cuda, const struct cuda_launch *launch, struct err *err)
{
    struct cuda_function *kernel;
    const unsigned *grid = launch->grid, *block = launch->block;
    TRY(cuda_function(cuda, launch->image, launch->name, &kernel, err));
    if (launch->shared > kernel->shared) {
        CUDA_TRY(&cuda->driver, err, FuncSetAttribute, kernel->function,
                 CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)launch->shared);
        /* Kernels with so much of it count on as many blocks side by side as there is room for; the
         * driver's own guess of how much of L1 that takes may be lower. */
        CUDA_TRY(&cuda->driver, err, FuncSetAttribute, kernel->function,
                 CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 100);
        kernel->shared = launch->shared;
    }
    CUresult result =
        cuda->driver.LaunchKernel(kernel->function, grid[0], grid[1], grid[2], block[0], block[1],
                                  block[2], launch->shared, cuda->stream, launch->values, NULL);
    return cuda_check(&cuda->driver, result, launch->name, err);
}

enum status cuda_synchronise(struct cuda_device *cuda, struct err *err)
{
    CUDA_TRY(&cuda->driver, err, StreamSynchronize, cuda->stream);
    return STATUS_OK;
}
