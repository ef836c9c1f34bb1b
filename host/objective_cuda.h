/* The objectives on a GPU (host/objective.h): losses and their gradient, queued. Sums of losses go
 * to a record on the GPU instead of the host. */
#ifndef MIDASHI_HOST_OBJECTIVE_CUDA_H
#define MIDASHI_HOST_OBJECTIVE_CUDA_H

#include "host/cuda_adapter.h"
#include "host/objective.h"
#include "kernels/step_record.h"

struct objective_cuda {
    struct objective_settings settings;
    const struct llama *llama;
    const struct cuda_adapter *adapter;
    float *gradients;           /* borrowed: in the layout of the adapter's parameters */
    const float *head;          /* classify: (n_labels, D) */
    struct dense_matrix output; /* next-token: (V, D) bfloat16 */
    bool own_output;            /* it is not the embedding */
    int chunk_rows;             /* next-token: rows of logits at a time */
    void *normed, *dnormed;     /* bfloat16 (T, D); classify: float32 (n_texts, D) */
    float *pooled, *dpooled;    /* (n_texts, D) */
    void *logits;               /* float32 (n_texts, labels), bfloat16 (chunk_rows, V) */
    float *losses;              /* (n_texts or n_tokens) */
    int32_t *correct;           /* (n_texts) classify */
    double *scratch;            /* contrastive */
};

/* llama: loaded, or with its configuration alone where memory is measured. own_output: the files
 * hold an output matrix of their own, objective_has_output. */
void objective_cuda_open(struct objective_cuda *objective, const struct llama *llama,
                         const struct cuda_adapter *adapter, bool own_output,
                         const struct objective_settings *settings);
/* Takes what it needs from the arena, which may be measuring; the adapter's parameters are planned
 * already. */
void objective_cuda_plan(struct objective_cuda *objective, const struct model_config *config,
                         struct cuda_arena *arena);
/* Before memory is shared out; and, when it is, the output matrix, where it is no embedding. */
enum status objective_cuda_load_kernels(const struct objective_cuda *objective,
                                        struct cuda_device *cuda, struct err *err);
enum status objective_cuda_load_output(struct objective_cuda *objective, struct device *device,
                                       const struct weights *weights, struct err *err);

/* As objective_run: batch is the GPU's, text_units the host's (n_units + 1). The sum of the losses
 * and how many are correct are added to *record, on the GPU. */
enum status objective_cuda_run(const struct objective_cuda *objective, struct device *device,
                               const struct objective_batch *batch, const int32_t *text_units,
                               float weight, void *dhidden, struct step_record *record,
                               struct err *err);

#endif
