/* The files of a model. See model_files.h. */
#include "loaders/model_files.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include "host/base/file.h"
#include "loaders/model_refusals.h"

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* ---- paths ---------------------------------------------------------------------------------- */

static enum status keep_text(struct arena *arena, const char *text, size_t length, const char **out,
                             struct err *err)
{
    *out = arena_text(arena, text, length);
    return *out ? STATUS_OK : err_no_memory(err, "a file name", length);
}

enum status model_files_join(struct arena *arena, const char *folder, const char *name,
                             const char **path, struct err *err)
{
    size_t length = strlen(folder), name_length = strlen(name);
    while (length > 1 && folder[length - 1] == '/')
        length--;
    char *joined = arena_alloc(arena, length + name_length + 2, 1);
    if (!joined)
        return err_no_memory(err, "a file name", length + name_length + 2);
    memcpy(joined, folder, length);
    joined[length] = '/';
    memcpy(joined + length + 1, name, name_length + 1);
    *path = joined;
    return STATUS_OK;
}

static enum status is_folder(const char *path, bool *folder, struct err *err)
{
    struct stat stat_of_path;
    if (stat(path, &stat_of_path) != 0) {
        bool missing = errno == ENOENT || errno == ENOTDIR;
        return err_set(err, missing ? STATUS_MISSING : STATUS_RESOURCE, "%s: %s", path,
                       missing ? "no such file or folder; name a model's folder or a .gguf "
                                 "(tools/fetch-model.sh smollm2-135m gets a small one)"
                               : strerror(errno));
    }
    *folder = S_ISDIR(stat_of_path.st_mode);
    return STATUS_OK;
}

enum status model_files_folder(struct arena *arena, const char *path, const char **folder,
                               struct err *err)
{
    bool itself = false;
    TRY(is_folder(path, &itself, err));
    const char *slash = strrchr(path, '/');
    if (itself)
        return keep_text(arena, path, strlen(path), folder, err);
    if (slash)
        return keep_text(arena, path, slash == path ? 1 : (size_t)(slash - path), folder, err);
    return keep_text(arena, ".", 1, folder, err);
}

/* ---- what a folder holds -------------------------------------------------------------------- */

struct content {
    bool config, model_index, tokenizer_json, tokenizer_model, tokenizer_gguf;
    bool safetensors, index;  /* model.safetensors, model.safetensors.index.json */
    int n_parts;              /* .safetensors named as shards */
    int n_others;             /* .safetensors of other names */
    int n_gguf, n_gguf_parts; /* n_gguf counts the parts too */
    const char *other, *gguf; /* path of the last one, in the arena */
};

static enum status add_entry(struct content *content, struct arena *arena, const char *folder,
                             const char *name, struct err *err)
{
    content->config |= strcmp(name, "config.json") == 0;
    content->model_index |= strcmp(name, "model_index.json") == 0;
    content->tokenizer_json |= strcmp(name, "tokenizer.json") == 0;
    content->tokenizer_model |= strcmp(name, "tokenizer.model") == 0;
    content->index |= strcmp(name, "model.safetensors.index.json") == 0;
    if (strcmp(name, "tokenizer.gguf") == 0) { /* a vocabulary, no model */
        content->tokenizer_gguf = true;
        return STATUS_OK;
    }
    if (ends_with(name, ".gguf")) {
        content->n_gguf++;
        content->n_gguf_parts += model_file_is_part(name);
        return model_files_join(arena, folder, name, &content->gguf, err);
    }
    if (!ends_with(name, ".safetensors") || model_file_is_adapter(name))
        return STATUS_OK;
    if (strcmp(name, "model.safetensors") == 0)
        content->safetensors = true;
    else if (model_file_is_part(name))
        content->n_parts++;
    else {
        content->n_others++;
        return model_files_join(arena, folder, name, &content->other, err);
    }
    return STATUS_OK;
}

static enum status scan(struct arena *arena, const char *folder, struct content *content,
                        struct err *err)
{
    *content = (struct content){0};
    DIR *directory = opendir(folder);
    if (!directory)
        return err_set(err, STATUS_RESOURCE, "%s: %s", folder, strerror(errno));
    enum status status = STATUS_OK;
    for (struct dirent *entry; status == STATUS_OK && (entry = readdir(directory));)
        status = add_entry(content, arena, folder, entry->d_name, err);
    closedir(directory);
    return status;
}

static enum status one_gguf(const struct content *content, const char *folder, const char **file,
                            struct err *err)
{
    if (content->n_gguf > 1 && content->n_gguf_parts == content->n_gguf)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: a GGUF in %d parts stands here; join them: llama-gguf-split --merge "
                       "FIRST-PART JOINED.gguf",
                       folder, content->n_gguf);
    if (content->n_gguf > 1)
        return err_set(err, STATUS_BAD_DATA, "%s: %d .gguf files stand here; name one of them",
                       folder, content->n_gguf);
    *file = content->gguf;
    return STATUS_OK;
}

/* ---- a file of its own ---------------------------------------------------------------------- */

/* By its name, else by its first bytes: a cache's files are named by their hashes. */
static enum status is_gguf_file(const char *path, bool *is_gguf, struct err *err)
{
    struct file_map map;
    *is_gguf = ends_with(path, ".gguf");
    if (*is_gguf)
        return STATUS_OK;
    TRY(file_map(&map, path, err));
    *is_gguf = map.size >= 4 && memcmp(map.data, "GGUF", 4) == 0;
    return file_map_finish(&map, path, STATUS_OK, err);
}

static bool is_safetensors(const char *path)
{
    const char *slash = strrchr(path, '/');
    return ends_with(path, ".safetensors") && !model_file_is_adapter(slash ? slash + 1 : path) &&
           !model_file_is_part(path);
}

/* ---- weights, configuration, tokenizer ------------------------------------------------------ */

static enum status weights_of_folder(struct arena *arena, const char *folder, const char **file,
                                     enum model_format *format, struct err *err)
{
    struct content content;
    TRY(scan(arena, folder, &content, err));
    *format = MODEL_SAFETENSORS;
    if (content.model_index && !content.config)
        return model_refuse_folder(folder, err);
    if (content.safetensors)
        return model_files_join(arena, folder, "model.safetensors", file, err);
    if (content.index) {
        *format = MODEL_SHARDS;
        return model_files_join(arena, folder, "model.safetensors.index.json", file, err);
    }
    if (content.n_others == 1 && (content.config || content.n_gguf == 0)) {
        *file = content.other;
        return STATUS_OK;
    }
    if (content.n_gguf > 0) {
        *format = MODEL_GGUF;
        return one_gguf(&content, folder, file, err);
    }
    if (content.n_others > 1)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: %d .safetensors files stand here, none of them called "
                       "model.safetensors; name one of them",
                       folder, content.n_others);
    if (content.n_parts > 0)
        return err_set(err, STATUS_MISSING,
                       "%s: %d shards stand here, but no model.safetensors.index.json, which says "
                       "what each of them holds; fetch it too",
                       folder, content.n_parts);
    return model_refuse_folder(folder, err);
}

enum status model_files_weights(struct arena *arena, const char *path, const char **file,
                                enum model_format *format, struct err *err)
{
    bool folder = false, is_gguf = false;
    TRY(is_folder(path, &folder, err));
    if (folder)
        return weights_of_folder(arena, path, file, format, err);
    TRY(is_gguf_file(path, &is_gguf, err));
    if (!is_gguf && !is_safetensors(path))
        return model_refuse_file(path, err);
    *format = is_gguf ? MODEL_GGUF : MODEL_SAFETENSORS;
    return keep_text(arena, path, strlen(path), file, err);
}

enum status model_files_config(struct arena *arena, const char *path, const char **file,
                               bool *is_gguf, struct err *err)
{
    bool folder = false;
    const char *of = path;
    *is_gguf = false;
    TRY(is_folder(path, &folder, err));
    if (!folder) {
        if (ends_with(path, "config.json"))
            return keep_text(arena, path, strlen(path), file, err);
        TRY(is_gguf_file(path, is_gguf, err));
        if (*is_gguf)
            return keep_text(arena, path, strlen(path), file, err);
        if (!is_safetensors(path))
            return model_refuse_file(path, err);
        TRY(model_files_folder(arena, path, &of, err));
    }
    struct content content;
    TRY(scan(arena, of, &content, err));
    if (content.config || !folder)
        return model_files_join(arena, of, "config.json", file, err);
    *is_gguf = content.n_gguf > 0;
    if (*is_gguf)
        return one_gguf(&content, path, file, err);
    if (content.safetensors || content.index || content.n_others + content.n_parts > 0)
        return err_set(err, STATUS_MISSING,
                       "%s: weights stand here, but no config.json, which says what model they "
                       "are; fetch it too",
                       path);
    return model_refuse_folder(path, err);
}

enum status model_files_tokenizer(struct arena *arena, const char *path, const char **file,
                                  struct err *err)
{
    bool folder = false;
    const char *of = path;
    TRY(is_folder(path, &folder, err));
    if (!folder && !ends_with(path, ".safetensors"))
        return keep_text(arena, path, strlen(path), file, err);
    if (!folder)
        TRY(model_files_folder(arena, path, &of, err));
    struct content content;
    TRY(scan(arena, of, &content, err));
    if (content.tokenizer_json)
        return model_files_join(arena, of, "tokenizer.json", file, err);
    if (content.tokenizer_model)
        return model_files_join(arena, of, "tokenizer.model", file, err);
    if (content.tokenizer_gguf)
        return model_files_join(arena, of, "tokenizer.gguf", file, err);
    if (content.n_gguf > 0)
        return one_gguf(&content, of, file, err);
    return model_refuse_tokenizer(of, err);
}
