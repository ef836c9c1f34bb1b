/* Codes that the driver API's reference (CUDA Driver API 13, "Modules") names for calls at odds
 * with their surroundings: gone contexts, captures next door, flags out of place. Each quotes it.
 */
#include "tests/softcuda/driver_rig.h"

#include <string.h>

/* cuCtxDestroy: "attempting to access ctx from those threads will result in the error
 * CUDA_ERROR_CONTEXT_IS_DESTROYED". cuda.h, of that code: "the context current to the calling
 * thread has been destroyed using cuCtxDestroy, or is a primary context which has not yet been
 * initialized". */
START_TEST(a_context_that_is_gone)
{
    CUcontext primary = driver_open(), own, current;
    CUdeviceptr p;
    CUdevice device;
    CUstream stream;
    GOOD(cu.CtxCreate(&own, 0, 0));
    GOOD(cu.CtxPushCurrent(primary));
    GOOD(cu.CtxDestroy(own)); /* below the top: not popped */
    GOOD(cu.MemAlloc(&p, 4));
    GOOD(cu.CtxPopCurrent(&current));
    ck_assert_ptr_eq(current, primary);
    EXPECT(ERROR_CONTEXT_IS_DESTROYED, cu.MemAlloc(&p, 4));
    EXPECT(ERROR_CONTEXT_IS_DESTROYED, cu.StreamCreate(&stream, 0));
    EXPECT(ERROR_CONTEXT_IS_DESTROYED, cu.CtxGetDevice(&device));
    GOOD(cu.CtxGetCurrent(&current)); /* it is still bound */
    ck_assert_ptr_eq(current, own);
    GOOD(cu.CtxPopCurrent(&current));
    GOOD(cu.MemFree(p));
    GOOD(cu.CtxSetCurrent(NULL));
    EXPECT(ERROR_INVALID_CONTEXT, cu.CtxGetDevice(&device));
    GOOD(cu.CtxGetCurrent(&current)); /* "*pctx is set to NULL and CUDA_SUCCESS is returned" */
    ck_assert_ptr_null(current);
}
END_TEST

/* cuStreamIsCapturing: "if this is called on CU_STREAM_LEGACY while a blocking stream in the same
 * context is capturing, it will return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT [...] The blocking stream
 * capture is not invalidated". */
START_TEST(the_legacy_stream_beside_a_capture)
{
    CUstream stream, apart;
    CUgraph graph;
    CUstreamCaptureStatus status;
    driver_open();
    GOOD(cu.StreamCreate(&stream, CU_STREAM_DEFAULT));
    GOOD(cu.StreamCreate(&apart, CU_STREAM_NON_BLOCKING));
    GOOD(cu.StreamIsCapturing(NULL, &status));
    ck_assert_int_eq(status, CU_STREAM_CAPTURE_STATUS_NONE);
    GOOD(cu.StreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    EXPECT(ERROR_STREAM_CAPTURE_IMPLICIT, cu.StreamIsCapturing(NULL, &status));
    EXPECT(ERROR_STREAM_CAPTURE_IMPLICIT, cu.StreamIsCapturing(CU_STREAM_LEGACY, &status));
    GOOD(cu.StreamIsCapturing(stream, &status));
    ck_assert_int_eq(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
    GOOD(cu.StreamEndCapture(stream, &graph));
    GOOD(cu.GraphDestroy(graph));
    GOOD(cu.StreamBeginCapture(apart, CU_STREAM_CAPTURE_MODE_RELAXED));
    GOOD(cu.StreamIsCapturing(NULL, &status)); /* which it need not wait for */
    ck_assert_int_eq(status, CU_STREAM_CAPTURE_STATUS_NONE);
    GOOD(cu.StreamEndCapture(apart, &graph));
}
END_TEST

/* CU_EVENT_RECORD_EXTERNAL and CU_EVENT_WAIT_EXTERNAL, 1 both: "This flag is invalid outside of
 * stream capture". */
START_TEST(external_events_outside_a_capture)
{
    CUstream stream;
    CUevent event;
    CUgraph graph;
    driver_open();
    GOOD(cu.StreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    GOOD(cu.EventCreate(&event, CU_EVENT_DISABLE_TIMING));
    GOOD(cu.EventRecordWithFlags(event, stream, 0));
    EXPECT(ERROR_INVALID_VALUE, cu.EventRecordWithFlags(event, stream, 1));
    EXPECT(ERROR_INVALID_VALUE, cu.EventRecordWithFlags(event, stream, 2));
    EXPECT(ERROR_INVALID_VALUE, cu.StreamWaitEvent(stream, event, 1));
    GOOD(cu.StreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    EXPECT(ERROR_NOT_SUPPORTED, cu.EventRecordWithFlags(event, stream, 1)); /* not by softcuda */
    EXPECT(ERROR_NOT_SUPPORTED, cu.StreamWaitEvent(stream, event, 1));
    GOOD(cu.StreamEndCapture(stream, &graph));
}
END_TEST

/* cuGraphInstantiate names its flags: 1, 4 and 8; 4 "cannot be used in conjunction with" 1; 2 is
 * "only supported by cuGraphInstantiateWithParams" (cuda.h). */
START_TEST(flags_of_graphs)
{
    CUstream stream;
    CUgraph graph;
    CUgraphExec executable;
    driver_open();
    GOOD(cu.StreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    GOOD(cu.StreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    GOOD(cu.StreamEndCapture(stream, &graph));
    for (unsigned long long flags = 0; flags < 32; flags++) {
        CUresult want = flags & 2 || flags & 16 || (flags & 5) == 5 ? CUDA_ERROR_INVALID_VALUE
                        : flags & 4 ? CUDA_ERROR_NOT_SUPPORTED /* launches by the device */
                                    : CUDA_SUCCESS;
        driver_expect(want, cu.GraphInstantiateWithFlags(&executable, graph, flags), __FILE__,
                      __LINE__, "cuGraphInstantiateWithFlags");
        if (!want)
            GOOD(cu.GraphExecDestroy(executable));
    }
    EXPECT(ERROR_INVALID_VALUE, cu.GraphInstantiateWithFlags(NULL, graph, 0));
    EXPECT(ERROR_INVALID_VALUE, cu.GraphInstantiateWithFlags(&executable, (CUgraph)stream, 0));
    EXPECT(ERROR_INVALID_VALUE, cu.GraphLaunch((CUgraphExec)graph, stream));
}
END_TEST

/* cuMemcpyHtoD and its like: "Memory regions spanning over allocations that are both registered and
 * not registered with CUDA are not supported and will return CUDA_ERROR_INVALID_VALUE". */
START_TEST(copies_over_the_edge_of_pinned_memory)
{
    static char host[192];
    CUdeviceptr p;
    CUstream stream;
    driver_open();
    GOOD(cu.StreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    GOOD(cu.MemAlloc(&p, 192));
    GOOD(cu.MemHostRegister(host + 64, 64, 0));
    GOOD(cu.MemcpyHtoD(p, host + 64, 64));
    GOOD(cu.MemcpyHtoD(p, host, 64));
    GOOD(cu.MemcpyHtoD(p, host + 128, 64));
    EXPECT(ERROR_INVALID_VALUE, cu.MemcpyHtoD(p, host, 65));
    EXPECT(ERROR_INVALID_VALUE, cu.MemcpyHtoD(p, host, 192));
    EXPECT(ERROR_INVALID_VALUE, cu.MemcpyHtoD(p, host + 64, 65));
    EXPECT(ERROR_INVALID_VALUE, cu.MemcpyDtoH(host, p, 192));
    EXPECT(ERROR_INVALID_VALUE, cu.MemcpyDtoHAsync(host + 63, p, 2, stream));
    GOOD(cu.MemHostUnregister(host + 64));
    GOOD(cu.MemcpyHtoD(p, host, 192));
}
END_TEST

/* Null pointers for results, and a device that is not there: CUDA_ERROR_INVALID_VALUE and
 * CUDA_ERROR_INVALID_DEVICE stand in the list of each. */
START_TEST(results_with_no_place)
{
    size_t bytes;
    int value;
    const char *text;
    CUmodule module;
    driver_load();
    EXPECT(ERROR_INVALID_VALUE, cu.DriverGetVersion(NULL));
    EXPECT(ERROR_INVALID_VALUE, cu.GetErrorName(CUDA_SUCCESS, NULL));
    EXPECT(ERROR_INVALID_VALUE, cu.GetErrorString((CUresult)12345, &text));
    ck_assert_ptr_null(text); /* "*pStr will be set to the NULL address" */
    EXPECT(ERROR_NOT_INITIALIZED, cu.ModuleLoadData(&module, driver_ptx));
    EXPECT(ERROR_NOT_INITIALIZED, cu.CtxSetCurrent(NULL));
    EXPECT(ERROR_NOT_INITIALIZED, cu.StreamSynchronize(NULL));
    driver_open();
    EXPECT(ERROR_INVALID_VALUE, cu.DeviceGetCount(NULL));
    EXPECT(ERROR_INVALID_VALUE, cu.DeviceGetAttribute(NULL, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0));
    EXPECT(ERROR_INVALID_DEVICE, cu.DeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 7));
    EXPECT(ERROR_INVALID_DEVICE, cu.DeviceTotalMem(&bytes, -1));
    EXPECT(ERROR_INVALID_VALUE, cu.DevicePrimaryCtxRetain(NULL, 0));
    EXPECT(ERROR_INVALID_VALUE, cu.ModuleLoadData(NULL, driver_ptx));
    EXPECT(ERROR_INVALID_VALUE, cu.ModuleLoadData(&module, NULL));
    EXPECT(ERROR_INVALID_VALUE, cu.StreamCreate(NULL, 0));
    EXPECT(ERROR_INVALID_VALUE, cu.EventCreate(NULL, 0));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_returns");
    TCase *tests = tcase_create("codes");
    tcase_add_test(tests, a_context_that_is_gone);
    tcase_add_test(tests, the_legacy_stream_beside_a_capture);
    tcase_add_test(tests, external_events_outside_a_capture);
    tcase_add_test(tests, flags_of_graphs);
    tcase_add_test(tests, copies_over_the_edge_of_pinned_memory);
    tcase_add_test(tests, results_with_no_place);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
