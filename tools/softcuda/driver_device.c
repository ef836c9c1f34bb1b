/* The one device: what its card says of itself, and the library's own names. */
#define _GNU_SOURCE
#include "tools/softcuda/driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define DRIVER_VERSION 13000 /* CUDA 13.0 */

CUresult cuDriverGetVersion(int *version)
{
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    *version = DRIVER_VERSION;
    return CUDA_SUCCESS;
}

/* ---- errors --------------------------------------------------------------------------------- */

static const struct {
    CUresult error;
    const char *name, *text;
} errors[] = {{CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
#define ERROR_ENTRY(name, value, text) {CUDA_ERROR_##name, "CUDA_ERROR_" #name, text},
              CUDA_ERRORS(ERROR_ENTRY)
#undef ERROR_ENTRY
};

static CUresult find_error(CUresult error, size_t *index)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].error == error) {
            *index = i;
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorName(CUresult error, const char **name)
{
    size_t i = 0;
    if (!name)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = find_error(error, &i);
    *name = result ? NULL : errors[i].name;
    return result;
}

CUresult cuGetErrorString(CUresult error, const char **text)
{
    size_t i = 0;
    if (!text)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = find_error(error, &i);
    *text = result ? NULL : errors[i].text;
    return result;
}

/* ---- finding functions ---------------------------------------------------------------------- */

/* This library, however it came into the process. */
static void *own_handle(void)
{
    Dl_info info;
    if (!dladdr(softcuda_version, &info) || !info.dli_fname)
        return NULL;
    return dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
}

#define PROC_ADDRESS_FLAGS 3

CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
                             CUdriverProcAddressQueryResult *status)
{
    CUdriverProcAddressQueryResult unused;
    if (!status)
        status = &unused;
    *status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    if (!symbol || !function || flags > PROC_ADDRESS_FLAGS)
        return CUDA_ERROR_INVALID_VALUE;
    *function = NULL;
    if (strncmp(symbol, "cu", 2) != 0)
        return CUDA_ERROR_NOT_FOUND;
    void *handle = own_handle();
    if (!handle)
        return CUDA_ERROR_NOT_FOUND;
    /* Two functions have changed what they take with the version. */
    if (strcmp(symbol, "cuGetProcAddress") == 0 && version >= 12000)
        symbol = "cuGetProcAddress_v2";
    if (strcmp(symbol, "cuCtxCreate") == 0 && version >= 13000)
        symbol = "cuCtxCreate_v4";
    if (strcmp(symbol, "cuGraphInstantiate") == 0 && version >= 12000)
        symbol = "cuGraphInstantiateWithFlags";
    *function = dlsym(handle, symbol);
    dlclose(handle);
    if (!*function)
        return CUDA_ERROR_NOT_FOUND;
    *status = CU_GET_PROC_ADDRESS_SUCCESS;
    return CUDA_SUCCESS;
}

CUresult cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags)
{
    return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}

/* ---- the device ----------------------------------------------------------------------------- */

CUresult cuDeviceGetCount(int *count)
{
    CUresult result = enter();
    if (!result && !count)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *count = 1;
    return leave(result);
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    CUresult result = enter_device(ordinal);
    if (!result && !device)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *device = 0;
    return leave(result);
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
    CUresult result = enter_device(device);
    if (!result && (!name || length < 1))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        snprintf(name, (size_t)length, "softcuda %s", driver.settings.card->title);
    return leave(result);
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
    CUresult result = enter_device(device);
    if (!result && !uuid)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
        memset(uuid, 0, sizeof *uuid);
        snprintf(uuid->bytes, sizeof uuid->bytes, "sc-%s", driver.settings.card->name);
    }
    return leave(result);
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
    CUresult result = enter_device(device);
    if (!result && !bytes)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *bytes = driver.settings.card->memory_bytes;
    return leave(result);
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device)
{
    CUresult result = enter_device(device);
    if (!result && (!major || !minor))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
        *major = driver.settings.card->major;
        *minor = driver.settings.card->minor;
    }
    return leave(result);
}

CUresult cuDeviceGetPCIBusId(char *text, int length, CUdevice device)
{
    CUresult result = enter_device(device);
    if (!result && (!text || length < 1))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        snprintf(text, (size_t)length, "0000:00:00.0");
    return leave(result);
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
    CUresult result = enter_device(device);
    if (!result && peer != 0)
        result = CUDA_ERROR_INVALID_DEVICE;
    if (!result && !can)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *can = 0; /* a device is no peer of itself */
    return leave(result);
}

/* Sizes, clocks and 1 where a real card of these says 1 (deviceQuery, see card.c). What the table
 * has no entry for is a feature that this device lacks: 0. */
static int attribute_of(const struct card *card, CUdevice_attribute attribute)
{
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
        return CARD_THREADS_PER_BLOCK;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
        return CARD_BLOCK_Z;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
        return CARD_GRID_X;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
        return CARD_GRID_YZ;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
        return card->shared_per_block;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
        return CARD_CONSTANT_BYTES;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
        return WARP_LANES;
    case CU_DEVICE_ATTRIBUTE_MAX_PITCH:
        return INT32_MAX;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
        return card->registers_per_sm;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
        return card->clock_mhz * 1000;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        return card->n_sms;
    case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
        return 1;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
        return card->copy_engines;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
        return card->memory_clock_mhz * 1000;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
        return card->memory_bits;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
        return (int)card->l2_bytes;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
        return card->threads_per_sm;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        return card->major;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        return card->minor;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
        return card->shared_per_sm;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        return card->shared_opt_in;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
        return card->blocks_per_sm;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
        return card->shared_reserved;
    default:
        return 0;
    }
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    CUresult result = enter_device(device);
    if (!result && (!value || (int)attribute < 1 || attribute > CU_DEVICE_ATTRIBUTE_LARGEST))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *value = attribute_of(driver.settings.card, attribute);
    return leave(result);
}

ALSO_EXPORTED(cuDeviceGetUuid_v2, cuDeviceGetUuid);
ALSO_EXPORTED(cuDeviceTotalMem_v2, cuDeviceTotalMem);
