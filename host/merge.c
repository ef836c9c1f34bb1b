/* See merge.h. */
#include "host/merge.h"

#include <stdio.h>
#include <string.h>
#include "host/base/float16.h"
#include "host/base/interrupt.h"
#include "host/finite.h"
#include "host/lora_adapter.h"
#include "host/model_folder.h"
#include "host/weight_pieces.h"
#include "kernels/matmul.h"

struct job {
    struct device *device;
    const struct progress *progress;
    struct merge_counts *counts;
    struct model_folder m;
    struct lora_adapter adapter;
    int n_parameters;
    bool dequantises; /* a tensor of the source is neither F32, F16 nor BF16 */
    struct arena scratch;
    struct err *err;
};

/* ---- plan ----------------------------------------------------------------------------------- */

/* What the adapter does to this tensor; NULL: nothing. */
static const struct lora *lora_of(const struct job *job, const char *name)
{
    int layer, length = 0;
    if (sscanf(name, "model.layers.%9d.%n", &layer, &length) != 1 || length == 0)
        return NULL;
    for (int target = 0; target < LORA_TARGETS; target++) {
        const char *stem = lora_target_name(target);
        size_t n = strlen(stem);
        if (strncmp(name + length, stem, n) == 0 && strcmp(name + length + n, ".weight") == 0) {
            const struct lora *lora = &job->adapter.layers[layer][target];
            return lora->rank > 0 ? lora : NULL;
        }
    }
    return NULL;
}

/* A model that classifies predicts no tokens. */
static bool next_parameter(const struct job *job, int *cursor, struct llama_parameter *out)
{
    return model_folder_next(&job->m, cursor, out) &&
           !(job->adapter.head && strcmp(out->name, "lm_head.weight") == 0);
}

static const char *type_of(const struct weight *weight)
{
    static const char *const kept[] = {"F32", "F16", "BF16"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (strcmp(weight->type_name, kept[i]) == 0)
            return kept[i];
    return NULL;
}

static enum status plan(struct job *job)
{
    struct llama_parameter p;
    struct model_folder *m = &job->m;
    for (int cursor = 0; next_parameter(job, &cursor, &p);)
        job->n_parameters++;
    size_t room = (size_t)job->n_parameters + 1;
    m->entries = arena_alloc(&m->arena, room, sizeof *m->entries);
    if (!m->entries)
        return err_no_memory(job->err, "the table of tensors", room * sizeof *m->entries);
    for (int cursor = 0; next_parameter(job, &cursor, &p);) {
        const struct weight *weight;
        TRY(weights_expect(m->weights, p.name, p.rows, p.columns, &weight, job->err));
        const char *type = type_of(weight);
        struct safetensors_entry entry = {
            .type_name = type ? type : "BF16", .n_dims = 2, .dims = {p.rows, p.columns}};
        if (p.kind == PARAMETER_VECTOR) {
            entry.n_dims = 1;
            entry.dims[0] = p.columns;
        }
        job->dequantises |= !type;
        job->counts->parameters += (int64_t)p.rows * p.columns;
        TRY(model_folder_add(m, p.name, "", entry));
    }
    job->counts->embeds = job->adapter.config.task == ADAPTER_EMBEDS;
    if (!job->adapter.head)
        return STATUS_OK;
    job->counts->n_labels = job->adapter.n_labels;
    job->counts->parameters += (int64_t)job->adapter.n_labels * job->adapter.hidden_size;
    return model_folder_add(
        m, "score.weight", "",
        (struct safetensors_entry){.type_name = "F32",
                                   .n_dims = 2,
                                   .dims = {job->adapter.n_labels, job->adapter.hidden_size}});
}

/* ---- tensors -------------------------------------------------------------------------------- */

/* What the product of a piece needs beside it, in the scratch. */
struct change {
    const struct lora *lora; /* NULL: the tensor stays as it is */
    struct dense_matrix at;  /* Aᵀ (columns, rank) */
    float *rows;             /* scale B of a piece (n_rows, rank) */
};

static enum status prepare_change(struct job *job, struct change *change, const struct lora *lora,
                                  int64_t largest)
{
    *change = (struct change){.lora = lora};
    if (!lora)
        return STATUS_OK;
    size_t rank = (size_t)lora->rank, columns = (size_t)lora->columns;
    float *at = arena_alloc(&job->scratch, columns * rank, sizeof *at);
    change->rows = arena_alloc(&job->scratch, (size_t)largest * rank, sizeof *change->rows);
    if (!at || !change->rows)
        return err_no_memory(job->err, "the adapter's product", columns * rank * sizeof *at);
    for (size_t k = 0; k < rank; k++)
        for (size_t j = 0; j < columns; j++)
            at[j * rank + k] = lora->a[k * columns + j];
    change->at = (struct dense_matrix){PRECISION_F32, at, lora->columns, lora->rank};
    job->counts->n_matrices++;
    return STATUS_OK;
}

/* values (n_rows, columns) += scale B A of these rows. */
static enum status apply_change(struct job *job, const struct change *change,
                                const struct weight_pieces *pieces)
{
    const struct lora *lora = change->lora;
    if (!lora)
        return STATUS_OK;
    const float *b = lora->b + pieces->first_row * lora->rank;
    for (int64_t i = 0; i < pieces->n_rows * lora->rank; i++)
        change->rows[i] = lora->scale * b[i];
    return matmul_fwd(job->device, pieces->values, change->rows, &change->at, (int)pieces->n_rows,
                      true, job->err);
}

/* Rounds in place: the narrower type needs less room than the wider one, from the front. A value
 * that the file held is what it was. */
static enum status round_piece(struct job *job, const struct weight_pieces *pieces,
                               const char *type_name)
{
    int64_t n = pieces->n_rows * pieces->weight->columns;
    const float *values = pieces->values;
    uint16_t *halves = (uint16_t *)pieces->values;
    bool finite = true;
    if (strcmp(type_name, "F32") == 0) {
        finite = finite_f32(values, n);
    } else {
        bool f16 = strcmp(type_name, "F16") == 0;
        for (int64_t i = 0; i < n; i++) {
            float value;
            memcpy(&value, values + i, sizeof value);
            uint16_t half = f16 ? f16_from_float(value) : bf16_from_float(value);
            memcpy(halves + i, &half, sizeof half);
        }
        finite = f16 ? finite_f16(halves, n) : finite_bf16(halves, n);
    }
    if (finite)
        return STATUS_OK;
    return err_set(job->err, STATUS_BAD_DATA,
                   "%s: tensor %s: with the adapter, a value is beyond the largest of %s; use a "
                   "model in BF16 or F32",
                   pieces->weight->path, pieces->weight->name, type_name);
}

static enum status write_tensor(struct job *job, const struct llama_parameter *p, int entry)
{
    struct arena_mark mark = arena_mark(&job->scratch);
    const char *type_name = job->m.entries[entry].type_name;
    struct weight_pieces pieces;
    struct change change;
    TRY(weight_pieces_begin(&pieces, job->m.weights, p->name, p->rows, p->columns, &job->scratch,
                            job->err));
    TRY(prepare_change(job, &change, lora_of(job, p->name), pieces.largest));
    for (bool more;;) {
        TRY(weight_pieces_next(&pieces, &more, job->err));
        if (!more)
            break;
        TRY(apply_change(job, &change, &pieces));
        TRY(round_piece(job, &pieces, type_name));
        size_t n = (size_t)(pieces.n_rows * p->columns);
        TRY(safetensors_writer_append(&job->m.writer, entry, pieces.values,
                                      n * (size_t)(strcmp(type_name, "F32") == 0 ? 4 : 2),
                                      job->err));
    }
    arena_reset(&job->scratch, mark);
    return STATUS_OK;
}

static enum status write_tensors(struct job *job)
{
    struct llama_parameter p;
    size_t total = (size_t)job->n_parameters;
    int entry = 0;
    progress_report(job->progress, "merge", "tensors", 0, total);
    for (int cursor = 0; next_parameter(job, &cursor, &p);) {
        TRY(interrupt_check(job->err));
        TRY(write_tensor(job, &p, entry++));
        progress_report(job->progress, "merge", "tensors", (size_t)entry, total);
    }
    if (job->adapter.head)
        TRY(safetensors_writer_put(&job->m.writer, entry, job->adapter.head, job->err));
    return weights_check(job->m.weights, job->err);
}

/* ---- config.json ---------------------------------------------------------------------------- */

/* "LlamaForCausalLM" becomes "LlamaForSequenceClassification"; false: no memory. */
static bool set_classes(json_t *root, const struct job *job)
{
    const struct lora_adapter *adapter = &job->adapter;
    const char *name = architecture_name(job->m.config.architecture);
    char class[64];
    snprintf(class, sizeof class, "%.*sSequenceClassification",
             (int)(strlen(name) - strlen("CausalLM")), name);
    json_t *names = json_object(), *ids = json_object();
    bool good = names && ids;
    for (int i = 0; i < adapter->n_labels && good; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        good = json_object_set_new(names, id, json_string(adapter->labels[i])) == 0 &&
               json_object_set_new(ids, adapter->labels[i], json_integer(i)) == 0;
    }
    good = json_object_set_new(root, "architectures", json_pack("[s]", class)) == 0 && good;
    good = json_object_set(root, "id2label", names) == 0 && good;
    good = json_object_set(root, "label2id", ids) == 0 && good;
    json_decref(names);
    json_decref(ids);
    return good;
}

/* The type that transformers computes with: the layers' matrices'. */
static const char *dtype_of(const struct job *job)
{
    for (int i = 0; i < job->m.n_entries; i++)
        if (strstr(job->m.entries[i].name, ".q_proj.weight")) {
            const char *type = job->m.entries[i].type_name;
            return strcmp(type, "F32") == 0   ? "float32"
                   : strcmp(type, "F16") == 0 ? "float16"
                                              : "bfloat16";
        }
    return "float32";
}

static enum status write_config(struct job *job)
{
    json_t *root;
    enum status status = model_folder_config(&job->m, &root);
    bool good = true;
    if (status == STATUS_OK) {
        json_object_del(root, "quantization_config");
        if (job->dequantises || !json_object_get(root, "dtype"))
            good = json_object_set_new(root, "dtype", json_string(dtype_of(job))) == 0;
        good = good && (!job->adapter.head || set_classes(root, job));
    }
    if (!good)
        status = err_no_memory(job->err, "config.json", 0);
    if (status == STATUS_OK)
        return model_folder_write_config(&job->m, root, "merged_by");
    json_decref(root);
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static enum status merge(struct job *job, const char *source, const char *adapter,
                         const char *folder, bool force)
{
    TRY(model_folder_open(&job->m, source, folder, job->err));
    TRY(lora_adapter_load(&job->adapter, adapter, &job->m.config, job->err));
    if (model_folder_same(adapter, folder))
        return err_set(job->err, STATUS_USAGE,
                       "%s: this is the adapter's own folder; give another --output", folder);
    TRY(plan(job));
    TRY(model_folder_begin(&job->m, force));
    TRY(write_config(job));
    TRY(write_tensors(job));
    job->counts->bytes = job->m.writer.size;
    return model_folder_commit(&job->m);
}

enum status merge_model(struct device *device, const char *source, const char *adapter,
                        const char *folder, bool force, const struct progress *progress,
                        struct merge_counts *counts, struct err *err)
{
    struct job *job = mem_alloc_zero(1, sizeof *job);
    if (!job)
        return err_no_memory(err, "the job", sizeof *job);
    *counts = (struct merge_counts){0};
    job->device = device;
    job->progress = progress;
    job->counts = counts;
    job->err = err;
    enum status status = merge(job, source, adapter, folder, force);
    model_folder_close(&job->m);
    lora_adapter_free(&job->adapter);
    arena_free(&job->scratch);
    mem_free(job);
    return status;
}
