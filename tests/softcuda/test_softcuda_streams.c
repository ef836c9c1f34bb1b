/* What the driver does later: work on streams, which shows only after a wait; order by events and
 * the legacy stream, under every seed; captures; modules, whose images come in several forms. */
#define _GNU_SOURCE
#include "tests/softcuda/driver_rig.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static CUdeviceptr device_words(size_t n)
{
    CUdeviceptr p;
    GOOD(cu.MemAlloc(&p, n * 4));
    GOOD(cu.MemsetD32(p, 0, n));
    GOOD(cu.CtxSynchronize());
    return p;
}

static uint32_t *pinned_words(size_t n)
{
    void *pinned;
    GOOD(cu.MemAllocHost(&pinned, n * 4));
    memset(pinned, 0, n * 4);
    return pinned;
}

static void open_shuffled(int seed)
{
    char number[16];
    snprintf(number, sizeof number, "%d", seed);
    setenv("SOFTCUDA_ORDER", "shuffled", 1);
    setenv("SOFTCUDA_SEED", number, 1);
    driver_open();
}

/* ---- what is seen when ---------------------------------------------------------------------- */

START_TEST(nothing_shows_before_a_wait)
{
    driver_open();
    CUfunction store = driver_function(driver_module(), "store");
    CUstream stream;
    CUdeviceptr p = device_words(1);
    uint32_t *pinned = pinned_words(1), pageable = 0;
    GOOD(cu.StreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    driver_store(store, p, 7, stream);
    GOOD(cu.MemcpyDtoHAsync(pinned, p, 4, stream));
    ck_assert_uint_eq(*pinned, 0);
    GOOD(cu.StreamSynchronize(stream));
    ck_assert_uint_eq(*pinned, 7);
    /* A blocking copy runs on the legacy stream: a non-blocking one need not be done. */
    driver_store(store, p, 8, stream);
    GOOD(cu.MemcpyDtoH(&pageable, p, 4));
    ck_assert_uint_eq(pageable, 7);
    /* To pageable memory the call returns with the copy done, and all before it. */
    GOOD(cu.MemcpyDtoHAsync(&pageable, p, 4, stream));
    ck_assert_uint_eq(pageable, 8);
}
END_TEST

START_TEST(sources_are_read_when_the_manual_says)
{
    driver_open();
    CUstream stream;
    CUdeviceptr p = device_words(1), q = device_words(1);
    uint32_t *pinned = pinned_words(1), pageable = 1, got;
    GOOD(cu.StreamCreate(&stream, 0));
    *pinned = 1;
    GOOD(cu.MemcpyHtoDAsync(p, pinned, 4, stream));
    GOOD(cu.MemcpyHtoDAsync(q, &pageable, 4, stream));
    *pinned = pageable = 2; /* too early for the first, late enough for the second */
    GOOD(cu.StreamSynchronize(stream));
    GOOD(cu.MemcpyDtoH(&got, p, 4));
    ck_assert_uint_eq(got, 2);
    GOOD(cu.MemcpyDtoH(&got, q, 4));
    ck_assert_uint_eq(got, 1);
}
END_TEST

START_TEST(queries_bring_work_on)
{
    driver_open();
    CUfunction store = driver_function(driver_module(), "store");
    CUstream stream;
    CUevent event;
    CUdeviceptr p = device_words(1);
    GOOD(cu.StreamCreate(&stream, 0));
    GOOD(cu.EventCreate(&event, 0));
    GOOD(cu.EventQuery(event)); /* never recorded: as if it were done */
    GOOD(cu.StreamQuery(stream));
    for (uint32_t i = 0; i < 3; i++)
        driver_store(store, p, i, stream);
    GOOD(cu.EventRecord(event, stream));
    EXPECT(ERROR_NOT_READY, cu.EventQuery(event));
    int n = 0;
    while (cu.StreamQuery(stream) == CUDA_ERROR_NOT_READY)
        n++;
    ck_assert_int_eq(n, 3);
    GOOD(cu.EventQuery(event));
}
END_TEST

START_TEST(a_full_queue_runs)
{
    driver_open();
    CUfunction append = driver_function(driver_module(), "append");
    CUdeviceptr p = device_words(3001);
    CUstream stream;
    static uint32_t got[3001];
    GOOD(cu.StreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    for (uint32_t i = 0; i < 3000; i++)
        driver_store(append, p, i, stream);
    GOOD(cu.MemcpyDtoH(got, p, 4));
    ck_assert_uint_eq(got[0], 3000 - 1024);
    GOOD(cu.StreamDestroy(stream)); /* what waits still runs */
    GOOD(cu.CtxSynchronize());
    GOOD(cu.MemcpyDtoH(got, p, sizeof got));
    for (uint32_t i = 0; i < 3000; i++)
        if (got[i + 1] != i)
            ck_abort_msg("%u came as number %u", got[i + 1], i);
}
END_TEST

/* ---- order ---------------------------------------------------------------------------------- */

/* A mask of the orders seen of two appends: 1 is a before b, 2 is b before a. */
static int order_of(CUdeviceptr p)
{
    uint32_t got[3];
    GOOD(cu.CtxSynchronize());
    GOOD(cu.MemcpyDtoH(got, p, sizeof got));
    ck_assert_uint_eq(got[0], 2);
    return got[1] == 'a' ? 1 : 2;
}

START_TEST(streams_have_no_order_but_by_events)
{
    CUstream a, b;
    CUevent event;
    open_shuffled(_i);
    CUfunction append = driver_function(driver_module(), "append");
    GOOD(cu.StreamCreate(&a, 0));
    GOOD(cu.StreamCreate(&b, 0));
    GOOD(cu.EventCreate(&event, CU_EVENT_DISABLE_TIMING));
    int orders = 0;
    for (int i = 0; i < 40; i++) {
        CUdeviceptr p = device_words(3), q = device_words(3), r = device_words(3);
        driver_store(append, p, 'a', a);
        driver_store(append, p, 'b', b);
        orders |= order_of(p);
        /* By an event. */
        driver_store(append, q, 'a', a);
        GOOD(cu.EventRecord(event, a));
        GOOD(cu.StreamWaitEvent(b, event, 0));
        driver_store(append, q, 'b', b);
        ck_assert_int_eq(order_of(q), 1);
        /* By the legacy stream, which both block on. */
        driver_store(append, r, 'a', b);
        driver_store(append, r, 'b', NULL);
        ck_assert_int_eq(order_of(r), 1);
    }
    ck_assert_int_eq(orders, 3);
}
END_TEST

START_TEST(the_legacy_stream_is_waited_for)
{
    CUstream blocking, other;
    open_shuffled(_i);
    CUfunction append = driver_function(driver_module(), "append");
    GOOD(cu.StreamCreate(&blocking, 0));
    GOOD(cu.StreamCreate(&other, CU_STREAM_NON_BLOCKING));
    int orders = 0;
    for (int i = 0; i < 40; i++) {
        CUdeviceptr p = device_words(3), q = device_words(3);
        driver_store(append, p, 'a', NULL);
        driver_store(append, p, 'b', blocking);
        ck_assert_int_eq(order_of(p), 1);
        driver_store(append, q, 'a', NULL);
        driver_store(append, q, 'b', other);
        orders |= order_of(q);
    }
    ck_assert_int_eq(orders, 3);
}
END_TEST

/* ---- events and host functions -------------------------------------------------------------- */

START_TEST(events_have_times)
{
    driver_open();
    CUfunction store = driver_function(driver_module(), "store");
    CUdeviceptr p = device_words(1);
    CUevent first, last, untimed;
    float milliseconds = -1;
    GOOD(cu.EventCreate(&first, CU_EVENT_DEFAULT));
    GOOD(cu.EventCreate(&last, CU_EVENT_DEFAULT));
    GOOD(cu.EventCreate(&untimed, CU_EVENT_DISABLE_TIMING));
    EXPECT(ERROR_INVALID_VALUE, cu.EventCreate(&first, 64));
    EXPECT(ERROR_INVALID_HANDLE, cu.EventElapsedTime(&milliseconds, first, last));
    GOOD(cu.EventRecord(first, NULL));
    driver_store(store, p, 1, NULL);
    GOOD(cu.EventRecord(last, NULL));
    GOOD(cu.EventRecord(untimed, NULL));
    EXPECT(ERROR_NOT_READY, cu.EventElapsedTime(&milliseconds, first, last));
    GOOD(cu.EventSynchronize(last));
    GOOD(cu.EventElapsedTime(&milliseconds, first, last));
    ck_assert(milliseconds >= 0 && milliseconds < 60e3f);
    EXPECT(ERROR_INVALID_HANDLE, cu.EventElapsedTime(&milliseconds, first, untimed));
    GOOD(cu.EventDestroy(first));
    EXPECT(ERROR_INVALID_HANDLE, cu.EventDestroy(first));
    EXPECT(ERROR_INVALID_HANDLE, cu.EventRecord(first, NULL));
    EXPECT(ERROR_INVALID_HANDLE, cu.StreamSynchronize((CUstream)last));
    CUstream stream;
    int priority;
    EXPECT(ERROR_INVALID_VALUE, cu.StreamCreate(&stream, 8));
    GOOD(cu.StreamCreateWithPriority(&stream, 0, -100));
    GOOD(cu.StreamGetPriority(stream, &priority));
    ck_assert_int_eq(priority, -5);
    GOOD(cu.StreamDestroy(stream));
    EXPECT(ERROR_INVALID_HANDLE, cu.StreamDestroy(stream));
}
END_TEST

static void note(void *data)
{
    uint32_t *words = data;
    words[1] = words[0];
}

START_TEST(host_functions_run_in_their_turn)
{
    driver_open();
    CUfunction store = driver_function(driver_module(), "store");
    uint32_t *pinned = pinned_words(2);
    driver_store(store, (CUdeviceptr)(uintptr_t)pinned, 5, NULL);
    GOOD(cu.LaunchHostFunc(NULL, note, pinned));
    driver_store(store, (CUdeviceptr)(uintptr_t)pinned, 6, NULL);
    ck_assert_uint_eq(pinned[1], 0);
    GOOD(cu.CtxSynchronize());
    ck_assert_uint_eq(pinned[0], 6);
    ck_assert_uint_eq(pinned[1], 5);
}
END_TEST

/* ---- captures ------------------------------------------------------------------------------- */

/* Two streams in one capture; the graph runs in any order that keeps what was waited for. */
START_TEST(captures_become_graphs)
{
    CUstream a, b;
    CUevent fork, join;
    CUgraph graph;
    CUgraphExec executable;
    CUstreamCaptureStatus status;
    size_t n;
    open_shuffled(_i);
    CUfunction append = driver_function(driver_module(), "append");
    CUdeviceptr p = device_words(64);
    uint32_t got[64];
    GOOD(cu.StreamCreate(&a, 0));
    GOOD(cu.StreamCreate(&b, 0));
    GOOD(cu.EventCreate(&fork, CU_EVENT_DISABLE_TIMING));
    GOOD(cu.EventCreate(&join, CU_EVENT_DISABLE_TIMING));
    GOOD(cu.StreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    driver_store(append, p, 1, a);
    GOOD(cu.EventRecord(fork, a));
    GOOD(cu.StreamWaitEvent(b, fork, 0));
    GOOD(cu.StreamIsCapturing(b, &status));
    ck_assert_int_eq(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
    driver_store(append, p, 2, a);
    driver_store(append, p, 3, b);
    GOOD(cu.EventRecord(join, b));
    GOOD(cu.StreamWaitEvent(a, join, 0));
    driver_store(append, p, 4, a);
    EXPECT(ERROR_CAPTURED_EVENT, cu.EventQuery(join));
    GOOD(cu.StreamEndCapture(a, &graph));
    GOOD(cu.StreamIsCapturing(b, &status));
    ck_assert_int_eq(status, CU_STREAM_CAPTURE_STATUS_NONE);
    GOOD(cu.GraphGetNodes(graph, NULL, &n));
    ck_assert_uint_eq(n, 4);
    GOOD(cu.MemcpyDtoH(got, p, 4));
    ck_assert_uint_eq(got[0], 0); /* nothing has run */
    GOOD(cu.GraphInstantiateWithFlags(&executable, graph, 0));
    GOOD(cu.GraphDestroy(graph)); /* the executable keeps what it needs */
    int orders = 0;
    for (int i = 0; i < 15; i++)
        GOOD(cu.GraphLaunch(executable, b));
    GOOD(cu.StreamSynchronize(b));
    GOOD(cu.MemcpyDtoH(got, p, sizeof got));
    ck_assert_uint_eq(got[0], 60);
    for (int i = 0; i < 15; i++) {
        const uint32_t *four = got + 1 + 4 * i;
        ck_assert_uint_eq(four[0], 1);
        ck_assert_uint_eq(four[1] + four[2], 5);
        ck_assert_uint_eq(four[3], 4);
        orders |= four[1] == 2 ? 1 : 2;
    }
    ck_assert_int_eq(orders, 3);
    GOOD(cu.GraphExecDestroy(executable));
    EXPECT(ERROR_INVALID_VALUE, cu.GraphExecDestroy(executable));
}
END_TEST

static CUstream begin_capture(CUstreamCaptureMode mode)
{
    CUstream stream;
    GOOD(cu.StreamCreate(&stream, 0));
    GOOD(cu.StreamBeginCapture(stream, mode));
    return stream;
}

START_TEST(captures_forbid_waits)
{
    driver_open();
    CUfunction store = driver_function(driver_module(), "store");
    CUdeviceptr p = device_words(1), q;
    CUgraph graph;
    CUevent event, outside;
    CUstream stream, other;
    GOOD(cu.EventCreate(&event, 0));
    GOOD(cu.EventCreate(&outside, 0));
    GOOD(cu.StreamCreate(&other, CU_STREAM_NON_BLOCKING));
    EXPECT(ERROR_STREAM_CAPTURE_UNSUPPORTED, cu.StreamBeginCapture(NULL, 0));
    EXPECT(ERROR_ILLEGAL_STATE, cu.StreamEndCapture(other, &graph));

    stream = begin_capture(CU_STREAM_CAPTURE_MODE_GLOBAL);
    EXPECT(ERROR_ILLEGAL_STATE, cu.StreamBeginCapture(stream, 0));
    EXPECT(ERROR_STREAM_CAPTURE_UNSUPPORTED, cu.StreamSynchronize(stream));
    EXPECT(ERROR_STREAM_CAPTURE_INVALIDATED, cu.StreamEndCapture(stream, &graph));
    ck_assert_ptr_null(graph);

    stream = begin_capture(CU_STREAM_CAPTURE_MODE_GLOBAL);
    EXPECT(ERROR_STREAM_CAPTURE_UNSUPPORTED, cu.MemAlloc(&q, 4));
    EXPECT(ERROR_STREAM_CAPTURE_INVALIDATED, cu.StreamEndCapture(stream, &graph));

    stream = begin_capture(CU_STREAM_CAPTURE_MODE_RELAXED);
    GOOD(cu.MemAlloc(&q, 4));
    driver_store(store, p, 1, stream);
    GOOD(cu.StreamEndCapture(stream, &graph));

    /* The legacy stream would have to wait for what only is written down. */
    stream = begin_capture(CU_STREAM_CAPTURE_MODE_RELAXED);
    void *values[] = {&p, &(uint32_t){1}};
    EXPECT(ERROR_STREAM_CAPTURE_IMPLICIT,
           cu.LaunchKernel(store, 1, 1, 1, 1, 1, 1, 0, NULL, values, NULL));
    cu.StreamEndCapture(stream, &graph);

    stream = begin_capture(CU_STREAM_CAPTURE_MODE_GLOBAL);
    GOOD(cu.EventRecord(event, stream));
    GOOD(cu.StreamWaitEvent(other, event, 0));
    driver_store(store, p, 1, other);
    EXPECT(ERROR_STREAM_CAPTURE_UNMATCHED, cu.StreamEndCapture(other, &graph));
    EXPECT(ERROR_STREAM_CAPTURE_UNJOINED, cu.StreamEndCapture(stream, &graph));

    driver_store(store, p, 1, other);
    GOOD(cu.EventRecord(outside, other));
    stream = begin_capture(CU_STREAM_CAPTURE_MODE_GLOBAL);
    EXPECT(ERROR_STREAM_CAPTURE_ISOLATION, cu.StreamWaitEvent(stream, outside, 0));
    EXPECT(ERROR_STREAM_CAPTURE_INVALIDATED, cu.StreamEndCapture(stream, &graph));
    GOOD(cu.CtxSynchronize());
}
END_TEST

/* ---- modules -------------------------------------------------------------------------------- */

#define HEAD ".version 8.0\n.target sm_80\n.address_size 64\n"

static const struct {
    const char *ptx;
    CUresult code;
    const char *words; /* in the error log */
} bad_modules[] = {
    {HEAD "nonsense", CUDA_ERROR_INVALID_PTX, "line 4"},
    {HEAD ".visible .entry k() {\n.reg .b32 %r<2>;\nfrobnicate.b32 %r1, %r1;\nret; }",
     CUDA_ERROR_INVALID_PTX, "line 6"},
    {HEAD ".visible .entry k() {\n.reg .b32 %r<2>;\nfrobnicate.b32 %r1, %r1;\nret; }",
     CUDA_ERROR_INVALID_PTX, "frobnicate"},
    {".version 9.9\n.target sm_80\n.address_size 64\n", CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "9.9"},
    {".version 8.0\n.target sm_90\n.address_size 64\n", CUDA_ERROR_INVALID_PTX,
     "build it with nvcc -arch=compute_89, or run it on the card h100"},
    {HEAD ".extern .global .u32 elsewhere;\n", CUDA_ERROR_INVALID_PTX, "elsewhere"},
    {HEAD ".visible .entry k() { .shared .b8 x[49153]; ret; }", CUDA_ERROR_INVALID_PTX, "49168"},
    {"\x7f"
     "ELF\x02\x01\x01",
     CUDA_ERROR_NO_BINARY_FOR_GPU, "PTX"},
    {"\x01\x02\x03\x04", CUDA_ERROR_INVALID_IMAGE, "neither"},
};

START_TEST(bad_modules_say_why)
{
    char log[256] = "";
    CUmodule module;
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)sizeof log};
    driver_open();
    driver_expect(bad_modules[_i].code,
                  cu.ModuleLoadDataEx(&module, bad_modules[_i].ptx, 2, options, values), __FILE__,
                  __LINE__, bad_modules[_i].ptx);
    ck_assert_msg(strstr(log, bad_modules[_i].words) != NULL, "the log has no '%s': %s",
                  bad_modules[_i].words, log);
    ck_assert_uint_eq((size_t)values[1], strlen(log));
    /* Nothing stays behind. */
    size_t free_bytes, total;
    GOOD(cu.MemGetInfo(&free_bytes, &total));
    ck_assert_uint_eq(free_bytes, total);
}
END_TEST

START_TEST(variables_have_memory)
{
    static const char ptx[] =
        HEAD ".visible .global .align 4 .u32 counter = 41;\n"
             ".visible .const .align 4 .f32 table[3] = {0f3F800000, 0f40000000, 0f40400000};\n"
             ".visible .global .align 8 .u64 where[2] = {generic(counter), 0};\n"
             ".visible .entry bump() {\n.reg .b64 %rd<2>; .reg .b32 %r<2>;\n"
             "ld.global.u64 %rd1, [where]; ld.u32 %r1, [%rd1]; add.u32 %r1, %r1, 1;\n"
             "st.global.u32 [counter], %r1; ret; }\n";
    CUdeviceptr counter, table, where;
    CUmodule module;
    CUlibrary library;
    CUkernel kernel;
    CUfunction bump;
    size_t size;
    uint32_t value;
    uint64_t pointer;
    float floats[3];
    unsigned n;
    driver_open();
    GOOD(cu.ModuleLoadData(&module, ptx));
    GOOD(cu.ModuleGetFunctionCount(&n, module));
    ck_assert_uint_eq(n, 1);
    GOOD(cu.ModuleGetGlobal(&counter, &size, module, "counter"));
    ck_assert_uint_eq(size, 4);
    GOOD(cu.ModuleGetGlobal(&table, &size, module, "table"));
    ck_assert_uint_eq(size, 12);
    GOOD(cu.ModuleGetGlobal(&where, NULL, module, "where"));
    EXPECT(ERROR_NOT_FOUND, cu.ModuleGetGlobal(&where, &size, module, "absent"));
    GOOD(cu.MemcpyDtoH(floats, table, sizeof floats));
    ck_assert(floats[0] == 1 && floats[1] == 2 && floats[2] == 3);
    GOOD(cu.MemcpyDtoH(&pointer, where, 8));
    ck_assert_uint_eq(pointer, counter);
    EXPECT(ERROR_INVALID_VALUE, cu.MemFree(counter)); /* the module's own */
    bump = driver_function(module, "bump");
    GOOD(cu.LaunchKernel(bump, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    GOOD(cu.MemcpyDtoH(&value, counter, 4));
    ck_assert_uint_eq(value, 42);
    GOOD(cu.ModuleUnload(module));
    EXPECT(ERROR_INVALID_HANDLE, cu.ModuleUnload(module));
    EXPECT(ERROR_INVALID_HANDLE, cu.LaunchKernel(bump, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    GOOD(cu.LibraryLoadData(&library, ptx, NULL, NULL, 0, NULL, NULL, 0));
    GOOD(cu.LibraryGetKernel(&kernel, library, "bump"));
    GOOD(cu.KernelGetFunction(&bump, kernel));
    GOOD(cu.LibraryUnload(library));
}
END_TEST

/* ---- fat binaries --------------------------------------------------------------------------- */

/* One with an entry after another, as nvcc writes them: kind 1 is PTX, 2 machine code. */
struct fatbin {
    unsigned char bytes[4096];
    size_t size;
};

static void put(struct fatbin *fatbin, size_t at, uint64_t value, int n)
{
    for (int i = 0; i < n; i++)
        fatbin->bytes[at + (size_t)i] = (unsigned char)(value >> 8 * i);
}

static void add_entry(struct fatbin *fatbin, int kind, int architecture, bool compressed,
                      const char *text)
{
    size_t padded = (strlen(text) + 8) / 8 * 8, at = fatbin->size ? fatbin->size : 16;
    put(fatbin, 0, 0xBA55ED50, 4);
    put(fatbin, 4, 1, 2);
    put(fatbin, 6, 16, 2);
    put(fatbin, at, (uint64_t)kind, 2);
    put(fatbin, at + 2, 0x101, 2);
    put(fatbin, at + 4, 64, 4);
    put(fatbin, at + 8, padded, 8);
    put(fatbin, at + 16, compressed ? strlen(text) : 0, 4);
    put(fatbin, at + 28, (uint64_t)architecture, 4);
    memcpy(fatbin->bytes + at + 64, text, strlen(text));
    fatbin->size = at + 64 + padded;
    put(fatbin, 8, fatbin->size - 16, 8);
}

#define ENTRY(name) HEAD ".visible .entry " name "() { ret; }\n"

START_TEST(fat_binaries_hold_ptx)
{
    struct fatbin fatbin = {.size = 0};
    CUmodule module;
    CUfunction function;
    driver_open(); /* sm_89 */
    add_entry(&fatbin, 2, 89, false,
              "\x7f"
              "ELF");
    EXPECT(ERROR_NO_BINARY_FOR_GPU, cu.ModuleLoadData(&module, fatbin.bytes));
    add_entry(&fatbin, 1, 90, false, ENTRY("of_90"));
    EXPECT(ERROR_NO_BINARY_FOR_GPU, cu.ModuleLoadData(&module, fatbin.bytes));
    add_entry(&fatbin, 1, 89, true, "compressed");
    EXPECT(ERROR_NO_BINARY_FOR_GPU, cu.ModuleLoadFatBinary(&module, fatbin.bytes));
    add_entry(&fatbin, 1, 80, false, ENTRY("of_80"));
    add_entry(&fatbin, 1, 86, false, ENTRY("of_86"));
    add_entry(&fatbin, 1, 75, false, ENTRY("of_75"));
    GOOD(cu.ModuleLoadData(&module, fatbin.bytes));
    GOOD(cu.ModuleGetFunction(&function, module, "of_86"));
    EXPECT(ERROR_NOT_FOUND, cu.ModuleGetFunction(&function, module, "of_80"));
    /* nvcc's symbol is a wrapper that points to it. */
    struct {
        uint32_t magic, version;
        const void *data, *file;
    } wrapper = {0x466243B1, 1, fatbin.bytes, NULL};
    GOOD(cu.ModuleLoadFatBinary(&module, &wrapper));
    const char *path = write_file(temporary_folder(), "k.fatbin", fatbin.bytes, fatbin.size);
    GOOD(cu.ModuleLoad(&module, path));
    EXPECT(ERROR_FILE_NOT_FOUND, cu.ModuleLoad(&module, "/absent.fatbin"));
    /* Files that end early. */
    path = write_file(temporary_folder(), "k.fatbin", fatbin.bytes, fatbin.size - 1);
    EXPECT(ERROR_INVALID_IMAGE, cu.ModuleLoad(&module, path));
    path = write_file(temporary_folder(), "k.fatbin", fatbin.bytes, 10);
    EXPECT(ERROR_INVALID_IMAGE, cu.ModuleLoad(&module, path));
    path = write_file(temporary_folder(), "k.fatbin", "", 0);
    EXPECT(ERROR_INVALID_IMAGE, cu.ModuleLoad(&module, path));
    put(&fatbin, 16 + 8, 1 << 20, 8); /* an entry beyond the end */
    EXPECT(ERROR_INVALID_IMAGE, cu.ModuleLoadData(&module, fatbin.bytes));
}
END_TEST

/* ---- threads -------------------------------------------------------------------------------- */

static CUcontext shared_context;
static CUfunction shared_function;

static void *use_driver(void *argument)
{
    CUdeviceptr p;
    CUstream stream;
    uint32_t got, seed = *(uint32_t *)argument;
    if (cu.CtxSetCurrent(shared_context) || cu.StreamCreate(&stream, CU_STREAM_NON_BLOCKING))
        return "it could not begin";
    for (uint32_t i = 0; i < 50; i++) {
        uint32_t value = seed * 1000 + i;
        void *values[] = {&p, &value};
        if (cu.MemAlloc(&p, 4) ||
            cu.LaunchKernel(shared_function, 1, 1, 1, 1, 1, 1, 0, stream, values, NULL) ||
            cu.StreamSynchronize(stream) || cu.MemcpyDtoH(&got, p, 4) || cu.MemFree(p))
            return "a call failed";
        if (got != value)
            return "it read what another thread wrote";
    }
    return cu.StreamDestroy(stream) ? "the stream stayed" : NULL;
}

START_TEST(any_thread_may_call)
{
    pthread_t threads[4];
    uint32_t seeds[4] = {1, 2, 3, 4};
    void *complaint;
    shared_context = driver_open();
    shared_function = driver_function(driver_module(), "store");
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, use_driver, &seeds[i]), 0);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_join(threads[i], &complaint), 0);
        ck_assert_msg(!complaint, "%s", (char *)complaint);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_streams");
    TCase *tests = tcase_create("streams");
    tcase_add_test(tests, nothing_shows_before_a_wait);
    tcase_add_test(tests, sources_are_read_when_the_manual_says);
    tcase_add_test(tests, queries_bring_work_on);
    tcase_add_test(tests, a_full_queue_runs);
    tcase_add_loop_test(tests, streams_have_no_order_but_by_events, 0, 4);
    tcase_add_loop_test(tests, the_legacy_stream_is_waited_for, 0, 4);
    tcase_add_test(tests, events_have_times);
    tcase_add_test(tests, host_functions_run_in_their_turn);
    tcase_add_loop_test(tests, captures_become_graphs, 0, 4);
    tcase_add_test(tests, captures_forbid_waits);
    tcase_add_loop_test(tests, bad_modules_say_why, 0, sizeof bad_modules / sizeof *bad_modules);
    tcase_add_test(tests, variables_have_memory);
    tcase_add_test(tests, fat_binaries_hold_ptx);
    tcase_add_test(tests, any_thread_may_call);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
