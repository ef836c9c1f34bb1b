/* JSON by jansson, with the program's memory. */
#ifndef MIDASHI_LOADERS_JSON_H
#define MIDASHI_LOADERS_JSON_H

#include <stddef.h>
#include <jansson.h>
#include "host/base/status.h"

/* Makes jansson ask host/base/memory. That is a setting of the process: main() calls this once,
 * before any thread starts. */
void json_use_memory(void);

/* json_loadb (`flags` are its own). *out: fresh, the caller's; NULL on failure.
 * STATUS_BAD_DATA: *error says where and what; the caller words *err, since only it knows whether a
 * person looks for a line or for a byte. STATUS_RESOURCE: no memory, and *err says so; jansson
 * itself calls that bad syntax, or reads on with a byte left out. name: the file, for that message.
 */
enum status json_parse(json_t **out, const char *data, size_t size, size_t flags,
                       json_error_t *error, const char *name, struct err *err);

/* A real, or null for a value that is not finite, which JSON lacks. NULL: no memory. */
json_t *json_number_or_null(double value);
/* The number of a real or an integer; `otherwise` where there is none. */
double json_number_or(const json_t *value, double otherwise);

/* A whole file, of at most `largest` bytes; no object may hold a key twice. flags: beside that one.
 * Errors of file_map; STATUS_BAD_DATA also where the file is larger or no JSON (line named). */
enum status json_read_file(json_t **out, const char *path, size_t largest, size_t flags,
                           struct err *err);

#endif
