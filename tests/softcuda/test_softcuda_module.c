/* A module as large as a program's, 20 kernels (kernels/module.cu), through cuModuleLoadData. */
#include "tests/softcuda/driver_rig.h"

#include <stdio.h>
#include <string.h>
#include "host/base/memory.h"

static const char *const names[] = {"attention", "nf4_gemm", "rmsnorm",    "softmax",
                                    "grid_sum",  "assign",   "accumulate", "phases"};

/* All 20 are there, the third of each name only of the first four. */
static void check_kernels(CUmodule module)
{
    unsigned n;
    GOOD(cu.ModuleGetFunctionCount(&n, module));
    ck_assert_uint_eq(n, 20);
    for (int set = 1; set <= 3; set++)
        for (int i = 0; i < (set < 3 ? 8 : 4); i++) {
            char name[32];
            snprintf(name, sizeof name, "%s_%d", names[i], set);
            CUfunction function;
            GOOD(cu.ModuleGetFunction(&function, module, name));
        }
}

/* softmax of 64 zeros: 1/64 each, whichever of the three computes it. */
static void check_softmax(CUmodule module, const char *name)
{
    enum { N = 64 };
    float y[N];
    CUdeviceptr to, from;
    int n = N;
    void *values[] = {&to, &from, &n};
    GOOD(cu.MemAlloc(&to, sizeof y));
    GOOD(cu.MemAlloc(&from, sizeof y));
    GOOD(cu.MemsetD8(from, 0, sizeof y));
    GOOD(cu.LaunchKernel(driver_function(module, name), 1, 1, 1, 32, 1, 1, 0, NULL, values, NULL));
    GOOD(cu.MemcpyDtoH(y, to, sizeof y));
    for (int i = 0; i < N; i++)
        ck_assert_msg(y[i] == 1.0f / N, "%s: y[%d] is %g", name, i, (double)y[i]);
    GOOD(cu.MemFree(to));
    GOOD(cu.MemFree(from));
}

/* What a program waits for at its start: below a second of the processors' time. The module takes a
 * small part of that (docs/speed.md); the rest is for slow machines and sanitizers. */
START_TEST(twenty_kernels_load_in_a_second)
{
    char *text = driver_kernel_text("module");
    double seconds;
    if (!text)
        SKIP("needs nvcc");
    driver_open();
    CUmodule module = driver_load_timed(text, &seconds);
    memset(text, 0, strlen(text)); /* it may go */
    mem_free(text);
    ck_assert_msg(seconds < 1, "%.3f s", seconds);
    check_kernels(module);
    check_softmax(module, "softmax_1");
    check_softmax(module, "softmax_3");
    GOOD(cu.ModuleUnload(module));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_module");
    TCase *tests = tcase_create("loading");
    tcase_add_test(tests, twenty_kernels_load_in_a_second);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
