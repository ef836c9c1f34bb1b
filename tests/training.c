/* See training.h. */
#include "tests/training.h"

#include <stdio.h>
#include <string.h>
#include "tests/cuda_support.h"
#include "tests/model_writer.h"

void training_corpus(struct corpus *corpus)
{
    static const char *const words[4][3] = {{"rain", "cloud", "storm"},
                                            {"goal", "match", "team"},
                                            {"bread", "soup", "salt"},
                                            {"a", "b", "c"}};
    char bytes[8192] = "text\tlabel\n";
    size_t length = strlen(bytes);
    for (int i = 0; i < TRAINING_TEXTS; i++) {
        const char *const *of = words[i % 4];
        bool letter = i >= TRAINING_TEXTS - 4;
        length += (size_t)snprintf(bytes + length, sizeof bytes - length, "%s%s%s%s%s\tlabel%d\n",
                                   of[i / 4 % 3], letter ? "" : " ", letter ? "" : of[i / 2 % 3],
                                   letter ? "" : " ", letter ? "" : of[i % 3], i % 4);
    }
    struct err err;
    const char *path = write_file(temporary_folder(), "corpus.tsv", bytes, length);
    ck_assert_msg(corpus_read(corpus, path, &(struct corpus_settings){0}, &err) == STATUS_OK, "%s",
                  err.text);
    ck_assert_uint_eq(corpus->n_rows, TRAINING_TEXTS);
    ck_assert_int_eq(corpus->n_labels, 4);
}

const char *tiny_model(void)
{
    static char folder[256];
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "%s", temporary_folder());
        write_random_model(folder, &tiny_shape);
    }
    return folder;
}

struct training_options training_defaults(const char *model)
{
    return (struct training_options){
        .model = model,
        .objective = OBJECTIVE_CLASSIFY,
        .precision = PRECISION_NF4,
        .device = 0,
        .kept_layers = -1,
        .steps = 4,
        .batch = 3,
        .accumulate = 2,
        .learning_rate = 1e-2,
        .dropout = 0.1,
        .validation = 0.25,
        .clip = 1,
    };
}

static enum status open_all(struct training *t, const struct training_options *o,
                            const struct corpus *corpus, struct err *err)
{
    bool classify = o->objective == OBJECTIVE_CLASSIFY;
    TRY(embedder_open_texts(&t->embedder, o->model, "{text}", 0, err));
    TRY(train_data_add(&t->data, &t->embedder, corpus, classify, NULL, err));
    TRY(train_data_split(&t->data, corpus->n_labels, o->validation, 1, err));
    TRY(lora_adapter_create(&t->adapter, &t->embedder.config,
                            &(struct lora_settings){
                                .rank = 4,
                                .alpha = 8,
                                .dropout = o->dropout,
                                .task = classify ? ADAPTER_CLASSIFIES : ADAPTER_CONTINUES,
                                .n_labels = classify ? corpus->n_labels : 0,
                                .labels = classify ? corpus->labels : NULL,
                            },
                            7, err));
    t->embedder.max_tokens = train_data_longest(&t->data);
    struct train_plan_request request = {
        .config = &t->embedder.config,
        .adapter = &t->adapter,
        .objective = o->objective,
        .batch = o->batch,
        .accumulate = o->accumulate,
        .longest = t->embedder.max_tokens,
        .dropout = o->dropout > 0,
        .gpu = o->gpu,
        .precision = o->precision,
    };
    TRY(train_plan_make(&t->plan, &request, err));
    /* A plan with so few layers: each has one less than the one before. */
    while (o->kept_layers >= 0 && t->plan.kept_layers > o->kept_layers) {
        request.budget = t->plan.total - 1;
        TRY(train_plan_make(&t->plan, &request, err));
    }
    if (o->pass_tokens > 0)
        t->plan.pass_tokens = o->pass_tokens;
    TRY(embedder_load(&t->embedder, &t->device, o->model, o->precision, t->embedder.config.n_layers,
                      t->plan.pass_tokens, NULL, err));
    return trainer_open(&t->trainer, &t->device, &t->embedder, &t->adapter, &t->data, &t->plan,
                        &(struct trainer_settings){
                            .objective = o->objective,
                            .temperature = 0.05f,
                            .near = o->near,
                            .steps = o->steps,
                            .batch = o->batch,
                            .accumulate = o->accumulate,
                            .learning_rate = o->learning_rate,
                            .clip = o->clip,
                            .warm_up = o->warm_up,
                            .dropout = o->dropout,
                            .seed = 3,
                        },
                        err);
}

enum status training_try(struct training *t, const struct training_options *o, struct err *err)
{
    struct corpus corpus;
    *t = (struct training){0};
    if (o->gpu)
        t->device = cuda_test;
    else if (!test_device(o->device, &t->device))
        return err_set(err, STATUS_RESOURCE, "no such device");
    training_corpus(&corpus);
    enum status status = open_all(t, o, &corpus, err);
    corpus_free(&corpus);
    return status;
}

bool training_open(struct training *t, const struct training_options *o)
{
    struct err err;
    struct device device = {0};
    if (!o->gpu && !test_device(o->device, &device))
        return false;
    device_close(&device);
    ck_assert_msg(training_try(t, o, &err) == STATUS_OK, "%s", err.text);
    return true;
}

enum status training_step(struct trainer *trainer, struct trainer_report *report, struct err *err)
{
    TRY(trainer_step(trainer, err));
    return trainer_report(trainer, true, report, err);
}

void training_close(struct training *t)
{
    trainer_close(&t->trainer);
    embedder_close(&t->embedder);
    lora_adapter_free(&t->adapter);
    train_data_free(&t->data);
    if (t->device.kind == DEVICE_CPU) /* a GPU is the caller's */
        device_close(&t->device);
}
