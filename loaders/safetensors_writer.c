/* See safetensors_writer.h. */
#include "loaders/safetensors_writer.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include "loaders/safetensors.h"

#define DATA_ALIGNMENT 64

/* Sizes, and places from the start of the data: types of 8 bytes first, then of 4, 2 and 1. */
static void place_entries(struct safetensors_writer *writer,
                          const struct safetensors_entry *entries)
{
    for (int width = 8; width >= 1; width /= 2)
        for (int i = 0; i < writer->count; i++) {
            const struct safetensors_entry *entry = &entries[i];
            assert(entry->n_dims == 1 || entry->n_dims == 2);
            if (safetensors_type_size(entry->type_name) != width)
                continue;
            writer->places[i] = writer->size;
            writer->bytes[i] = width * entry->dims[0] * (entry->n_dims == 2 ? entry->dims[1] : 1);
            writer->size += writer->bytes[i];
        }
}

/* The header's JSON, in memory of jansson's; NULL: no memory. */
static char *format_header(const struct safetensors_writer *writer,
                           const struct safetensors_entry *entries)
{
    json_t *root = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    for (int i = 0; i < writer->count; i++) {
        const struct safetensors_entry *entry = &entries[i];
        json_int_t begin = (json_int_t)writer->places[i];
        json_t *shape = entry->n_dims == 1 ? json_pack("[I]", (json_int_t)entry->dims[0])
                                           : json_pack("[I, I]", (json_int_t)entry->dims[0],
                                                       (json_int_t)entry->dims[1]);
        json_t *info = json_pack("{s:s, s:o, s:[I, I]}", "dtype", entry->type_name, "shape", shape,
                                 "data_offsets", begin, begin + (json_int_t)writer->bytes[i]);
        if (json_object_set_new(root, entry->name, info) != 0) {
            json_decref(root);
            return NULL;
        }
    }
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

static enum status cannot_write(const struct safetensors_writer *writer, struct err *err)
{
    return err_set(err, STATUS_RESOURCE, "%s: cannot write: %s", writer->file.path,
                   strerror(errno));
}

/* The header with spaces behind it, as the original library pads it. */
static enum status write_header(struct safetensors_writer *writer, const char *text,
                                struct err *err)
{
    size_t length = strlen(text), before = sizeof(uint64_t);
    size_t padded = (before + length + DATA_ALIGNMENT - 1) / DATA_ALIGNMENT * DATA_ALIGNMENT;
    uint64_t header = padded - before;
    FILE *stream = writer->file.stream;
    bool good =
        fwrite(&header, sizeof header, 1, stream) == 1 && fwrite(text, 1, length, stream) == length;
    for (size_t i = before + length; i < padded && good; i++)
        good = fputc(' ', stream) != EOF;
    for (int i = 0; i < writer->count; i++)
        writer->places[i] += (int64_t)padded;
    writer->size += (int64_t)padded;
    return good ? STATUS_OK : cannot_write(writer, err);
}

static enum status begin(struct safetensors_writer *writer, const char *path,
                         const struct safetensors_entry *entries, struct err *err)
{
    size_t count = (size_t)writer->count;
    writer->places = arena_alloc(&writer->arena, count, sizeof *writer->places);
    writer->bytes = arena_alloc(&writer->arena, count, sizeof *writer->bytes);
    writer->done = arena_alloc(&writer->arena, count, sizeof *writer->done);
    if (!writer->places || !writer->bytes || !writer->done)
        return err_no_memory(err, "the table of tensors", count * sizeof *writer->places);
    memset(writer->done, 0, count * sizeof *writer->done);
    place_entries(writer, entries);
    char *text = format_header(writer, entries);
    if (!text)
        return err_no_memory(err, "the table of tensors", count * sizeof *entries);
    enum status status = out_file_open(&writer->file, path, err);
    if (status == STATUS_OK)
        status = write_header(writer, text, err);
    mem_free(text); /* jansson takes from the same heap */
    return status;
}

enum status safetensors_writer_open(struct safetensors_writer *writer, const char *path,
                                    const struct safetensors_entry *entries, int count,
                                    struct err *err)
{
    *writer = (struct safetensors_writer){.count = count};
    enum status status = begin(writer, path, entries, err);
    if (status != STATUS_OK)
        safetensors_writer_discard(writer);
    return status;
}

enum status safetensors_writer_append(struct safetensors_writer *writer, int i, const void *bytes,
                                      size_t n, struct err *err)
{
    assert(i >= 0 && i < writer->count && (int64_t)n <= writer->bytes[i] - writer->done[i]);
    off_t place = (off_t)(writer->places[i] + writer->done[i]);
    if (fseeko(writer->file.stream, place, SEEK_SET) != 0 ||
        fwrite(bytes, 1, n, writer->file.stream) != n)
        return cannot_write(writer, err);
    writer->done[i] += (int64_t)n;
    return STATUS_OK;
}

enum status safetensors_writer_put(struct safetensors_writer *writer, int i, const void *bytes,
                                   struct err *err)
{
    return safetensors_writer_append(writer, i, bytes, (size_t)writer->bytes[i], err);
}

enum status safetensors_writer_commit(struct safetensors_writer *writer, struct err *err)
{
    for (int i = 0; i < writer->count; i++)
        assert(writer->done[i] == writer->bytes[i]);
    enum status status = out_file_commit(&writer->file, err);
    arena_free(&writer->arena);
    return status;
}

void safetensors_writer_discard(struct safetensors_writer *writer)
{
    out_file_discard(&writer->file);
    arena_free(&writer->arena);
}
