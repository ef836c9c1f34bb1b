/* A small JSON file read whole: config.json and its kin. */
#ifndef MIDASHI_LOADERS_JSON_FILE_H
#define MIDASHI_LOADERS_JSON_FILE_H

#include <jansson.h>
#include "host/base/status.h"

/* *root is the caller's, to be released with json_decref; NULL on failure. No object may hold a key
 * twice. flags: jansson's, beside that one. Errors of file_map; STATUS_BAD_DATA also where the file
 * is larger than `largest` bytes or not JSON (line named; deeper than jansson's 2048 is neither).
 */
enum status json_file_read(json_t **root, const char *path, size_t largest, size_t flags,
                           struct err *err);

#endif
