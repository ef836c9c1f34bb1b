/* What commands print to standard output. */
#ifndef MIDASHI_TOOLS_OUTPUT_H
#define MIDASHI_TOOLS_OUTPUT_H

#include <jansson.h>
#include "host/base/status.h"

/* Prints one JSON object and releases it. NULL, which jansson gives where there is no memory (or a
 * number that is not finite), is STATUS_RESOURCE. */
enum status print_json(json_t *root, struct err *err);

#endif
