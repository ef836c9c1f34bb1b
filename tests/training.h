/* A small training run on the tiny model of model_writer.h, for tests of what trains. */
#ifndef MIDASHI_TESTS_TRAINING_H
#define MIDASHI_TESTS_TRAINING_H

#include "host/trainer.h"

/* Texts of four labels, one of which each has words of its own; the last few are one letter. */
#define TRAINING_TEXTS 48
void training_corpus(struct corpus *corpus); /* corpus_free releases it */

/* The folder of the tiny model, which is written once for all tests of this process. */
const char *tiny_model(void);

struct training {
    struct device device;
    struct embedder embedder;
    struct lora_adapter adapter;
    struct train_data data;
    struct train_plan plan;
    struct trainer trainer;
};

struct training_options {
    const char *model;
    enum objective_kind objective;
    enum precision precision;
    int device;      /* test_device's number */
    bool gpu;        /* cuda_test instead, which the caller has opened and will close */
    int kept_layers; /* -1: all */
    int pass_tokens; /* 0: the plan's */
    int steps, batch, accumulate, near;
    double learning_rate, dropout, validation, clip;
    int warm_up;
};

/* A run of classify with everything small; false where there is no such device. */
struct training_options training_defaults(const char *model);
bool training_open(struct training *training, const struct training_options *options);
/* The same where opening may fail; training_close also after a failure. The device is there. */
enum status training_try(struct training *training, const struct training_options *options,
                         struct err *err);
/* One step, and its report. */
enum status training_step(struct trainer *trainer, struct trainer_report *report, struct err *err);
void training_close(struct training *training);

#endif
