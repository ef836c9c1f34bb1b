/* A program as others write them, linked to libcuda.so.1: what the tests of the softcuda command
 * run.   tool_driver_program WHAT [ARGUMENT]
 *
 *   good          x[i] = 2 i on the device; prints "sum 9900"
 *   bounds        a kernel writes behind its memory; prints the code that the next call gives
 *   uninitialised copies memory to the host that nobody has written
 *   leak WHAT     ends without freeing: memory, pinned, module, stream, event, context; inside:
 * memory of a context that is destroyed refused       a launch with more shared memory than it may
 * have; prints the code card          prints the card's name and number of SMs settings      prints
 * the environment's SOFTCUDA_ variables and MIDASHI_CUDA_DRIVER exit N        ends with code N
 *   signal N      ends by signal N
 *   unwaited      launches the kernel of `bounds` and ends without a wait
 *   late          prints a word of pinned memory before and after the wait */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/cuda_api.h"

extern char **environ;

static const char ptx[] =
    ".version 8.0\n.target sm_80\n.address_size 64\n"
    ".file 1 \"double.cu\"\n"
    ".visible .entry twice(.param .u64 p) {\n"
    ".reg .b64 %rd<4>; .reg .b32 %r<3>; .reg .f32 %f<2>;\n"
    ".loc 1 3 5\n"
    "ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4;\n"
    "add.u64 %rd3, %rd1, %rd2; shl.b32 %r2, %r1, 1; cvt.rn.f32.u32 %f1, %r2;\n"
    ".loc 1 4 5\n"
    "st.global.f32 [%rd3], %f1; ret; }\n";

#define N 100

static CUcontext context;
static CUmodule module;
static CUfunction twice;
static CUdeviceptr p;

static void check(CUresult result, const char *call)
{
    const char *name = "?";
    if (!result)
        return;
    cuGetErrorName(result, &name);
    fprintf(stderr, "%s: %s\n", call, name);
    exit(1);
}
#define CHECK(call) check(call, #call)

static void begin(void)
{
    CHECK(cuInit(0));
    CHECK(cuDevicePrimaryCtxRetain(&context, 0));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuModuleLoadData(&module, ptx));
    CHECK(cuModuleGetFunction(&twice, module, "twice"));
    CHECK(cuMemAlloc(&p, N * sizeof(float)));
}

/* The primary context is not released: that is no leak. */
static void end(void)
{
    CHECK(cuMemFree(p));
    CHECK(cuModuleUnload(module));
}

static void launch(unsigned n)
{
    void *values[] = {&p};
    CHECK(cuLaunchKernel(twice, 1, 1, 1, n, 1, 1, 0, NULL, values, NULL));
}

static void good(void)
{
    float x[N], sum = 0;
    begin();
    launch(N);
    CHECK(cuMemcpyDtoH(x, p, sizeof x));
    for (int i = 0; i < N; i++)
        sum += x[i];
    printf("sum %g\n", (double)sum);
    end();
}

static void bounds(void)
{
    const char *name;
    begin();
    printf("launching\n"); /* stays in the buffer when standard output is a file */
    launch(N + 1);
    cuGetErrorName(cuCtxSynchronize(), &name);
    printf("%s\n", name);
}

static void refused(void)
{
    const char *name;
    void *values[] = {&p};
    begin();
    cuGetErrorName(cuLaunchKernel(twice, 1, 1, 1, N, 1, 1, 50000, NULL, values, NULL), &name);
    puts(name);
    end();
}

static void leak(const char *what)
{
    CUstream stream;
    CUevent event;
    CUdeviceptr q;
    void *pinned;
    begin();
    if (strcmp(what, "memory") == 0)
        CHECK(cuMemAlloc(&q, 12));
    else if (strcmp(what, "pinned") == 0)
        CHECK(cuMemAllocHost(&pinned, 12));
    else if (strcmp(what, "module") == 0)
        CHECK(cuModuleLoadData(&module, ptx));
    else if (strcmp(what, "stream") == 0)
        CHECK(cuStreamCreate(&stream, 0));
    else if (strcmp(what, "event") == 0)
        CHECK(cuEventCreate(&event, 0));
    else if (strcmp(what, "context") == 0) {
        CHECK(cuCtxCreate(&context, 0, 0));
        CHECK(cuCtxPopCurrent(&context));
    } else if (strcmp(what, "inside") == 0) {
        CHECK(cuCtxCreate(&context, 0, 0));
        CHECK(cuMemAlloc(&q, 12));
        CHECK(cuCtxDestroy(context));
    }
    end();
    puts("over");
}

static void late(void)
{
    void *pinned;
    begin();
    CHECK(cuMemAllocHost(&pinned, 8));
    memset(pinned, 0, 8);
    launch(N);
    CHECK(cuMemcpyDtoHAsync(pinned, p + 4, 4, NULL));
    printf("before %g\n", (double)*(float *)pinned);
    CHECK(cuCtxSynchronize());
    printf("after %g\n", (double)*(float *)pinned);
    CHECK(cuMemFreeHost(pinned));
    end();
}

static void card(void)
{
    char name[64];
    int sms;
    begin();
    CHECK(cuDeviceGetName(name, sizeof name, 0));
    CHECK(cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
    printf("%s: %d\n", name, sms);
    end();
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "", *argument = argc > 2 ? argv[2] : "";
    if (strcmp(what, "good") == 0) {
        good();
    } else if (strcmp(what, "bounds") == 0) {
        bounds();
    } else if (strcmp(what, "uninitialised") == 0) {
        float x;
        begin();
        CHECK(cuMemcpyDtoH(&x, p, sizeof x));
        end();
    } else if (strcmp(what, "refused") == 0) {
        refused();
    } else if (strcmp(what, "leak") == 0) {
        leak(argument);
    } else if (strcmp(what, "card") == 0) {
        card();
    } else if (strcmp(what, "settings") == 0) {
        for (char **at = environ; *at; at++)
            if (strncmp(*at, "SOFTCUDA_", 9) == 0 || strncmp(*at, "MIDASHI_CUDA", 12) == 0)
                puts(*at);
    } else if (strcmp(what, "exit") == 0) {
        begin();
        end();
        return atoi(argument);
    } else if (strcmp(what, "signal") == 0) {
        raise(atoi(argument));
    } else if (strcmp(what, "unwaited") == 0) {
        begin();
        launch(N + 1);
        puts("over");
    } else if (strcmp(what, "late") == 0) {
        late();
    } else {
        return 2;
    }
    return 0;
}
