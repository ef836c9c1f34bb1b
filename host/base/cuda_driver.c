/* See cuda_driver.h. */
#include "host/base/cuda_driver.h"

#include <dlfcn.h>
#include <stdlib.h>

const char *cuda_driver_named(void)
{
    const char *named = getenv("MIDASHI_CUDA_DRIVER");
    return named && *named ? named : NULL;
}

static enum status load(struct cuda_driver *driver, struct err *err)
{
    static const char *const usual[] = {"libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"};
    const char *named = cuda_driver_named();
    if (named) {
        driver->library = dlopen(named, RTLD_NOW | RTLD_LOCAL);
        return driver->library ? STATUS_OK
                               : err_set(err, STATUS_RESOURCE,
                                         "MIDASHI_CUDA_DRIVER=%s: cannot be loaded: %s; unset it "
                                         "or name a libcuda.so.1",
                                         named, dlerror());
    }
    for (size_t i = 0; i < sizeof usual / sizeof *usual && !driver->library; i++)
        driver->library = dlopen(usual[i], RTLD_NOW | RTLD_LOCAL);
    return driver->library ? STATUS_OK
                           : err_set(err, STATUS_RESOURCE,
                                     "cuda: no NVIDIA driver (libcuda.so.1) is installed");
}

static enum status find_functions(struct cuda_driver *driver, struct err *err)
{
    /* A function pointer and an object pointer have one form on every system with dlsym. */
#define CUDA_DRIVER_FIND(name, symbol)                                                             \
    *(void **)&driver->name = dlsym(driver->library, symbol);                                      \
    if (!driver->name)                                                                             \
        return err_set(err, STATUS_RESOURCE, "cuda: the driver has no %s; it is too old", symbol);
    CUDA_DRIVER_FUNCTIONS(CUDA_DRIVER_FIND)
#undef CUDA_DRIVER_FIND
    driver->software = dlsym(driver->library, "softcuda_version") != NULL;
    return STATUS_OK;
}

static enum status start(struct cuda_driver *driver, struct err *err)
{
    CUDA_TRY(driver, err, DriverGetVersion, &driver->version);
    CUDA_TRY(driver, err, Init, 0);
    return STATUS_OK;
}

enum status cuda_driver_open(struct cuda_driver *driver, struct err *err)
{
    *driver = (struct cuda_driver){0};
    enum status status = load(driver, err);
    if (status == STATUS_OK)
        status = find_functions(driver, err);
    if (status == STATUS_OK)
        status = start(driver, err);
    if (status != STATUS_OK)
        cuda_driver_close(driver);
    return status;
}

void cuda_driver_close(struct cuda_driver *driver)
{
    if (driver->library)
        dlclose(driver->library);
    *driver = (struct cuda_driver){0};
}

enum status cuda_check(const struct cuda_driver *driver, CUresult result, const char *call,
                       struct err *err)
{
    const char *name = NULL, *text = NULL;
    if (result == CUDA_SUCCESS)
        return STATUS_OK;
    driver->GetErrorName(result, &name);
    driver->GetErrorString(result, &text);
    if (!name)
        return err_set(err, STATUS_RESOURCE, "cuda: %s: error %d", call, (int)result);
    return err_set(err, STATUS_RESOURCE, "cuda: %s: %s: %s", call, name, text ? text : "");
}
