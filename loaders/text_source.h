/* The bytes of a text file, read whole into memory, and decompressed where its name ends in .gz.
 *
 * Unlike a map (host/base/file.h) this also reads pipes, and the caller may write into the bytes:
 * the corpus reader unquotes in place. */
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

/* Whether there is something to read at path, without opening it. STATUS_MISSING: no such file.
 * STATUS_BAD_DATA: a folder. STATUS_RESOURCE: the system refuses. */
enum status text_source_check(const char *path, struct err *err);

/* Reads path: a file, a symbolic link to one, a FIFO or a device. Fails as text_source_check, or
 * with STATUS_RESOURCE where there is no memory. */
enum status text_source_read(struct text_source *source, const char *path, struct err *err);

/* Replaces gzip data (RFC 1952) by what it holds. Several members one after another are joined;
 * zero bytes behind the last one are padding. STATUS_BAD_DATA with the byte of the compressed file:
 * not gzip data, damaged, truncated, or something else behind the last member. On failure the
 * source is as it was. name goes into messages. */
enum status text_source_gunzip(struct text_source *source, const char *name, struct err *err);

void text_source_free(struct text_source *source); /* a zeroed source is allowed */

#endif
