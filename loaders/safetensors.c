/* safetensors. See safetensors.h. */
#include "loaders/safetensors.h"

#include <stdlib.h>
#include <string.h>
#include "host/base/file.h"
#include "host/base/memory.h"
#include "loaders/json.h"
#include "loaders/little_endian.h"
#include "loaders/model_refusals.h"

#define TENSORS_LARGEST (1 << 20)

struct safetensors {
    const char *path; /* in the arena, as the table and the names */
    struct file_map map;
    struct arena arena;
    struct safetensors_tensor *tensors;
    int count;
};

/* The data of the file, while its table is read. */
struct data {
    const char *path;
    const unsigned char *start;
    int64_t size;
    struct err *err;
};

static enum status bad_tensor(const struct data *data, const char *name, const char *what)
{
    return err_set(data->err, STATUS_BAD_DATA,
                   "%s: tensor %s: %s; the file is damaged: fetch it again", data->path, name,
                   what);
}

static const struct {
    const char *name;
    int size;
} types[] = {
    {"F32", 4},  {"F16", 2}, {"BF16", 2},    {"F64", 8},     {"I64", 8}, {"I32", 4},
    {"I16", 2},  {"I8", 1},  {"U64", 8},     {"U32", 4},     {"U16", 2}, {"U8", 1},
    {"BOOL", 1}, {"C64", 8}, {"F8_E4M3", 1}, {"F8_E5M2", 1},
};

int safetensors_type_size(const char *type_name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(type_name, types[i].name) == 0)
            return types[i].size;
    return 0;
}

static enum status read_type(const struct data *data, struct safetensors_tensor *tensor,
                             const json_t *info, int64_t *size)
{
    const char *name = json_string_value(json_object_get(info, "dtype"));
    if (!name)
        return bad_tensor(data, tensor->name, "its dtype is missing");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(name, types[i].name) == 0) {
            tensor->type_name = types[i].name;
            *size = types[i].size;
            return STATUS_OK;
        }
    return err_set(data->err, STATUS_BAD_DATA,
                   "%s: tensor %s: dtype %.40s is not known; convert the model to F32, F16 or BF16",
                   data->path, tensor->name, name);
}

/* Multiplies *bytes by each dimension. */
static enum status read_shape(const struct data *data, struct safetensors_tensor *tensor,
                              const json_t *info, int64_t *bytes)
{
    const json_t *shape = json_object_get(info, "shape");
    if (!json_is_array(shape))
        return bad_tensor(data, tensor->name, "its shape is missing");
    if (json_array_size(shape) > SAFETENSORS_DIMS_LARGEST)
        return bad_tensor(data, tensor->name, "it has more than 8 dimensions");
    tensor->n_dims = (int)json_array_size(shape);
    for (int i = 0; i < tensor->n_dims; i++) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        tensor->dims[i] = json_integer_value(dim);
        if (!json_is_integer(dim) || tensor->dims[i] < 0)
            return bad_tensor(data, tensor->name, "a dimension is not a whole number from 0");
        if (__builtin_mul_overflow(*bytes, tensor->dims[i], bytes))
            return bad_tensor(data, tensor->name, "its shape is too large");
    }
    return STATUS_OK;
}

static enum status read_offsets(const struct data *data, struct safetensors_tensor *tensor,
                                const json_t *info)
{
    const json_t *offsets = json_object_get(info, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *second = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(second))
        return bad_tensor(data, tensor->name, "its data_offsets are not two whole numbers");
    int64_t begin = json_integer_value(first), end = json_integer_value(second);
    if (begin < 0 || end < begin || end > data->size)
        return err_set(data->err, STATUS_BAD_DATA,
                       "%s: tensor %s: its bytes %lld to %lld are not within the data's %lld; the "
                       "file is truncated or damaged: fetch it again",
                       data->path, tensor->name, (long long)begin, (long long)end,
                       (long long)data->size);
    tensor->data = data->start + begin;
    tensor->bytes = end - begin;
    return STATUS_OK;
}

static enum status read_tensor(const struct data *data, struct safetensors_tensor *tensor,
                               const json_t *info)
{
    int64_t bytes = 0;
    if (tensor->name[0] == '\0' || !json_is_object(info))
        return bad_tensor(data, tensor->name, "its entry is not an object with a name");
    TRY(read_type(data, tensor, info, &bytes));
    TRY(read_shape(data, tensor, info, &bytes));
    TRY(read_offsets(data, tensor, info));
    if (tensor->bytes != bytes)
        return err_set(data->err, STATUS_BAD_DATA,
                       "%s: tensor %s: it has %lld bytes, but its shape in %s needs %lld; the "
                       "file is damaged: fetch it again",
                       data->path, tensor->name, (long long)tensor->bytes, tensor->type_name,
                       (long long)bytes);
    return STATUS_OK;
}

static int compare_places(const void *a, const void *b)
{
    const struct safetensors_tensor *left = a, *right = b;
    if (left->data != right->data)
        return left->data < right->data ? -1 : 1;
    return (left->bytes > right->bytes) - (left->bytes < right->bytes); /* empty ones first */
}

/* The tensors, in order, cover the data: no overlap, no hole. */
static enum status check_cover(const struct safetensors *safetensors, const struct data *data)
{
    int64_t end = 0;
    for (int i = 0; i < safetensors->count; i++) {
        const struct safetensors_tensor *tensor = &safetensors->tensors[i];
        int64_t begin = tensor->data - data->start;
        if (begin != end)
            return err_set(data->err, STATUS_BAD_DATA,
                           "%s: tensor %s: its bytes begin at %lld of the data, but those before "
                           "it end at %lld (%s); the file is damaged: fetch it again",
                           data->path, tensor->name, (long long)begin, (long long)end,
                           begin < end ? "an overlap" : "a hole");
        end += tensor->bytes;
    }
    if (end != data->size)
        return err_set(data->err, STATUS_BAD_DATA,
                       "%s: byte %lld: the file goes on for %lld bytes behind the last tensor; "
                       "the file is damaged: fetch it again",
                       data->path, (long long)(data->start - safetensors->map.data) + end,
                       (long long)(data->size - end));
    return STATUS_OK;
}

static enum status check_metadata(const struct data *data, json_t *metadata)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return bad_tensor(data, "__metadata__", "it is no object");
    json_object_foreach(metadata, key, value) if (!json_is_string(value)) return bad_tensor(
        data, "__metadata__", "a value is no string");
    return STATUS_OK;
}

static enum status read_table(struct safetensors *safetensors, const struct data *data,
                              json_t *header)
{
    size_t count = json_object_size(header);
    if (count > TENSORS_LARGEST)
        return err_set(data->err, STATUS_BAD_DATA, "%s: byte 8: more than %d tensors", data->path,
                       TENSORS_LARGEST);
    safetensors->tensors = arena_alloc(&safetensors->arena, count, sizeof *safetensors->tensors);
    if (!safetensors->tensors)
        return err_no_memory(data->err, "the table of tensors",
                             count * sizeof *safetensors->tensors);
    const char *key;
    json_t *info;
    json_object_foreach(header, key, info)
    {
        if (strcmp(key, "__metadata__") == 0) {
            TRY(check_metadata(data, info));
            continue;
        }
        struct safetensors_tensor *tensor = &safetensors->tensors[safetensors->count];
        *tensor =
            (struct safetensors_tensor){.name = arena_text(&safetensors->arena, key, strlen(key))};
        if (!tensor->name)
            return err_no_memory(data->err, "a tensor's name", strlen(key));
        TRY(read_tensor(data, tensor, info));
        safetensors->count++;
    }
    qsort(safetensors->tensors, (size_t)safetensors->count, sizeof *safetensors->tensors,
          compare_places);
    return check_cover(safetensors, data);
}

static enum status read_file(struct safetensors *safetensors, struct err *err)
{
    const struct file_map *map = &safetensors->map;
    uint64_t length = map->size < 8 ? 0 : le_u64(map->data);
    TRY(model_refuse_pointer(safetensors->path, map->data, map->size, err));
    if (map->size < 8 || length > map->size - 8 || length > SAFETENSORS_HEADER_LARGEST)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: byte 0: the header's length, %llu, is beyond the file's end or the "
                       "limit of %d; not a safetensors file, or damaged",
                       safetensors->path, (unsigned long long)length, SAFETENSORS_HEADER_LARGEST);
    if (length == 0 || map->data[8] != '{')
        return err_set(err, STATUS_BAD_DATA,
                       "%s: byte 8: the header does not start with '{'; not a safetensors file",
                       safetensors->path);
    json_error_t error;
    json_t *header;
    enum status status = json_parse(&header, (const char *)map->data + 8, (size_t)length,
                                    JSON_REJECT_DUPLICATES, &error, safetensors->path, err);
    if (status == STATUS_BAD_DATA)
        return err_set(err, STATUS_BAD_DATA, "%s: byte %lld: the header is not good JSON: %s",
                       safetensors->path, 8 + (long long)error.position, error.text);
    TRY(status);
    struct data data = {
        .path = safetensors->path,
        .start = map->data + 8 + length,
        .size = (int64_t)(map->size - 8 - length),
        .err = err,
    };
    status = read_table(safetensors, &data, header);
    json_decref(header);
    return status;
}

enum status safetensors_open(struct safetensors **out, const char *path, struct err *err)
{
    *out = NULL;
    struct safetensors *safetensors = mem_alloc_zero(1, sizeof *safetensors);
    if (!safetensors)
        return err_no_memory(err, "the table of tensors", sizeof *safetensors);
    enum status status = file_map(&safetensors->map, path, err);
    if (status == STATUS_OK) {
        safetensors->path = arena_text(&safetensors->arena, path, strlen(path));
        status = safetensors->path ? read_file(safetensors, err)
                                   : err_no_memory(err, "a file name", strlen(path));
    }
    if (status != STATUS_OK) {
        status = file_map_finish(&safetensors->map, path, status, err);
        safetensors_close(safetensors);
        return status;
    }
    *out = safetensors;
    return STATUS_OK;
}

void safetensors_close(struct safetensors *safetensors)
{
    if (!safetensors)
        return;
    file_unmap(&safetensors->map);
    arena_free(&safetensors->arena);
    mem_free(safetensors);
}

enum status safetensors_check(const struct safetensors *safetensors, struct err *err)
{
    return file_map_check(&safetensors->map, safetensors->path, err);
}

const char *safetensors_path(const struct safetensors *safetensors)
{
    return safetensors->path;
}

int safetensors_count(const struct safetensors *safetensors)
{
    return safetensors->count;
}

const struct safetensors_tensor *safetensors_at(const struct safetensors *safetensors, int i)
{
    return &safetensors->tensors[i];
}
