/* An operation as the harness sees it: how its operands are made, how it is run, what is right, and
 * what it must do at least. Each has a file in bench/rows and a line in bench/operations.h. */
#ifndef MIDASHI_BENCH_OPERATION_H
#define MIDASHI_BENCH_OPERATION_H

#include <stdbool.h>
#include <stdint.h>
#include "bench/shapes.h"
#include "host/base/cuda_api.h"
#include "host/base/device.h"
#include "host/base/memory.h"

/* ---- operands ------------------------------------------------------------------------------- */

enum tensor_type {
    TENSOR_ACTIVATIONS, /* float32 on the CPU, bfloat16 on a GPU */
    TENSOR_F32,
    TENSOR_F64,
    TENSOR_BF16,
    TENSOR_I32,
    TENSOR_I64,
    TENSOR_U8,
};

/* What a run does with it, for the bytes that it must move. */
enum tensor_role {
    TENSOR_READ,
    TENSOR_WRITTEN,
    TENSOR_UPDATED, /* both; trial_verify puts it back to what it was first */
    TENSOR_PARTS,   /* read in part: the operation adds what it reads to trial->bytes_read itself */
};

struct tensor {
    enum tensor_type type;
    enum tensor_role role;
    size_t n;
    void *host;            /* elements; of activations float, rounded to what the device holds */
    void *first;           /* of an updated one: what it held at first */
    CUdeviceptr device[2]; /* on a GPU: where it is, twice, so that runs can take turns */
};

#define TRIAL_TENSORS 10

/* One operation with one shape on one device. */
struct trial {
    const struct bench_operation *operation;
    struct device *device;
    int64_t size[SHAPE_DIMENSIONS];
    struct tensor tensors[TRIAL_TENSORS];
    int n_tensors;
    int turn;                         /* which of a tensor's places the next run takes */
    double operations;                /* floating-point operations of one run; 0: not counted */
    double bytes_read, bytes_written; /* by one run, at least */
    double bytes_updated;             /* of both: where they lie */
    void *own;                        /* the operation's, in the arena */
    struct arena arena;               /* released with the trial */
};

/* Adds a tensor of n elements, which gets the next number; a row's prepare calls these in the order
 * of its enum. fill: of floating-point types uniform in [-fill, fill); others are zeros, and the
 * row writes what it wants into ->host before it returns. */
enum status trial_tensor(struct trial *trial, enum tensor_type type, enum tensor_role role,
                         int64_t n, double fill, struct err *err);
/* What a run is given: the host's memory, or this turn's address on the GPU. */
void *trial_at(const struct trial *trial, int tensor);
/* The elements as float64 in the trial's arena; of an updated one what it held before the run that
 * is verified. NULL: no memory. */
double *trial_doubles(struct trial *trial, int tensor);
/* n float64 there, for what is right. NULL: no memory. */
double *trial_wanted(struct trial *trial, int64_t n);
/* The relative error of rounding to the activations' type: 2^-24, on a GPU 2^-8. */
double trial_rounding(const struct trial *trial);
/* Values uniform in [-limit, limit), by Philox; `which` tells arrays apart. */
void trial_uniform(float *values, int64_t n, int which, double limit);
void *trial_alloc(struct trial *trial, int64_t count, size_t size); /* NULL: no memory */

/* ---- what is right -------------------------------------------------------------------------- */

/* The largest error of a result, in units of what is allowed: right up to 1. NaN counts as
 * INFINITY. */
struct verdict {
    double worst;
    int64_t n; /* values compared; a verdict over none is wrong */
};

/* One value: |got - want| / allowed, where 0 / 0 is right. */
void verdict_value(struct verdict *verdict, double got, double want, double allowed);
/* n values of float: allowed are absolute + relative * |want|. */
void verdict_floats(struct verdict *verdict, const float *got, const double *want, int64_t n,
                    double absolute, double relative);

/* ---- operations ----------------------------------------------------------------------------- */

struct bench_operation {
    const char *name;                         /* of the function: "rmsnorm_fwd" */
    const char *dtype;                        /* "f32", "nf4"; activations' type on a GPU apart */
    const char *dimensions[SHAPE_DIMENSIONS]; /* "n", "d", as --shape and JSON call them */
    bool cuda;                                /* it has a kernel for GPUs */
    bool not_cpu;                             /* and none for the CPU */
    bool no_activations;                      /* dtype is that of a GPU's row too */
    /* The shapes that a model has it in; more of them with full. Returns how many, at most
     * SHAPES_LARGEST. */
    int (*shapes)(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full);
    /* Why sizes cannot be run, or NULL. Only those given by hand can be wrong. */
    const char *(*refuse)(const int64_t *size);
    /* Makes the operands and says what a run must do. */
    enum status (*prepare)(struct trial *trial, struct err *err);
    enum status (*run)(struct trial *trial, struct err *err);
    /* After a run, outputs are on the host: compares them, or a sample, with the reference. */
    enum status (*verify)(struct trial *trial, struct verdict *verdict, struct err *err);
};

#endif
