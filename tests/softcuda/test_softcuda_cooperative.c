/* Cooperative groups' barrier of a grid (kernels/cooperative.cu), which the driver lends. */
#include "tests/softcuda/driver_rig.h"

#include <stdlib.h>
#include "host/base/memory.h"

enum { BLOCKS = 3, THREADS = 64, N = BLOCKS * THREADS, ROUNDS = 70 };

/* NULL: there is no nvcc. */
static CUfunction load_turn(void)
{
    CUmodule module;
    char *text = driver_kernel_text("cooperative");
    if (!text)
        return NULL;
    driver_open();
    GOOD(cu.ModuleLoadData(&module, text));
    mem_free(text);
    return driver_function(module, "turn");
}

/* The values turn by 70 places, more than a block has: each must have waited for the others. Twice,
 * since a barrier that is left over from another launch would count wrongly; and nothing is said of
 * races, which would end the process. */
START_TEST(blocks_wait_for_each_other)
{
    static const char *const orders[] = {"fixed", "shuffled"};
    setenv("SOFTCUDA_ORDER", orders[_i], 1);
    setenv("SOFTCUDA_CHECK", "memory,init,race,sync", 1);
    CUfunction turn = load_turn();
    if (!turn)
        SKIP("needs nvcc");
    int x[N], rounds = ROUNDS;
    CUdeviceptr p;
    size_t before, after, total;
    void *values[] = {&p, &rounds};
    for (int i = 0; i < N; i++)
        x[i] = 1000 + i;
    GOOD(cu.MemAlloc(&p, sizeof x));
    GOOD(cu.MemcpyHtoD(p, x, sizeof x));
    GOOD(cu.MemGetInfo(&before, &total));
    for (int i = 0; i < 2; i++)
        GOOD(cu.LaunchCooperativeKernel(turn, BLOCKS, 1, 1, THREADS, 1, 1, 0, NULL, values));
    GOOD(cu.MemcpyDtoH(x, p, sizeof x));
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(x[i], 1000 + (i + 2 * ROUNDS) % N);
    GOOD(cu.MemGetInfo(&after, &total));
    ck_assert_uint_eq(after, before);
    GOOD(cu.MemFree(p));
}
END_TEST

/* A launch that is not cooperative has no barrier: cooperative groups trap. */
START_TEST(other_launches_have_no_barrier)
{
    CUfunction turn = load_turn();
    if (!turn)
        SKIP("needs nvcc");
    int rounds = 1;
    CUdeviceptr p;
    void *values[] = {&p, &rounds};
    GOOD(cu.MemAlloc(&p, N * sizeof(int)));
    GOOD(cu.LaunchKernel(turn, BLOCKS, 1, 1, THREADS, 1, 1, 0, NULL, values, NULL));
    EXPECT(ERROR_LAUNCH_FAILED, cu.CtxSynchronize());
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_cooperative");
    TCase *tests = tcase_create("grid");
    tcase_add_loop_test(tests, blocks_wait_for_each_other, 0, 2);
    tcase_add_test(tests, other_launches_have_no_barrier);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
