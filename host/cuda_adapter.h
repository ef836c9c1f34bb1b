/* An adapter on a GPU: its parameters in the host's flat layout (host/lora_adapter.h), and of every
 * matrix that is one product there the parts that have an adapter, with the working copies that
 * tensor cores read (kernels/lora_parts.h). Of a model that is loaded up to some layer no more than
 * that layer's goes there. */
#ifndef MIDASHI_HOST_CUDA_ADAPTER_H
#define MIDASHI_HOST_CUDA_ADAPTER_H

#include "host/base/cuda_memory.h"
#include "host/base/device.h"
#include "host/lora_adapter.h"
#include "kernels/lora_parts.h"

/* The products of a layer on a GPU. */
enum cuda_matrix {
    CUDA_QKV,
    CUDA_O,
    CUDA_GATE_UP,
    CUDA_DOWN,
    CUDA_MATRICES,
};

struct cuda_adapter {
    const struct lora_adapter *adapter;         /* borrowed */
    int n_layers;                               /* those that are used */
    float *parameters;                          /* the GPU's (n_parameters) */
    int64_t n_parameters;                       /* the adapter's first, the used layers' */
    struct lora_parts (*layers)[CUDA_MATRICES]; /* (n_layers) host, owned; padded 0: no adapter */
    struct lora_parts *table;                   /* the GPU's (n_tables): those that have one */
    int n_tables;
    int longest, most_ranks; /* of a part: lora_copy_cuda's */
};

/* The parts' shapes of the first n_layers; where they lie comes from cuda_adapter_plan. With all
 * layers of the model the parameters are all of the adapter, a head too. cuda_adapter_close also
 * after a failure. STATUS_RESOURCE: no memory of the host's. */
enum status cuda_adapter_open(struct cuda_adapter *cuda_adapter, const struct lora_adapter *adapter,
                              const struct model_config *config, int n_layers, struct err *err);
void cuda_adapter_close(struct cuda_adapter *cuda_adapter); /* a zeroed one is allowed */
/* Takes what it needs from the arena, which may be measuring: both of the following. */
void cuda_adapter_plan(struct cuda_adapter *cuda_adapter, struct cuda_arena *arena);
/* Table and working copies; of those the forward pass's alone. The parameters may go when they are
 * copied. */
void cuda_adapter_plan_forward(struct cuda_adapter *cuda_adapter, struct cuda_arena *arena);
void cuda_adapter_plan_parameters(struct cuda_adapter *cuda_adapter, struct cuda_arena *arena);
/* Brings the table there, once, and waits for it. */
enum status cuda_adapter_place(struct cuda_adapter *cuda_adapter, struct cuda_device *cuda,
                               struct err *err);
/* The working copies anew, from the parameters as they are. Queued. */
enum status cuda_adapter_copy(const struct cuda_adapter *cuda_adapter, struct device *device,
                              struct err *err);

/* The parts of a matrix; NULL where none of them has an adapter, or where cuda_adapter is NULL. */
const struct lora_parts *cuda_adapter_parts(const struct cuda_adapter *cuda_adapter, int layer,
                                            enum cuda_matrix matrix);
/* The widest s of a matrix in any used layer, elements of a row. */
int cuda_adapter_padded(const struct cuda_adapter *cuda_adapter, enum cuda_matrix matrix);

/* The gradient array's part of a parameter, both arrays in the flat layout. */
float *cuda_adapter_beside(const struct cuda_adapter *cuda_adapter, float *array,
                           const float *parameter);

#endif
