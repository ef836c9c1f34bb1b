/* The driver API but for streams: names, devices, contexts, memory, modules, launches, and the code
 * that each mistake gives. The codes are those of NVIDIA's manual, or, where it only lists them,
 * those that the driver of CUDA 12 gives. */
#define _GNU_SOURCE
#include "tests/softcuda/driver_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the library ---------------------------------------------------------------------------- */

START_TEST(nothing_works_before_init)
{
    int n;
    CUcontext context;
    CUdeviceptr p;
    driver_load();
    EXPECT(ERROR_NOT_INITIALIZED, cu.DeviceGetCount(&n));
    EXPECT(ERROR_NOT_INITIALIZED, cu.DevicePrimaryCtxRetain(&context, 0));
    EXPECT(ERROR_NOT_INITIALIZED, cu.MemAlloc(&p, 4));
    EXPECT(ERROR_NOT_INITIALIZED, cu.CtxSynchronize());
    EXPECT(ERROR_INVALID_VALUE, cu.Init(1));
    GOOD(cu.DriverGetVersion(&n)); /* this one does */
    ck_assert_int_eq(n, 13000);
    GOOD(cu.Init(0));
    GOOD(cu.Init(0));
    GOOD(cu.DeviceGetCount(&n));
    ck_assert_int_eq(n, 1);
}
END_TEST

static const struct {
    const char *name, *value;
} bad_settings[] = {
    {"SOFTCUDA_CARD", "gtx1080"},      {"SOFTCUDA_SEED", "-1"},
    {"SOFTCUDA_ORDER", "random"},      {"SOFTCUDA_MMA", "exact"},
    {"SOFTCUDA_ASYNC", "never"},       {"SOFTCUDA_CHECK", "memory,"},
    {"SOFTCUDA_CHECK", "races"},       {"SOFTCUDA_SAMPLE", "0"},
    {"SOFTCUDA_FAIL_ALLOC", "x"},      {"SOFTCUDA_WORKERS", "2000000"},
    {"SOFTCUDA_RESOURCES", "/absent"}, {"SOFTCUDA_REPORT", "/absent/r.json"},
    {"SOFTCUDA_CHEKC", "all"},         {"SOFTCUDA_CHECKS", "all"},
};

START_TEST(bad_settings_are_refused)
{
    setenv(bad_settings[_i].name, bad_settings[_i].value, 1);
    driver_load();
    EXPECT(ERROR_INVALID_VALUE, cu.Init(0));
    unsetenv(bad_settings[_i].name);
    GOOD(cu.Init(0));
}
END_TEST

START_TEST(errors_have_names)
{
    const char *text;
    driver_load();
    GOOD(cu.GetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    ck_assert_str_eq(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
    GOOD(cu.GetErrorName(CUDA_SUCCESS, &text));
    ck_assert_str_eq(text, "CUDA_SUCCESS");
    GOOD(cu.GetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text));
    ck_assert_str_eq(text, "out of memory");
    EXPECT(ERROR_INVALID_VALUE, cu.GetErrorName((CUresult)12345, &text));
    ck_assert_ptr_null(text);
}
END_TEST

START_TEST(functions_are_found_by_name)
{
    static const char *const names[] = {
        "cuMemAlloc_v2",        "cuMemcpyHtoD_v2",       "cuCtxPushCurrent_v2",
        "cuStreamDestroy_v2",   "cuEventElapsedTime_v2", "cuDevicePrimaryCtxRelease_v2",
        "cuMemHostRegister_v2", "cuMemsetD32_v2",        "cuStreamBeginCapture_v2",
    };
    void *function;
    CUdriverProcAddressQueryResult status;
    driver_load();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        GOOD(cu.GetProcAddress_v2(names[i], &function, 12000, 0, &status));
        ck_assert_ptr_eq(function, driver_symbol(names[i]));
        ck_assert_int_eq(status, CU_GET_PROC_ADDRESS_SUCCESS);
    }
    GOOD(cu.GetProcAddress("cuMemAlloc", &function, 12000, 0));
    ck_assert_ptr_eq(function, (void *)cu.MemAlloc);
    EXPECT(ERROR_NOT_FOUND, cu.GetProcAddress_v2("cuNonsense", &function, 12000, 0, &status));
    ck_assert_int_eq(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    ck_assert_ptr_null(function);
    EXPECT(ERROR_NOT_FOUND, cu.GetProcAddress("memory_open", &function, 12000, 0));
    EXPECT(ERROR_INVALID_VALUE, cu.GetProcAddress(NULL, &function, 12000, 0));
    ck_assert_ptr_null(driver_symbol("memory_open")); /* the rest is not shown */
    ck_assert_str_eq(driver_symbol("softcuda_version"), "softcuda 1");
}
END_TEST

START_TEST(calls_outside_the_subset_say_so)
{
    driver_open();
    CUresult (*managed)(CUdeviceptr *, size_t, unsigned);
    *(void **)&managed = driver_symbol("cuMemAllocManaged");
    CUdeviceptr p;
    EXPECT(ERROR_NOT_SUPPORTED, managed(&p, 4, 1));
    EXPECT(ERROR_NOT_SUPPORTED, managed(&p, 4, 1));
}
END_TEST

/* ---- devices -------------------------------------------------------------------------------- */

/* From the CUDA programming guide's table of capabilities and the makers' data sheets; L2, clocks
 * and bus as real drivers have them (deviceQuery and its like, see card.c). */
static const struct {
    const char *card;
    int major, minor, sms, threads, blocks, shared, opt_in, l2, bus, clock, memory_clock;
    size_t memory;
} cards[] = {
    {"rtx3080", 8, 6, 68, 1536, 16, 102400, 101376, 5242880, 320, 1710000, 9501000,
     (size_t)10 << 30},
    {"rtx4090", 8, 9, 128, 1536, 24, 102400, 101376, 75497472, 384, 2520000, 10501000,
     (size_t)24 << 30},
    {"h100", 9, 0, 132, 2048, 32, 233472, 232448, 52428800, 5120, 1980000, 2619000,
     (size_t)80 << 30},
};

static int attribute(CUdevice_attribute which)
{
    int value;
    GOOD(cu.DeviceGetAttribute(&value, which, 0));
    return value;
}

START_TEST(cards_are_what_their_makers_say)
{
    int major, minor;
    size_t bytes;
    char name[64];
    setenv("SOFTCUDA_CARD", cards[_i].card, 1);
    driver_open();
    GOOD(cu.DeviceComputeCapability(&major, &minor, 0));
    ck_assert_int_eq(major, cards[_i].major);
    ck_assert_int_eq(minor, cards[_i].minor);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR), major);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), cards[_i].sms);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR),
                     cards[_i].threads);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR),
                     cards[_i].blocks);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR),
                     cards[_i].shared);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
                     cards[_i].opt_in);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK), 49152);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE), cards[_i].l2);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH), cards[_i].bus);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE), cards[_i].clock);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE), cards[_i].memory_clock);
    ck_assert_int_ge(attribute(CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT), 2);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY), 65536);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_MAX_PITCH), 2147483647);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z), 64);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X), 2147483647);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z), 65535);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE), 32);
    ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR), 65536);
    GOOD(cu.DeviceTotalMem(&bytes, 0));
    ck_assert_uint_eq(bytes, cards[_i].memory);
    GOOD(cu.DeviceGetName(name, sizeof name, 0));
    ck_assert(strncmp(name, "softcuda ", 9) == 0);
    GOOD(cu.DeviceGetName(name, 4, 0));
    ck_assert_str_eq(name, "sof");
}
END_TEST

START_TEST(devices_that_are_not_there)
{
    int value;
    CUdevice device;
    CUcontext context;
    driver_open();
    GOOD(cu.DeviceGet(&device, 0));
    EXPECT(ERROR_INVALID_DEVICE, cu.DeviceGet(&device, 1));
    EXPECT(ERROR_INVALID_DEVICE, cu.DeviceGet(&device, -1));
    EXPECT(ERROR_INVALID_VALUE, cu.DeviceGet(NULL, 0));
    EXPECT(ERROR_INVALID_DEVICE, cu.DevicePrimaryCtxRetain(&context, 1));
    EXPECT(ERROR_INVALID_VALUE, cu.DeviceGetAttribute(&value, (CUdevice_attribute)0, 0));
    EXPECT(ERROR_INVALID_VALUE, cu.DeviceGetAttribute(&value, (CUdevice_attribute)9999, 0));
    EXPECT(ERROR_INVALID_DEVICE, cu.DeviceCanAccessPeer(&value, 0, 1));
    GOOD(cu.DeviceCanAccessPeer(&value, 0, 0));
    ck_assert_int_eq(value, 0);
}
END_TEST

/* ---- contexts ------------------------------------------------------------------------------- */

START_TEST(contexts_stand_on_a_stack)
{
    CUcontext primary = driver_open(), own, current;
    CUdeviceptr p;
    unsigned flags;
    int active;
    GOOD(cu.CtxCreate(&own, 0, 0));
    GOOD(cu.CtxGetCurrent(&current));
    ck_assert_ptr_eq(current, own);
    GOOD(cu.MemAlloc(&p, 4));
    GOOD(cu.CtxPopCurrent(&current));
    ck_assert_ptr_eq(current, own);
    GOOD(cu.CtxGetCurrent(&current));
    ck_assert_ptr_eq(current, primary);
    GOOD(cu.CtxPushCurrent(own));
    GOOD(cu.CtxDestroy(own)); /* with its memory; the one below is current again */
    GOOD(cu.CtxGetCurrent(&current));
    ck_assert_ptr_eq(current, primary);
    EXPECT(ERROR_INVALID_VALUE, cu.MemFree(p));
    EXPECT(ERROR_INVALID_CONTEXT, cu.CtxDestroy(own));
    EXPECT(ERROR_INVALID_CONTEXT, cu.CtxSetCurrent(own));
    EXPECT(ERROR_INVALID_CONTEXT, cu.CtxDestroy(primary));
    GOOD(cu.CtxSetCurrent(NULL));
    EXPECT(ERROR_INVALID_CONTEXT, cu.MemAlloc(&p, 4));
    EXPECT(ERROR_INVALID_CONTEXT, cu.CtxSynchronize());
    EXPECT(ERROR_INVALID_CONTEXT, cu.CtxPopCurrent(&current));
    GOOD(cu.CtxSetCurrent(primary));
    GOOD(cu.DevicePrimaryCtxRelease(0));
    EXPECT(ERROR_CONTEXT_IS_DESTROYED, cu.MemAlloc(&p, 4));
    EXPECT(ERROR_INVALID_CONTEXT, cu.DevicePrimaryCtxRelease(0));
    GOOD(cu.DevicePrimaryCtxGetState(0, &flags, &active));
    ck_assert_int_eq(active, 0);
}
END_TEST

START_TEST(a_fault_stays)
{
    CUcontext context = driver_open();
    CUmodule module = driver_module();
    CUdeviceptr p;
    uint32_t word = 0;
    GOOD(cu.MemAlloc(&p, 64));
    driver_store(driver_function(module, "store"), p + 64, 1, NULL); /* one word behind */
    EXPECT(ERROR_ILLEGAL_ADDRESS, cu.CtxSynchronize());
    EXPECT(ERROR_ILLEGAL_ADDRESS, cu.CtxSynchronize());
    EXPECT(ERROR_ILLEGAL_ADDRESS, cu.MemAlloc(&p, 64));
    EXPECT(ERROR_ILLEGAL_ADDRESS, cu.MemcpyDtoH(&word, p, 4));
    EXPECT(ERROR_ILLEGAL_ADDRESS, cu.StreamSynchronize(NULL));
    /* Until the context is new. */
    GOOD(cu.DevicePrimaryCtxReset(0));
    GOOD(cu.CtxSetCurrent(context));
    GOOD(cu.MemAlloc(&p, 64));
    driver_store(driver_function(driver_module(), "store"), p, 5, NULL);
    GOOD(cu.MemcpyDtoH(&word, p, 4));
    ck_assert_uint_eq(word, 5);
}
END_TEST

static const struct {
    const char *kernel;
    int64_t offset;
    CUresult code;
} faults[] = {
    {"store", 66, CUDA_ERROR_MISALIGNED_ADDRESS},
    {"store", -4, CUDA_ERROR_ILLEGAL_ADDRESS},
    {"trap", 0, CUDA_ERROR_LAUNCH_FAILED},
};

START_TEST(faults_have_codes)
{
    driver_open();
    CUdeviceptr p;
    uint32_t value = 1;
    GOOD(cu.MemAlloc(&p, 128));
    p += (CUdeviceptr)faults[_i].offset;
    void *values[] = {&p, &value};
    GOOD(cu.LaunchKernel(driver_function(driver_module(), faults[_i].kernel), 1, 1, 1, 1, 1, 1, 0,
                         NULL, values, NULL));
    driver_expect(faults[_i].code, cu.CtxSynchronize(), __FILE__, __LINE__, faults[_i].kernel);
}
END_TEST

/* ---- memory --------------------------------------------------------------------------------- */

START_TEST(memory_is_counted)
{
    size_t free_before, free_after, total;
    CUdeviceptr p, base;
    size_t size;
    setenv("SOFTCUDA_CARD", "rtx3080", 1);
    driver_open();
    GOOD(cu.MemGetInfo(&free_before, &total));
    ck_assert_uint_eq(total, (size_t)10 << 30);
    EXPECT(ERROR_INVALID_VALUE, cu.MemAlloc(&p, 0));
    EXPECT(ERROR_INVALID_VALUE, cu.MemAlloc(NULL, 4));
    EXPECT(ERROR_OUT_OF_MEMORY, cu.MemAlloc(&p, ((size_t)10 << 30) + 1));
    GOOD(cu.MemAlloc(&p, 1000));
    ck_assert_uint_eq(p % 256, 0);
    GOOD(cu.MemGetInfo(&free_after, &total));
    ck_assert_uint_ge(free_before - free_after, 1000);
    GOOD(cu.MemGetAddressRange(&base, &size, p + 999));
    ck_assert_uint_eq(base, p);
    ck_assert_uint_eq(size, 1000);
    EXPECT(ERROR_NOT_FOUND, cu.MemGetAddressRange(&base, &size, p + 1000));
    EXPECT(ERROR_INVALID_VALUE, cu.MemFree(p + 4));
    GOOD(cu.MemFree(p));
    EXPECT(ERROR_INVALID_VALUE, cu.MemFree(p));
    GOOD(cu.MemFree(0));
    GOOD(cu.MemGetInfo(&free_after, &total));
    ck_assert_uint_eq(free_after, free_before);
    GOOD(cu.MemAlloc(&p, (size_t)9 << 30)); /* more than this machine may have */
    EXPECT(ERROR_OUT_OF_MEMORY, cu.MemAlloc(&base, (size_t)2 << 30));
    GOOD(cu.MemFree(p));
}
END_TEST

START_TEST(pinned_memory_is_the_hosts_too)
{
    CUcontext context = driver_open(), owner;
    void *pinned, *host;
    CUdeviceptr address;
    unsigned type;
    static char own[64];
    GOOD(cu.MemAllocHost(&pinned, 256));
    strcpy(pinned, "written by the host");
    GOOD(cu.MemHostGetDevicePointer(&address, pinned, 0));
    EXPECT(ERROR_INVALID_VALUE, cu.MemHostGetDevicePointer(&address, own, 0));
    GOOD(cu.PointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address));
    ck_assert_uint_eq(type, CU_MEMORYTYPE_HOST);
    GOOD(cu.PointerGetAttribute(&host, CU_POINTER_ATTRIBUTE_HOST_POINTER, address));
    ck_assert_ptr_eq(host, pinned);
    GOOD(cu.PointerGetAttribute(&owner, CU_POINTER_ATTRIBUTE_CONTEXT, address));
    ck_assert_ptr_eq(owner, context);
    driver_store(driver_function(driver_module(), "store"), address, 0x6B6E6970, NULL);
    GOOD(cu.CtxSynchronize());
    ck_assert(memcmp(pinned, "pink", 4) == 0);
    EXPECT(ERROR_INVALID_VALUE, cu.MemFreeHost(own));
    EXPECT(ERROR_INVALID_VALUE, cu.MemFreeHost((char *)pinned + 1));
    GOOD(cu.MemFreeHost(pinned));
    EXPECT(ERROR_INVALID_VALUE, cu.MemFreeHost(pinned));
    EXPECT(ERROR_INVALID_VALUE, cu.PointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                                       (CUdeviceptr)(uintptr_t)own));
    GOOD(cu.MemHostRegister(own, sizeof own, 0));
    EXPECT(ERROR_HOST_MEMORY_ALREADY_REGISTERED, cu.MemHostRegister(own + 8, 8, 0));
    EXPECT(ERROR_INVALID_VALUE, cu.MemFreeHost(own));
    GOOD(cu.MemHostUnregister(own));
    EXPECT(ERROR_HOST_MEMORY_NOT_REGISTERED, cu.MemHostUnregister(own));
    EXPECT(ERROR_INVALID_VALUE, cu.MemHostAlloc(&pinned, 0, 0));
    EXPECT(ERROR_INVALID_VALUE, cu.MemHostAlloc(&pinned, 8, 64));
}
END_TEST

START_TEST(copies_stay_in_bounds)
{
    CUdeviceptr p, q;
    char bytes[64] = "0123456789abcdef0123456789abcdef", back[64] = {0};
    driver_open();
    GOOD(cu.MemAlloc(&p, 64));
    GOOD(cu.MemAlloc(&q, 64));
    GOOD(cu.MemcpyHtoD(p, bytes, 64));
    GOOD(cu.MemcpyDtoD(q + 8, p, 16));
    GOOD(cu.MemcpyDtoH(back, q + 8, 16));
    ck_assert_str_eq(back, "0123456789abcdef");
    GOOD(cu.Memcpy((CUdeviceptr)(uintptr_t)back, p + 1, 15)); /* by addresses alone */
    ck_assert_str_eq(back, "123456789abcdeff");
    EXPECT(ERROR_INVALID_VALUE, cu.MemcpyHtoD(p + 1, bytes, 64));
    EXPECT(ERROR_INVALID_VALUE, cu.MemcpyDtoH(back, p + 60, 5));
    EXPECT(ERROR_INVALID_VALUE, cu.MemcpyDtoD(p, 64, 4));
    EXPECT(ERROR_INVALID_VALUE, cu.MemcpyHtoD((CUdeviceptr)(uintptr_t)bytes, back, 4));
    EXPECT(ERROR_INVALID_VALUE, cu.MemcpyHtoD(p, NULL, 4));
    EXPECT(ERROR_INVALID_VALUE, cu.Memcpy(p, ((CUdeviceptr)1 << 48) + 1, 4));
    GOOD(cu.MemcpyHtoD(p, NULL, 0));
    GOOD(cu.MemsetD8(p, 0x11, 64));
    GOOD(cu.MemsetD16(p + 2, 0x2233, 2));
    GOOD(cu.MemsetD32(p + 8, 0x44556677, 1));
    EXPECT(ERROR_INVALID_VALUE, cu.MemsetD16(p + 1, 1, 1)); /* not aligned */
    EXPECT(ERROR_INVALID_VALUE, cu.MemsetD32(p, 1, 17));
    GOOD(cu.MemcpyDtoH(back, p, 16));
    ck_assert(
        memcmp(back, "\x11\x11\x33\x22\x33\x22\x11\x11\x77\x66\x55\x44\x11\x11\x11\x11", 16) == 0);
}
END_TEST

/* Whichever device or pinned allocation fails, its call says so and the others work. */
START_TEST(allocations_fail_when_told)
{
    char number[16];
    CUdeviceptr p = 0, q = 0;
    void *pinned = NULL;
    CUmodule module = NULL;
    static const char ptx[] = ".version 8.0\n.target sm_80\n.address_size 64\n"
                              ".visible .global .u32 counter = 3;\n";
    snprintf(number, sizeof number, "%d", _i);
    setenv("SOFTCUDA_FAIL_ALLOC", number, 1);
    driver_open();
    CUresult want[5] = {CUDA_SUCCESS};
    want[_i] = CUDA_ERROR_OUT_OF_MEMORY;
    driver_expect(want[1], cu.MemAlloc(&p, 64), __FILE__, __LINE__, "device");
    driver_expect(want[2], cu.MemAllocHost(&pinned, 64), __FILE__, __LINE__, "pinned");
    driver_expect(want[3], cu.ModuleLoadData(&module, ptx), __FILE__, __LINE__, "module");
    driver_expect(want[4], cu.MemAllocAsync(&q, 64, NULL), __FILE__, __LINE__, "asynchronous");
    if (p)
        GOOD(cu.MemFree(p));
    if (pinned)
        GOOD(cu.MemFreeHost(pinned));
    if (module)
        GOOD(cu.ModuleUnload(module));
    if (q)
        GOOD(cu.MemFreeAsync(q, NULL));
    GOOD(cu.CtxSynchronize());
    size_t free_bytes, total;
    GOOD(cu.MemGetInfo(&free_bytes, &total));
    ck_assert_uint_eq(free_bytes, total);
}
END_TEST

/* ---- launches ------------------------------------------------------------------------------- */

static CUresult launch(CUfunction function, unsigned grid, unsigned block, unsigned shared)
{
    static CUdeviceptr p;
    void *values[] = {&p};
    if (!p)
        GOOD(cu.MemAlloc(&p, 64));
    return cu.LaunchKernel(function, grid, 1, 1, block, 1, 1, shared, NULL, values, NULL);
}

START_TEST(launches_are_checked)
{
    driver_open();
    CUmodule module = driver_module();
    CUfunction limited = driver_function(module, "limited"), none;
    CUfunction dynamic = driver_function(module, "dynamic");
    CUfunction fixed = driver_function(module, "fixed"), store = driver_function(module, "store");
    int value;
    EXPECT(ERROR_NOT_FOUND, cu.ModuleGetFunction(&none, module, "absent"));
    EXPECT(ERROR_INVALID_VALUE, cu.ModuleGetFunction(NULL, module, "store"));
    EXPECT(ERROR_INVALID_HANDLE, cu.ModuleGetFunction(&none, (CUmodule)&value, "store"));
    EXPECT(ERROR_INVALID_HANDLE, launch((CUfunction)&value, 1, 1, 0));
    EXPECT(ERROR_INVALID_VALUE, launch(limited, 0, 32, 0));
    EXPECT(ERROR_INVALID_VALUE, launch(limited, 1, 0, 0));
    EXPECT(ERROR_INVALID_VALUE, launch(dynamic, 1, 1025, 0));
    GOOD(launch(limited, 1, 64, 0));
    EXPECT(ERROR_LAUNCH_OUT_OF_RESOURCES, launch(limited, 1, 65, 0));
    EXPECT(ERROR_INVALID_VALUE, launch(fixed, 1, 64, 0));
    GOOD(launch(fixed, 1, 32, 0));
    EXPECT(ERROR_INVALID_VALUE,
           cu.LaunchKernel(limited, 1, 65536, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    EXPECT(ERROR_INVALID_VALUE, cu.LaunchKernel(limited, 1, 1, 1, 1, 1, 65, 0, NULL, NULL, NULL));
    EXPECT(ERROR_INVALID_VALUE, cu.LaunchKernel(store, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    EXPECT(ERROR_INVALID_HANDLE,
           cu.LaunchKernel(store, 1, 1, 1, 1, 1, 1, 0, (CUstream)&value, NULL, NULL));
    /* Shared memory: 48 KB, more after opting in. */
    GOOD(launch(dynamic, 1, 1, 49152));
    EXPECT(ERROR_INVALID_VALUE, launch(dynamic, 1, 1, 49153));
    EXPECT(ERROR_INVALID_VALUE,
           cu.FuncSetAttribute(dynamic, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 101377));
    GOOD(cu.FuncSetAttribute(dynamic, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 101376));
    GOOD(launch(dynamic, 1, 1, 101376));
    EXPECT(ERROR_INVALID_VALUE, launch(limited, 1, 1, 49152)); /* 1 KB is static */
    EXPECT(ERROR_INVALID_VALUE,
           cu.FuncSetAttribute(limited, CU_FUNC_ATTRIBUTE_NUM_REGS, 32)); /* only to be read */
    GOOD(cu.FuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, limited));
    ck_assert_int_eq(value, 1024);
    GOOD(cu.FuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, limited));
    ck_assert_int_eq(value, 64);
    GOOD(cu.FuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_PTX_VERSION, limited));
    ck_assert_int_eq(value, 80);
    EXPECT(ERROR_INVALID_VALUE, cu.FuncGetAttribute(&value, (CUfunction_attribute)99, limited));
    GOOD(cu.CtxSynchronize());
}
END_TEST

START_TEST(parameters_come_in_two_ways)
{
    driver_open();
    CUfunction scale = driver_function(driver_module(), "scale");
    float x[100], factor = 2.0f;
    CUdeviceptr p;
    uint32_t n = 99;
    for (int i = 0; i < 100; i++)
        x[i] = (float)i;
    GOOD(cu.MemAlloc(&p, sizeof x));
    GOOD(cu.MemcpyHtoD(p, x, sizeof x));
    void *values[] = {&p, &n, &factor};
    GOOD(cu.LaunchKernel(scale, 4, 1, 1, 32, 1, 1, 0, NULL, values, NULL));
    factor = 1e30f, n = 0; /* they have been taken at the call */
    struct {
        CUdeviceptr p;
        uint32_t n;
        float factor;
    } buffer = {p, 100, 0.5f};
    size_t size = sizeof buffer;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &buffer, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
                     CU_LAUNCH_PARAM_END};
    EXPECT(ERROR_INVALID_VALUE, cu.LaunchKernel(scale, 4, 1, 1, 32, 1, 1, 0, NULL, values, extra));
    GOOD(cu.LaunchKernel(scale, 4, 1, 1, 32, 1, 1, 0, NULL, NULL, extra));
    size = 12;
    EXPECT(ERROR_INVALID_VALUE, cu.LaunchKernel(scale, 4, 1, 1, 32, 1, 1, 0, NULL, NULL, extra));
    CUlaunchAttribute attributes[] = {{.id = CU_LAUNCH_ATTRIBUTE_PRIORITY},
                                      {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION}};
    CUlaunchConfig config = {4, 1, 1, 32, 1, 1, 0, NULL, attributes, 1};
    factor = 3.0f, n = 100;
    GOOD(cu.LaunchKernelEx(&config, scale, values, NULL));
    config.numAttrs = 2;
    attributes[1].value.cluster[0] = 2;
    EXPECT(ERROR_NOT_SUPPORTED, cu.LaunchKernelEx(&config, scale, values, NULL));
    GOOD(cu.MemcpyDtoH(x, p, sizeof x));
    for (int i = 0; i < 100; i++)
        if (x[i] != (float)i * (i < 99 ? 3.0f : 1.5f))
            ck_abort_msg("x[%d] is %g", i, (double)x[i]);
}
END_TEST

/* Hand-computed from the programming guide's limits: 64 registers a thread are guessed, so that
 * 65,536 / (64 * 32) = 32 warps fit an SM. */
START_TEST(occupancy_bounds_cooperative_launches)
{
    setenv("SOFTCUDA_CARD", "rtx3080", 1);
    driver_open();
    CUmodule module = driver_module();
    CUfunction store = driver_function(module, "store"), trap = driver_function(module, "trap");
    CUfunction dynamic = driver_function(module, "dynamic");
    int blocks, size, grid;
    GOOD(cu.OccupancyMaxActiveBlocksPerMultiprocessor(&blocks, store, 256, 0));
    ck_assert_int_eq(blocks, 4); /* 8 warps of 32 */
    GOOD(cu.OccupancyMaxActiveBlocksPerMultiprocessor(&blocks, store, 32, 0));
    ck_assert_int_eq(blocks, 16); /* blocks an SM */
    GOOD(cu.OccupancyMaxActiveBlocksPerMultiprocessor(&blocks, store, 32, 49152));
    ck_assert_int_eq(blocks, 2); /* 49 KB of 100 */
    GOOD(cu.OccupancyMaxActiveBlocksPerMultiprocessor(&blocks, store, 2048, 0));
    ck_assert_int_eq(blocks, 0);
    EXPECT(ERROR_INVALID_VALUE, cu.OccupancyMaxActiveBlocksPerMultiprocessor(&blocks, store, 0, 0));
    GOOD(cu.OccupancyMaxPotentialBlockSize(&grid, &size, dynamic, NULL, 0, 0));
    ck_assert_int_eq(size, 1024);
    ck_assert_int_eq(grid, 68);
    void *none[] = {NULL};
    EXPECT(ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
           cu.LaunchCooperativeKernel(trap, 4 * 68 + 1, 1, 1, 256, 1, 1, 0, NULL, none));
    GOOD(cu.LaunchCooperativeKernel(trap, 4 * 68, 1, 1, 256, 1, 1, 0, NULL, none));
}
END_TEST

START_TEST(registers_come_from_a_file)
{
    static const char table[] = "{\"append\": {\"sm_86\": {\"registers\": 24}}, \"store\": "
                                "{\"sm_80\": {\"registers\": 24}, "
                                "\"sm_86\": {\"registers\": 40, \"spill_stores\": 8}}}";
    setenv("SOFTCUDA_RESOURCES", write_file(temporary_folder(), "r.json", table, sizeof table - 1),
           1);
    setenv("SOFTCUDA_CARD", _i ? "rtx4090" : "rtx3080", 1);
    driver_open();
    CUmodule module = driver_module();
    int registers, blocks;
    GOOD(cu.FuncGetAttribute(&registers, CU_FUNC_ATTRIBUTE_NUM_REGS,
                             driver_function(module, "store")));
    ck_assert_int_eq(registers, 40); /* sm_86 is the nearest below sm_89 */
    GOOD(cu.FuncGetAttribute(&registers, CU_FUNC_ATTRIBUTE_NUM_REGS,
                             driver_function(module, "copy")));
    ck_assert_int_eq(registers, 64); /* a guess */
    /* 24 registers would let 10 such blocks in, 1,536 threads let 6. */
    GOOD(cu.OccupancyMaxActiveBlocksPerMultiprocessor(&blocks, driver_function(module, "append"),
                                                      256, 0));
    ck_assert_int_eq(blocks, 6);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_driver");
    TCase *tests = tcase_create("driver");
    tcase_add_test(tests, nothing_works_before_init);
    tcase_add_loop_test(tests, bad_settings_are_refused, 0,
                        sizeof bad_settings / sizeof *bad_settings);
    tcase_add_test(tests, errors_have_names);
    tcase_add_test(tests, functions_are_found_by_name);
    tcase_add_test(tests, calls_outside_the_subset_say_so);
    tcase_add_loop_test(tests, cards_are_what_their_makers_say, 0, sizeof cards / sizeof *cards);
    tcase_add_test(tests, devices_that_are_not_there);
    tcase_add_test(tests, contexts_stand_on_a_stack);
    tcase_add_test(tests, a_fault_stays);
    tcase_add_loop_test(tests, faults_have_codes, 0, sizeof faults / sizeof *faults);
    tcase_add_test(tests, memory_is_counted);
    tcase_add_test(tests, pinned_memory_is_the_hosts_too);
    tcase_add_test(tests, copies_stay_in_bounds);
    tcase_add_loop_test(tests, allocations_fail_when_told, 1, 5);
    tcase_add_test(tests, launches_are_checked);
    tcase_add_test(tests, parameters_come_in_two_ways);
    tcase_add_test(tests, occupancy_bounds_cooperative_launches);
    tcase_add_loop_test(tests, registers_come_from_a_file, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
