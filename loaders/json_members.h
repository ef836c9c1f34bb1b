/* Typed members of an object in a file, with messages that name the file and the key. */
#ifndef MIDASHI_LOADERS_JSON_MEMBERS_H
#define MIDASHI_LOADERS_JSON_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>
#include "host/base/status.h"

struct json_members {
    const char *path;  /* the file */
    const char *place; /* where the object stands in it: "" or "rope_scaling.", for messages */
    const json_t *json;
    struct err *err;
};

/* NULL where it is absent or null, which mean the same in the files of transformers and PEFT. */
const json_t *json_member_find(const struct json_members *object, const char *name);

/* STATUS_BAD_DATA: "PATH: NAME: not WANTED". */
enum status json_member_wrong_type(const struct json_members *object, const char *name,
                                   const char *wanted);

/* Each leaves *value as it is where the file is silent. STATUS_BAD_DATA: of another type. */
enum status json_member_integer(const struct json_members *object, const char *name,
                                int64_t *value);
enum status json_member_number(const struct json_members *object, const char *name, double *value);
enum status json_member_bool(const struct json_members *object, const char *name, bool *value);
enum status json_member_text(const struct json_members *object, const char *name,
                             const char **value); /* borrowed of the object */

#endif
