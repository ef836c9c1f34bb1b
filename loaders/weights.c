/* A tensor by name. See weights.h. The files stay mapped; one table of struct weight, with names
 * translated, stands before them all. */
#include "loaders/weights.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "host/base/file.h"
#include "host/base/memory.h"
#include "loaders/bitsandbytes.h"
#include "loaders/gguf.h"
#include "loaders/gguf_types.h"
#include "loaders/model_files.h"
#include "loaders/name_index.h"
#include "loaders/safetensors.h"
#include "loaders/shards.h"

struct weights {
    struct arena arena; /* path, table, names */
    const char *path;
    enum model_format format;
    struct gguf *gguf; /* this, or files */
    struct safetensors **files;
    int n_files;
    struct weight *table;
    struct name_index index;
    bool permutes; /* a GGUF of architecture llama */
    int head_dim;  /* of permuted tensors */
    bool tied;
};

/* ---- safetensors ---------------------------------------------------------------------------- */

static void fill_from_safetensors(struct weight *weight, const struct safetensors *file, int i)
{
    const struct safetensors_tensor *tensor = safetensors_at(file, i);
    *weight = (struct weight){
        .name = tensor->name,
        .path = safetensors_path(file),
        .file = file,
        .n_dims = tensor->n_dims,
        .rows = 1,
        .columns = tensor->n_dims > 0 ? tensor->dims[tensor->n_dims - 1] : 1,
        .type_name = tensor->type_name,
        .data = tensor->data,
        .bytes = tensor->bytes,
        .type = gguf_tensor_type_named(tensor->type_name),
    };
    for (int j = 0; j + 1 < tensor->n_dims; j++)
        weight->rows *= tensor->dims[j];
}

/* ---- GGUF ----------------------------------------------------------------------------------- */

static const struct {
    const char *gguf, *hugging_face;
} model_names[] =
    {
        {"token_embd.weight", "model.embed_tokens.weight"},
        {"output_norm.weight", "model.norm.weight"},
        {"output.weight", "lm_head.weight"},
},
  layer_names[] = {
      /* blk.N.X.weight is model.layers.N.Y.weight, and so with bias */
      {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},      {"attn_output", "self_attn.o_proj"},
      {"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"},
      {"attn_norm", "input_layernorm"},    {"ffn_norm", "post_attention_layernorm"},
      {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"},
};

/* Splits "blk.12.attn_q.weight" into the digits and what stands behind their dot: a stem and, at
 * *suffix, ".weight" or ".bias". False for any other name. */
static bool split_layer_name(const char *name, int *digits, const char **stem, const char **suffix)
{
    if (strncmp(name, "blk.", 4) != 0)
        return false;
    *digits = (int)strspn(name + 4, "0123456789");
    if (*digits == 0 || name[4 + *digits] != '.')
        return false;
    *stem = name + 4 + *digits + 1;
    *suffix = strrchr(name, '.');
    return *suffix > *stem && (strcmp(*suffix, ".weight") == 0 || strcmp(*suffix, ".bias") == 0);
}

static bool is_stem(const char *name, const char *stem, const char *suffix)
{
    return strlen(name) == (size_t)(suffix - stem) && memcmp(name, stem, strlen(name)) == 0;
}

/* Hugging Face's name for a GGUF tensor, in the arena; a name that is not known stays. */
static const char *translate(struct arena *arena, const char *name)
{
    char text[128];
    int digits;
    const char *stem, *suffix;
    for (size_t i = 0; i < sizeof model_names / sizeof *model_names; i++)
        if (strcmp(name, model_names[i].gguf) == 0)
            return model_names[i].hugging_face;
    if (!split_layer_name(name, &digits, &stem, &suffix) || digits > 9)
        return name;
    for (size_t i = 0; i < sizeof layer_names / sizeof *layer_names; i++)
        if (is_stem(layer_names[i].gguf, stem, suffix)) {
            int length = snprintf(text, sizeof text, "model.layers.%.*s.%s%s", digits, name + 4,
                                  layer_names[i].hugging_face, suffix);
            return arena_text(arena, text, (size_t)length);
        }
    return name;
}

/* Architecture llama has q and k permuted, weights and biases; a file that does not say what it is
 * counts as one. */
static enum status check_permutation(struct weights *weights, struct err *err)
{
    struct gguf_text name = {"llama", 5};
    TRY(gguf_get_text(weights->gguf, "general.architecture", &name, err));
    weights->permutes = name.length == 5 && memcmp(name.text, "llama", 5) == 0;
    return STATUS_OK;
}

static bool is_permuted(const struct weights *weights, const char *name)
{
    int digits;
    const char *stem, *suffix;
    return weights->permutes && split_layer_name(name, &digits, &stem, &suffix) &&
           (is_stem("attn_q", stem, suffix) || is_stem("attn_k", stem, suffix));
}

static enum status fill_from_gguf(struct weights *weights, int i, struct err *err)
{
    const struct gguf_tensor *tensor = gguf_tensor_at(weights->gguf, i);
    const struct gguf_tensor_type *type = gguf_tensor_type((uint32_t)tensor->type);
    struct weight *weight = &weights->table[i];
    *weight = (struct weight){
        .name = translate(&weights->arena, tensor->name),
        .path = weights->path,
        .n_dims = tensor->n_dims,
        .rows = 1,
        .columns = tensor->dims[0],
        .type_name = type->name,
        .permuted = is_permuted(weights, tensor->name),
        .data = tensor->data,
        .bytes = tensor->bytes,
        .type = type->read ? type : NULL,
    };
    for (int j = 1; j < tensor->n_dims; j++)
        weight->rows *= tensor->dims[j];
    if (!weight->name)
        return err_no_memory(err, "a tensor's name", strlen(tensor->name));
    int64_t rows = weight->n_dims == 1 ? weight->columns : weight->rows;
    if (weight->permuted && rows % weights->head_dim != 0)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: tensor %s: its %lld rows are not whole heads of %d; the metadata does "
                       "not fit the tensors",
                       weights->path, tensor->name, (long long)rows, weights->head_dim);
    if (weight->permuted && weight->n_dims == 1 && type->block > 1)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: tensor %s: a bias of type %s cannot be read; convert the model again",
                       weights->path, tensor->name, type->name);
    return STATUS_OK;
}

/* ---- opening -------------------------------------------------------------------------------- */

static enum status reserve_table(struct weights *weights, int count, struct err *err)
{
    weights->table = arena_alloc(&weights->arena, (size_t)count, sizeof *weights->table);
    if (!weights->table || !name_index_init(&weights->index, &weights->arena, count))
        return err_no_memory(err, "the table of tensors", (size_t)count * sizeof *weights->table);
    return STATUS_OK;
}

static enum status sort_table(struct weights *weights, struct err *err)
{
    for (int i = 0; i < weights->index.count; i++) {
        const char *name = weights->table[i].name;
        weights->index.entries[i] = (struct name_entry){name, strlen(name), i};
    }
    const struct name_entry *twice = name_index_sort(&weights->index);
    if (!twice)
        return STATUS_OK;
    /* In two shards, or in a GGUF under both its names. */
    const struct weight *one = &weights->table[twice[-1].number];
    const struct weight *other = &weights->table[twice[0].number];
    if (one->file == other->file)
        return err_set(err, STATUS_BAD_DATA, "%s: tensor %s: it stands there twice", one->path,
                       one->name);
    bool in_order = one < other;
    return err_set(err, STATUS_BAD_DATA, "%s: tensor %s: it stands in %s too; fetch both again",
                   in_order ? other->path : one->path, one->name,
                   in_order ? one->path : other->path);
}

static enum status open_gguf(struct weights *weights, struct err *err)
{
    TRY(gguf_open(&weights->gguf, weights->path, err));
    TRY(check_permutation(weights, err));
    int count = gguf_tensor_count(weights->gguf);
    TRY(reserve_table(weights, count, err));
    for (int i = 0; i < count; i++)
        TRY(fill_from_gguf(weights, i, err));
    return sort_table(weights, err);
}

/* paths: n of them. */
static enum status open_safetensors(struct weights *weights, const char *const *paths, int n,
                                    struct err *err)
{
    int count = 0, filled = 0;
    weights->files = arena_alloc(&weights->arena, (size_t)n, sizeof(struct safetensors *));
    if (!weights->files)
        return err_no_memory(err, "the files of a model", (size_t)n * sizeof *weights->files);
    for (; weights->n_files < n; weights->n_files++) {
        TRY(safetensors_open(&weights->files[weights->n_files], paths[weights->n_files], err));
        count += safetensors_count(weights->files[weights->n_files]);
    }
    TRY(reserve_table(weights, count, err));
    for (int file = 0; file < n; file++)
        for (int i = 0; i < safetensors_count(weights->files[file]); i++)
            fill_from_safetensors(&weights->table[filled++], weights->files[file], i);
    return sort_table(weights, err);
}

/* What the index promises is there. */
static enum status check_index(const struct weights *weights, const struct shard_index *index,
                               struct err *err)
{
    for (int i = 0; i < index->n_entries; i++) {
        const struct shard_entry *entry = &index->entries[i];
        int found = name_index_find(&weights->index, entry->tensor, strlen(entry->tensor));
        const struct safetensors *file = weights->files[entry->shard];
        if (found < 0 || weights->table[found].file != file)
            return err_set(err, STATUS_BAD_DATA,
                           "%s: tensor %s: model.safetensors.index.json says that it is here, but "
                           "it is not; fetch both again",
                           safetensors_path(file), entry->tensor);
    }
    return STATUS_OK;
}

static enum status open_shards(struct weights *weights, struct err *err)
{
    struct shard_index index;
    struct arena scratch = {0};
    const char *folder, **paths;
    enum status status;
    TRY_TO(status, shard_index_open(&index, &scratch, weights->path, err), release);
    TRY_TO(status, model_files_folder(&scratch, weights->path, &folder, err), release);
    paths = arena_alloc(&scratch, (size_t)index.n_shards, sizeof *paths);
    if (!paths)
        TRY_TO(status, err_no_memory(err, "the files of a model", 0), release);
    for (int i = 0; i < index.n_shards; i++)
        TRY_TO(status, model_files_join(&scratch, folder, index.shards[i], &paths[i], err),
               release);
    status = open_safetensors(weights, paths, index.n_shards, err);
    if (status == STATUS_MISSING)
        err_set(err, status,
                "%s: no such file, but model.safetensors.index.json names it; fetch it again",
                paths[weights->n_files]);
    if (status == STATUS_OK)
        status = check_index(weights, &index, err);
release:
    shard_index_close(&index);
    arena_free(&scratch);
    return status;
}

/* What bitsandbytes took apart becomes one tensor again. */
static enum status join_quantised(struct weights *weights, struct err *err)
{
    int count = weights->index.count;
    TRY(bitsandbytes_join(weights->table, &count, &weights->index, &weights->arena, err));
    if (count == weights->index.count)
        return STATUS_OK;
    weights->index.count = count;
    return sort_table(weights, err);
}

static enum status open_file(struct weights *weights, const char *path, struct err *err)
{
    TRY(model_files_weights(&weights->arena, path, &weights->path, &weights->format, err));
    switch (weights->format) {
    case MODEL_GGUF:
        return open_gguf(weights, err);
    case MODEL_SHARDS:
        TRY(open_shards(weights, err));
        return join_quantised(weights, err);
    case MODEL_SAFETENSORS:
        TRY(open_safetensors(weights, &weights->path, 1, err));
        return join_quantised(weights, err);
    }
    return STATUS_FAILED;
}

enum status weights_open(struct weights **out, const char *path, const struct model_config *config,
                         struct err *err)
{
    *out = NULL;
    struct weights *weights = mem_alloc_zero(1, sizeof *weights);
    if (!weights)
        return err_no_memory(err, "the table of tensors", sizeof *weights);
    weights->head_dim = config->head_dim;
    weights->tied = config->tied_embeddings;
    enum status status = open_file(weights, path, err);
    if (status != STATUS_OK) {
        weights_close(weights);
        return status;
    }
    *out = weights;
    return STATUS_OK;
}

void weights_close(struct weights *weights)
{
    if (!weights)
        return;
    gguf_close(weights->gguf);
    for (int i = 0; i < weights->n_files; i++)
        safetensors_close(weights->files[i]);
    arena_free(&weights->arena);
    mem_free(weights);
}

/* ---- finding -------------------------------------------------------------------------------- */

/* Files of a base model (LlamaModel, Qwen3Model) have no "model." before their names. */
static const struct weight *find(const struct weights *weights, const char *name)
{
    int i = name_index_find(&weights->index, name, strlen(name));
    if (i < 0 && strncmp(name, "model.", 6) == 0)
        i = name_index_find(&weights->index, name + 6, strlen(name + 6));
    return i < 0 ? NULL : &weights->table[i];
}

const struct weight *weights_find(const struct weights *weights, const char *name)
{
    static const char *const embeddings[] = {"model.embed_tokens.weight", "lm_head.weight"};
    const struct weight *weight = find(weights, name);
    for (int i = 0; !weight && weights->tied && i < 2; i++)
        if (strcmp(name, embeddings[i]) == 0)
            weight = find(weights, embeddings[1 - i]);
    return weight;
}

static enum status check_readable(const struct weight *weight, struct err *err)
{
    if (!weight->type)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: tensor %s: type %s cannot be read; use a model in one of %s",
                       weight->path, weight->name, weight->type_name, gguf_readable_types);
    return STATUS_OK;
}

/* Old checkpoints of GPTQ and AWQ do not say in config.json what they are. */
static bool has_packed_weight(const struct weights *weights, const char *name)
{
    char packed[160];
    int stem = (int)strlen(name) - (int)strlen("weight");
    if (stem < 0 || stem > 128 || strcmp(name + stem, "weight") != 0)
        return false;
    snprintf(packed, sizeof packed, "%.*sqweight", stem, name);
    return find(weights, packed) != NULL;
}

enum status weights_expect(const struct weights *weights, const char *name, int64_t rows,
                           int64_t columns, const struct weight **out, struct err *err)
{
    const struct weight *weight = weights_find(weights, name);
    *out = NULL;
    if (!weight && has_packed_weight(weights, name))
        return err_set(err, STATUS_BAD_DATA,
                       "%s: tensor %s: packed by GPTQ or AWQ (.qweight), which are not read; use "
                       "the model that it was made from, or a .gguf",
                       weights->path, name);
    if (!weight)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: tensor %s: missing; the file does not hold the model that its "
                       "configuration describes",
                       weights->path, name);
    if (weight->rows != rows || weight->columns != columns || weight->n_dims < 1 ||
        weight->n_dims > 2)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: tensor %s: its shape is %lld x %lld (%d dimensions), not %lld x %lld; "
                       "the file does not hold the model that its configuration describes",
                       weight->path, name, (long long)weight->rows, (long long)weight->columns,
                       weight->n_dims, (long long)rows, (long long)columns);
    if (!weight->nf4)
        TRY(check_readable(weight, err));
    *out = weight;
    return STATUS_OK;
}

int weights_count(const struct weights *weights)
{
    return weights->index.count;
}

const struct weight *weights_at(const struct weights *weights, int i)
{
    return &weights->table[i];
}

const char *weights_path(const struct weights *weights)
{
    return weights->path;
}

int weights_file_count(const struct weights *weights)
{
    return weights->gguf ? 1 : weights->n_files;
}

enum model_format weights_format(const struct weights *weights)
{
    return weights->format;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* The row of a GGUF that holds row `row` of the rotate-half order. llama.cpp's converter turns the
 * two halves of each head into pairs, (2, d/2) into (d/2, 2):
 *
 *   here    0  1  2  3 | 4  5  6  7     a head of 8 rows
 *   file    0  2  4  6 | 1  3  5  7  */
static int64_t permuted_row(int64_t row, int64_t head_dim)
{
    int64_t in_head = row % head_dim, half = head_dim / 2;
    return row - in_head + 2 * (in_head % half) + in_head / half;
}

enum status weight_read(const struct weights *weights, const struct weight *weight,
                        int64_t first_row, int64_t n_rows, float *out, struct err *err)
{
    assert(first_row >= 0 && n_rows >= 0 && n_rows <= weight->rows - first_row);
    TRY(check_readable(weight, err));
    const struct gguf_tensor_type *type = weight->type;
    size_t blocks = (size_t)(weight->columns / type->block);
    size_t row_bytes = blocks * (size_t)type->bytes;
    if (!weight->permuted)
        type->read(weight->data + (size_t)first_row * row_bytes, (size_t)n_rows * blocks, out);
    /* A vector's values are its rows. */
    int64_t n = weight->n_dims == 1 ? n_rows * weight->columns : n_rows;
    size_t row_blocks = weight->n_dims == 1 ? 1 : blocks;
    for (int64_t i = 0; weight->permuted && i < n; i++) {
        size_t row = (size_t)permuted_row(first_row + i, weights->head_dim);
        type->read(weight->data + row * row_blocks * (size_t)type->bytes, row_blocks,
                   out + (size_t)i * row_blocks * (size_t)type->block);
    }
    return weight->file ? safetensors_check(weight->file, err) : gguf_check(weights->gguf, err);
}

const void *weight_view(const struct weight *weight, const char *type_name)
{
    bool fits = weight->type && weight->type->block == 1 && !weight->permuted &&
                strcmp(weight->type_name, type_name) == 0 &&
                (uintptr_t)weight->data % (uintptr_t)weight->type->bytes == 0;
    return fits ? weight->data : NULL;
}

enum status weights_check(const struct weights *weights, struct err *err)
{
    if (weights->gguf)
        return gguf_check(weights->gguf, err);
    for (int i = 0; i < weights->n_files; i++)
        TRY(safetensors_check(weights->files[i], err));
    return STATUS_OK;
}

void weight_release(const struct weights *weights, const struct weight *weight)
{
    (void)weights;
    file_map_release(weight->data, (size_t)weight->bytes);
}
