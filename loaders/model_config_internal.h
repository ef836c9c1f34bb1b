/* What the readers of model configurations share; nothing outside loaders/model_config*.c needs it.
 *
 *   model_config.c       the checks, and which reader a file takes
 *   model_config_json.c  config.json   | each hands raw numbers to the checks
 *   model_config_gguf.c  GGUF metadata | */
#ifndef MIDASHI_LOADERS_MODEL_CONFIG_INTERNAL_H
#define MIDASHI_LOADERS_MODEL_CONFIG_INTERNAL_H

#include <stdint.h>
#include "loaders/model_config.h"

#define MODEL_SIZE_LARGEST ((1 << 24) - 1)
#define ABSENT             INT64_MIN

/* The numbers of a file, ABSENT where it is silent. names: what the file calls each, for messages;
 * the order is that of the struct. */
enum field {
    HIDDEN_SIZE,
    INTERMEDIATE_SIZE,
    LAYERS,
    HEADS,
    KV_HEADS,
    HEAD_DIM,
    VOCAB_SIZE,
    MAX_POSITIONS,
    FIELDS,
};

struct raw_config {
    const char *path;
    const char *const *names; /* [FIELDS] */
    int64_t values[FIELDS];
    const char *eps_name, *theta_name;
    double eps, theta;
    struct err *err;
};

/* Sizes, eps and theta; the rest is the readers'. */
enum status model_config_fill(const struct raw_config *raw, struct model_config *config);

/* STATUS_BAD_DATA: "PATH: NAME: VALUE is not supported; supported: SUPPORTED". */
enum status model_config_unsupported(const char *path, const char *name, const char *value,
                                     const char *supported, struct err *err);

/* path: a config.json; a .gguf. Errors as model_config_read's. *config is zeroed. */
enum status model_config_read_json(struct model_config *config, const char *path, struct err *err);
enum status model_config_read_gguf(struct model_config *config, const char *path, struct err *err);

#endif
