/* avx2_exp against libm's double exp over the floats, and its edges. */
#include "tests/support.h"

#include <float.h>
#include <math.h>
#include "host/base/float16.h"
#include "kernels/vector_math.h"

#if CPU_X86
TARGET_AVX2
static void exp_8(float y[8], const float x[8])
{
    _mm256_storeu_ps(y, avx2_exp(_mm256_loadu_ps(x)));
}

/* The largest error, in ulps of the result, over every 13th float of one sign from 2^-30 to
 * `largest`. *worst_at: where. */
static double worst_ulps(uint32_t sign, float largest, float *worst_at)
{
    double worst = 0;
    uint32_t last = bits_from_float(largest);
    for (uint32_t bits = bits_from_float(0x1p-30f); bits + 7 * 13 <= last; bits += 8 * 13) {
        float x[8], y[8];
        for (uint32_t lane = 0; lane < 8; lane++)
            x[lane] = float_from_bits(sign | (bits + lane * 13));
        exp_8(y, x);
        for (int lane = 0; lane < 8; lane++) {
            double want = exp(x[lane]);
            double error = fabs(y[lane] - want) / ldexp(1, ilogb(want) - 23);
            if (!(error <= worst))
                worst = error, *worst_at = x[lane];
        }
    }
    return worst;
}

/* The last sum rounds once, up to half an ulp; below 1 what is added to 1 weighs twice. Over all
 * floats, not every 13th, the worst is 1.009 at x = -27.379. */
#define BUDGET 1.01

START_TEST(exp_is_within_its_budget)
{
    if (!cpu_has(CPU_AVX2))
        SKIP("needs AVX2");
    float at = 0;
    double negative = worst_ulps(0x80000000, 87.33654f, &at);
    ck_assert_msg(negative <= BUDGET, "%.4f ulp at %.9g", negative, (double)at);
    double positive = worst_ulps(0, 88.37626f, &at);
    ck_assert_msg(positive <= BUDGET, "%.4f ulp at %.9g", positive, (double)at);
}
END_TEST

START_TEST(exp_has_its_edges)
{
    if (!cpu_has(CPU_AVX2))
        SKIP("needs AVX2");
    /* The last NaN carries a payload that must not leak into the exponent. */
    const float x[8] = {0.0f,       -0.0f,    -INFINITY, INFINITY,
                        -87.33655f, 88.7229f, -FLT_MAX,  float_from_bits(0x7FC001FF)};
    const float want[8] = {1, 1, 0, INFINITY, 0, INFINITY, 0, NAN};
    float y[8];
    exp_8(y, x);
    for (int i = 0; i < 7; i++)
        ck_assert_msg(bits_from_float(y[i]) == bits_from_float(want[i]), "exp(%g) = %g",
                      (double)x[i], (double)y[i]);
    ck_assert(isnan(y[7]));
    const float tiny[8] = {1e-40f, -1e-40f, 0x1p-149f, -0x1p-26f, FLT_MAX, -104, -1e10f, 1e10f};
    const float ones[8] = {1, 1, 1, 1, INFINITY, 0, 0, INFINITY};
    exp_8(y, tiny);
    for (int i = 0; i < 8; i++)
        ck_assert_msg(y[i] == ones[i], "exp(%g) = %g", (double)tiny[i], (double)y[i]);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("vector_math");
    TCase *tests = tcase_create("vector_math");
    tcase_set_timeout(tests, 60);
#if CPU_X86
    tcase_add_test(tests, exp_is_within_its_budget);
    tcase_add_test(tests, exp_has_its_edges);
#endif
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
