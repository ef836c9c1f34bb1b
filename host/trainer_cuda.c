/* See trainer_cuda.h. */
#include "host/trainer_cuda.h"

#include <assert.h>
#include <string.h>
#include "host/base/cuda_memory.h"
#include "host/llama_train_cuda.h"
#include "host/objective_cuda.h"

/* Sets of numbers: so many passes may be under way before the host waits for the first of them to
 * have its own. The GPU has all of them to do then, so it does not wait for the host. */
#define SETS 8

struct trainer_cuda {
    struct device *device;
    struct trainer_cuda_shape shape;
    struct cuda_adapter adapter;
    struct llama_train_cuda train;
    struct objective_cuda objective;
    struct cuda_arena arena;

    /* The GPU's. */
    int64_t n; /* parameters */
    float *gradients, *m, *v;
    double *scratch; /* gradient_norm_cuda's */
    int32_t *stopped;
    struct step_record *records; /* (TRAINER_CUDA_RECORDS) */
    struct train_numbers numbers;
    void *numbers_block;
    size_t numbers_bytes;
    void *dhidden; /* (T, D) bfloat16 */

    /* The host's, page-locked. */
    void *pinned;
    struct step_record *seen; /* (TRAINER_CUDA_RECORDS) */
    CUevent known[TRAINER_CUDA_RECORDS];
    struct {
        void *block;
        CUevent copied;
        int64_t pass; /* the last that it was for, from 1 */
    } sets[SETS];
    int64_t passes;                       /* begun */
    int64_t done;                         /* of which it is known that they are done */
    int64_t behind[TRAINER_CUDA_RECORDS]; /* passes that are done when the record is known */
    int slot;                             /* of the step or evaluation at hand */
};

/* ---- memory --------------------------------------------------------------------------------- */

static struct llama_train_shape train_shape(const struct trainer_cuda_shape *shape)
{
    return (struct llama_train_shape){
        .config = shape->config,
        .adapter = shape->adapter,
        .n_tokens = shape->objective.n_tokens,
        .kept_layers = shape->kept_layers,
    };
}

/* All of the GPU's memory, or with an arena that measures what it will take. */
static void plan(struct trainer_cuda *t, struct trainer_cuda_bytes *bytes)
{
    const struct llama_train_shape shape = train_shape(&t->shape);
    struct cuda_arena *arena = &t->arena;
    size_t n = (size_t)t->n, tokens = (size_t)shape.n_tokens, adapter, kept, shared;
    size_t numbers = train_numbers_carve(&t->numbers, &t->shape.objective, NULL);
    cuda_adapter_plan(&t->adapter, arena);
    t->gradients = cuda_arena_take(arena, n, sizeof(float));
    t->m = cuda_arena_take(arena, n, sizeof(float));
    t->v = cuda_arena_take(arena, n, sizeof(float));
    adapter = arena->used;
    llama_train_cuda_plan(&t->train, &shape, arena, &kept);
    t->dhidden =
        cuda_arena_take(arena, tokens * (size_t)shape.config->hidden_size, sizeof(uint16_t));
    t->scratch = cuda_arena_take(arena, gradient_norm_scratch(t->n), sizeof *t->scratch);
    t->stopped = cuda_arena_take(arena, 1, sizeof *t->stopped);
    t->records = cuda_arena_take(arena, TRAINER_CUDA_RECORDS, sizeof *t->records);
    t->numbers_block = cuda_arena_take(arena, numbers, 1);
    t->numbers_bytes = numbers;
    shared = arena->used;
    objective_cuda_plan(&t->objective, shape.config, arena);
    *bytes = (struct trainer_cuda_bytes){
        .adapter = adapter,
        .kept = kept - adapter,
        .shared = shared - kept,
        .losses = arena->used - shared,
        .total = arena->used,
    };
}

/* The host's small part. llama: loaded, or with its configuration alone. */
static enum status open_host(struct trainer_cuda *t, const struct llama *llama,
                             const struct trainer_cuda_shape *shape, struct err *err)
{
    const struct llama_train_shape train = train_shape(shape);
    t->shape = *shape;
    t->n = shape->adapter->n_parameters;
    TRY(cuda_adapter_open(&t->adapter, shape->adapter, shape->config, shape->config->n_layers,
                          err));
    TRY(llama_train_cuda_open(&t->train, llama, &t->adapter, &train, err));
    objective_cuda_open(&t->objective, llama, &t->adapter, shape->own_output, &shape->objective);
    return STATUS_OK;
}

static void close_host(struct trainer_cuda *t)
{
    llama_train_cuda_close(&t->train);
    cuda_adapter_close(&t->adapter);
}

enum status trainer_cuda_measure(const struct trainer_cuda_shape *shape,
                                 struct trainer_cuda_bytes *bytes, struct err *err)
{
    struct trainer_cuda t = {0};
    const struct llama llama = {.config = *shape->config};
    enum status status = open_host(&t, &llama, shape, err);
    if (status == STATUS_OK)
        plan(&t, bytes);
    close_host(&t);
    return status;
}

/* ---- opening -------------------------------------------------------------------------------- */

static enum status allocate_pinned(struct trainer_cuda *t, struct err *err)
{
    struct cuda_device *cuda = t->device->cuda;
    size_t records = (TRAINER_CUDA_RECORDS * sizeof *t->seen + 63) / 64 * 64;
    TRY(cuda_pinned_alloc(cuda, &t->pinned, records + SETS * t->numbers_bytes, err));
    t->seen = t->pinned;
    for (int i = 0; i < SETS; i++) {
        t->sets[i].block = (char *)t->pinned + records + (size_t)i * t->numbers_bytes;
        memset(t->sets[i].block, 0, t->numbers_bytes);
        CUDA_TRY(&cuda->driver, err, EventCreate, &t->sets[i].copied, CU_EVENT_DISABLE_TIMING);
    }
    for (int i = 0; i < TRAINER_CUDA_RECORDS; i++)
        CUDA_TRY(&cuda->driver, err, EventCreate, &t->known[i], CU_EVENT_DISABLE_TIMING);
    return STATUS_OK;
}

static enum status allocate(struct trainer_cuda *t, struct err *err)
{
    struct cuda_device *cuda = t->device->cuda;
    struct trainer_cuda_bytes bytes;
    plan(t, &bytes);
    TRY(cuda_arena_open(&t->arena, cuda, "training beside the model",
                        "use a smaller --batch, --max-tokens, --rank or --memory", err));
    plan(t, &bytes);
    train_numbers_carve(&t->numbers, &t->shape.objective, t->numbers_block);
    t->train.gradients = t->objective.gradients = t->gradients;
    TRY(cuda_clear(cuda, t->gradients, (size_t)t->n * sizeof *t->gradients, err));
    TRY(cuda_clear(cuda, t->stopped, sizeof *t->stopped, err));
    return allocate_pinned(t, err);
}

/* Kernels before memory: they take some, and loading one may wait for the GPU. */
static enum status open_all(struct trainer_cuda *t, struct embedder *embedder,
                            const struct trainer_cuda_shape *shape, struct err *err)
{
    struct cuda_device *cuda = t->device->cuda;
    TRY(open_host(t, &embedder->llama, shape, err));
    TRY(cuda_load(cuda, "adamw", err));
    TRY(llama_train_cuda_load(&embedder->llama, cuda, err));
    TRY(objective_cuda_load_kernels(&t->objective, cuda, err));
    TRY(allocate(t, err));
    TRY(cuda_adapter_place(&t->adapter, cuda, err));
    return objective_cuda_load_output(&t->objective, t->device, embedder->weights, err);
}

enum status trainer_cuda_open(struct trainer_cuda **out, struct device *device,
                              struct embedder *embedder, const struct trainer_cuda_shape *shape,
                              struct err *err)
{
    struct trainer_cuda *t = *out = mem_alloc_zero(1, sizeof *t);
    if (!t)
        return err_no_memory(err, "the trainer", sizeof *t);
    t->device = device;
    enum status status = open_all(t, embedder, shape, err);
    if (status != STATUS_OK) {
        trainer_cuda_close(t);
        *out = NULL;
    }
    return status;
}

void trainer_cuda_close(struct trainer_cuda *t)
{
    if (!t)
        return;
    struct cuda_device *cuda = t->device->cuda;
    cuda->driver.StreamSynchronize(cuda->stream); /* after an error a step may be under way */
    for (int i = 0; i < SETS; i++)
        if (t->sets[i].copied)
            cuda->driver.EventDestroy(t->sets[i].copied);
    for (int i = 0; i < TRAINER_CUDA_RECORDS; i++)
        if (t->known[i])
            cuda->driver.EventDestroy(t->known[i]);
    cuda_pinned_free(cuda, t->pinned);
    cuda_arena_close(&t->arena, cuda);
    close_host(t);
    mem_free(t);
}

/* ---- passes --------------------------------------------------------------------------------- */

enum status trainer_cuda_numbers(struct trainer_cuda *t, struct train_numbers *numbers,
                                 struct err *err)
{
    struct cuda_device *cuda = t->device->cuda;
    int set = (int)(t->passes % SETS);
    if (t->sets[set].pass > t->done)
        CUDA_TRY(&cuda->driver, err, EventSynchronize, t->sets[set].copied);
    train_numbers_carve(numbers, &t->shape.objective, t->sets[set].block);
    return STATUS_OK;
}

/* The numbers of the pass at hand to the GPU. */
static enum status send_numbers(struct trainer_cuda *t, struct err *err)
{
    struct cuda_device *cuda = t->device->cuda;
    int set = (int)(t->passes % SETS);
    t->sets[set].pass = ++t->passes;
    TRY(cuda_copy_to(cuda, t->numbers_block, t->sets[set].block, t->numbers_bytes, err));
    CUDA_TRY(&cuda->driver, err, EventRecord, t->sets[set].copied, cuda->stream);
    return STATUS_OK;
}

enum status trainer_cuda_pass(struct trainer_cuda *t, const struct objective_batch *batch,
                              const struct dropout *dropout, float weight, struct err *err)
{
    const struct objective_batch there = train_batch_at(batch, &t->numbers);
    bool backward = weight != 0;
    struct cuda_pass pass = {.dropout = *dropout};
    TRY(send_numbers(t, err));
    TRY(llama_train_cuda_forward(&t->train, t->device, &there.texts, &pass, backward, err));
    TRY(objective_cuda_run(&t->objective, t->device, &there, batch->text_units, weight,
                           backward ? t->dhidden : NULL, &t->records[t->slot], err));
    if (!backward)
        return STATUS_OK;
    return llama_train_cuda_backward(&t->train, &pass, t->dhidden, there.token_units,
                                     batch->n_units, err);
}

/* ---- steps ---------------------------------------------------------------------------------- */

enum status trainer_cuda_begin(struct trainer_cuda *t, int slot, struct err *err)
{
    assert(slot >= 0 && slot < TRAINER_CUDA_RECORDS);
    t->slot = slot;
    return cuda_clear(t->device->cuda, &t->records[slot], sizeof *t->records, err);
}

enum status trainer_cuda_update(struct trainer_cuda *t, const struct adamw *adamw, double clip,
                                struct err *err)
{
    struct step_record *record = &t->records[t->slot];
    TRY(gradient_norm_cuda(t->device, record, t->stopped, (int32_t)adamw->step, t->gradients, t->n,
                           clip, t->scratch, err));
    TRY(adamw_step_cuda(t->device, t->adapter.parameters, t->gradients, t->m, t->v, t->n, adamw,
                        record, err));
    return cuda_adapter_copy(&t->adapter, t->device, err);
}

enum status trainer_cuda_end(struct trainer_cuda *t, struct err *err)
{
    struct cuda_device *cuda = t->device->cuda;
    TRY(cuda_copy_from(cuda, &t->seen[t->slot], &t->records[t->slot], sizeof *t->seen, err));
    CUDA_TRY(&cuda->driver, err, EventRecord, t->known[t->slot], cuda->stream);
    t->behind[t->slot] = t->passes;
    return STATUS_OK;
}

enum status trainer_cuda_abandon(struct trainer_cuda *t, struct err *err)
{
    return cuda_clear(t->device->cuda, t->gradients, (size_t)t->n * sizeof *t->gradients, err);
}

enum status trainer_cuda_await(struct trainer_cuda *t, int slot, struct step_record *record,
                               struct err *err)
{
    CUDA_TRY(&t->device->cuda->driver, err, EventSynchronize, t->known[slot]);
    *record = t->seen[slot];
    t->done = t->behind[slot];
    return STATUS_OK;
}

/* ---- parameters and moments ----------------------------------------------------------------- */

enum status trainer_cuda_fetch(struct trainer_cuda *t, float *parameters, float *m, float *v,
                               struct err *err)
{
    struct cuda_device *cuda = t->device->cuda;
    size_t bytes = (size_t)t->n * sizeof *parameters;
    TRY(cuda_copy_from(cuda, parameters, t->adapter.parameters, bytes, err));
    if (m)
        TRY(cuda_copy_from(cuda, m, t->m, bytes, err));
    if (v)
        TRY(cuda_copy_from(cuda, v, t->v, bytes, err));
    return cuda_synchronise(cuda, err);
}

enum status trainer_cuda_send(struct trainer_cuda *t, const float *parameters, const float *m,
                              const float *v, struct err *err)
{
    struct cuda_device *cuda = t->device->cuda;
    size_t bytes = (size_t)t->n * sizeof *parameters;
    TRY(cuda_copy_to(cuda, t->adapter.parameters, parameters, bytes, err));
    TRY(cuda_copy_to(cuda, t->m, m, bytes, err));
    TRY(cuda_copy_to(cuda, t->v, v, bytes, err));
    TRY(cuda_adapter_copy(&t->adapter, t->device, err));
    return cuda_synchronise(cuda, err);
}
