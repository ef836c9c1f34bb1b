/* The trainer's part on a GPU. Parameters, gradients and both moments are there, in one allocation
 * with the activations; a step is one row of launches, behind which its losses and its norm come to
 * the host by themselves, and nothing of it waits.
 *
 * The numbers of a pass go up from page-locked memory, of which there are several sets: the host
 * writes the next while copies of the last ones may be under way. */
#ifndef MIDASHI_HOST_TRAINER_CUDA_H
#define MIDASHI_HOST_TRAINER_CUDA_H

#include "host/embedder.h"
#include "host/train_batch.h"
#include "kernels/adamw.h"
#include "kernels/step_record.h"

struct trainer_cuda;

struct trainer_cuda_shape {
    const struct model_config *config;
    const struct lora_adapter *adapter;
    struct objective_settings objective; /* of a pass */
    int kept_layers;
    bool own_output; /* next-token: objective_has_output */
};

/* Bytes on the GPU beside the model's, by what takes them. */
struct trainer_cuda_bytes {
    size_t adapter; /* parameters, their working copies, gradients, moments */
    size_t kept;    /* activations of layers */
    size_t shared, losses;
    size_t total;
};

/* STATUS_RESOURCE: no memory of the host's, of which it takes little. */
enum status trainer_cuda_measure(const struct trainer_cuda_shape *shape,
                                 struct trainer_cuda_bytes *bytes, struct err *err);

/* The embedder is loaded on the device. Parameters and moments there are not set yet.
 * STATUS_RESOURCE: no memory. */
enum status trainer_cuda_open(struct trainer_cuda **out, struct device *device,
                              struct embedder *embedder, const struct trainer_cuda_shape *shape,
                              struct err *err);
void trainer_cuda_close(struct trainer_cuda *trainer); /* NULL is allowed */

/* Where the next pass is to be packed. Where all sets are under way it waits until the numbers of
 * the first of those passes have been copied. */
enum status trainer_cuda_numbers(struct trainer_cuda *trainer, struct train_numbers *numbers,
                                 struct err *err);

/* A step or an evaluation begins: record `slot` of TRAINER_CUDA_RECORDS is cleared, and gets what
 * follows. */
#define TRAINER_CUDA_RECORDS 2
enum status trainer_cuda_begin(struct trainer_cuda *trainer, int slot, struct err *err);
/* A pass of what trainer_cuda_numbers gave. weight 0: only the losses are wanted. */
enum status trainer_cuda_pass(struct trainer_cuda *trainer, const struct objective_batch *batch,
                              const struct dropout *dropout, float weight, struct err *err);
/* Norm, clipping (0: none) and the optimiser's step. */
enum status trainer_cuda_update(struct trainer_cuda *trainer, const struct adamw *adamw,
                                double clip, struct err *err);
/* The end of a step or an evaluation: its record will come to the host. */
enum status trainer_cuda_end(struct trainer_cuda *trainer, struct err *err);
/* In place of an end: what was queued of a step has no effect. */
enum status trainer_cuda_abandon(struct trainer_cuda *trainer, struct err *err);
/* Waits for the record. */
enum status trainer_cuda_await(struct trainer_cuda *trainer, int slot, struct step_record *record,
                               struct err *err);

/* Between the GPU and arrays of the host (adapter->n_parameters); m, v NULL: the parameters alone.
 * Waits. */
enum status trainer_cuda_fetch(struct trainer_cuda *trainer, float *parameters, float *m, float *v,
                               struct err *err);
enum status trainer_cuda_send(struct trainer_cuda *trainer, const float *parameters, const float *m,
                              const float *v, struct err *err);

#endif
