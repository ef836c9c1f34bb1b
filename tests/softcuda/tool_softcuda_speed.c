/* How fast softcuda runs an NF4 GEMM (kernels/real_gemm.cu) on one processor: with nothing looking
 * on, with counters, with all checkers, with both; and how long it takes to load a module of 20
 * kernels (kernels/module.cu). For docs/speed.md.
 *
 *   build/tests/tool_softcuda_speed      (from the project's root; MIDASHI_CPU=portable) */
#include <stdio.h>
#include <stdlib.h>
#include "host/base/memory.h"
#include "host/base/clock.h"
#include "tests/softcuda/driver_rig.h"
#include "tests/softcuda/rig.h"
#include "tools/softcuda/card.h"

enum { M = 512, N = 512, K = 512, SHARED = 2 * 128 * 80 + 128 * 80 + 2 * 128 * 16 + 2048 };

static double run(bool portable, unsigned checks, bool counted)
{
    struct rig rig;
    struct {
        uint64_t y, x, w, absmax;
        int32_t m, n, k, unused;
    } a = {.m = M, .n = N, .k = K};
    rig_open(&rig);
    rig.reporter.checks = checks;
    rig.card = counted ? card_named("rtx4090") : NULL;
    if (!rig_load_kernel_file(&rig, "real_gemm", portable)) {
        fprintf(stderr, "build/tests/ptx/real_gemm.ptx is not there: it needs nvcc\n");
        rig_close(&rig);
        return 0;
    }
    static unsigned char zeros[(size_t)M * K * 2];
    a.x = rig_upload(&rig, zeros, (size_t)M * K * 2);
    a.w = rig_upload(&rig, zeros, (size_t)N * K / 2);
    a.absmax = rig_upload(&rig, zeros, (size_t)N * K / 64 * 4);
    a.y = rig_upload(&rig, NULL, (size_t)M * N * 4);
    double start = processor_seconds();
    enum status status = rig_launch_raw(&rig, "nf4_gemm", (uint32_t[3]){N / 128, M / 128, 1},
                                        (uint32_t[3]){256, 1, 1}, SHARED, &a);
    double seconds = processor_seconds() - start;
    if (status != STATUS_OK)
        fprintf(stderr, "%s\n%s", rig.err.text, rig.reports);
    rig_close(&rig);
    return (double)M * N * K / seconds * 1e-9;
}

/* In a test of Check's, as the rig expects. */
START_TEST(speed)
{
    static const struct {
        const char *name;
        unsigned checks;
        bool counted;
    } cases[] = {
        {"nothing", 0, false},
        {"counters", 0, true},
        {"all checkers", CHECK_ALL, false},
        {"both", CHECK_ALL, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double best = 0;
        for (int j = 0; j < 3; j++) {
            double rate = run(getenv("MIDASHI_CPU") != NULL, cases[i].checks, cases[i].counted);
            best = rate > best ? rate : best;
        }
        printf("%-14s %6.2f GMAC/s\n", cases[i].name, best);
    }
}
END_TEST

START_TEST(loading)
{
    char *text = driver_kernel_text("module");
    double best = 1e9, seconds;
    driver_open();
    for (int i = 0; text && i < 5; i++) {
        GOOD(cu.ModuleUnload(driver_load_timed(text, &seconds)));
        best = seconds < best ? seconds : best;
    }
    if (text)
        printf("20 kernels loaded in %.3f s\n", best);
    mem_free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_speed");
    TCase *tests = tcase_create("NF4 GEMM");
    tcase_set_timeout(tests, 600);
    tcase_add_test(tests, speed);
    tcase_add_test(tests, loading);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
