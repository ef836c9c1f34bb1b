/* The numbers of a training pass: texts packed one behind the other with what their losses need,
 * made on the host. They lie in one block, so that one copy brings them to a GPU. */
#ifndef MIDASHI_HOST_TRAIN_BATCH_H
#define MIDASHI_HOST_TRAIN_BATCH_H

#include "host/objective.h"
#include "host/train_data.h"

/* NULL: what the objective does not read. */
struct train_numbers {
    int32_t *tokens, *positions;       /* (n_tokens) */
    int32_t *next;                     /* (n_tokens) next-token */
    int32_t *cu_seqlens;               /* (n_texts + 1) */
    int32_t *token_units, *text_units; /* (n_texts + 1) */
    int32_t *labels;                   /* (n_texts) classify */
    int32_t *mean_begin, *mean_end;    /* (n_texts) contrastive */
    uint8_t *excluded;                 /* pairs of pairs of all units; contrastive */
};

/* Sets the arrays for a pass of at most settings->n_tokens and n_texts, from `block` on, which lies
 * at a multiple of 64 bytes. Returns the block's bytes, which is all that happens where it is NULL.
 */
size_t train_numbers_carve(struct train_numbers *numbers, const struct objective_settings *settings,
                           void *block);

/* The sum of the texts' tokens. */
int train_batch_tokens(const struct train_data *data, const int *texts, int n);

/* Packs texts (places in data->texts), units of unit_texts of them, into the numbers: as many units
 * of the n_units as fit, one at least. Returns how many; *batch is that pass. */
int train_batch_fill(struct objective_batch *batch, const struct train_numbers *numbers,
                     const struct objective_settings *settings, const struct train_data *data,
                     const int *texts, int unit_texts, int n_units);

/* The same pass where the numbers have been copied to. */
struct objective_batch train_batch_at(const struct objective_batch *batch,
                                      const struct train_numbers *numbers);

#endif
