/* adapter_config.json of PEFT: which modules of a model a LoRA adapter changes, and how much.
 *
 * The rules are those of PEFT 0.21 (tuners/lora/model.py, check_target_module_exists and
 * get_pattern_key): a module is named in full, as "model.layers.3.self_attn.q_proj". Regular
 * expressions are Python's there and PCRE2's here; what they differ in (Unicode classes, \Z) does
 * not occur in such names. */
#ifndef MIDASHI_LOADERS_ADAPTER_CONFIG_H
#define MIDASHI_LOADERS_ADAPTER_CONFIG_H

#include <stdbool.h>
#include <jansson.h>
#include "host/base/memory.h"
#include "host/base/status.h"

#define ADAPTER_CONFIG_FILE  "adapter_config.json"
#define ADAPTER_RANK_LARGEST 65536

/* PEFT's task_type: SEQ_CLS, CAUSAL_LM (also where the file says none), FEATURE_EXTRACTION. */
enum adapter_task {
    ADAPTER_CLASSIFIES,
    ADAPTER_CONTINUES,
    ADAPTER_EMBEDS,
};

struct adapter_rules; /* which modules, compiled */

struct adapter_config {
    int rank;     /* where no rank_pattern says otherwise */
    double alpha; /* where no alpha_pattern does */
    double dropout;
    bool rslora;     /* scale alpha / sqrt(rank) instead of alpha / rank */
    bool classifies; /* it brings a classification head, the module `score` */
    enum adapter_task task;
    json_t *json; /* the whole, as it is written again; owned */
    struct adapter_rules *rules;
    struct arena arena;
};

/* Reads the file at path (FOLDER/adapter_config.json). On failure all is released.
 * STATUS_MISSING: no such file. STATUS_BAD_DATA: not JSON, a value missing or of another type, a
 * rank that is not within 1 and ADAPTER_RANK_LARGEST, a pattern that is none; and, each named with
 * what to do, what would compute something else: DoRA and other variants, biases, other kinds of
 * adapters, initial values for which the base model was changed, modules saved whole other than
 * the head, embeddings or lm_head as targets; a key that is not known here, if it is set. */
enum status adapter_config_read(struct adapter_config *config, const char *path, struct err *err);

struct adapter_settings {
    int rank;
    double alpha, dropout;
    bool rslora;
    enum adapter_task task;
    const char *const *targets; /* names of modules or their ends, NULL at the end */
    const char *base_model;     /* its name or path; NULL: not told */
};
/* The same for a new adapter, of all the model's layers. */
enum status adapter_config_make(struct adapter_config *config,
                                const struct adapter_settings *settings, struct err *err);
void adapter_config_free(struct adapter_config *config); /* a zeroed one is allowed */

/* What the adapter does to the module of this name. *rank is 0 where it leaves it alone; scale is
 * what B A is multiplied by. STATUS_BAD_DATA: a rank out of range, a scale that is not finite, a
 * pattern on which PCRE2 gives up. Not for several threads at a time. */
enum status adapter_config_module(const struct adapter_config *config, const char *module,
                                  int *rank, float *scale, struct err *err);

#endif
