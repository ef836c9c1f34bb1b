/* See quantize.h. The tensors' sizes are known before their values, so that the header comes first;
 * only the length of a quant state's text is not, which is why it is padded.
 *
 * transformers takes what is not quantised in the type that the file has, and computes with one
 * type alone. So norms and embeddings share one: BF16 where that holds every norm exactly, as it
 * does in models that were trained in it, and then the embeddings can be mapped; else F32. */
#include "host/quantize.h"

#include <stdio.h>
#include <string.h>
#include "host/base/float16.h"
#include "host/base/interrupt.h"
#include "host/model_folder.h"

struct job {
    struct device *device;
    const struct progress *progress;
    struct quantize_counts *counts;
    struct model_folder m;
    enum precision dense; /* of what is not quantised: BF16 or F32 */
    int n_parameters;
    struct arena tensor, scratch; /* tensor: the one at hand */
    struct err *err;
};

/* ---- parameters ----------------------------------------------------------------------------- */

/* The tensors of a quantised matrix, in the order in which they are put. */
enum part { CODES, ABSMAX, QUANT_MAP, NESTED_ABSMAX, NESTED_QUANT_MAP, STATE, N_PARTS };

#define STATE_LENGTH 256 /* bytes: the text takes at most 200 */

static enum status plan_linear(struct job *job, const struct llama_parameter *p)
{
    int64_t n = (int64_t)p->rows * p->columns;
    int64_t n_blocks = (int64_t)nf4_block_count(n);
    const struct {
        const char *part, *type_name;
        int n_dims;
        int64_t length;
    } parts[N_PARTS] = {
        [CODES] = {"", "U8", 2, (int64_t)nf4_code_bytes(n)},
        [ABSMAX] = {".absmax", "U8", 1, n_blocks},
        [QUANT_MAP] = {".quant_map", "F32", 1, 16},
        [NESTED_ABSMAX] = {".nested_absmax", "F32", 1, (int64_t)nf4_nested_block_count(n_blocks)},
        [NESTED_QUANT_MAP] = {".nested_quant_map", "F32", 1, 256},
        [STATE] = {".quant_state.bitsandbytes__nf4", "U8", 1, STATE_LENGTH},
    };
    for (int i = 0; i < N_PARTS; i++)
        TRY(model_folder_add(&job->m, p->name, parts[i].part,
                             (struct safetensors_entry){.type_name = parts[i].type_name,
                                                        .n_dims = parts[i].n_dims,
                                                        .dims = {parts[i].length, 1}}));
    return STATUS_OK;
}

/* Counts the parameters, and chooses the type of what is not quantised. */
static enum status survey(struct job *job)
{
    struct llama_parameter p;
    job->dense = PRECISION_BF16;
    for (int cursor = 0; model_folder_next(&job->m, &cursor, &p); job->n_parameters++) {
        struct dense_matrix vector;
        if (p.kind != PARAMETER_VECTOR)
            continue;
        TRY(dense_load(&vector, job->m.weights, p.name, 1, p.columns, PRECISION_F32, &job->tensor,
                       &job->scratch, job->err));
        const float *values = vector.data;
        for (int i = 0; i < p.columns; i++)
            if (bf16_to_float(bf16_from_float(values[i])) != values[i])
                job->dense = PRECISION_F32;
        arena_free(&job->tensor);
    }
    return STATUS_OK;
}

static enum status plan(struct job *job)
{
    struct llama_parameter p;
    int cursor = 0;
    TRY(survey(job));
    size_t room = (size_t)job->n_parameters * N_PARTS;
    job->m.entries = arena_alloc(&job->m.arena, room, sizeof *job->m.entries);
    if (!job->m.entries)
        return err_no_memory(job->err, "the table of tensors", room * sizeof *job->m.entries);
    while (model_folder_next(&job->m, &cursor, &p)) {
        job->counts->parameters += (int64_t)p.rows * p.columns;
        if (p.kind == PARAMETER_LINEAR) {
            job->counts->quantised += (int64_t)p.rows * p.columns;
            TRY(plan_linear(job, &p));
            continue;
        }
        struct safetensors_entry entry = {
            .type_name = job->dense == PRECISION_BF16 ? "BF16" : "F32",
            .n_dims = 2,
            .dims = {p.rows, p.columns},
        };
        if (p.kind == PARAMETER_VECTOR) {
            entry.n_dims = 1;
            entry.dims[0] = p.columns;
        }
        TRY(model_folder_add(&job->m, p.name, "", entry));
    }
    return STATUS_OK;
}

/* ---- tensors -------------------------------------------------------------------------------- */

/* bitsandbytes' non-tensor items. JSON may end in spaces. */
static void format_state(char text[STATE_LENGTH], const struct nf4_matrix *w)
{
    char state[STATE_LENGTH + 1];
    int length = snprintf(state, sizeof state,
                          "{\"quant_type\": \"nf4\", \"blocksize\": %d, \"dtype\": \"float32\", "
                          "\"shape\": [%d, %d], \"nested_blocksize\": %d, "
                          "\"nested_dtype\": \"float32\", \"nested_offset\": %.17g}",
                          NF4_BLOCK, w->rows, w->columns, NF4_NESTED_BLOCK, (double)w->offset);
    memset(text, ' ', STATE_LENGTH);
    memcpy(text, state, (size_t)length);
}

static enum status write_linear(struct job *job, const struct llama_parameter *p, int first)
{
    struct linear linear;
    char state[STATE_LENGTH];
    TRY(linear_load(&linear, job->device, job->m.weights, p->name, p->rows, p->columns,
                    PRECISION_NF4, &job->tensor, &job->scratch, job->err));
    format_state(state, &linear.nf4);
    const void *parts[N_PARTS] = {
        [CODES] = linear.nf4.codes,
        [ABSMAX] = linear.nf4.absmax_codes,
        [QUANT_MAP] = nf4_map,
        [NESTED_ABSMAX] = linear.nf4.nested_absmax,
        [NESTED_QUANT_MAP] = nf4_nested_map,
        [STATE] = state,
    };
    for (int i = 0; i < N_PARTS; i++)
        TRY(safetensors_writer_put(&job->m.writer, first + i, parts[i], job->err));
    return STATUS_OK;
}

static enum status write_tensors(struct job *job)
{
    struct llama_parameter p;
    size_t done = 0, total = (size_t)job->n_parameters;
    progress_report(job->progress, "quantise", "tensors", 0, total);
    for (int cursor = 0, entry = 0; model_folder_next(&job->m, &cursor, &p);) {
        TRY(interrupt_check(job->err));
        if (p.kind == PARAMETER_LINEAR) {
            TRY(write_linear(job, &p, entry));
            entry += N_PARTS;
        } else {
            struct dense_matrix dense;
            TRY(dense_load(&dense, job->m.weights, p.name, p.rows, p.columns, job->dense,
                           &job->tensor, &job->scratch, job->err));
            TRY(safetensors_writer_put(&job->m.writer, entry++, dense.data, job->err));
        }
        arena_free(&job->tensor);
        progress_report(job->progress, "quantise", "tensors", ++done, total);
    }
    return weights_check(job->m.weights, job->err);
}

/* ---- config.json ---------------------------------------------------------------------------- */

/* The settings that transformers gives to bitsandbytes. */
static json_t *quantization_config(const char *compute_dtype)
{
    return json_pack("{s:s, s:b, s:b, s:s, s:b, s:s, s:s, s:[s]}", "quant_method", "bitsandbytes",
                     "load_in_4bit", true, "load_in_8bit", false, "bnb_4bit_quant_type", "nf4",
                     "bnb_4bit_use_double_quant", true, "bnb_4bit_compute_dtype", compute_dtype,
                     "bnb_4bit_quant_storage", "uint8", "llm_int8_skip_modules", "lm_head");
}

static enum status write_config(struct job *job)
{
    const char *dtype = job->dense == PRECISION_BF16 ? "bfloat16" : "float32";
    json_t *root;
    enum status status = model_folder_config(&job->m, &root);
    if (status == STATUS_OK &&
        (json_object_set_new(root, "dtype", json_string(dtype)) != 0 ||
         json_object_set_new(root, "quantization_config", quantization_config(dtype)) != 0))
        status = err_no_memory(job->err, "config.json", 0);
    if (status == STATUS_OK)
        return model_folder_write_config(&job->m, root, "quantized_by");
    json_decref(root);
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static enum status refuse_quantised(const struct job *job)
{
    for (int i = 0; i < weights_count(job->m.weights); i++)
        if (weights_at(job->m.weights, i)->nf4)
            return err_set(job->err, STATUS_BAD_DATA,
                           "%s: the weights are NF4 already; use the model as it is",
                           job->m.source);
    return STATUS_OK;
}

static enum status quantize(struct job *job, const char *source, const char *folder, bool force)
{
    TRY(model_folder_open(&job->m, source, folder, job->err));
    TRY(refuse_quantised(job));
    TRY(plan(job));
    TRY(model_folder_begin(&job->m, force));
    TRY(write_config(job));
    TRY(write_tensors(job));
    job->counts->bytes = job->m.writer.size;
    return model_folder_commit(&job->m);
}

enum status quantize_model(struct device *device, const char *source, const char *folder,
                           bool force, const struct progress *progress,
                           struct quantize_counts *counts, struct err *err)
{
    struct job *job = mem_alloc_zero(1, sizeof *job);
    if (!job)
        return err_no_memory(err, "the job", sizeof *job);
    *counts = (struct quantize_counts){0};
    job->device = device;
    job->progress = progress;
    job->counts = counts;
    job->err = err;
    enum status status = quantize(job, source, folder, force);
    model_folder_close(&job->m);
    arena_free(&job->tensor);
    arena_free(&job->scratch);
    mem_free(job);
    return status;
}
