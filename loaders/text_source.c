/* Reading and decompressing. See text_source.h. */
#include "loaders/text_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include "host/base/interrupt.h"
#include "host/base/memory.h"
#include "host/base/utf8.h"

#define FIRST_CAPACITY ((size_t)1 << 16)
#define READ_AT_ONCE   ((size_t)1 << 24) /* an interrupt is noticed in between */

/* Half of the machine's memory, in bytes: no larger text can be worked with. The system would
 * promise more, and end the process when it comes to keeping it. */
static size_t largest_text(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (size_t)pages / 2 * (size_t)page : SIZE_MAX;
}

/* Makes room for at least one more byte and the 0 behind. Doubling keeps the copying linear. */
static enum status grow(struct text_source *source, size_t *capacity, const char *path,
                        struct err *err)
{
    if (*capacity - source->size > 1)
        return STATUS_OK;
    size_t limit = largest_text();
    if (*capacity >= limit)
        return err_set(err, STATUS_RESOURCE,
                       "%s: not enough memory: the text is more than half of it (%zu bytes); cut "
                       "the corpus into parts",
                       path, limit);
    size_t larger = *capacity > limit / 2 ? limit : 2 * *capacity;
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
        if (n < 0 && errno == EINTR) {
            TRY(interrupt_check(err));
            continue;
        }
        if (n < 0 && errno == EISDIR) /* standard input may be one */
            return err_set(err, STATUS_BAD_DATA, "%s: this is a folder; name it as CORPUS", path);
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

enum status text_source_place(enum text_place *place, const char *path, struct err *err)
{
    struct stat info;
    *place = TEXT_PIPE;
    if (strcmp(path, "-") == 0)
        return STATUS_OK;
    if (stat(path, &info) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return err_set(err, STATUS_MISSING, "%s: no such file; check the path", path);
        return err_set(err, STATUS_RESOURCE, "%s: cannot be opened: %s", path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode) && !S_ISFIFO(info.st_mode))
        return err_set(err, STATUS_BAD_DATA, "%s: this is a %s; name a file, a folder or a pipe",
                       path, S_ISSOCK(info.st_mode) ? "socket" : "device");
    *place = S_ISREG(info.st_mode) ? TEXT_FILE : S_ISDIR(info.st_mode) ? TEXT_FOLDER : TEXT_PIPE;
    return STATUS_OK;
}

enum status text_source_read(struct text_source *source, const char *path, const char *name,
                             struct err *err)
{
    *source = (struct text_source){0};
    TRY(interrupt_check(err));
    bool standard_input = strcmp(path, "-") == 0;
    int descriptor = STDIN_FILENO;
    while (!standard_input && (descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)) < 0) {
        if (errno == EINTR) {
            TRY(interrupt_check(err));
            continue;
        }
        bool missing = errno == ENOENT || errno == ENOTDIR;
        return err_set(err, missing ? STATUS_MISSING : STATUS_RESOURCE, "%s: cannot be opened: %s",
                       name, strerror(errno));
    }
    enum status status = read_descriptor(source, descriptor, name, err);
    if (!standard_input)
        close(descriptor);
    if (status != STATUS_OK)
        text_source_free(source);
    return status;
}

void text_source_find_fault(struct text_fault *fault, const struct text_source *source)
{
    const char *bytes = source->bytes, *zero = memchr(bytes, 0, source->size);
    fault->byte = utf8_valid_length(bytes, source->size);
    fault->what[0] = '\0';
    bool utf16 = source->size >= 2 &&
                 (memcmp(bytes, "\xFF\xFE", 2) == 0 || memcmp(bytes, "\xFE\xFF", 2) == 0);
    if (zero && (size_t)(zero - bytes) < fault->byte) {
        fault->byte = (size_t)(zero - bytes);
        snprintf(fault->what, sizeof fault->what,
                 "a 0 byte; remove it, or convert the file with iconv -t UTF-8 if it is UTF-16");
    } else if (fault->byte < source->size) {
        snprintf(fault->what, sizeof fault->what, "invalid UTF-8 (0x%02X); %s",
                 (unsigned)(unsigned char)bytes[fault->byte],
                 utf16 ? "this looks like UTF-16; convert it with iconv -f UTF-16 -t UTF-8"
                       : "convert the file to UTF-8, with iconv for example");
    }
}

bool text_source_is_gzip(const struct text_source *source)
{
    return source->size >= 2 && memcmp(source->bytes, "\x1F\x8B", 2) == 0;
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
        TRY(interrupt_check(err));
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
