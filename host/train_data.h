/* The texts of a training run: their tokens, the split into training and validation, and the order
 * in which training draws them. All of it is a function of the corpus and the seed. */
#ifndef MIDASHI_HOST_TRAIN_DATA_H
#define MIDASHI_HOST_TRAIN_DATA_H

#include "host/base/progress.h"
#include "host/embedder.h"
#include "loaders/corpus.h"

struct train_text {
    size_t first; /* of train_data.tokens */
    int n_tokens; /* special ones included; at most max_tokens */
    int label;    /* of the first corpus' labels, -1: none */
    size_t row;   /* of its corpus, from 0 */
    /* Its tokens that count in a mean, as embedder_run has them; from the text's first. */
    int mean_begin, mean_end;
};

struct train_data {
    struct train_text *texts;
    int n_texts;
    int32_t *tokens;
    size_t n_tokens, token_capacity, text_capacity;
    int *training, n_training;                 /* places in texts, in the order of the rows */
    int *validation, n_validation;             /* likewise */
    size_t n_blank, n_unlabelled, n_truncated; /* left out, left out, cut */
    size_t rows_before;                        /* of the first corpus: before its row 0 */
    /* The order of the epoch that was drawn from last; -1: none. */
    int *order;
    int64_t epoch;
    uint64_t seed;
};

/* Appends the texts of a corpus that are not blank, and with `labelled` have a label. The place of
 * the first one is data->n_texts as it was. STATUS_BAD_DATA: a text that is not UTF-8. */
enum status train_data_add(struct train_data *data, const struct embedder *embedder,
                           const struct corpus *corpus, bool labelled,
                           const struct progress *progress, struct err *err);

/* Splits the texts: `share` of each label's, rounded, go to validation, drawn by the seed; one at
 * least stays in training. share in [0, 1). Texts without a label are a class of their own.
 * n_labels 0: labels do not count, all texts are one class. */
enum status train_data_split(struct train_data *data, int n_labels, double share, uint64_t seed,
                             struct err *err);
/* Or: `share` of all texts, in runs of `run` texts at most that follow one another in their group,
 * drawn by the seed; the last run may be cut. So texts that stand near each other are held out
 * together, and only at the ends of a run have near ones in training. A text's label is its group;
 * one without is a run of its own. share as above, run >= 1. */
enum status train_data_split_runs(struct train_data *data, int n_groups, int run, double share,
                                  uint64_t seed, struct err *err);
/* Or: the texts from place `first_validation` on are for validation. */
enum status train_data_split_at(struct train_data *data, int first_validation, uint64_t seed,
                                struct err *err);

/* The place of the text that training draws as its `draw`th, from 0: a permutation of the training
 * texts, and then, for ever, another one. n_training >= 1. */
int train_data_draw(struct train_data *data, int64_t draw);

int train_data_longest(const struct train_data *data); /* tokens of the longest text */

void train_data_free(struct train_data *data); /* a zeroed one is allowed */

#endif
