/* The golden runs of make_peft_training.py on midashi's trainer: the same NF4 weights, initial
 * adapter and batches, on the CPU or on a GPU. */
#ifndef MIDASHI_TESTS_TRAINING_PARITY_H
#define MIDASHI_TESTS_TRAINING_PARITY_H

#include "tests/training.h"
#include "tests/training_golden.h"

struct parity_case {
    const char *run, *model; /* model: under ../shared/data, a large one under models; NULL: the
                                tiny one of training.h */
    bool large;
    enum objective_kind objective;
    int rank;
    double alpha;
};
enum {
    PARITY_CLASSIFY,
    PARITY_NEXT_TOKEN,
    PARITY_CONTRASTIVE,
    PARITY_TINY, /* contrastive too */
    PARITY_LARGE,
    PARITY_CASES,
};
extern const struct parity_case parity_cases[PARITY_CASES];

struct parity {
    struct training_golden golden;
    struct device device;
    struct embedder embedder;
    struct lora_adapter adapter;
    struct train_data data;
    struct trainer trainer;
    float *initial;
};

/* NULL: not there. A static buffer. */
const char *parity_model(const struct parity_case *c);
/* device: test_device's number, or PARITY_GPU: cuda_test, which the caller has opened and will
 * close. */
#define PARITY_GPU (-1)
void parity_open(struct parity *p, const struct parity_case *c, const char *model, int device);
void parity_close(struct parity *p);

/* Step `step`, from 0, on the golden texts. */
void parity_step(struct parity *p, int step, struct trainer_report *report);
/* The gradients of the first step before clipping, whose report had this norm. The caller frees
 * them, as what parity_change returns. */
float *parity_gradient(struct parity *p, double norm);
/* What the steps so far have added to the parameters. */
float *parity_change(struct parity *p);

#endif
