/* See loss_fall.h. */
#include "host/loss_fall.h"

#include <math.h>

#define PARTS         5
#define OF_LOSS       0.02
#define OF_WHOLE_FALL 0.005
/* Steps of a fifth, fewer of which do not tell what is chance; and how many standard errors of the
 * difference are none. With five steps each, of losses that do not fall, that is 1 run in 100 (t
 * with 8 degrees of freedom beyond 3: 0.009). */
#define LEAST_STEPS     5
#define STANDARD_ERRORS 3

static bool is_worth_while(const struct loss_log *log, const struct loss_fall *fall)
{
    double by = fall->before - fall->last;
    return by > 0 && by >= OF_LOSS * fall->before &&
           by >= OF_WHOLE_FALL * (log->steps[0].loss - fall->last);
}

/* The last evaluation that was a fifth of the steps before the end, or earlier; -1: none. */
static int earlier_evaluation(const struct loss_log *log)
{
    int64_t end = log->steps[log->n_steps - 1].step;
    int i = log->n_evaluations - 1;
    while (i >= 0 && log->evaluations[i].step > end - end / PARTS)
        i--;
    return i;
}

static struct loss_fall of_validation(const struct loss_log *log, int earlier)
{
    const struct loss_point *before = &log->evaluations[earlier];
    const struct loss_point *last = &log->evaluations[log->n_evaluations - 1];
    struct loss_fall fall = {.validation = true,
                             .since = before->step,
                             .step = last->step,
                             .before = before->loss,
                             .last = last->loss};
    fall.falling = is_worth_while(log, &fall);
    for (int i = 0; i < log->n_evaluations; i++)
        fall.falling = fall.falling && log->evaluations[i].loss >= last->loss;
    return fall;
}

/* *error: of the mean, squared. */
static double mean_of(const struct loss_point *points, int n, double *error)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++)
        sum += points[i].loss;
    for (int i = 0; i < n; i++)
        squares += (points[i].loss - sum / n) * (points[i].loss - sum / n);
    *error = squares / (n - 1) / n;
    return sum / n;
}

static struct loss_fall of_training(const struct loss_log *log)
{
    int n = log->n_steps / PARTS;
    const struct loss_point *end = log->steps + log->n_steps;
    struct loss_fall fall = {0};
    double error_before, error;
    if (n < LEAST_STEPS)
        return fall;
    fall.since = end[-n - 1].step;
    fall.step = end[-1].step;
    fall.before = mean_of(end - 2 * (ptrdiff_t)n, n, &error_before);
    fall.last = mean_of(end - n, n, &error);
    fall.falling = is_worth_while(log, &fall) &&
                   fall.before - fall.last > STANDARD_ERRORS * sqrt(error_before + error);
    return fall;
}

struct loss_fall loss_fall_of(const struct loss_log *log)
{
    if (log->n_steps == 0)
        return (struct loss_fall){0};
    int earlier = earlier_evaluation(log);
    return earlier >= 0 && log->evaluations[log->n_evaluations - 1].step ==
                               log->steps[log->n_steps - 1].step
               ? of_validation(log, earlier)
               : of_training(log);
}
