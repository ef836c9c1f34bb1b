/* See model_folder.h. */
#include "host/model_folder.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "host/base/interrupt.h"
#include "loaders/gguf.h"
#include "loaders/json.h"
#include "loaders/model_config_write.h"
#include "loaders/model_files.h"

/* What the folder may hold. A path is FOLDER/NAME; 1_Pooling is a folder of its own. */
#define POOLING "1_Pooling"
static const char *const copied[MODEL_FOLDER_COPIED] = {
    "tokenizer.json",         "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "generation_config.json", "modules.json",    POOLING "/config.json",
};
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

/* In config.json, by what made the model. */
static const char *const mark_keys[] = {"quantized_by", "merged_by"};
static const char mark_value[] = "midashi";
#define N_MARKS (sizeof mark_keys / sizeof *mark_keys)

#define CONFIG_LARGEST ((size_t)16 << 20) /* bytes */

/* ---- the source ----------------------------------------------------------------------------- */

enum status model_folder_open(struct model_folder *m, const char *source, const char *folder,
                              struct err *err)
{
    *m = (struct model_folder){.source = source, .folder = folder, .err = err};
    if (strlen(folder) + 64 > PATH_MAX || strlen(source) + 64 > PATH_MAX)
        return err_set(err, STATUS_USAGE, "--output: the path is too long");
    TRY(model_config_read(&m->config, source, err));
    TRY(tokenizer_open(&m->tokenizer, source, err));
    TRY(weights_open(&m->weights, source, &m->config, err));
    TRY(llama_check_absent(&m->config, m->weights, err));
    m->untied = !m->config.tied_embeddings && weights_find(m->weights, "lm_head.weight");
    return model_files_folder(&m->arena, source, &m->source_folder, err);
}

/* Behind the last one the cursor is -1. */
bool model_folder_next(const struct model_folder *m, int *cursor, struct llama_parameter *out)
{
    if (*cursor < 0)
        return false;
    if (llama_next_parameter(&m->config, cursor, out))
        return true;
    *cursor = -1;
    if (!m->untied)
        return false;
    *out = (struct llama_parameter){
        .name = "lm_head.weight",
        .kind = PARAMETER_DENSE,
        .rows = m->config.vocab_size,
        .columns = m->config.hidden_size,
    };
    return true;
}

enum status model_folder_add(struct model_folder *m, const char *name, const char *part,
                             struct safetensors_entry entry)
{
    size_t length = strlen(name) + strlen(part);
    char *full = arena_alloc(&m->arena, length + 1, 1);
    if (!full)
        return err_no_memory(m->err, "a tensor's name", length);
    snprintf(full, length + 1, "%s%s", name, part);
    entry.name = full;
    m->entries[m->n_entries++] = entry;
    return STATUS_OK;
}

/* ---- other files ---------------------------------------------------------------------------- */

/* FOLDER/NAME in a buffer of the caller's. */
static const char *in_folder(char path[PATH_MAX], const char *folder, const char *name)
{
    snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return path;
}

/* Byte for byte, aside. A file that is not there is no error. */
static enum status copy_aside(struct model_folder *m, const char *from_folder, int i)
{
    char path[PATH_MAX];
    struct stat there;
    struct file_map map;
    if (stat(in_folder(path, from_folder, copied[i]), &there) != 0)
        return STATUS_OK;
    TRY(file_map(&map, path, m->err));
    enum status status = STATUS_OK;
    char to[PATH_MAX];
    if (strncmp(copied[i], POOLING, strlen(POOLING)) == 0)
        status = output_folder_make(in_folder(to, m->folder, POOLING), &m->made_pooling, m->err);
    if (status == STATUS_OK)
        status = out_file_open(&m->files[i], in_folder(to, m->folder, copied[i]), m->err);
    if (status == STATUS_OK)
        fwrite(map.data, 1, map.size, m->files[i].stream);
    return file_map_finish(&map, path, status, m->err);
}

/* The tokenizer of a GGUF is its metadata. */
static enum status extract_vocabulary(struct model_folder *m, const char *gguf_path)
{
    char path[PATH_MAX];
    struct gguf *gguf;
    TRY(gguf_open(&gguf, gguf_path, m->err));
    enum status status =
        out_file_open(&m->vocabulary, in_folder(path, m->folder, "tokenizer.gguf"), m->err);
    if (status == STATUS_OK)
        status = gguf_write_metadata(gguf, m->vocabulary.stream, m->err);
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
static enum status write_tokenizer(struct model_folder *m)
{
    const char *tokenizer;
    TRY(model_files_tokenizer(&m->arena, m->source, &tokenizer, m->err));
    bool gguf = is_gguf(tokenizer);
    if (gguf)
        TRY(extract_vocabulary(m, tokenizer));
    for (int i = 0; i < MODEL_FOLDER_COPIED && !(gguf && strcmp(tokenizer, m->source) == 0); i++)
        TRY(copy_aside(m, m->source_folder, i));
    return STATUS_OK;
}

/* ---- config.json ---------------------------------------------------------------------------- */

static enum status read_config(struct model_folder *m, json_t **root)
{
    const char *file;
    bool from_gguf = false;
    TRY(model_files_config(&m->arena, m->source, &file, &from_gguf, m->err));
    if (!from_gguf)
        return json_read_file(root, file, CONFIG_LARGEST, 0, m->err);
    TRY(model_config_to_json(root, &m->config, file, m->err));
    int32_t bos = tokenizer_bos(m->tokenizer), eos = tokenizer_eos(m->tokenizer);
    int failed = 0;
    if (bos >= 0)
        failed |= json_object_set_new(*root, "bos_token_id", json_integer(bos));
    if (eos >= 0)
        failed |= json_object_set_new(*root, "eos_token_id", json_integer(eos));
    return failed ? err_no_memory(m->err, "config.json", 0) : STATUS_OK;
}

enum status model_folder_config(struct model_folder *m, json_t **root)
{
    static const char old_name[] = "torch_dtype"; /* before transformers 5 */
    *root = NULL;
    TRY(read_config(m, root));
    json_t *dtype = json_object_get(*root, old_name);
    if (dtype && !json_object_get(*root, "dtype") && json_object_set(*root, "dtype", dtype) != 0)
        return err_no_memory(m->err, "config.json", 0);
    json_object_del(*root, old_name);
    for (size_t i = 0; i < N_MARKS; i++)
        json_object_del(*root, mark_keys[i]);
    return STATUS_OK;
}

enum status model_folder_write_config(struct model_folder *m, json_t *root, const char *mark)
{
    char path[PATH_MAX];
    enum status status = STATUS_OK;
    if (!root || json_object_set_new(root, mark, json_string(mark_value)) != 0)
        status = err_no_memory(m->err, "config.json", 0);
    if (status == STATUS_OK)
        status = out_file_open(&m->config_file, in_folder(path, m->folder, "config.json"), m->err);
    if (status == STATUS_OK && json_dumpf(root, m->config_file.stream, JSON_INDENT(2)) != 0 &&
        !ferror(m->config_file.stream))
        status = err_no_memory(m->err, "config.json", 0);
    if (status == STATUS_OK)
        fputc('\n', m->config_file.stream);
    json_decref(root);
    TRY(status);
    return safetensors_writer_open(&m->writer, in_folder(path, m->folder, "model.safetensors"),
                                   m->entries, m->n_entries, m->err);
}

/* ---- the folder ----------------------------------------------------------------------------- */

/* Without config.json, which a kill may leave away, there is none. */
static enum status check_empty(const char *folder, struct err *err)
{
    if (!file_is_in(folder, "config.json"))
        return STATUS_OK;
    return err_set(err, STATUS_USAGE,
                   "%s: the folder holds a model; give another --output, or --force to replace it",
                   folder);
}

bool model_folder_same(const char *a, const char *b)
{
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

enum status model_folder_begin(struct model_folder *m, bool force)
{
    if (model_folder_same(m->source_folder, m->folder))
        return err_set(m->err, STATUS_USAGE,
                       "%s: this is the model's own folder; give another --output", m->folder);
    TRY(output_folder_open(&m->output, m->folder, force ? NULL : own_names, m->err));
    if (!force)
        TRY(check_empty(m->folder, m->err));
    return write_tokenizer(m);
}

/* Removes a file that an earlier model left, and that would be read as this one's. */
static void remove_stale(const struct model_folder *m, const char *name)
{
    char path[PATH_MAX];
    unlink(in_folder(path, m->folder, name));
}

/* Without config.json the folder is no model: it goes first and comes last, so that no kill leaves
 * the files of two models together. */
enum status model_folder_commit(struct model_folder *m)
{
    char path[PATH_MAX];
    FILE *streams[MODEL_FOLDER_COPIED + 3] = {m->writer.file.stream, m->vocabulary.stream,
                                              m->config_file.stream};
    for (int i = 0; i < MODEL_FOLDER_COPIED; i++)
        streams[3 + i] = m->files[i].stream;
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
        if (streams[i] && (fflush(streams[i]) != 0 || ferror(streams[i])))
            return err_set(m->err, STATUS_RESOURCE, "%s: cannot write; is the disk full?",
                           m->folder);
    TRY(interrupt_check(m->err));
    remove_stale(m, "config.json");
    TRY(safetensors_writer_commit(&m->writer, m->err));
    for (int i = 0; i < MODEL_FOLDER_COPIED; i++)
        if (m->files[i].stream)
            TRY(out_file_commit(&m->files[i], m->err));
        else
            remove_stale(m, copied[i]);
    if (m->vocabulary.stream)
        TRY(out_file_commit(&m->vocabulary, m->err));
    else
        remove_stale(m, "tokenizer.gguf");
    rmdir(in_folder(path, m->folder, POOLING)); /* where nothing is left in it */
    TRY(out_file_commit(&m->config_file, m->err));
    m->committed = true;
    return STATUS_OK;
}

static void discard(struct model_folder *m)
{
    char path[PATH_MAX];
    safetensors_writer_discard(&m->writer);
    for (int i = 0; i < MODEL_FOLDER_COPIED; i++)
        out_file_discard(&m->files[i]);
    out_file_discard(&m->vocabulary);
    out_file_discard(&m->config_file);
    if (m->made_pooling)
        rmdir(in_folder(path, m->folder, POOLING));
}

void model_folder_close(struct model_folder *m)
{
    if (!m->committed)
        discard(m);
    output_folder_close(&m->output);
    weights_close(m->weights);
    tokenizer_close(m->tokenizer);
    arena_free(&m->arena);
}
