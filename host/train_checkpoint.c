/* See train_checkpoint.h. */
#include "host/train_checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "host/base/memory.h"
#include "host/train_record.h"
#include "loaders/json.h"
#include "loaders/safetensors.h"
#include "loaders/safetensors_writer.h"
#include "loaders/siphash.h"

#define N_ARRAYS 4
static const char *const array_names[N_ARRAYS] = {"parameters", "m", "v", "best"};
static const unsigned char hash_key[16] = "midashi-train-1";

static void arrays_of(float *out[N_ARRAYS], const struct train_arrays *arrays)
{
    out[0] = arrays->parameters;
    out[1] = arrays->m;
    out[2] = arrays->v;
    out[3] = arrays->best;
}

static void hash_arrays(char text[33], float *const arrays[N_ARRAYS], int64_t n)
{
    struct siphash hash;
    siphash_start(&hash, hash_key);
    for (int i = 0; i < N_ARRAYS; i++)
        siphash_add(&hash, arrays[i], (size_t)n * sizeof *arrays[i]);
    siphash_finish_digits(&hash, text);
}

/* ---- writing -------------------------------------------------------------------------------- */

/* NULL: no memory. */
static char *state_text(const json_t *run, const struct train_counters *counters, const char *hash)
{
    json_t *root =
        json_pack("{s:i, s:I, s:o, s:o, s:I, s:I, s:I, s:s, s:O}", "version", 1, "step",
                  (json_int_t)counters->step, "best_loss", json_number_or_null(counters->best_loss),
                  "best_accuracy", json_number_or_null(counters->best_accuracy), "best_step",
                  (json_int_t)counters->best_step, "evaluations_without_gain",
                  (json_int_t)counters->evaluations_without_gain, "log_bytes",
                  (json_int_t)counters->log_bytes, "hash", hash, "run", (json_t *)run);
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(root);
    return text;
}

enum status train_checkpoint_write(const char *path, const json_t *run,
                                   const struct train_counters *counters,
                                   const struct train_arrays *arrays, struct err *err)
{
    float *each[N_ARRAYS];
    char hash[33];
    arrays_of(each, arrays);
    hash_arrays(hash, each, arrays->n);
    char *state = state_text(run, counters, hash);
    if (!state)
        return err_no_memory(err, "the checkpoint", 0);
    struct safetensors_entry entries[N_ARRAYS + 1];
    for (int i = 0; i < N_ARRAYS; i++)
        entries[i] = (struct safetensors_entry){
            .name = array_names[i], .type_name = "F32", .n_dims = 1, .dims = {arrays->n}};
    entries[N_ARRAYS] = (struct safetensors_entry){
        .name = "state", .type_name = "U8", .n_dims = 1, .dims = {(int64_t)strlen(state)}};
    struct safetensors_writer writer = {0};
    enum status status = safetensors_writer_open(&writer, path, entries, N_ARRAYS + 1, err);
    for (int i = 0; i < N_ARRAYS && status == STATUS_OK; i++)
        status = safetensors_writer_put(&writer, i, each[i], err);
    if (status == STATUS_OK)
        status = safetensors_writer_put(&writer, N_ARRAYS, state, err);
    if (status == STATUS_OK)
        status = safetensors_writer_commit(&writer, err);
    safetensors_writer_discard(&writer);
    mem_free(state);
    return status;
}

/* ---- reading -------------------------------------------------------------------------------- */

static const struct safetensors_tensor *find(const struct safetensors *file, const char *name,
                                             const char *type)
{
    for (int i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        if (strcmp(tensor->name, name) == 0 && strcmp(tensor->type_name, type) == 0)
            return tensor;
    }
    return NULL;
}

static enum status damaged(const char *path, const char *what, struct err *err)
{
    return err_set(err, STATUS_BAD_DATA,
                   "%s: %s; this is no whole checkpoint: begin anew with --force in place of "
                   "--resume",
                   path, what);
}

/* What is wrong with the file, as its reader tells it, comes with that one's advice, which is for
 * models: to fetch it again. */
static enum status open_whole(struct safetensors **file, const char *path, struct err *err)
{
    enum status status = safetensors_open(file, path, err);
    return status == STATUS_BAD_DATA ? damaged(path, "it is cut off or damaged", err) : status;
}

static enum status compare_runs(const char *path, const json_t *stored, const json_t *run,
                                struct err *err)
{
    struct train_difference difference;
    if (!train_record_differs(stored, run, 17, &difference))
        return STATUS_OK;
    return err_set(err, STATUS_USAGE,
                   "%s: that run had %s; go on %s, or begin anew with --force in place of --resume",
                   path, difference.text, difference.resume);
}

static enum status parse_state(json_t **root, const char *path, const struct safetensors *file,
                               struct err *err)
{
    const struct safetensors_tensor *state = find(file, "state", "U8");
    json_error_t error;
    if (!state)
        return damaged(path, "it has no tensor `state`", err);
    enum status status = json_parse(root, (const char *)state->data, (size_t)state->bytes,
                                    JSON_REJECT_DUPLICATES, &error, path, err);
    return status == STATUS_OK || status == STATUS_RESOURCE
               ? status
               : damaged(path, "`state` is no JSON", err);
}

static enum status read_state(const char *path, const struct safetensors *file, const json_t *run,
                              struct train_counters *counters, char hash[33], struct err *err)
{
    json_t *root;
    TRY(parse_state(&root, path, file, err));
    enum status status = STATUS_OK;
    json_int_t version = 0, step = -1, best_step = -1, without_gain = -1, log_bytes = -1;
    json_t *stored = NULL;
    const char *stored_hash = NULL;
    bool good =
        json_unpack(root, "{s:I, s:I, s:I, s:I, s:I, s:s, s:o}", "version", &version, "step", &step,
                    "best_step", &best_step, "evaluations_without_gain", &without_gain, "log_bytes",
                    &log_bytes, "hash", &stored_hash, "run", &stored) == 0;
    good = good && version == 1 && step >= 0 && best_step >= 0 && best_step <= step &&
           without_gain >= 0 && log_bytes >= 0 && strlen(stored_hash) == 32 &&
           json_is_object(stored);
    if (!good) {
        status = damaged(path, "`state` does not say what it should", err);
    } else {
        *counters = (struct train_counters){
            .step = step,
            .best_loss = json_number_or(json_object_get(root, "best_loss"), INFINITY),
            .best_accuracy = json_number_or(json_object_get(root, "best_accuracy"), NAN),
            .best_step = best_step,
            .evaluations_without_gain = without_gain,
            .log_bytes = log_bytes,
        };
        memcpy(hash, stored_hash, 33);
        status = compare_runs(path, stored, run, err);
    }
    json_decref(root);
    return status;
}

static enum status read_arrays(const char *path, const struct safetensors *file,
                               const struct train_arrays *arrays, const char *hash, struct err *err)
{
    float *each[N_ARRAYS];
    char found[33];
    arrays_of(each, arrays);
    for (int i = 0; i < N_ARRAYS; i++) {
        const struct safetensors_tensor *tensor = find(file, array_names[i], "F32");
        if (!tensor || tensor->bytes != arrays->n * (int64_t)sizeof(float))
            return damaged(path, "its arrays have another size", err);
        memcpy(each[i], tensor->data, (size_t)tensor->bytes);
    }
    hash_arrays(found, each, arrays->n);
    if (strcmp(found, hash) != 0)
        return damaged(path, "its bytes have changed", err);
    return STATUS_OK;
}

enum status train_checkpoint_read(const char *path, const json_t *run,
                                  struct train_counters *counters, struct train_arrays *arrays,
                                  struct err *err)
{
    struct safetensors *file;
    char hash[33];
    TRY(open_whole(&file, path, err));
    enum status status = read_state(path, file, run, counters, hash, err);
    if (status == STATUS_OK)
        status = read_arrays(path, file, arrays, hash, err);
    if (status == STATUS_OK)
        status = safetensors_check(file, err);
    safetensors_close(file);
    return status;
}

enum status train_checkpoint_check(const char *path, const json_t *run, struct err *err)
{
    struct safetensors *file;
    struct train_counters counters;
    char hash[33];
    TRY(open_whole(&file, path, err));
    enum status status = read_state(path, file, run, &counters, hash, err);
    safetensors_close(file);
    return status;
}

json_t *train_checkpoint_record(const char *path)
{
    struct safetensors *file;
    struct err ignored;
    json_t *root = NULL;
    if (safetensors_open(&file, path, &ignored) != STATUS_OK)
        return NULL;
    if (parse_state(&root, path, file, &ignored) != STATUS_OK)
        root = NULL;
    json_t *record = json_incref(json_object_get(root, "run"));
    json_decref(root);
    safetensors_close(file);
    return record;
}
