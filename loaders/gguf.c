/* GGUF. See gguf.h. Everything stays in the map but the tables of keys and of tensors; their sizes
 * are bounded by the file's size, since an entry takes at least 13 bytes there. */
#include "loaders/gguf.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/file.h"
#include "host/base/float16.h"
#include "host/base/memory.h"
#include "loaders/gguf_types.h"
#include "loaders/little_endian.h"
#include "loaders/model_refusals.h"
#include "loaders/name_index.h"

#define ENTRIES_LARGEST    (1 << 20) /* keys, and tensors: the largest models have some thousands */
#define NAME_LARGEST       1024      /* bytes of a key or a tensor's name */
#define TENSOR_COUNT_AT    8         /* behind magic and version */
#define DEPTH_LARGEST      4         /* arrays in arrays */
#define ALIGNMENT_DEFAULT  32
#define KEY_SMALLEST_BYTES 13 /* length 8, type 4, value 1 */
#define TENSOR_SMALLEST    24 /* length 8, dimensions 4, type 4, offset 8 */

struct entry {
    struct gguf_text key;
    enum gguf_type type;
    const unsigned char *value, *end;
};

struct gguf {
    char *path; /* in the arena, as all tables */
    struct file_map map;
    struct arena arena;
    struct entry *entries;
    size_t metadata_end; /* in the file */
    struct name_index keys;
    struct gguf_tensor *tensors;
    struct name_index names;
};

/* ---- reading forward ------------------------------------------------------------------------ */

struct reader {
    const char *path;
    const unsigned char *start, *at, *end;
    struct err *err;
};

static enum status damaged(const struct reader *reader, const char *what)
{
    return err_set(reader->err, STATUS_BAD_DATA,
                   "%s: byte %zu: %s; the file is damaged: fetch it again", reader->path,
                   (size_t)(reader->at - reader->start), what);
}

/* Sets *bytes to the next n bytes and steps over them. */
static enum status take(struct reader *reader, uint64_t n, const unsigned char **bytes)
{
    *bytes = reader->at;
    if ((uint64_t)(reader->end - reader->at) < n)
        return damaged(reader, "the file ends in the middle of its header");
    reader->at += n;
    return STATUS_OK;
}

static enum status take_u32(struct reader *reader, uint32_t *value)
{
    const unsigned char *bytes;
    TRY(take(reader, 4, &bytes));
    *value = le_u32(bytes);
    return STATUS_OK;
}

static enum status take_u64(struct reader *reader, uint64_t *value)
{
    const unsigned char *bytes;
    TRY(take(reader, 8, &bytes));
    *value = le_u64(bytes);
    return STATUS_OK;
}

static enum status take_text(struct reader *reader, struct gguf_text *text)
{
    uint64_t length;
    const unsigned char *bytes;
    TRY(take_u64(reader, &length));
    TRY(take(reader, length, &bytes));
    *text = (struct gguf_text){.text = (const char *)bytes, .length = (size_t)length};
    return STATUS_OK;
}

/* A key or a tensor's name: the format says ASCII, and messages show it. */
static enum status take_name(struct reader *reader, struct gguf_text *name)
{
    const unsigned char *start = reader->at;
    TRY(take_text(reader, name));
    int fine = name->length > 0 && name->length <= NAME_LARGEST;
    for (size_t i = 0; fine && i < name->length; i++)
        fine = name->text[i] > ' ' && name->text[i] < 0x7F;
    if (!fine) {
        reader->at = start;
        return damaged(reader, "a name is empty, too long or not printable ASCII");
    }
    return STATUS_OK;
}

/* ---- metadata ------------------------------------------------------------------------------- */

/* Bytes of a value, 0 for strings and arrays, -1 for a number that is no type. */
static int size_of_type(uint32_t type)
{
    static const signed char sizes[] = {
        [GGUF_UINT8] = 1,   [GGUF_INT8] = 1,  [GGUF_UINT16] = 2,  [GGUF_INT16] = 2,
        [GGUF_UINT32] = 4,  [GGUF_INT32] = 4, [GGUF_FLOAT32] = 4, [GGUF_BOOL] = 1,
        [GGUF_STRING] = 0,  [GGUF_ARRAY] = 0, [GGUF_UINT64] = 8,  [GGUF_INT64] = 8,
        [GGUF_FLOAT64] = 8,
    };
    return type < sizeof sizes ? sizes[type] : -1;
}

static enum status skip_value(struct reader *reader, uint32_t type, int depth);

static enum status skip_array(struct reader *reader, int depth)
{
    uint32_t type;
    uint64_t count;
    const unsigned char *bytes;
    if (depth == DEPTH_LARGEST)
        return damaged(reader, "arrays are nested too deep");
    TRY(take_u32(reader, &type));
    TRY(take_u64(reader, &count));
    int size = size_of_type(type);
    if (size > 0) {
        if (count > SIZE_MAX / (unsigned)size)
            return damaged(reader, "an array is longer than the file");
        return take(reader, count * (unsigned)size, &bytes);
    }
    for (uint64_t i = 0; i < count; i++)
        TRY(skip_value(reader, type, depth + 1));
    return STATUS_OK;
}

/* Checks a value and steps over it. */
static enum status skip_value(struct reader *reader, uint32_t type, int depth)
{
    const unsigned char *bytes;
    struct gguf_text text;
    int size = size_of_type(type);
    if (size < 0)
        return damaged(reader, "a metadata value has a type that is not defined");
    if (type == GGUF_STRING)
        return take_text(reader, &text);
    if (type == GGUF_ARRAY)
        return skip_array(reader, depth);
    return take(reader, (uint64_t)size, &bytes);
}

static enum status read_metadata(struct gguf *gguf, struct reader *reader, int count)
{
    gguf->entries = arena_alloc(&gguf->arena, (size_t)count, sizeof *gguf->entries);
    if (!gguf->entries || !name_index_init(&gguf->keys, &gguf->arena, count))
        return err_no_memory(reader->err, "the GGUF metadata",
                             (size_t)count * sizeof *gguf->entries);
    for (int i = 0; i < count; i++) {
        struct entry *entry = &gguf->entries[i];
        uint32_t type;
        TRY(take_name(reader, &entry->key));
        TRY(take_u32(reader, &type));
        entry->value = reader->at;
        TRY(skip_value(reader, type, 0));
        entry->type = (enum gguf_type)type;
        entry->end = reader->at;
        gguf->keys.entries[i] = (struct name_entry){entry->key.text, entry->key.length, i};
    }
    const struct name_entry *twice = name_index_sort(&gguf->keys);
    if (twice)
        return err_set(reader->err, STATUS_BAD_DATA,
                       "%s: metadata %.*s: the key stands there twice; the file is damaged",
                       reader->path, (int)twice->length, twice->name);
    return STATUS_OK;
}

static const struct entry *find(const struct gguf *gguf, const char *key)
{
    int i = name_index_find(&gguf->keys, key, strlen(key));
    return i < 0 ? NULL : &gguf->entries[i];
}

static const char *name_of_type(enum gguf_type type)
{
    static const char *const names[] = {
        [GGUF_UINT8] = "uint8",     [GGUF_INT8] = "int8",     [GGUF_UINT16] = "uint16",
        [GGUF_INT16] = "int16",     [GGUF_UINT32] = "uint32", [GGUF_INT32] = "int32",
        [GGUF_FLOAT32] = "float32", [GGUF_BOOL] = "bool",     [GGUF_STRING] = "string",
        [GGUF_ARRAY] = "array",     [GGUF_UINT64] = "uint64", [GGUF_INT64] = "int64",
        [GGUF_FLOAT64] = "float64",
    };
    return names[type];
}

static enum status wrong_type(const struct gguf *gguf, const char *key, const struct entry *entry,
                              const char *wanted, struct err *err)
{
    return err_set(err, STATUS_BAD_DATA,
                   "%s: metadata %s: the value (%s) is not %s; convert the model again", gguf->path,
                   key, name_of_type(entry->type), wanted);
}

/* p points at a whole value of that type. */
static bool integer_at(enum gguf_type type, const unsigned char *p, int64_t *value)
{
    switch (type) {
    case GGUF_UINT8:
        return *value = *p, true;
    case GGUF_INT8:
        return *value = (int8_t)*p, true;
    case GGUF_UINT16:
        return *value = le_u16(p), true;
    case GGUF_INT16:
        return *value = (int16_t)le_u16(p), true;
    case GGUF_UINT32:
        return *value = le_u32(p), true;
    case GGUF_INT32:
        return *value = (int32_t)le_u32(p), true;
    case GGUF_INT64:
        return *value = (int64_t)le_u64(p), true;
    case GGUF_UINT64:
        if (le_u64(p) > INT64_MAX)
            return false;
        return *value = (int64_t)le_u64(p), true;
    default:
        return false;
    }
}

static bool number_at(enum gguf_type type, const unsigned char *p, double *value)
{
    int64_t integer;
    if (type == GGUF_FLOAT32)
        return *value = (double)float_from_bits(le_u32(p)), true;
    if (type == GGUF_FLOAT64) {
        uint64_t bits = le_u64(p);
        return memcpy(value, &bits, sizeof *value), true;
    }
    if (!integer_at(type, p, &integer))
        return false;
    return *value = (double)integer, true;
}

bool gguf_has(const struct gguf *gguf, const char *key)
{
    return find(gguf, key) != NULL;
}

enum status gguf_get_integer(const struct gguf *gguf, const char *key, int64_t *value,
                             struct err *err)
{
    const struct entry *entry = find(gguf, key);
    if (entry && !integer_at(entry->type, entry->value, value))
        return wrong_type(gguf, key, entry, "an integer of 63 bits", err);
    return STATUS_OK;
}

enum status gguf_get_number(const struct gguf *gguf, const char *key, double *value,
                            struct err *err)
{
    const struct entry *entry = find(gguf, key);
    if (entry && !number_at(entry->type, entry->value, value))
        return wrong_type(gguf, key, entry, "a number", err);
    return STATUS_OK;
}

enum status gguf_get_bool(const struct gguf *gguf, const char *key, bool *value, struct err *err)
{
    const struct entry *entry = find(gguf, key);
    if (!entry)
        return STATUS_OK;
    if (entry->type != GGUF_BOOL)
        return wrong_type(gguf, key, entry, "true or false", err);
    *value = *entry->value != 0;
    return STATUS_OK;
}

enum status gguf_get_text(const struct gguf *gguf, const char *key, struct gguf_text *value,
                          struct err *err)
{
    const struct entry *entry = find(gguf, key);
    if (!entry)
        return STATUS_OK;
    if (entry->type != GGUF_STRING)
        return wrong_type(gguf, key, entry, "a string", err);
    value->text = (const char *)entry->value + 8;
    value->length = (size_t)(entry->end - entry->value) - 8;
    return STATUS_OK;
}

enum status gguf_get_array(const struct gguf *gguf, const char *key, struct gguf_array *value,
                           struct err *err)
{
    const struct entry *entry = find(gguf, key);
    if (!entry)
        return STATUS_OK;
    if (entry->type != GGUF_ARRAY)
        return wrong_type(gguf, key, entry, "an array", err);
    *value = (struct gguf_array){
        .type = (enum gguf_type)le_u32(entry->value),
        .count = le_u64(entry->value + 4),
        .data = entry->value + 12,
        .end = entry->end,
    };
    return STATUS_OK;
}

/* Lengths were checked at opening, and are checked here again: another program may have written
 * the file since. */
bool gguf_array_next_text(struct gguf_array *array, struct gguf_text *text)
{
    if (array->type != GGUF_STRING || array->count == 0 || array->end - array->data < 8)
        return false;
    uint64_t length = le_u64(array->data);
    if ((uint64_t)(array->end - array->data - 8) < length)
        return false;
    *text = (struct gguf_text){(const char *)array->data + 8, (size_t)length};
    array->data += 8 + length;
    array->count--;
    return true;
}

static const unsigned char *element(const struct gguf_array *array, uint64_t i)
{
    int size = size_of_type(array->type);
    if (size <= 0 || i >= (uint64_t)(array->end - array->data) / (unsigned)size)
        return NULL;
    return array->data + i * (unsigned)size;
}

bool gguf_array_integer(const struct gguf_array *array, uint64_t i, int64_t *value)
{
    const unsigned char *p = element(array, i);
    return p && integer_at(array->type, p, value);
}

bool gguf_array_number(const struct gguf_array *array, uint64_t i, double *value)
{
    const unsigned char *p = element(array, i);
    return p && number_at(array->type, p, value);
}

/* ---- tensors -------------------------------------------------------------------------------- */

static enum status bad_tensor(const struct reader *reader, const char *name, const char *what)
{
    return err_set(reader->err, STATUS_BAD_DATA,
                   "%s: tensor %s: %s; the file is damaged: fetch it again", reader->path, name,
                   what);
}

/* Bytes from dimensions and type. */
static enum status size_tensor(const struct reader *reader, struct gguf_tensor *tensor)
{
    const struct gguf_tensor_type *type = gguf_tensor_type((uint32_t)tensor->type);
    if (!type)
        return err_set(reader->err, STATUS_BAD_DATA,
                       "%s: tensor %s: its type, number %d, is not known; supported: %s",
                       reader->path, tensor->name, tensor->type, gguf_readable_types);
    int64_t values = 1;
    for (int i = 0; i < tensor->n_dims; i++)
        if (tensor->dims[i] < 1 || __builtin_mul_overflow(values, tensor->dims[i], &values))
            return bad_tensor(reader, tensor->name, "a dimension is 0 or too large");
    if (tensor->dims[0] % type->block != 0)
        return err_set(reader->err, STATUS_BAD_DATA,
                       "%s: tensor %s: rows of %lld values are not whole blocks of %d (%s); the "
                       "file is damaged: fetch it again",
                       reader->path, tensor->name, (long long)tensor->dims[0], type->block,
                       type->name);
    if (__builtin_mul_overflow(values / type->block, (int64_t)type->bytes, &tensor->bytes))
        return bad_tensor(reader, tensor->name, "a dimension is 0 or too large");
    return STATUS_OK;
}

/* One row of the table; *offset is relative to the data, whose place is known after the table. */
static enum status read_tensor(struct gguf *gguf, struct reader *reader, struct gguf_tensor *tensor,
                               uint64_t *offset)
{
    struct gguf_text name;
    uint32_t n_dims, type;
    TRY(take_name(reader, &name));
    tensor->name = arena_text(&gguf->arena, name.text, name.length);
    if (!tensor->name)
        return err_no_memory(reader->err, "a tensor's name", name.length);
    TRY(take_u32(reader, &n_dims));
    if (n_dims < 1 || n_dims > GGUF_DIMS_LARGEST)
        return bad_tensor(reader, tensor->name, "it has no dimension, or more than 4");
    tensor->n_dims = (int)n_dims;
    for (uint32_t i = 0; i < n_dims; i++) {
        uint64_t dim;
        TRY(take_u64(reader, &dim));
        tensor->dims[i] = dim > INT64_MAX ? 0 : (int64_t)dim; /* 0 is refused */
    }
    TRY(take_u32(reader, &type));
    tensor->type = type > INT_MAX ? INT_MAX : (int)type; /* INT_MAX is refused */
    TRY(take_u64(reader, offset));
    return size_tensor(reader, tensor);
}

static enum status read_tensors(struct gguf *gguf, struct reader *reader, int count,
                                uint64_t *offsets)
{
    for (int i = 0; i < count; i++) {
        struct gguf_tensor *tensor = &gguf->tensors[i];
        TRY(read_tensor(gguf, reader, tensor, &offsets[i]));
        gguf->names.entries[i] = (struct name_entry){tensor->name, strlen(tensor->name), i};
    }
    const struct name_entry *twice = name_index_sort(&gguf->names);
    if (twice)
        return bad_tensor(reader, twice->name, "the name stands there twice");
    return STATUS_OK;
}

static int compare_places(const void *a, const void *b)
{
    const struct gguf_tensor *left = *(struct gguf_tensor *const *)a,
                             *right = *(struct gguf_tensor *const *)b;
    return (left->data > right->data) - (left->data < right->data);
}

/* Gives each tensor its bytes: inside the file, aligned, apart from the others. */
static enum status place_tensors(struct gguf *gguf, const struct reader *reader, int count,
                                 const uint64_t *offsets, struct gguf_tensor **order)
{
    int64_t alignment = ALIGNMENT_DEFAULT;
    TRY(gguf_get_integer(gguf, "general.alignment", &alignment, reader->err));
    if (alignment < 1 || alignment > (1 << 30) || (alignment & (alignment - 1)) != 0)
        return err_set(reader->err, STATUS_BAD_DATA,
                       "%s: metadata general.alignment: %lld is not a power of two; the file is "
                       "damaged: fetch it again",
                       reader->path, (long long)alignment);
    uint64_t mask = (uint64_t)alignment - 1, size = (uint64_t)(reader->end - reader->start);
    uint64_t data = ((uint64_t)(reader->at - reader->start) + mask) & ~mask;
    for (int i = 0; i < count; i++) {
        struct gguf_tensor *tensor = &gguf->tensors[i];
        if ((offsets[i] & mask) != 0)
            return bad_tensor(reader, tensor->name, "its offset is not aligned");
        if (data > size || offsets[i] > size - data ||
            (uint64_t)tensor->bytes > size - data - offsets[i])
            return err_set(reader->err, STATUS_BAD_DATA,
                           "%s: tensor %s: its %lld bytes at offset %llu of the data reach beyond "
                           "the file's end at byte %llu; fetch the file again",
                           reader->path, tensor->name, (long long)tensor->bytes,
                           (unsigned long long)offsets[i], (unsigned long long)size);
        tensor->data = reader->start + data + offsets[i];
        order[i] = tensor;
    }
    qsort(order, (size_t)count, sizeof *order, compare_places);
    for (int i = 1; i < count; i++)
        if (order[i]->data < order[i - 1]->data + order[i - 1]->bytes)
            return err_set(reader->err, STATUS_BAD_DATA,
                           "%s: tensor %s: its bytes overlap those of %s; the file is damaged: "
                           "fetch it again",
                           reader->path, order[i]->name, order[i - 1]->name);
    return STATUS_OK;
}

static enum status read_table(struct gguf *gguf, struct reader *reader, int count)
{
    gguf->tensors = arena_alloc(&gguf->arena, (size_t)count, sizeof *gguf->tensors);
    uint64_t *offsets = mem_alloc((size_t)count, sizeof *offsets);
    struct gguf_tensor **order = mem_alloc((size_t)count, sizeof(struct gguf_tensor *));
    enum status status;
    if (!gguf->tensors || !offsets || !order || !name_index_init(&gguf->names, &gguf->arena, count))
        status = err_no_memory(reader->err, "the GGUF tensor table",
                               (size_t)count * sizeof *gguf->tensors);
    else
        status = read_tensors(gguf, reader, count, offsets);
    if (status == STATUS_OK)
        status = place_tensors(gguf, reader, count, offsets, order);
    mem_free(offsets);
    mem_free(order);
    return status;
}

int gguf_tensor_count(const struct gguf *gguf)
{
    return gguf->names.count;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *gguf, int i)
{
    return &gguf->tensors[i];
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf *gguf, const char *name)
{
    int i = name_index_find(&gguf->names, name, strlen(name));
    return i < 0 ? NULL : &gguf->tensors[i];
}

/* ---- the file ------------------------------------------------------------------------------- */

static enum status check_version(const struct reader *reader, uint32_t version)
{
    if (version == 2 || version == 3)
        return STATUS_OK;
    if (version == 2u << 24 || version == 3u << 24)
        return err_set(reader->err, STATUS_BAD_DATA,
                       "%s: byte 4: a big-endian GGUF; convert it to little-endian", reader->path);
    return err_set(reader->err, STATUS_BAD_DATA,
                   "%s: byte 4: GGUF version %u is not supported; convert it to version 3",
                   reader->path, version);
}

/* Of a model in several files, only the first knows what the model is. */
static enum status check_not_split(const struct gguf *gguf, struct err *err)
{
    int64_t parts = 1;
    TRY(gguf_get_integer(gguf, "split.count", &parts, err));
    if (parts > 1)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: metadata split.count: one of %lld parts; join them: llama-gguf-split "
                       "--merge FIRST-PART JOINED.gguf",
                       gguf->path, (long long)parts);
    return STATUS_OK;
}

static enum status read_all(struct gguf *gguf, struct err *err)
{
    struct reader reader = {
        .path = gguf->path,
        .start = gguf->map.data,
        .at = gguf->map.data,
        .end = gguf->map.data + gguf->map.size,
        .err = err,
    };
    uint32_t magic, version;
    uint64_t n_tensors, n_entries;
    TRY(model_refuse_pointer(gguf->path, gguf->map.data, gguf->map.size, err));
    if (gguf->map.size < 4 || memcmp(gguf->map.data, "GGUF", 4) != 0)
        return err_set(err, STATUS_BAD_DATA, "%s: byte 0: not a GGUF file", gguf->path);
    TRY(take_u32(&reader, &magic));
    TRY(take_u32(&reader, &version));
    TRY(check_version(&reader, version));
    TRY(take_u64(&reader, &n_tensors));
    TRY(take_u64(&reader, &n_entries));
    uint64_t left = (uint64_t)(reader.end - reader.at);
    if (n_entries > ENTRIES_LARGEST || n_entries > left / KEY_SMALLEST_BYTES ||
        n_tensors > ENTRIES_LARGEST || n_tensors > left / TENSOR_SMALLEST)
        return damaged(&reader, "more keys or tensors than the file has room for");
    TRY(read_metadata(gguf, &reader, (int)n_entries));
    gguf->metadata_end = (size_t)(reader.at - reader.start);
    TRY(check_not_split(gguf, err));
    return read_table(gguf, &reader, (int)n_tensors);
}

enum status gguf_open(struct gguf **out, const char *path, struct err *err)
{
    *out = NULL;
    struct gguf *gguf = mem_alloc_zero(1, sizeof *gguf);
    if (!gguf)
        return err_no_memory(err, "a GGUF file's tables", sizeof *gguf);
    enum status status = file_map(&gguf->map, path, err);
    if (status == STATUS_OK && !(gguf->path = arena_text(&gguf->arena, path, strlen(path))))
        status = err_no_memory(err, "a file name", strlen(path));
    if (status == STATUS_OK)
        status = read_all(gguf, err);
    if (status != STATUS_OK) {
        status = file_map_finish(&gguf->map, path, status, err);
        gguf_close(gguf);
        return status;
    }
    *out = gguf;
    return STATUS_OK;
}

void gguf_close(struct gguf *gguf)
{
    if (!gguf)
        return;
    file_unmap(&gguf->map);
    arena_free(&gguf->arena);
    mem_free(gguf);
}

enum status gguf_write_metadata(const struct gguf *gguf, FILE *stream, struct err *err)
{
    static const unsigned char no_tensors[8];
    const unsigned char *bytes = gguf->map.data;
    size_t counts = TENSOR_COUNT_AT + sizeof no_tensors;
    fwrite(bytes, 1, TENSOR_COUNT_AT, stream);
    fwrite(no_tensors, 1, sizeof no_tensors, stream);
    fwrite(bytes + counts, 1, gguf->metadata_end - counts, stream);
    return gguf_check(gguf, err);
}

const char *gguf_path(const struct gguf *gguf)
{
    return gguf->path;
}

enum status gguf_check(const struct gguf *gguf, struct err *err)
{
    return file_map_check(&gguf->map, gguf->path, err);
}
