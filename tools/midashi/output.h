/* Where commands write: JSON to standard output, and files beside their input. */
#ifndef MIDASHI_TOOLS_OUTPUT_H
#define MIDASHI_TOOLS_OUTPUT_H

#include <jansson.h>
#include "host/base/status.h"

/* Prints one JSON object and releases it. NULL, which jansson gives where there is no memory (or a
 * number that is not finite), is STATUS_RESOURCE. */
enum status print_json(json_t *root, struct err *err);

/* STATUS_USAGE where the file that an option names is `other`, which writing would destroy. */
enum status check_apart(const char *path, const char *option, const char *other, struct err *err);

/* STATUS_USAGE for "-", which is no file. */
enum status check_file(const char *path, const char *option, struct err *err);

/* The same for a file of labels, and for one that holds an array of floats, which are somebody's
 * embeddings. */
enum status check_labels_file(const char *path, const char *option, struct err *err);

#endif
