/* Whether a run that has ended would have gone on learning: its loss was still falling. */
#ifndef MIDASHI_HOST_LOSS_FALL_H
#define MIDASHI_HOST_LOSS_FALL_H

#include <stdbool.h>
#include "host/loss_log.h"

struct loss_fall {
    bool falling;
    bool validation;     /* of the texts held out; false: in training */
    int64_t since, step; /* what is compared */
    double before, last; /* validation: the losses at these two steps; training: the means of as
                            many steps that end there */
};

/* Compares the end of the log's run with where it was a fifth of the steps before. Where there are
 * evaluations at both, they decide, and the last must be the best of all. Else training does, by
 * the means of the last two fifths, which must be further apart than steps of like losses are by
 * chance. Either way the fall must be worth while: 2 % of the loss, and 1/200 of all that the loss
 * has fallen since the first step (near 0 a loss goes on halving, and nothing is gained). */
struct loss_fall loss_fall_of(const struct loss_log *log);

#endif
