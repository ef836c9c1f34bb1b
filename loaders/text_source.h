/* The bytes of a text file, read whole into memory, and decompressed where they are gzip data.
 *
 * Unlike a map (host/base/file.h) this also reads pipes, and the caller may write into the bytes:
 * the corpus reader unquotes in place. A text of more than half of the machine's
 * memory is refused before the system runs out of it: a small .gz may hold any amount. */
#ifndef MIDASHI_LOADERS_TEXT_SOURCE_H
#define MIDASHI_LOADERS_TEXT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/status.h"

/* size bytes, and one more of value 0 behind them. bytes is the caller's, to be freed by
 * mem_free. */
struct text_source {
    char *bytes;
    size_t size;
};

enum text_place {
    TEXT_FILE,
    TEXT_FOLDER,
    TEXT_PIPE,
};

/* What is at path, without opening it; "-" is standard input and counts as a pipe. STATUS_MISSING:
 * nothing. STATUS_BAD_DATA: a device or a socket. STATUS_RESOURCE: the system refuses. */
enum status text_source_place(enum text_place *place, const char *path, struct err *err);

/* Reads path: a file, a symbolic link to one, a FIFO, or standard input for "-", which name calls
 * in messages. STATUS_MISSING, STATUS_BAD_DATA for a folder, STATUS_RESOURCE: the system refuses or
 * there is no memory. STATUS_INTERRUPTED while a pipe is waited for. */
enum status text_source_read(struct text_source *source, const char *path, const char *name,
                             struct err *err);

/* Whether the bytes begin as gzip data does; no UTF-8 begins so. */
bool text_source_is_gzip(const struct text_source *source);

/* Replaces gzip data (RFC 1952) by what it holds. Several members one after another are joined;
 * zero bytes behind the last one are padding. STATUS_BAD_DATA with the byte of the compressed file:
 * not gzip data, damaged, truncated, or something else behind the last member. On failure the
 * source is as it was. name goes into messages. */
enum status text_source_gunzip(struct text_source *source, const char *name, struct err *err);

/* The first byte that a text cannot hold. */
struct text_fault {
    size_t byte;    /* from 0; the size where there is none */
    char what[128]; /* what is wrong, and what to do */
};
/* Invalid UTF-8, or a 0 byte. */
void text_source_find_fault(struct text_fault *fault, const struct text_source *source);

void text_source_free(struct text_source *source); /* a zeroed source is allowed */

#endif
