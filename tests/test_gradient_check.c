/* What the backward operations are checked with sees right gradients and wrong ones. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include "tests/gradient_check.h"

enum { N = 5 };

/* sum_i exp(x_i) + x_0 x_4 */
static double loss(void *context)
{
    const double *x = context;
    double sum = x[0] * x[4];
    for (int i = 0; i < N; i++)
        sum += exp(x[i]);
    return sum;
}

START_TEST(gradients_are_told_from_wrong_ones)
{
    double *x = normal_doubles(N, 1, 1.0f), gradient[N];
    for (int i = 0; i < N; i++)
        gradient[i] = exp(x[i]) + (i == 0 ? x[4] : i == 4 ? x[0] : 0);
    double before = x[2];
    check_gradient(loss, x, x, gradient, N, "exp");
    ck_assert(x[2] == before);
    ck_assert(gradient_error(loss, x, x, gradient, N, NULL) < 0.1);
    for (int i = 0; i < N; i++) {
        size_t worst;
        double right = gradient[i];
        gradient[i] = right * (1 + 1e-5) + 1e-6;
        ck_assert(gradient_error(loss, x, x, gradient, N, &worst) > 1);
        ck_assert_uint_eq(worst, (size_t)i);
        gradient[i] = NAN;
        ck_assert(gradient_error(loss, x, x, gradient, N, NULL) == INFINITY);
        gradient[i] = right;
    }
    free(x);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gradient_check");
    TCase *tests = tcase_create("gradient_check");
    tcase_add_test(tests, gradients_are_told_from_wrong_ones);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
