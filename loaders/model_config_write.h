/* A config.json for a model that comes without one. */
#ifndef MIDASHI_LOADERS_MODEL_CONFIG_WRITE_H
#define MIDASHI_LOADERS_MODEL_CONFIG_WRITE_H

#include <jansson.h>
#include "loaders/model_config.h"

/* *out: a new object in transformers' terms; model_config_read makes the same *config of it again,
 * to the last bit, but for the architecture: that is the class of transformers that computes this,
 * its own one first (a GGUF of architecture llama with a window is a Mistral). Scaling by divisors
 * becomes `longrope` with one list of factors. What belongs to no *config (dtype, special tokens)
 * is left out. STATUS_BAD_DATA: no class has these biases and this window together. path: of the
 * model, for that message. */
enum status model_config_to_json(json_t **out, const struct model_config *config, const char *path,
                                 struct err *err);

#endif
