/* See driver_rig.h. */
#include "tests/softcuda/driver_rig.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include "host/base/clock.h"
#include "host/base/file.h"
#include "host/base/memory.h"

struct driver_functions cu;
static void *library;

void *driver_symbol(const char *name)
{
    return dlsym(library, name);
}

void driver_load(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/softcuda/libcuda.so.1", build_folder());
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(library != NULL, "%s", library ? "" : dlerror());
#define DRIVER_FIND(name)                                                                          \
    *(void **)&cu.name = driver_symbol("cu" #name);                                                \
    ck_assert_msg(cu.name != NULL, "cu" #name " is missing");
    DRIVER_FUNCTIONS(DRIVER_FIND)
#undef DRIVER_FIND
}

void driver_expect(CUresult want, CUresult got, const char *file, int line, const char *call)
{
    const char *want_name = "?", *got_name = "?";
    if (want == got)
        return;
    cu.GetErrorName(want, &want_name);
    cu.GetErrorName(got, &got_name);
    ck_abort_msg("%s:%d: %s: expected %s, got %s", file, line, call, want_name, got_name);
}

CUcontext driver_open(void)
{
    CUcontext context;
    driver_load();
    GOOD(cu.Init(0));
    GOOD(cu.DevicePrimaryCtxRetain(&context, 0));
    GOOD(cu.CtxSetCurrent(context));
    return context;
}

const char driver_ptx[] =
    ".version 8.0\n.target sm_80\n.address_size 64\n"
    ".extern .shared .align 16 .b8 dynamic_bytes[];\n"
    ".visible .entry store(.param .u64 p, .param .u32 v) {\n"
    ".reg .b64 %rd<2>; .reg .b32 %r<2>;\n"
    "ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [v]; st.global.u32 [%rd1], %r1; ret; }\n"
    ".visible .entry append(.param .u64 p, .param .u32 v) {\n"
    ".reg .b64 %rd<4>; .reg .b32 %r<3>;\n"
    "ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [v]; ld.global.u32 %r2, [%rd1];\n"
    "add.u32 %r2, %r2, 1; st.global.u32 [%rd1], %r2; mul.wide.u32 %rd2, %r2, 4;\n"
    "add.u64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r1; ret; }\n"
    ".visible .entry copy(.param .u64 to, .param .u64 from) {\n"
    ".reg .b64 %rd<3>; .reg .b32 %r<2>;\n"
    "ld.param.u64 %rd1, [to]; ld.param.u64 %rd2, [from]; ld.global.u32 %r1, [%rd2];\n"
    "st.global.u32 [%rd1], %r1; ret; }\n"
    ".visible .entry scale(.param .u64 p, .param .u32 n, .param .f32 f) {\n"
    ".reg .b64 %rd<4>; .reg .b32 %r<6>; .reg .f32 %f<3>; .reg .pred %p<2>;\n"
    "ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [n]; ld.param.f32 %f1, [f];\n"
    "mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x;\n"
    "mad.lo.u32 %r5, %r2, %r3, %r4; setp.ge.u32 %p1, %r5, %r1; @%p1 bra END;\n"
    "mul.wide.u32 %rd2, %r5, 4; add.u64 %rd3, %rd1, %rd2; ld.global.f32 %f2, [%rd3];\n"
    "mul.rn.f32 %f2, %f2, %f1; st.global.f32 [%rd3], %f2;\nEND: ret; }\n"
    ".visible .entry trap() { trap; ret; }\n"
    ".visible .entry limited(.param .u64 p) .maxntid 64, 1, 1 {\n"
    ".shared .align 4 .b8 own[1024]; .reg .b32 %r<2>;\n"
    "mov.u32 %r1, 7; st.shared.u32 [own], %r1; ret; }\n"
    ".visible .entry dynamic(.param .u64 p) {\n"
    ".reg .b32 %r<5>; .reg .b64 %rd<2>;\n"
    "mov.u32 %r1, %dynamic_smem_size; mov.u32 %r2, dynamic_bytes; add.u32 %r3, %r1, %r2;\n"
    "mov.u32 %r4, 42; st.shared.u32 [%r3+-4], %r4; ld.shared.u32 %r4, [%r3+-4];\n"
    "ld.param.u64 %rd1, [p]; st.global.u32 [%rd1], %r4; ret; }\n"
    ".visible .entry fixed(.param .u64 p) .reqntid 32, 1, 1 { ret; }\n";

CUmodule driver_module(void)
{
    CUmodule module;
    GOOD(cu.ModuleLoadData(&module, driver_ptx));
    return module;
}

CUfunction driver_function(CUmodule module, const char *name)
{
    CUfunction function;
    GOOD(cu.ModuleGetFunction(&function, module, name));
    return function;
}

void driver_store(CUfunction function, CUdeviceptr p, uint32_t value, CUstream stream)
{
    void *values[] = {&p, &value};
    GOOD(cu.LaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, values, NULL));
}

void driver_copy(CUfunction function, CUdeviceptr to, CUdeviceptr from, CUstream stream)
{
    void *values[] = {&to, &from};
    GOOD(cu.LaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, values, NULL));
}

char *driver_kernel_text(const char *name)
{
    char path[4096];
    struct file_map map;
    struct err err;
    snprintf(path, sizeof path, "%s/tests/ptx/%s.ptx", build_folder(), name);
    if (file_map(&map, path, &err) != STATUS_OK)
        return NULL;
    char *text = mem_alloc_zero(map.size + 1, 1);
    ck_assert_ptr_nonnull(text);
    memcpy(text, map.data, map.size);
    file_unmap(&map);
    return text;
}

CUmodule driver_load_timed(const char *text, double *seconds)
{
    CUmodule module;
    double start = processor_seconds();
    GOOD(cu.ModuleLoadData(&module, text));
    *seconds = processor_seconds() - start;
    return module;
}
