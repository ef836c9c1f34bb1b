/* What PEFT's training gave (tests/golden/make_peft_training.py says what was trained, and how the
 * files are laid out): texts, losses, and gradients and changes of an adapter's tensors, which are
 * there whole or as random sums that tell how far another tensor is from them. */
#ifndef MIDASHI_TESTS_TRAINING_GOLDEN_H
#define MIDASHI_TESTS_TRAINING_GOLDEN_H

#include <stdbool.h>
#include <stdint.h>
#include "loaders/npy.h"

#define TRAINING_GOLDEN_STEPS      20
#define TRAINING_GOLDEN_ACCUMULATE 4
#define TRAINING_GOLDEN_BATCH      4
#define TRAINING_GOLDEN_TEXTS      64
#define TRAINING_GOLDEN_LABELS     4

enum training_golden_kind {
    TRAINING_GOLDEN_A,    /* (rank, columns) */
    TRAINING_GOLDEN_B,    /* (rows, rank) */
    TRAINING_GOLDEN_HEAD, /* (labels, D) */
};

struct training_golden_tensor {
    enum training_golden_kind kind;
    int layer, target; /* q, k, v, o, gate, up, down; both -1 for the head */
    int rows, columns;
    int64_t first; /* of the flat array of all parameters */
    int64_t whole; /* of the arrays that hold whole tensors; -1: only sums are there */
};

struct training_golden_text {
    int label, n_tokens;
    const int32_t *tokens; /* borrowed */
};

enum training_golden_quantity {
    TRAINING_GOLDEN_GRADIENT, /* of the first step, before clipping */
    TRAINING_GOLDEN_CHANGE,   /* of the parameters, by all steps */
    TRAINING_GOLDEN_QUANTITIES,
};

struct training_golden {
    struct training_golden_text texts[TRAINING_GOLDEN_TEXTS];
    /* Of each step: the loss, and the norm of all gradients before clipping. */
    double losses[TRAINING_GOLDEN_STEPS], norms[TRAINING_GOLDEN_STEPS];
    struct training_golden_tensor *tensors; /* (n_tensors) in the order of the flat array */
    int n_tensors;
    int64_t n_parameters;
    /* Of each quantity; sums are closed where all tensors are whole. */
    struct npy whole[TRAINING_GOLDEN_QUANTITIES], sums[TRAINING_GOLDEN_QUANTITIES];
    struct npy text_rows;
};

/* run: "tinystories_classify", "tinystories_next_token" (no head) and the like. A file that cannot
 * be read fails the test. */
void training_golden_open(struct training_golden *golden, const char *run);
void training_golden_close(struct training_golden *golden);

/* Which of texts is the j-th of a micro-batch of a step, all from 0. */
int training_golden_draw(int step, int micro_batch, int j);

/* The values that training began with: parameters (n_parameters). */
void training_golden_initial(const struct training_golden *golden, float *parameters);

/* How far a tensor of `got` (n_parameters) is from PEFT's: the norm of the difference by PEFT's
 * norm, exact where the tensor is there whole, else estimated, with a deviation of 9 %. */
double training_golden_distance(const struct training_golden *golden,
                                enum training_golden_quantity quantity, int tensor,
                                const float *got);
/* The largest of these, with the tensor's index in *worst; NAN where one of them is NAN. */
double training_golden_largest_distance(const struct training_golden *golden,
                                        enum training_golden_quantity quantity, const float *got,
                                        int *worst);

/* The estimate itself, also of whole tensors, so that it can be held against them; the files must
 * have sums. */
double training_golden_estimate(const struct training_golden *golden,
                                enum training_golden_quantity quantity, int tensor,
                                const float *got);
bool training_golden_has_sums(const struct training_golden *golden);

/* The same of all tensors (n_tensors + 1), with that of all at once behind them. */
void training_golden_distances(const struct training_golden *golden,
                               enum training_golden_quantity quantity, const float *got,
                               double *distances);

/* For what computes in bfloat16: the same run in float64, and how far from it torch comes in
 * bfloat16. */
struct training_bfloat16 {
    int n_steps;
    double losses[TRAINING_GOLDEN_STEPS], norms[TRAINING_GOLDEN_STEPS]; /* float64's */
    /* Torch's: relative, of each step. */
    double loss_errors[TRAINING_GOLDEN_STEPS], norm_errors[TRAINING_GOLDEN_STEPS];
    /* Likewise of each tensor, and of all at once. */
    double *errors[TRAINING_GOLDEN_QUANTITIES];
    bool has_change; /* else errors are of the gradient alone */
};

/* From now on golden's change is float64's, where there is one. */
void training_bfloat16_open(struct training_bfloat16 *bfloat16, struct training_golden *golden,
                            const char *run);
void training_bfloat16_close(struct training_bfloat16 *bfloat16);

/* For messages: "layer 3, gate, B", "head", or, of n_tensors,
 * "all". A static buffer. */
const char *training_golden_name(const struct training_golden *golden, int tensor);

#endif
