/* See sentence_transformers.h. */
#include "loaders/sentence_transformers.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "loaders/json.h"
#include "loaders/model_files.h"

#define FILE_LARGEST ((size_t)1 << 20) /* bytes */

/* Names of modes, and the booleans of older files, in sentence-transformers' order. */
static const struct {
    const char *mode, *flag;
} modes[] = {
    {"cls", "pooling_mode_cls_token"},
    {"max", "pooling_mode_max_tokens"},
    {"mean", "pooling_mode_mean_tokens"},
    {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens"},
    {"weightedmean", "pooling_mode_weightedmean_tokens"},
    {"lasttoken", "pooling_mode_lasttoken"},
};
#define N_MODES (sizeof modes / sizeof *modes)

static void set_other(struct sentence_pooling *pooling, const char *before, const char *what)
{
    pooling->mode = SENTENCE_OTHER;
    snprintf(pooling->what, sizeof pooling->what, "%s%s", before, what);
}

static void set_mode(struct sentence_pooling *pooling, const char *mode)
{
    if (strcmp(mode, "mean") == 0)
        pooling->mode = SENTENCE_MEAN;
    else if (strcmp(mode, "lasttoken") == 0)
        pooling->mode = SENTENCE_LAST;
    else
        set_other(pooling, "pooling by ", mode);
}

static void read_flags(struct sentence_pooling *pooling, const json_t *root)
{
    int n = 0;
    set_mode(pooling, "mean");
    for (size_t i = 0; i < N_MODES; i++)
        if (json_is_true(json_object_get(root, modes[i].flag))) {
            set_mode(pooling, modes[i].mode);
            n++;
        }
    if (n > 1)
        set_other(pooling, "several poolings, one behind the other", "");
}

static enum status read_mode(struct sentence_pooling *pooling, const char *path, const json_t *root,
                             struct err *err)
{
    const json_t *mode = json_object_get(root, "pooling_mode");
    if (json_is_array(mode) && json_array_size(mode) == 1)
        mode = json_array_get(mode, 0);
    if (json_is_string(mode))
        set_mode(pooling, json_string_value(mode));
    else if (json_is_array(mode))
        set_other(pooling, "several poolings, one behind the other", "");
    else if (mode)
        return err_set(err, STATUS_BAD_DATA, "%s: pooling_mode: not the name of a mode", path);
    else
        read_flags(pooling, root);
    return STATUS_OK;
}

static enum status read_pooling(struct sentence_pooling *pooling, struct arena *arena,
                                const char *folder, const char *place, struct err *err)
{
    const char *path;
    json_t *root;
    if (!*place || strpbrk(place, "/\\") || place[0] == '.')
        return err_set(err, STATUS_BAD_DATA,
                       "%s/modules.json: path: %.80s is not the plain name of a folder", folder,
                       place);
    TRY(model_files_join(arena, folder, place, &path, err));
    TRY(model_files_join(arena, path, "config.json", &path, err));
    TRY(json_read_file(&root, path, FILE_LARGEST, JSON_DECODE_INT_AS_REAL, err));
    enum status status = json_is_object(root)
                             ? read_mode(pooling, path, root, err)
                             : err_set(err, STATUS_BAD_DATA, "%s: not an object", path);
    json_decref(root);
    return status;
}

/* The class of a module: what stands behind the last dot of its type, which has changed its
 * packages over the years. */
static const char *class_of(const json_t *module)
{
    const char *type = json_string_value(json_object_get(module, "type"));
    const char *dot = type ? strrchr(type, '.') : NULL;
    return dot ? dot + 1 : type;
}

static enum status read_modules(struct sentence_pooling *pooling, struct arena *arena,
                                const char *folder, const char *path, const json_t *root,
                                struct err *err)
{
    const char *other = NULL;
    for (size_t i = 0; i < json_array_size(root); i++) {
        const json_t *module = json_array_get(root, i);
        const char *class = class_of(module);
        const char *place = json_string_value(json_object_get(module, "path"));
        if (!class || !place)
            return err_set(err, STATUS_BAD_DATA, "%s: module %zu: it has no type or no path", path,
                           i);
        if (strcmp(class, "Pooling") == 0)
            TRY(read_pooling(pooling, arena, folder, place, err));
        else if (strcmp(class, "Normalize") == 0)
            pooling->l2 = true;
        else if (strcmp(class, "Transformer") != 0)
            other = class;
    }
    if (other)
        set_other(pooling, "a module called ", other);
    else if (pooling->mode == SENTENCE_NONE)
        return err_set(err, STATUS_BAD_DATA, "%s: it lists no Pooling", path);
    return STATUS_OK;
}

static enum status read_folder(struct sentence_pooling *pooling, struct arena *arena,
                               const char *model, struct err *err)
{
    const char *folder, *path;
    struct stat status_of_file;
    json_t *root;
    TRY(model_files_folder(arena, model, &folder, err));
    TRY(model_files_join(arena, folder, "modules.json", &path, err));
    if (stat(path, &status_of_file) != 0)
        return STATUS_OK;
    TRY(json_read_file(&root, path, FILE_LARGEST, 0, err));
    enum status status = json_is_array(root)
                             ? read_modules(pooling, arena, folder, path, root, err)
                             : err_set(err, STATUS_BAD_DATA, "%s: not a list of modules", path);
    json_decref(root);
    return status;
}

enum status sentence_pooling_read(struct sentence_pooling *pooling, const char *path,
                                  struct err *err)
{
    struct arena arena = {0};
    *pooling = (struct sentence_pooling){0};
    enum status status = read_folder(pooling, &arena, path, err);
    arena_free(&arena);
    return status;
}
