/* What a run of training depends on, as one JSON object of numbers and words: `run` of a checkpoint
 * and `settings` of training.json. Two runs of the same record give the same bytes. */
#ifndef MIDASHI_HOST_TRAIN_RECORD_H
#define MIDASHI_HOST_TRAIN_RECORD_H

#include <jansson.h>
#include <stdbool.h>

/* What a record has otherwise than another one, for a message. */
struct train_difference {
    char text[512];     /* "--steps 12 (now 14), another corpus" */
    const char *resume; /* how that run would go on: "with --device cuda" */
};

/* Digits that training.json has of a number; a checkpoint has all 17. */
#define TRAIN_RECORD_DIGITS 9

/* Compares the members of `now`, numbers by so many digits; what stored has beside them does not
 * count. True, and *difference filled: they differ. No memory counts as a difference. */
bool train_record_differs(const json_t *stored, const json_t *now, int digits,
                          struct train_difference *difference);

#endif
