/* A model's NF4 weights, kept: a folder that the next load maps, and that transformers loads with
 * bitsandbytes. docs/formats.md describes its files. */
#ifndef MIDASHI_HOST_QUANTIZE_H
#define MIDASHI_HOST_QUANTIZE_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"
#include "host/base/progress.h"
#include "host/base/status.h"

struct quantize_counts {
    int64_t parameters; /* weights of the matrices that were quantised, and of the others */
    int64_t quantised;  /* those in NF4 */
    int64_t bytes;      /* of model.safetensors */
};

/* source: a model, as the loaders take it. Writes FOLDER/model.safetensors, what belongs to the
 * tokenizer, and config.json, tensor by tensor in the form that llama_load gives them with
 * PRECISION_NF4, so that both embed alike to the last bit. Memory: one tensor.
 *
 * Everything is written aside, and renamed when all of it is on the disk, config.json last; on
 * failure, the folder holds what it held. Files of an earlier run that this one has no use for are
 * removed. STATUS_USAGE: the folder holds a model, or what midashi did not write, without force, or
 * is the source itself. STATUS_BAD_DATA: the source cannot be loaded, or is NF4 already. */
enum status quantize_model(struct device *device, const char *source, const char *folder,
                           bool force, const struct progress *progress,
                           struct quantize_counts *counts, struct err *err);

#endif
