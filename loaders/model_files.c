/* The files of a model. See model_files.h. */
#include "loaders/model_files.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* The first `length` bytes of folder, a slash, name. */
static enum status join(struct arena *arena, const char *folder, size_t length, const char *name,
                        const char **out, struct err *err)
{
    size_t name_length = strlen(name);
    char *path = arena_alloc(arena, length + name_length + 2, 1);
    if (!path)
        return err_no_memory(err, "a file name", length + name_length + 2);
    memcpy(path, folder, length);
    path[length] = '/';
    memcpy(path + length + 1, name, name_length + 1);
    *out = path;
    return STATUS_OK;
}

/* What of interest a folder holds. */
struct content {
    bool config, safetensors, index, pickle;
    int n_gguf;
    const char *gguf; /* path of the last one, in the arena */
};

static enum status scan(struct arena *arena, const char *folder, struct content *content,
                        struct err *err)
{
    *content = (struct content){0};
    DIR *directory = opendir(folder);
    if (!directory)
        return err_set(err, STATUS_RESOURCE, "%s: %s", folder, strerror(errno));
    enum status status = STATUS_OK;
    for (struct dirent *entry; status == STATUS_OK && (entry = readdir(directory));) {
        const char *name = entry->d_name;
        content->config |= strcmp(name, "config.json") == 0;
        content->safetensors |= strcmp(name, "model.safetensors") == 0;
        content->index |= strcmp(name, "model.safetensors.index.json") == 0;
        content->pickle |= (starts_with(name, "pytorch_model") && ends_with(name, ".bin")) ||
                           ends_with(name, ".pth");
        if (ends_with(name, ".gguf")) {
            content->n_gguf++;
            status = join(arena, folder, strlen(folder), name, &content->gguf, err);
        }
    }
    closedir(directory);
    return status;
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

static enum status one_gguf(const struct content *content, const char *folder, const char **file,
                            struct err *err)
{
    if (content->n_gguf > 1)
        return err_set(err, STATUS_BAD_DATA, "%s: %d .gguf files stand here; name one of them",
                       folder, content->n_gguf);
    *file = content->gguf;
    return STATUS_OK;
}

enum status model_files_weights(struct arena *arena, const char *path, const char **file,
                                bool *is_gguf, struct err *err)
{
    bool folder = false;
    TRY(is_folder(path, &folder, err));
    if (!folder) {
        *file = arena_text(arena, path, strlen(path));
        *is_gguf = ends_with(path, ".gguf");
        return *file ? STATUS_OK : err_no_memory(err, "a file name", strlen(path));
    }
    struct content content;
    TRY(scan(arena, path, &content, err));
    *is_gguf = !content.safetensors;
    if (content.safetensors)
        return join(arena, path, strlen(path), "model.safetensors", file, err);
    if (content.n_gguf > 0)
        return one_gguf(&content, path, file, err);
    if (content.index)
        return err_set(err, STATUS_MISSING,
                       "%s: the weights are split (model.safetensors.index.json), and only a "
                       "single model.safetensors is read; join the parts into one",
                       path);
    if (content.pickle)
        return err_set(err, STATUS_MISSING,
                       "%s: the weights are pickled (pytorch_model.bin or .pth), which are not "
                       "read since they may hold code; convert them to model.safetensors",
                       path);
    return err_set(err, STATUS_MISSING,
                   "%s: neither model.safetensors nor a .gguf file is here; name a model's folder",
                   path);
}

enum status model_files_config(struct arena *arena, const char *path, const char **file,
                               bool *is_gguf, struct err *err)
{
    bool folder = false;
    TRY(is_folder(path, &folder, err));
    if (!folder && ends_with(path, ".safetensors")) {
        const char *slash = strrchr(path, '/');
        *is_gguf = false;
        return join(arena, slash ? path : ".", slash ? (size_t)(slash - path) : 1, "config.json",
                    file, err);
    }
    if (!folder)
        return model_files_weights(arena, path, file, is_gguf, err);
    struct content content;
    TRY(scan(arena, path, &content, err));
    *is_gguf = !content.config;
    if (content.config)
        return join(arena, path, strlen(path), "config.json", file, err);
    if (content.n_gguf > 0)
        return one_gguf(&content, path, file, err);
    return err_set(err, STATUS_MISSING,
                   "%s: neither config.json nor a .gguf file is here; name a model's folder", path);
}
