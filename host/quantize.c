/* See quantize.h. The tensors' sizes are known before their values, so that the header comes first;
 * only the length of a quant state's text is not, which is why it is padded.
 *
 * transformers takes what is not quantised in the type that the file has, and computes with one
 * type alone. So norms and embeddings share one: BF16 where that holds every norm exactly, as it
 * does in models that were trained in it, and then the embeddings can be mapped; else F32. */
#include "host/quantize.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "host/base/file.h"
#include "host/base/float16.h"
#include "host/base/interrupt.h"
#include "host/llama.h"
#include "host/output_folder.h"
#include "loaders/gguf.h"
#include "loaders/json.h"
#include "loaders/model_config_write.h"
#include "loaders/model_files.h"
#include "loaders/safetensors_writer.h"
#include "loaders/tokenizer.h"

/* What the folder may hold. A path is FOLDER/NAME; 1_Pooling is a folder of its own. */
#define POOLING "1_Pooling"
static const char *const copied[] = {
    "tokenizer.json",         "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "generation_config.json", "modules.json",    POOLING "/config.json",
};
#define N_COPIED ((int)(sizeof copied / sizeof *copied))
static const char *const own_names[] = {
    "config.json",
    "model.safetensors",
    "tokenizer.gguf",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "modules.json",
    POOLING,
    NULL,
};

/* In config.json: the folder is ours, and may be written again. */
static const char mark_key[] = "quantized_by", mark[] = "midashi";

#define CONFIG_LARGEST ((size_t)16 << 20) /* bytes */

struct job {
    struct device *device;
    const char *source, *folder;
    const struct progress *progress;
    struct quantize_counts *counts;
    struct model_config config;
    struct weights *weights;
    struct tokenizer *tokenizer;
    bool untied;          /* lm_head is a tensor of its own */
    enum precision dense; /* of what is not quantised: BF16 or F32 */
    bool made_folder, made_pooling;

    struct safetensors_entry *entries; /* in the arena, with their names */
    int n_entries, n_parameters;
    struct safetensors_writer writer;
    struct out_file files[N_COPIED]; /* stream NULL: not in the source */
    struct out_file vocabulary;      /* tokenizer.gguf, likewise */
    struct out_file config_file;
    struct arena arena, tensor, scratch; /* tensor: the one at hand */
    struct err *err;
};

/* ---- parameters ----------------------------------------------------------------------------- */

/* Those of llama_load, and lm_head, which embedding needs not but others do. */
static bool next_parameter(const struct job *job, int *cursor, bool *head_done,
                           struct llama_parameter *out)
{
    if (llama_next_parameter(&job->config, cursor, out))
        return true;
    if (*head_done || !job->untied)
        return false;
    *head_done = true;
    *out = (struct llama_parameter){
        .name = "lm_head.weight",
        .kind = PARAMETER_DENSE,
        .rows = job->config.vocab_size,
        .columns = job->config.hidden_size,
    };
    return true;
}

/* The tensors of a quantised matrix, in the order in which they are put. */
enum part { CODES, ABSMAX, QUANT_MAP, NESTED_ABSMAX, NESTED_QUANT_MAP, STATE, N_PARTS };

#define STATE_LENGTH 256 /* bytes: the text takes at most 200 */

static enum status add_entry(struct job *job, const char *name, const char *part,
                             struct safetensors_entry entry)
{
    size_t length = strlen(name) + strlen(part);
    char *full = arena_alloc(&job->arena, length + 1, 1);
    if (!full)
        return err_no_memory(job->err, "a tensor's name", length);
    snprintf(full, length + 1, "%s%s", name, part);
    entry.name = full;
    job->entries[job->n_entries++] = entry;
    return STATUS_OK;
}

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
        TRY(add_entry(job, p->name, parts[i].part,
                      (struct safetensors_entry){.type_name = parts[i].type_name,
                                                 .n_dims = parts[i].n_dims,
                                                 .dims = {parts[i].length, 1}}));
    return STATUS_OK;
}

/* Counts the parameters, and chooses the type of what is not quantised. */
static enum status survey(struct job *job)
{
    struct llama_parameter p;
    bool head_done = false;
    job->dense = PRECISION_BF16;
    for (int cursor = 0; next_parameter(job, &cursor, &head_done, &p); job->n_parameters++) {
        struct dense_matrix vector;
        if (p.kind != PARAMETER_VECTOR)
            continue;
        TRY(dense_load(&vector, job->weights, p.name, 1, p.columns, PRECISION_F32, &job->tensor,
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
    bool head_done = false;
    int cursor = 0;
    TRY(survey(job));
    size_t room = (size_t)job->n_parameters * N_PARTS;
    job->entries = arena_alloc(&job->arena, room, sizeof *job->entries);
    if (!job->entries)
        return err_no_memory(job->err, "the table of tensors", room * sizeof *job->entries);
    while (next_parameter(job, &cursor, &head_done, &p)) {
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
        TRY(add_entry(job, p.name, "", entry));
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
    TRY(linear_load(&linear, job->device, job->weights, p->name, p->rows, p->columns, PRECISION_NF4,
                    &job->tensor, &job->scratch, job->err));
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
        TRY(safetensors_writer_put(&job->writer, first + i, parts[i], job->err));
    return STATUS_OK;
}

static enum status write_tensors(struct job *job)
{
    struct llama_parameter p;
    bool head_done = false;
    size_t done = 0, total = (size_t)job->n_parameters;
    progress_report(job->progress, "quantise", "tensors", 0, total);
    for (int cursor = 0, entry = 0; next_parameter(job, &cursor, &head_done, &p);) {
        TRY(interrupt_check(job->err));
        if (p.kind == PARAMETER_LINEAR) {
            TRY(write_linear(job, &p, entry));
            entry += N_PARTS;
        } else {
            struct dense_matrix dense;
            TRY(dense_load(&dense, job->weights, p.name, p.rows, p.columns, job->dense,
                           &job->tensor, &job->scratch, job->err));
            TRY(safetensors_writer_put(&job->writer, entry++, dense.data, job->err));
        }
        arena_free(&job->tensor);
        progress_report(job->progress, "quantise", "tensors", ++done, total);
    }
    return weights_check(job->weights, job->err);
}

/* ---- other files ---------------------------------------------------------------------------- */

/* FOLDER/NAME in a buffer of the caller's. */
static const char *in_folder(char path[PATH_MAX], const char *folder, const char *name)
{
    snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return path;
}

/* Byte for byte, aside. A file that is not there is no error. */
static enum status copy_aside(struct job *job, const char *from_folder, int i)
{
    char path[PATH_MAX];
    struct stat there;
    struct file_map map;
    if (stat(in_folder(path, from_folder, copied[i]), &there) != 0)
        return STATUS_OK;
    TRY(file_map(&map, path, job->err));
    enum status status = STATUS_OK;
    char to[PATH_MAX];
    if (strncmp(copied[i], POOLING, strlen(POOLING)) == 0)
        status =
            output_folder_make(in_folder(to, job->folder, POOLING), &job->made_pooling, job->err);
    if (status == STATUS_OK)
        status = out_file_open(&job->files[i], in_folder(to, job->folder, copied[i]), job->err);
    if (status == STATUS_OK)
        fwrite(map.data, 1, map.size, job->files[i].stream);
    return file_map_finish(&map, path, status, job->err);
}

/* The tokenizer of a GGUF is its metadata. */
static enum status extract_vocabulary(struct job *job, const char *gguf_path)
{
    char path[PATH_MAX];
    struct gguf *gguf;
    TRY(gguf_open(&gguf, gguf_path, job->err));
    enum status status =
        out_file_open(&job->vocabulary, in_folder(path, job->folder, "tokenizer.gguf"), job->err);
    if (status == STATUS_OK)
        status = gguf_write_metadata(gguf, job->vocabulary.stream, job->err);
    gguf_close(gguf);
    return status;
}

static bool is_gguf(const char *path)
{
    char magic[4] = "";
    FILE *file = fopen(path, "rb");
    size_t n = file ? fread(magic, 1, sizeof magic, file) : 0;
    if (file)
        fclose(file);
    return n == sizeof magic && memcmp(magic, "GGUF", sizeof magic) == 0;
}

/* What the source's tokenizer is made of. A .gguf that was named has no other files. */
static enum status write_tokenizer(struct job *job, const char *from_folder)
{
    const char *tokenizer;
    TRY(model_files_tokenizer(&job->arena, job->source, &tokenizer, job->err));
    bool gguf = is_gguf(tokenizer);
    if (gguf)
        TRY(extract_vocabulary(job, tokenizer));
    for (int i = 0; i < N_COPIED && !(gguf && strcmp(tokenizer, job->source) == 0); i++)
        TRY(copy_aside(job, from_folder, i));
    return STATUS_OK;
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

static enum status make_config(struct job *job, json_t **root)
{
    const char *file;
    bool from_gguf = false;
    TRY(model_files_config(&job->arena, job->source, &file, &from_gguf, job->err));
    if (!from_gguf)
        return json_read_file(root, file, CONFIG_LARGEST, 0, job->err);
    TRY(model_config_to_json(root, &job->config, file, job->err));
    int32_t bos = tokenizer_bos(job->tokenizer), eos = tokenizer_eos(job->tokenizer);
    int failed = 0;
    if (bos >= 0)
        failed |= json_object_set_new(*root, "bos_token_id", json_integer(bos));
    if (eos >= 0)
        failed |= json_object_set_new(*root, "eos_token_id", json_integer(eos));
    return failed ? err_no_memory(job->err, "config.json", 0) : STATUS_OK;
}

static enum status write_config(struct job *job)
{
    char path[PATH_MAX];
    json_t *root = NULL;
    const char *dtype = job->dense == PRECISION_BF16 ? "bfloat16" : "float32";
    enum status status = make_config(job, &root);
    if (status == STATUS_OK)
        json_object_del(root, "torch_dtype"); /* how transformers called it before version 5 */
    if (status == STATUS_OK &&
        (json_object_set_new(root, "dtype", json_string(dtype)) != 0 ||
         json_object_set_new(root, "quantization_config", quantization_config(dtype)) != 0 ||
         json_object_set_new(root, mark_key, json_string(mark)) != 0))
        status = err_no_memory(job->err, "config.json", 0);
    if (status == STATUS_OK)
        status =
            out_file_open(&job->config_file, in_folder(path, job->folder, "config.json"), job->err);
    if (status == STATUS_OK && json_dumpf(root, job->config_file.stream, JSON_INDENT(2)) != 0 &&
        !ferror(job->config_file.stream))
        status = err_no_memory(job->err, "config.json", 0);
    if (status == STATUS_OK)
        fputc('\n', job->config_file.stream);
    json_decref(root);
    return status;
}

/* ---- the folder ----------------------------------------------------------------------------- */

/* The names alone do not tell: any model's folder has them. */
static enum status check_mark(const char *folder, struct err *err)
{
    char path[PATH_MAX];
    struct stat there;
    json_t *root = NULL;
    if (stat(in_folder(path, folder, "config.json"), &there) != 0)
        return STATUS_OK;
    enum status status = json_read_file(&root, path, CONFIG_LARGEST, 0, err);
    const char *value = json_string_value(json_object_get(root, mark_key));
    bool ours = value && strcmp(value, mark) == 0;
    json_decref(root);
    if (status == STATUS_RESOURCE || ours)
        return status;
    return err_set(err, STATUS_USAGE,
                   "%s: the folder holds a model that midashi quantize did not write; give "
                   "another --output, or --force",
                   folder);
}

static enum status prepare_folder(struct job *job, const char *from_folder, bool force)
{
    struct stat from, to;
    if (stat(from_folder, &from) == 0 && stat(job->folder, &to) == 0 && from.st_dev == to.st_dev &&
        from.st_ino == to.st_ino)
        return err_set(job->err, STATUS_USAGE,
                       "%s: this is the model's own folder; give another --output", job->folder);
    TRY(output_folder_make(job->folder, &job->made_folder, job->err));
    if (force)
        return STATUS_OK;
    TRY(output_folder_check(job->folder, own_names, job->err));
    return check_mark(job->folder, job->err);
}

/* Removes a file that an earlier model left, and that would be read as this one's. */
static void remove_stale(const struct job *job, const char *name)
{
    char path[PATH_MAX];
    unlink(in_folder(path, job->folder, name));
}

/* Without config.json the folder is no model: it goes first and comes last, so that no kill leaves
 * the files of two models together. */
static enum status commit(struct job *job)
{
    char path[PATH_MAX];
    FILE *streams[N_COPIED + 3] = {job->writer.file.stream, job->vocabulary.stream,
                                   job->config_file.stream};
    for (int i = 0; i < N_COPIED; i++)
        streams[3 + i] = job->files[i].stream;
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
        if (streams[i] && (fflush(streams[i]) != 0 || ferror(streams[i])))
            return err_set(job->err, STATUS_RESOURCE, "%s: cannot write; is the disk full?",
                           job->folder);
    TRY(interrupt_check(job->err));
    remove_stale(job, "config.json");
    job->counts->bytes = job->writer.size;
    TRY(safetensors_writer_commit(&job->writer, job->err));
    for (int i = 0; i < N_COPIED; i++)
        if (job->files[i].stream)
            TRY(out_file_commit(&job->files[i], job->err));
        else
            remove_stale(job, copied[i]);
    if (job->vocabulary.stream)
        TRY(out_file_commit(&job->vocabulary, job->err));
    else
        remove_stale(job, "tokenizer.gguf");
    rmdir(in_folder(path, job->folder, POOLING)); /* where nothing is left in it */
    return out_file_commit(&job->config_file, job->err);
}

static void discard(struct job *job)
{
    char path[PATH_MAX];
    safetensors_writer_discard(&job->writer);
    for (int i = 0; i < N_COPIED; i++)
        out_file_discard(&job->files[i]);
    out_file_discard(&job->vocabulary);
    out_file_discard(&job->config_file);
    if (job->made_pooling)
        rmdir(in_folder(path, job->folder, POOLING));
    if (job->made_folder)
        rmdir(job->folder);
}

/* ---- all of it ------------------------------------------------------------------------------ */

static enum status open_source(struct job *job)
{
    TRY(model_config_read(&job->config, job->source, job->err));
    TRY(tokenizer_open(&job->tokenizer, job->source, job->err));
    TRY(weights_open(&job->weights, job->source, &job->config, job->err));
    for (int i = 0; i < weights_count(job->weights); i++)
        if (weights_at(job->weights, i)->nf4)
            return err_set(job->err, STATUS_BAD_DATA,
                           "%s: the weights are NF4 already; use the model as it is", job->source);
    TRY(llama_check_absent(&job->config, job->weights, job->err));
    job->untied = !job->config.tied_embeddings && weights_find(job->weights, "lm_head.weight");
    return STATUS_OK;
}

static enum status quantize(struct job *job, bool force)
{
    char path[PATH_MAX];
    const char *from_folder;
    if (strlen(job->folder) + 64 > PATH_MAX || strlen(job->source) + 64 > PATH_MAX)
        return err_set(job->err, STATUS_USAGE, "--output: the path is too long");
    TRY(open_source(job));
    TRY(plan(job));
    TRY(model_files_folder(&job->arena, job->source, &from_folder, job->err));
    TRY(prepare_folder(job, from_folder, force));
    TRY(write_tokenizer(job, from_folder));
    TRY(write_config(job));
    TRY(safetensors_writer_open(&job->writer, in_folder(path, job->folder, "model.safetensors"),
                                job->entries, job->n_entries, job->err));
    TRY(write_tensors(job));
    return commit(job);
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
    job->source = source;
    job->folder = folder;
    job->progress = progress;
    job->counts = counts;
    job->err = err;
    enum status status = quantize(job, force);
    if (status != STATUS_OK)
        discard(job);
    weights_close(job->weights);
    tokenizer_close(job->tokenizer);
    arena_free(&job->tensor);
    arena_free(&job->scratch);
    arena_free(&job->arena);
    mem_free(job);
    return status;
}
