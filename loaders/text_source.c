/* Reading and decompressing. See text_source.h. */
#include "loaders/text_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include "host/base/memory.h"

#define FIRST_CAPACITY ((size_t)1 << 16)
#define READ_AT_ONCE   ((size_t)1 << 30) /* Linux reads at most 2 GiB in one call */

/* Makes room for at least one more byte and the 0 behind. Doubling keeps the copying linear. */
static enum status grow(struct text_source *source, size_t *capacity, const char *path,
                        struct err *err)
{
    if (*capacity - source->size > 1)
        return STATUS_OK;
    size_t larger = *capacity > SIZE_MAX / 2 ? SIZE_MAX : 2 * *capacity;
    char *bytes = mem_resize(source->bytes, larger, 1);
    if (!bytes)
        return err_set(err, STATUS_RESOURCE, "%s: not enough memory for the file (%zu bytes)", path,
                       larger);
    source->bytes = bytes;
    *capacity = larger;
    return STATUS_OK;
}

static enum status allocate(struct text_source *source, size_t capacity, const char *path,
                            struct err *err)
{
    *source = (struct text_source){.bytes = mem_resize(NULL, capacity, 1)};
    if (!source->bytes)
        return err_set(err, STATUS_RESOURCE, "%s: not enough memory for the file (%zu bytes)", path,
                       capacity);
    return STATUS_OK;
}

/* ---- reading -------------------------------------------------------------------------------- */

static enum status read_descriptor(struct text_source *source, int descriptor, const char *path,
                                   struct err *err)
{
    struct stat info;
    size_t capacity = FIRST_CAPACITY;
    /* One byte more than the file, so that its end is seen without growing. */
    if (fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0 &&
        (uintmax_t)info.st_size < SIZE_MAX - 2)
        capacity = (size_t)info.st_size + 2;
    TRY(allocate(source, capacity, path, err));
    for (;;) {
        TRY(grow(source, &capacity, path, err));
        size_t room = capacity - source->size - 1;
        ssize_t n = read(descriptor, source->bytes + source->size,
                         room < READ_AT_ONCE ? room : READ_AT_ONCE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, STATUS_RESOURCE, "%s: byte %zu: cannot be read: %s", path,
                           source->size, strerror(errno));
        if (n == 0)
            break;
        source->size += (size_t)n;
    }
    source->bytes[source->size] = '\0';
    return STATUS_OK;
}

enum status text_source_check(const char *path, struct err *err)
{
    struct stat info;
    if (stat(path, &info) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return err_set(err, STATUS_MISSING, "%s: no such file; check the path", path);
    if (stat(path, &info) != 0)
        return err_set(err, STATUS_RESOURCE, "%s: cannot be opened: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode))
        return err_set(err, STATUS_BAD_DATA,
                       "%s: a folder; name one .tsv, .csv or .txt file, or a .gz of one", path);
    return STATUS_OK;
}

enum status text_source_read(struct text_source *source, const char *path, struct err *err)
{
    *source = (struct text_source){0};
    TRY(text_source_check(path, err));
    int descriptor;
    do
        descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    while (descriptor < 0 && errno == EINTR);
    if (descriptor < 0)
        return err_set(err, STATUS_RESOURCE, "%s: cannot be opened: %s", path, strerror(errno));
    enum status status = read_descriptor(source, descriptor, path, err);
    close(descriptor);
    if (status != STATUS_OK)
        text_source_free(source);
    return status;
}

void text_source_free(struct text_source *source)
{
    mem_free(source->bytes);
    *source = (struct text_source){0};
}

/* ---- gzip ----------------------------------------------------------------------------------- */

/* zlib's own allocations go through the one place that counts them. */
static voidpf zlib_alloc(voidpf opaque, uInt count, uInt size)
{
    (void)opaque;
    return mem_alloc(count, size);
}

static void zlib_free(voidpf opaque, voidpf address)
{
    (void)opaque;
    mem_free(address);
}

/* True when nothing but zero bytes is left: tape and block devices pad with them. */
static bool is_padding(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Inflates all members of in into out. zlib counts in unsigned int, so both ends move in windows.
 */
static enum status inflate_all(struct text_source *out, size_t *capacity,
                               const struct text_source *in, z_stream *stream, const char *name,
                               struct err *err)
{
    size_t used = 0; /* bytes of in that zlib has taken */
    for (;;) {
        TRY(grow(out, capacity, name, err));
        size_t left = in->size - used, room = *capacity - out->size - 1;
        uInt given = left < READ_AT_ONCE ? (uInt)left : (uInt)READ_AT_ONCE;
        uInt space = room < READ_AT_ONCE ? (uInt)room : (uInt)READ_AT_ONCE;
        stream->next_in = (Bytef *)in->bytes + used;
        stream->avail_in = given;
        stream->next_out = (Bytef *)out->bytes + out->size;
        stream->avail_out = space;
        int result = inflate(stream, Z_NO_FLUSH);
        used += given - stream->avail_in;
        out->size += space - stream->avail_out;
        if (result == Z_STREAM_END) {
            if (is_padding(in->bytes + used, in->size - used))
                return STATUS_OK;
            inflateReset(stream);
        } else if (result == Z_MEM_ERROR) {
            return err_set(err, STATUS_RESOURCE, "%s: not enough memory to decompress", name);
        } else if (result != Z_OK && result != Z_BUF_ERROR) {
            return err_set(err, STATUS_BAD_DATA,
                           "%s: byte %zu of the compressed file: damaged gzip data (%s); fetch or "
                           "compress the file again",
                           name, used, stream->msg ? stream->msg : "no reason given");
        } else if (used == in->size && stream->avail_out > 0) {
            return err_set(err, STATUS_BAD_DATA,
                           "%s: byte %zu of the compressed file: the gzip data ends too early; "
                           "fetch or compress the file again",
                           name, used);
        }
    }
}

enum status text_source_gunzip(struct text_source *source, const char *name, struct err *err)
{
    struct text_source out;
    /* Text shrinks to a third or so; the most that deflate can do is 1 : 1032. */
    size_t capacity = source->size < SIZE_MAX / 4 ? 4 * source->size + 64 : SIZE_MAX;
    TRY(allocate(&out, capacity, name, err));
    z_stream stream = {.zalloc = zlib_alloc, .zfree = zlib_free};
    enum status status;
    if (inflateInit2(&stream, 15 + 16) != Z_OK) { /* 32 KiB window, gzip wrapper only */
        status = err_set(err, STATUS_RESOURCE, "%s: not enough memory to decompress", name);
        goto failed;
    }
    status = inflate_all(&out, &capacity, source, &stream, name, err);
    inflateEnd(&stream);
    if (status != STATUS_OK)
        goto failed;
    out.bytes[out.size] = '\0';
    mem_free(source->bytes);
    *source = out;
    return STATUS_OK;
failed:
    text_source_free(&out);
    return status;
}
