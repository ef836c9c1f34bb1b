/* Twenty steps beside PEFT's: the same NF4 weights, initial adapter and batches, without dropout.
 * Golden numbers: tests/golden/make_peft_training.py, which says how far float32's own noise
 * carries: losses 1.4e-6, gradients 8e-6, changes 6e-5 at the most. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include "tests/training_parity.h"

#define LOSS_TOLERANCE     1e-4
#define GRADIENT_TOLERANCE 1e-4
#define CHANGE_TOLERANCE   1e-2

static double relative(double got, double want)
{
    return fabs(got - want) / fabs(want);
}

/* How far the parameters have come, against PEFT's. */
static double change_distance(struct parity *p, int *worst)
{
    float *change = parity_change(p);
    double distance =
        training_golden_largest_distance(&p->golden, TRAINING_GOLDEN_CHANGE, change, worst);
    free(change);
    return distance;
}

static void check_case(const struct parity_case *c, const char *model, int device)
{
    struct parity p;
    int worst;
    parity_open(&p, c, model, device);
    for (int step = 0; step < TRAINING_GOLDEN_STEPS; step++) {
        struct trainer_report report;
        parity_step(&p, step, &report);
        ck_assert_msg(relative(report.loss, p.golden.losses[step]) <= LOSS_TOLERANCE,
                      "%s, step %d: loss %.9g, not %.9g", c->run, step + 1, report.loss,
                      p.golden.losses[step]);
        ck_assert_msg(relative(report.norm, p.golden.norms[step]) <= LOSS_TOLERANCE * 10,
                      "%s, step %d: norm %.9g, not %.9g", c->run, step + 1, report.norm,
                      p.golden.norms[step]);
        if (step > 0)
            continue;
        float *gradient = parity_gradient(&p, report.norm);
        double distance =
            training_golden_largest_distance(&p.golden, TRAINING_GOLDEN_GRADIENT, gradient, &worst);
        free(gradient);
        ck_assert_msg(distance <= GRADIENT_TOLERANCE, "%s: gradient of %s: %g", c->run,
                      training_golden_name(&p.golden, worst), distance);
    }
    double distance = change_distance(&p, &worst);
    ck_assert_msg(distance <= CHANGE_TOLERANCE, "%s: change of %s: %g", c->run,
                  training_golden_name(&p.golden, worst), distance);
    parity_close(&p);
}

START_TEST(steps_are_those_of_peft)
{
    const struct parity_case *c = &parity_cases[_i];
    const char *model = parity_model(c);
    if (!model)
        SKIP("%s: needs %s", c->run, c->model);
    check_case(c, model, c->large ? 2 : 0);
    if (!c->large)
        check_case(c, model, 1);
}
END_TEST

/* The measure sees a run whose optimiser does nothing, and one whose rate is a tenth off. */
START_TEST(the_measure_sees_other_runs)
{
    const struct parity_case *c = &parity_cases[PARITY_CLASSIFY];
    const char *model = parity_model(c);
    struct parity p;
    int worst;
    if (!model)
        SKIP("needs %s", c->model);
    parity_open(&p, c, model, 0);
    ck_assert_double_eq_tol(change_distance(&p, &worst), 1, 1e-9);
    p.trainer.settings.learning_rate *= 1.1;
    for (int step = 0; step < TRAINING_GOLDEN_STEPS; step++) {
        struct trainer_report report;
        parity_step(&p, step, &report);
    }
    ck_assert_double_gt(change_distance(&p, &worst), 2 * CHANGE_TOLERANCE);
    parity_close(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("training_peft");
    TCase *tcase = tcase_create("training_peft");
    tcase_add_loop_test(tcase, steps_are_those_of_peft, 0, PARITY_CASES);
    tcase_add_test(tcase, the_measure_sees_other_runs);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
