/* NumPy's .npy. See npy.h. The format is NEP 1 (numpy/lib/format.py): 6 bytes of magic, 2 of
 * version, the length of the header, the header (a Python dictionary, as text), the values. */
#include "loaders/npy.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/float16.h"
#include "loaders/little_endian.h"

#define MAGIC          "\x93NUMPY"
#define MAGIC_LENGTH   6
#define HEADER_LARGEST 65536 /* NumPy writes 118 bytes for the arrays that we read */

static const struct {
    const char *descr;
    int size;
} types[] = {
    [NPY_F32] = {"<f4", 4},
    [NPY_F16] = {"<f2", 2},
    [NPY_I32] = {"<i4", 4},
    [NPY_F64] = {"<f8", 8},
};

/* ---- the header's dictionary ---------------------------------------------------------------- */

struct parser {
    const char *path;
    const char *file, *at, *end; /* file: byte 0, for places in messages */
    struct err *err;
};

/* what: also what to do. */
static enum status bad_array(const struct parser *parser, const char *what)
{
    return err_set(parser->err, STATUS_BAD_DATA, "%s: byte %zu: %s", parser->path,
                   (size_t)(parser->at - parser->file), what);
}

static enum status bad_header(const struct parser *parser, const char *what)
{
    return err_set(parser->err, STATUS_BAD_DATA,
                   "%s: byte %zu: %s; save the array again with numpy.save", parser->path,
                   (size_t)(parser->at - parser->file), what);
}

static void skip_spaces(struct parser *parser)
{
    while (parser->at < parser->end &&
           (*parser->at == ' ' || *parser->at == '\n' || *parser->at == '\t'))
        parser->at++;
}

/* Steps over c and the spaces around it, if it is next. */
static bool accept(struct parser *parser, char c)
{
    skip_spaces(parser);
    if (parser->at == parser->end || *parser->at != c)
        return false;
    parser->at++;
    skip_spaces(parser);
    return true;
}

static bool accept_word(struct parser *parser, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(parser->end - parser->at) < length || memcmp(parser->at, word, length) != 0)
        return false;
    parser->at += length;
    return true;
}

/* A quoted string without escapes. */
static enum status read_string(struct parser *parser, const char **text, size_t *length)
{
    skip_spaces(parser);
    if (parser->at == parser->end || (*parser->at != '\'' && *parser->at != '"'))
        return bad_header(parser, "expected a string in quotes");
    const char *start = parser->at + 1;
    const char *close = memchr(start, *parser->at, (size_t)(parser->end - start));
    if (!close || memchr(start, '\\', (size_t)(close - start)))
        return bad_header(parser, "a string is not closed, or has a backslash");
    *text = start;
    *length = (size_t)(close - start);
    parser->at = close + 1;
    return STATUS_OK;
}

static enum status read_descr(struct parser *parser, struct npy *npy)
{
    const char *start = parser->at, *text;
    size_t length;
    TRY(read_string(parser, &text, &length));
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (length == strlen(types[i].descr) && memcmp(text, types[i].descr, length) == 0) {
            npy->type = (enum npy_type)i;
            return STATUS_OK;
        }
    return err_set(parser->err, STATUS_BAD_DATA,
                   "%s: byte %zu: values of type '%.*s' are not supported; save it with "
                   "numpy.save(\"E.npy\", E.astype(\"float32\"))",
                   parser->path, (size_t)(start - parser->file), length > 64 ? 64 : (int)length,
                   text);
}

static enum status read_order(struct parser *parser)
{
    if (accept_word(parser, "False"))
        return STATUS_OK;
    if (accept_word(parser, "True"))
        return bad_array(parser, "the array is in Fortran order; save numpy.ascontiguousarray(E)");
    return bad_header(parser, "expected True or False");
}

static enum status read_dimension(struct parser *parser, int64_t *dimension)
{
    const char *start = parser->at;
    int64_t value = 0;
    for (; parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9'; parser->at++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *parser->at - '0', &value))
            return bad_header(parser, "a dimension is too large");
    if (parser->at == start)
        return bad_header(parser, "expected a dimension");
    *dimension = value;
    return STATUS_OK;
}

/* (rows,) or (rows, columns), with or without a last comma for the latter. */
static enum status read_shape(struct parser *parser, struct npy *npy)
{
    if (!accept(parser, '('))
        return bad_header(parser, "expected a tuple");
    if (accept(parser, ')'))
        return bad_array(parser, "the array has no dimension; save one of (texts, width)");
    TRY(read_dimension(parser, &npy->rows));
    if (!accept(parser, ','))
        return bad_header(parser, "expected a comma after the first dimension");
    npy->n_dims = 1;
    npy->columns = 1;
    if (accept(parser, ')'))
        return STATUS_OK;
    npy->n_dims = 2;
    TRY(read_dimension(parser, &npy->columns));
    if (npy->columns == 0)
        return bad_array(parser, "the rows are empty; make the embeddings again");
    accept(parser, ',');
    if (!accept(parser, ')'))
        return bad_array(parser, "the array has more than two dimensions; save one of (texts, "
                                 "width), a vector a text");
    return STATUS_OK;
}

enum key { KEY_DESCR, KEY_ORDER, KEY_SHAPE, KEYS };
static const char *const key_names[KEYS] = {"descr", "fortran_order", "shape"};

static enum status read_key(struct parser *parser, enum key *key)
{
    const char *start = parser->at, *text;
    size_t length;
    TRY(read_string(parser, &text, &length));
    for (int i = 0; i < KEYS; i++)
        if (length == strlen(key_names[i]) && memcmp(text, key_names[i], length) == 0) {
            *key = (enum key)i;
            return STATUS_OK;
        }
    parser->at = start;
    return bad_header(parser, "expected 'descr', 'fortran_order' or 'shape'");
}

static enum status read_dictionary(struct parser *parser, struct npy *npy)
{
    bool seen[KEYS] = {false};
    if (!accept(parser, '{'))
        return bad_header(parser, "the header is no dictionary");
    while (!accept(parser, '}')) {
        enum key key = KEY_DESCR;
        TRY(read_key(parser, &key));
        if (seen[key])
            return bad_header(parser, "a key stands there twice");
        seen[key] = true;
        if (!accept(parser, ':'))
            return bad_header(parser, "expected a colon");
        TRY(key == KEY_DESCR   ? read_descr(parser, npy)
            : key == KEY_ORDER ? read_order(parser)
                               : read_shape(parser, npy));
        if (!accept(parser, ',')) {
            if (!accept(parser, '}'))
                return bad_header(parser, "expected a comma or the end of the dictionary");
            break;
        }
    }
    if (parser->at != parser->end)
        return bad_header(parser, "something stands behind the dictionary");
    for (int i = 0; i < KEYS; i++)
        if (!seen[i])
            return err_set(parser->err, STATUS_BAD_DATA,
                           "%s: byte %zu: the header lacks '%s'; save the array again with "
                           "numpy.save",
                           parser->path, (size_t)(parser->at - parser->file), key_names[i]);
    return STATUS_OK;
}

/* ---- reading -------------------------------------------------------------------------------- */

static enum status read_header(struct npy *npy, const char *path, struct err *err)
{
    const unsigned char *data = npy->map.data;
    size_t size = npy->map.size;
    if (size < MAGIC_LENGTH + 4 || memcmp(data, MAGIC, MAGIC_LENGTH) != 0)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: byte 0: not a .npy file; midashi embed and numpy.save write them",
                       path);
    unsigned major = data[MAGIC_LENGTH], minor = data[MAGIC_LENGTH + 1];
    if (major < 1 || major > 3 || minor != 0)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: byte 6: version %u.%u of the format is not supported; save the array "
                       "again with numpy.save",
                       path, major, minor);
    size_t start = major == 1 ? 10 : 12;
    size_t length = size < start ? 0 : major == 1 ? le_u16(data + 8) : le_u32(data + 8);
    if (size < start || length > size - start || length > HEADER_LARGEST)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: byte 8: the header is longer than the file, or than %d bytes; the "
                       "file is damaged",
                       path, HEADER_LARGEST);
    struct parser parser = {
        .path = path,
        .file = (const char *)data,
        .at = (const char *)data + start,
        .end = (const char *)data + start + length,
        .err = err,
    };
    TRY(read_dictionary(&parser, npy));
    npy->data = data + start + length;
    if ((start + length) % (size_t)types[npy->type].size != 0)
        return bad_header(&parser, "the values are not aligned");
    return STATUS_OK;
}

static enum status check_size(const struct npy *npy, const char *path, struct err *err)
{
    int64_t size = types[npy->type].size;
    size_t there = npy->map.size - (size_t)((const unsigned char *)npy->data - npy->map.data);
    if (__builtin_mul_overflow(size, npy->columns, &size) ||
        __builtin_mul_overflow(size, npy->rows, &size) || (uint64_t)size > there)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: byte %zu: the file ends here, but an array of %lld x %lld needs more; "
                       "the file is truncated",
                       path, npy->map.size, (long long)npy->rows, (long long)npy->columns);
    if ((uint64_t)size < there)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: byte %zu: %zu bytes stand behind the array; save one array in a file",
                       path, npy->map.size - (there - (size_t)size), there - (size_t)size);
    return STATUS_OK;
}

enum status npy_open(struct npy *npy, const char *path, struct err *err)
{
    *npy = (struct npy){.path = path};
    TRY(file_map(&npy->map, path, err));
    enum status status = read_header(npy, path, err);
    if (status == STATUS_OK)
        status = check_size(npy, path, err);
    if (status != STATUS_OK) {
        status = file_map_finish(&npy->map, path, status, err);
        npy_close(npy);
    }
    return status;
}

void npy_close(struct npy *npy)
{
    file_unmap(&npy->map);
    *npy = (struct npy){0};
}

void npy_convert(const struct npy *npy, int64_t first_row, int64_t n_rows, float *out)
{
    assert(npy->type != NPY_I32 && first_row >= 0 && n_rows <= npy->rows - first_row);
    size_t first = (size_t)(first_row * npy->columns), n = (size_t)(n_rows * npy->columns);
    if (npy->type == NPY_F32) {
        if (n > 0)
            memcpy(out, (const float *)npy->data + first, n * sizeof *out);
        return;
    }
    if (npy->type == NPY_F64) {
        const double *doubles = (const double *)npy->data + first;
        for (size_t i = 0; i < n; i++)
            out[i] = (float)doubles[i];
        return;
    }
    const uint16_t *halves = (const uint16_t *)npy->data + first;
    for (size_t i = 0; i < n; i++)
        out[i] = f16_to_float(halves[i]);
}

enum status npy_read_rows(const struct npy *npy, int64_t first_row, int64_t n_rows, float *out,
                          struct err *err)
{
    npy_convert(npy, first_row, n_rows, out);
    return file_map_check(&npy->map, npy->path, err);
}

/* ---- writing -------------------------------------------------------------------------------- */

/* NumPy pads the whole header to a multiple of 64 bytes. Ours take more than 64 and less than
 * 128, the room that it leaves for more rows included. */
#define HEADER_LENGTH 128
#define PREFIX_LENGTH 10 /* magic, version, length */

static void format_header(char header[HEADER_LENGTH], const struct npy_writer *writer, int n_dims)
{
    char shape[64], text[HEADER_LENGTH];
    if (n_dims == 1)
        snprintf(shape, sizeof shape, "(%lld,)", (long long)writer->rows);
    else
        snprintf(shape, sizeof shape, "(%lld, %lld)", (long long)writer->rows,
                 (long long)writer->columns);
    int length =
        snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
                 types[writer->type].descr, shape);
    memset(header, ' ', HEADER_LENGTH);
    memcpy(header, MAGIC "\x01\x00", MAGIC_LENGTH + 2);
    header[8] = HEADER_LENGTH - PREFIX_LENGTH;
    header[9] = 0;
    memcpy(header + PREFIX_LENGTH, text, (size_t)length);
    header[HEADER_LENGTH - 1] = '\n';
}

static enum status write_bytes(struct npy_writer *writer, const void *bytes, size_t n,
                               struct err *err)
{
    /* bytes may be NULL where there are none. */
    if (n > 0 && fwrite(bytes, 1, n, writer->file.stream) != n)
        return err_set(err, STATUS_RESOURCE, "%s: cannot write: %s", writer->file.path,
                       strerror(errno));
    return STATUS_OK;
}

enum status npy_writer_open(struct npy_writer *writer, const char *path, enum npy_type type,
                            int n_dims, int64_t rows, int64_t columns, struct err *err)
{
    assert(type != NPY_F64);
    assert(rows >= 0 && columns >= 1 && (n_dims == 2 || (n_dims == 1 && columns == 1)));
    *writer = (struct npy_writer){.type = type, .rows = rows, .columns = columns};
    char header[HEADER_LENGTH];
    format_header(header, writer, n_dims);
    TRY(out_file_open(&writer->file, path, err));
    enum status status = write_bytes(writer, header, sizeof header, err);
    if (status != STATUS_OK)
        npy_writer_discard(writer);
    return status;
}

static enum status write_halves(struct npy_writer *writer, const float *values, size_t n,
                                struct err *err)
{
    uint16_t halves[1024];
    for (size_t done = 0; done < n;) {
        size_t part = n - done < 1024 ? n - done : 1024;
        for (size_t i = 0; i < part; i++)
            halves[i] = f16_from_float(values[done + i]);
        TRY(write_bytes(writer, halves, part * sizeof *halves, err));
        done += part;
    }
    return STATUS_OK;
}

enum status npy_writer_add(struct npy_writer *writer, const void *values, int64_t n_rows,
                           struct err *err)
{
    assert(n_rows >= 0 && n_rows <= writer->rows - writer->written);
    size_t n = (size_t)n_rows * (size_t)writer->columns;
    TRY(writer->type == NPY_F16 ? write_halves(writer, values, n, err)
                                : write_bytes(writer, values, n * 4, err));
    writer->written += n_rows;
    return STATUS_OK;
}

enum status npy_writer_commit(struct npy_writer *writer, struct err *err)
{
    assert(writer->written == writer->rows);
    return out_file_commit(&writer->file, err);
}

void npy_writer_discard(struct npy_writer *writer)
{
    out_file_discard(&writer->file);
}

enum status npy_write_aside(struct npy_writer *writer, const char *path, enum npy_type type,
                            int n_dims, int64_t rows, int64_t columns, const void *values,
                            struct err *err)
{
    TRY(npy_writer_open(writer, path, type, n_dims, rows, columns, err));
    enum status status = npy_writer_add(writer, values, rows, err);
    if (status == STATUS_OK)
        status = out_file_sync(&writer->file, err);
    if (status != STATUS_OK)
        npy_writer_discard(writer);
    return status;
}

enum status npy_write(const char *path, enum npy_type type, int n_dims, int64_t rows,
                      int64_t columns, const void *values, struct err *err)
{
    struct npy_writer writer;
    TRY(npy_write_aside(&writer, path, type, n_dims, rows, columns, values, err));
    return npy_writer_commit(&writer, err);
}
