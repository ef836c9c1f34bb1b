/* When a loss counts as falling still. */
#include "tests/support.h"

#include <math.h>
#include "host/loss_fall.h"

#define MOST_STEPS 500

struct evaluation {
    int step;
    double loss;
};

/* A run of so many steps whose losses are from + (to - from) * step / steps, and `noise` more or
 * less in turns; evaluations as given, {0} at the end. */
static struct loss_fall fall_of(int steps, double from, double to, double noise,
                                const struct evaluation *evaluations)
{
    static struct loss_point points[MOST_STEPS], copies[16];
    struct loss_log log = {.steps = points, .n_steps = steps, .evaluations = copies};
    for (int i = 0; i < steps; i++)
        points[i] = (struct loss_point){
            i + 1, from + (to - from) * i / steps + (i % 2 ? noise : -noise), NAN};
    for (; evaluations && evaluations->step > 0; evaluations++)
        copies[log.n_evaluations++] =
            (struct loss_point){evaluations->step, evaluations->loss, NAN};
    return loss_fall_of(&log);
}

/* SmolLM2-135M's, in docs/quality.md: at 5e-5 and 5e-4 on banking77, and at 5e-4 on livedoor. */
START_TEST(evaluations_of_real_runs)
{
    static const struct evaluation slow[] = {{100, 4.2725}, {200, 3.9235}, {300, 3.4590},
                                             {400, 3.0983}, {500, 2.9834}, {0, 0}};
    static const struct evaluation fast[] = {{100, 1.3727}, {200, 0.7248}, {300, 0.5532},
                                             {400, 0.4535}, {500, 0.4120}, {0, 0}};
    static const struct evaluation titles[] = {{100, 0.9139}, {200, 0.7036}, {300, 0.6238},
                                               {400, 0.5718}, {500, 0.5509}, {0, 0}};
    struct loss_fall fall = fall_of(500, 4.4, 3, 0.2, slow);
    ck_assert(fall.falling && fall.validation);
    ck_assert_int_eq(fall.since, 400);
    ck_assert_int_eq(fall.step, 500);
    ck_assert(fall.before == 3.0983 && fall.last == 2.9834);
    ck_assert(fall_of(500, 4.4, 0.4, 0.2, fast).falling);
    ck_assert(fall_of(500, 2.3, 0.3, 0.2, titles).falling);
}
END_TEST

START_TEST(evaluations_that_have_come_to_rest)
{
    static const struct evaluation cases[][5] = {
        {{100, 2}, {200, 1}, {300, 0.5}, {400, 0.495}, {0, 0}}, /* 1 % */
        {{100, 2}, {200, 0.4}, {300, 0.6}, {400, 0.5}, {0, 0}}, /* not the best */
        {{100, 2}, {300, 0.4}, {400, 0.4}, {0, 0}},
        {{100, 2}, {300, 0.02}, {400, 0.01}, {0, 0}}, /* half, of next to nothing */
        {{100, 2}, {300, 0}, {400, 0}, {0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct loss_fall fall = fall_of(400, 4, 0.5, 0.1, cases[i]); /* whatever training does */
        ck_assert_msg(!fall.falling && fall.validation, "case %zu", i);
    }
}
END_TEST

/* The one a fifth before the end is what the last is compared with, not the one just before. */
START_TEST(evaluations_stand_a_fifth_apart)
{
    static const struct evaluation often[] = {{60, 1.2},  {70, 1.1},  {80, 1.05},  {85, 1.04},
                                              {90, 1.03}, {95, 1.02}, {100, 1.01}, {0, 0}};
    struct loss_fall fall = fall_of(100, 2, 1, 0, often);
    ck_assert(fall.falling && fall.validation);
    ck_assert_int_eq(fall.since, 80);
}
END_TEST

START_TEST(training_tells_where_evaluations_do_not)
{
    static const struct evaluation once[] = {{100, 1}, {0, 0}};
    const struct evaluation *const evaluations[] = {NULL, once};
    for (int i = 0; i < 2; i++) {
        struct loss_fall fall = fall_of(100, 3, 2, 0.1, evaluations[i]);
        ck_assert(fall.falling && !fall.validation);
        ck_assert_int_eq(fall.since, 80);
        ck_assert_int_eq(fall.step, 100);
        /* Means of steps 61 to 80 and 81 to 100: the noise cancels out. */
        ck_assert_double_eq_tol(fall.before, 3 - 0.695, 1e-12);
        ck_assert_double_eq_tol(fall.last, 3 - 0.895, 1e-12);
    }
    ck_assert(!fall_of(100, 3, 2, 1, NULL).falling);    /* by 0.2, of +-1 */
    ck_assert(!fall_of(100, 3, 2.95, 0, NULL).falling); /* by 0.3 % */
    ck_assert(!fall_of(100, 2, 3, 0.1, NULL).falling);
    ck_assert(!fall_of(24, 3, 0, 0, NULL).falling); /* fifths of 4 steps */
    ck_assert(fall_of(25, 3, 0.1, 0, NULL).falling);
}
END_TEST

START_TEST(no_run_no_fall)
{
    struct loss_log log = {0};
    ck_assert(!loss_fall_of(&log).falling);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loss_fall");
    TCase *tcase = tcase_create("loss_fall");
    tcase_add_test(tcase, evaluations_of_real_runs);
    tcase_add_test(tcase, evaluations_that_have_come_to_rest);
    tcase_add_test(tcase, evaluations_stand_a_fifth_apart);
    tcase_add_test(tcase, training_tells_where_evaluations_do_not);
    tcase_add_test(tcase, no_run_no_fall);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
