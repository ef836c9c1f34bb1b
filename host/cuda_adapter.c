/* See cuda_adapter.h. */
#include "host/cuda_adapter.h"

#include <string.h>
#include "host/llama_layer.h"
#include "kernels/lora.h"

static const struct {
    enum lora_target first;
    int n;
} joined[CUDA_MATRICES] = {
    [CUDA_QKV] = {LORA_Q, 3},
    [CUDA_O] = {LORA_O, 1},
    [CUDA_GATE_UP] = {LORA_GATE, 2},
    [CUDA_DOWN] = {LORA_DOWN, 1},
};

/* ---- shapes --------------------------------------------------------------------------------- */

static void shape_parts(struct lora_parts *parts, const struct lora_adapter *adapter,
                        const struct model_config *config, int layer, enum cuda_matrix matrix)
{
    *parts = (struct lora_parts){.n_parts = joined[matrix].n};
    for (int i = 0; i < parts->n_parts; i++) {
        enum lora_target target = joined[matrix].first + (enum lora_target)i;
        const struct lora *lora = &adapter->layers[layer][target];
        struct lora_part *part = &parts->parts[i];
        lora_target_shape(config, target, &part->rows, &parts->columns);
        part->rank = lora->rank;
        part->padded = (lora->rank + LORA_RANK_STEP - 1) / LORA_RANK_STEP * LORA_RANK_STEP;
        part->first_row = parts->rows;
        part->first_rank = parts->padded;
        part->scale = lora->scale;
        part->stream = llama_dropout_stream(layer, target);
        parts->rows += part->rows;
        parts->padded += part->padded;
    }
}

static void grow(int *most, int n)
{
    *most = n > *most ? n : *most;
}

/* In the flat layout a layer's parameters follow those of the layers before it. */
static int64_t count_parameters(const struct lora_adapter *adapter, int n_layers)
{
    for (int layer = n_layers; layer < adapter->n_layers; layer++)
        for (int target = 0; target < LORA_TARGETS; target++)
            if (adapter->layers[layer][target].rank > 0)
                return adapter->layers[layer][target].a - adapter->parameters;
    return n_layers < adapter->n_layers && adapter->head ? adapter->head - adapter->parameters
                                                         : adapter->n_parameters;
}

enum status cuda_adapter_open(struct cuda_adapter *cuda_adapter, const struct lora_adapter *adapter,
                              const struct model_config *config, int n_layers, struct err *err)
{
    size_t n = (size_t)n_layers;
    *cuda_adapter = (struct cuda_adapter){
        .adapter = adapter,
        .n_layers = n_layers,
        .n_parameters = count_parameters(adapter, n_layers),
    };
    cuda_adapter->layers = mem_alloc(n, sizeof *cuda_adapter->layers);
    if (!cuda_adapter->layers)
        return err_no_memory(err, "the adapter's parts", n * sizeof *cuda_adapter->layers);
    for (int layer = 0; layer < n_layers; layer++)
        for (int matrix = 0; matrix < CUDA_MATRICES; matrix++) {
            struct lora_parts *parts = &cuda_adapter->layers[layer][matrix];
            shape_parts(parts, adapter, config, layer, (enum cuda_matrix)matrix);
            cuda_adapter->n_tables += parts->padded > 0;
            for (int i = 0; i < parts->n_parts; i++) {
                const struct lora_part *part = &parts->parts[i];
                grow(&cuda_adapter->longest, parts->columns);
                grow(&cuda_adapter->longest, part->rows);
                grow(&cuda_adapter->most_ranks, part->padded);
            }
        }
    return STATUS_OK;
}

void cuda_adapter_close(struct cuda_adapter *cuda_adapter)
{
    mem_free(cuda_adapter->layers);
    *cuda_adapter = (struct cuda_adapter){0};
}

/* ---- memory --------------------------------------------------------------------------------- */

float *cuda_adapter_beside(const struct cuda_adapter *cuda_adapter, float *array,
                           const float *parameter)
{
    return array + (parameter - cuda_adapter->parameters);
}

static void plan_part(struct lora_part *part, int columns, bool backward, struct cuda_arena *arena)
{
    size_t a = (size_t)part->padded * (size_t)columns;
    size_t b = (size_t)part->padded * (size_t)part->rows;
    part->a_copy = cuda_arena_take(arena, a, 2);
    part->b_copy = cuda_arena_take(arena, b, 2);
    if (backward) {
        part->a_transposed = cuda_arena_take(arena, a, 2);
        part->b_transposed = cuda_arena_take(arena, b, 2);
    }
}

static void plan_copies(struct cuda_adapter *cuda_adapter, bool backward, struct cuda_arena *arena)
{
    cuda_adapter->table =
        cuda_arena_take(arena, (size_t)cuda_adapter->n_tables, sizeof *cuda_adapter->table);
    for (int layer = 0; layer < cuda_adapter->n_layers; layer++)
        for (int matrix = 0; matrix < CUDA_MATRICES; matrix++) {
            struct lora_parts *parts = &cuda_adapter->layers[layer][matrix];
            for (int i = 0; i < parts->n_parts; i++)
                if (parts->parts[i].rank > 0)
                    plan_part(&parts->parts[i], parts->columns, backward, arena);
        }
}

void cuda_adapter_plan_parameters(struct cuda_adapter *cuda_adapter, struct cuda_arena *arena)
{
    const struct lora_adapter *adapter = cuda_adapter->adapter;
    float *parameters = cuda_adapter->parameters =
        cuda_arena_take(arena, (size_t)cuda_adapter->n_parameters, sizeof(float));
    for (int layer = 0; layer < cuda_adapter->n_layers; layer++)
        for (int matrix = 0; matrix < CUDA_MATRICES; matrix++) {
            struct lora_parts *parts = &cuda_adapter->layers[layer][matrix];
            for (int i = 0; i < parts->n_parts; i++) {
                struct lora_part *part = &parts->parts[i];
                const struct lora *lora = &adapter->layers[layer][(int)joined[matrix].first + i];
                part->a = part->rank > 0 ? parameters + (lora->a - adapter->parameters) : NULL;
                part->b = part->rank > 0 ? parameters + (lora->b - adapter->parameters) : NULL;
            }
        }
}

void cuda_adapter_plan_forward(struct cuda_adapter *cuda_adapter, struct cuda_arena *arena)
{
    plan_copies(cuda_adapter, false, arena);
}

void cuda_adapter_plan(struct cuda_adapter *cuda_adapter, struct cuda_arena *arena)
{
    cuda_adapter_plan_parameters(cuda_adapter, arena);
    plan_copies(cuda_adapter, true, arena);
}

enum status cuda_adapter_place(struct cuda_adapter *cuda_adapter, struct cuda_device *cuda,
                               struct err *err)
{
    size_t n = (size_t)cuda_adapter->n_tables;
    struct lora_parts *table = mem_alloc(n, sizeof *table);
    if (!table)
        return err_no_memory(err, "the adapter's parts", n * sizeof *table);
    int at = 0;
    for (int layer = 0; layer < cuda_adapter->n_layers; layer++)
        for (int matrix = 0; matrix < CUDA_MATRICES; matrix++)
            if (cuda_adapter->layers[layer][matrix].padded > 0)
                table[at++] = cuda_adapter->layers[layer][matrix];
    enum status status = cuda_copy_to(cuda, cuda_adapter->table, table, n * sizeof *table, err);
    if (status == STATUS_OK)
        status = cuda_synchronise(cuda, err);
    mem_free(table);
    return status;
}

enum status cuda_adapter_copy(const struct cuda_adapter *cuda_adapter, struct device *device,
                              struct err *err)
{
    if (cuda_adapter->n_tables == 0)
        return STATUS_OK;
    return lora_copy_cuda(device, cuda_adapter->table, cuda_adapter->n_tables,
                          cuda_adapter->longest, cuda_adapter->most_ranks, err);
}

/* ---- what products ask ---------------------------------------------------------------------- */

const struct lora_parts *cuda_adapter_parts(const struct cuda_adapter *cuda_adapter, int layer,
                                            enum cuda_matrix matrix)
{
    if (!cuda_adapter || cuda_adapter->layers[layer][matrix].padded == 0)
        return NULL;
    return &cuda_adapter->layers[layer][matrix];
}

int cuda_adapter_padded(const struct cuda_adapter *cuda_adapter, enum cuda_matrix matrix)
{
    int most = 0;
    for (int layer = 0; layer < cuda_adapter->n_layers; layer++)
        grow(&most, cuda_adapter->layers[layer][matrix].padded);
    return most;
}
