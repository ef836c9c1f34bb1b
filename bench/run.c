/* See run.h. */
#include "bench/run.h"

#include <stdio.h>
#include <string.h>
#include "host/base/cuda_device.h"

/* ---- rows ----------------------------------------------------------------------------------- */

struct row_list {
    struct bench_row *rows;
    int n, capacity;
    const struct bench_choice *choice;
    struct arena *arena;
};

static void write_title(struct bench_row *row)
{
    size_t used = 0;
    for (int i = 0; i < SHAPE_DIMENSIONS && row->operation->dimensions[i]; i++)
        used +=
            (size_t)snprintf(row->shape + used, sizeof row->shape - used, "%s%s=%lld", i ? " " : "",
                             row->operation->dimensions[i], (long long)row->size[i]);
    snprintf(row->title, sizeof row->title, "%s %s %s", row->operation->name, row->operation->dtype,
             row->shape);
}

static bool has_title(const struct row_list *list, const char *title)
{
    for (int i = 0; i < list->n; i++)
        if (strcmp(list->rows[i].title, title) == 0)
            return true;
    return false;
}

/* Two models may have the same shape: it stands once. */
static enum status add_row(struct row_list *list, const struct bench_operation *operation,
                           const int64_t *size, struct err *err)
{
    struct bench_row row = {.operation = operation};
    memcpy(row.size, size, sizeof row.size);
    write_title(&row);
    if (!strstr(row.title, list->choice->pattern) || has_title(list, row.title))
        return STATUS_OK;
    if (!arena_grow(list->arena, &list->rows, list->n, &list->capacity, sizeof *list->rows))
        return err_no_memory(err, "the list of rows", 0);
    list->rows[list->n++] = row;
    return STATUS_OK;
}

static enum status add_set(struct row_list *list, const struct bench_operation *operation,
                           const struct model_sizes *model, struct err *err)
{
    int64_t shapes[SHAPES_LARGEST][SHAPE_DIMENSIONS] = {{0}};
    int n = operation->shapes(shapes, model, list->choice->full);
    for (int i = 0; i < n; i++)
        TRY(add_row(list, operation, shapes[i], err));
    return STATUS_OK;
}

static enum status add_sets(struct row_list *list, const struct bench_operation *operation,
                            struct err *err)
{
    bool all = strcmp(list->choice->set, "all") == 0;
    for (int i = 0; i < n_model_sizes; i++)
        if (all || strcmp(model_sizes[i].name, list->choice->set) == 0)
            TRY(add_set(list, operation, &model_sizes[i], err));
    return STATUS_OK;
}

static enum status add_by_hand(struct row_list *list, const struct bench_operation *operation,
                               int *n_fitting, struct err *err)
{
    int64_t size[SHAPE_DIMENSIONS] = {0};
    if (!shape_order(size, list->choice->shape, operation->dimensions))
        return STATUS_OK;
    const char *refusal = operation->refuse ? operation->refuse(size) : NULL;
    if (refusal)
        return err_set(err, STATUS_USAGE, "--shape: %s: %s", operation->name, refusal);
    ++*n_fitting;
    return add_row(list, operation, size, err);
}

static enum status no_such_dimensions(const struct bench_operation *const *operations,
                                      struct err *err)
{
    char text[800];
    size_t used = 0;
    for (int i = 0; operations[i] && used + 100 < sizeof text; i++) {
        if (i && strcmp(operations[i]->name, operations[i - 1]->name) == 0)
            continue; /* of another type */
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s (", i ? ", " : "",
                                 operations[i]->name);
        for (int j = 0; j < SHAPE_DIMENSIONS && operations[i]->dimensions[j]; j++)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", j ? "," : "",
                                     operations[i]->dimensions[j]);
        used += (size_t)snprintf(text + used, sizeof text - used, ")");
    }
    return err_set(err, STATUS_USAGE, "--shape: no operation has these dimensions; there are %s",
                   text);
}

enum status bench_rows(struct bench_row **rows, int *n_rows,
                       const struct bench_operation *const *operations,
                       const struct bench_choice *choice, struct arena *arena, struct err *err)
{
    struct row_list list = {.choice = choice, .arena = arena};
    int n_fitting = 0;
    if (!choice->shape && strcmp(choice->set, "all") != 0 && !model_sizes_named(choice->set))
        return err_set(err, STATUS_USAGE, "--set %s: give smollm2, llama2-7b, llama3-8b or all",
                       choice->set);
    for (int i = 0; operations[i]; i++)
        TRY(choice->shape ? add_by_hand(&list, operations[i], &n_fitting, err)
                          : add_sets(&list, operations[i], err));
    if (choice->shape && n_fitting == 0)
        return no_such_dimensions(operations, err);
    if (list.n == 0 && !choice->may_be_empty)
        return err_set(err, STATUS_USAGE,
                       "no row has \"%s\" in it; midashi bench without a pattern shows all",
                       choice->pattern);
    *rows = list.rows;
    *n_rows = list.n;
    return STATUS_OK;
}

/* ---- places --------------------------------------------------------------------------------- */

enum status bench_place_open(struct bench_place *place, const char *name, int threads,
                             struct err *err)
{
    *place = (struct bench_place){.software = false};
    TRY(device_open(&place->device, name, threads, err));
    bool cuda = place->device.kind == DEVICE_CUDA;
    const char *colon = strchr(name, ':');
    snprintf(place->name, sizeof place->name, "%s",
             cuda && !colon ? "cuda:0"
             : cuda         ? name
                            : "cpu");
    place->software = cuda && place->device.cuda->driver.software;
    return STATUS_OK;
}

enum status bench_place_measure(struct bench_place *place, struct err *err)
{
    if (place->device.kind == DEVICE_CPU)
        return measure_cpu_limits(&place->cpu, &place->device, err);
    return place->software ? STATUS_OK : cuda_measure_limits(&place->cuda, &place->device, err);
}

void bench_place_close(struct bench_place *place)
{
    device_close(&place->device);
    *place = (struct bench_place){.software = false};
}

bool bench_place_has(const struct bench_place *place, const struct bench_operation *operation)
{
    return place->device.kind == DEVICE_CPU ? !operation->not_cpu : operation->cuda;
}

const char *bench_dtype(const struct bench_place *place, const struct bench_operation *operation)
{
    bool activations = !operation->no_activations && strcmp(operation->dtype, "f32") == 0;
    return place->device.kind == DEVICE_CUDA && activations ? "bf16" : operation->dtype;
}

/* ---- running -------------------------------------------------------------------------------- */

static enum status measure(struct bench_result *result, struct trial *trial,
                           const struct bench_place *place, double seconds, struct err *err)
{
    if (place->software)
        return cuda_count_trial(&result->report, trial, err);
    if (place->device.kind == DEVICE_CUDA)
        return cuda_measure_trial(&result->measurement, trial, &place->cuda, seconds, err);
    return measure_trial(&result->measurement, trial, seconds, err);
}

enum status bench_run_row(struct bench_result *result, const struct bench_row *row,
                          struct bench_place *place, double seconds, struct err *err)
{
    struct trial trial;
    struct verdict verdict = {0, 0};
    *result = (struct bench_result){.verified = false};
    enum status status = trial_open(&trial, row->operation, row->size, &place->device, err);
    if (status == STATUS_OK)
        status = trial_verify(&trial, &verdict, err);
    if (status == STATUS_OK) {
        result->worst_error = verdict.worst;
        result->verified = verdict.worst <= 1;
        result->operations = trial.operations;
        result->bytes = trial.bytes_read + trial.bytes_written;
    }
    if (result->verified)
        status = measure(result, &trial, place, seconds, err);
    trial_close(&trial);
    return status;
}
