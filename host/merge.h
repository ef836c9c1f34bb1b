/* An adapter folded into its model: W + scale B A, in plain safetensors that any program loads. */
#ifndef MIDASHI_HOST_MERGE_H
#define MIDASHI_HOST_MERGE_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"
#include "host/base/progress.h"
#include "host/base/status.h"

struct merge_counts {
    int64_t parameters; /* weights of all tensors */
    int n_matrices;     /* that the adapter changes */
    bool embeds;        /* the adapter was trained to embed, as contrastive ones are */
    int n_labels;       /* of its head; 0: none */
    int64_t bytes;      /* of model.safetensors */
};

/* source: a model, as the loaders take it; adapter: a folder of PEFT's (host/lora_adapter.h).
 * Writes FOLDER/model.safetensors, what belongs to the tokenizer, and config.json, as
 * host/model_folder.h says. A tensor keeps its type where that is F32, F16 or BF16; a quantised one
 * is dequantised and becomes BF16. The sum is float32, rounded once. A classification head becomes
 * score.weight (F32) in the place of lm_head.weight, and the model a LlamaForSequenceClassification
 * (or its family's) with the adapter's labels. Memory: a piece of a tensor of about 8 MB, and the
 * adapter.
 * Errors of lora_adapter_load and model_folder_open; STATUS_USAGE: the folder holds a
 * model, or what midashi did not write, without force, or is the source or the adapter itself;
 * STATUS_BAD_DATA: a sum that its type does not hold. */
enum status merge_model(struct device *device, const char *source, const char *adapter,
                        const char *folder, bool force, const struct progress *progress,
                        struct merge_counts *counts, struct err *err);

#endif
