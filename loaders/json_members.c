/* See json_members.h. */
#include "loaders/json_members.h"

const json_t *json_member_find(const struct json_members *object, const char *name)
{
    const json_t *value = json_object_get(object->json, name);
    return json_is_null(value) ? NULL : value;
}

enum status json_member_wrong_type(const struct json_members *object, const char *name,
                                   const char *wanted)
{
    return err_set(object->err, STATUS_BAD_DATA, "%s: %s%s: not %s", object->path, object->place,
                   name, wanted);
}

enum status json_member_integer(const struct json_members *object, const char *name, int64_t *value)
{
    const json_t *json = json_member_find(object, name);
    if (json && !json_is_integer(json))
        return json_member_wrong_type(object, name, "a whole number");
    if (json)
        *value = json_integer_value(json);
    return STATUS_OK;
}

enum status json_member_number(const struct json_members *object, const char *name, double *value)
{
    const json_t *json = json_member_find(object, name);
    if (json && !json_is_number(json))
        return json_member_wrong_type(object, name, "a number");
    if (json)
        *value = json_number_value(json);
    return STATUS_OK;
}

enum status json_member_bool(const struct json_members *object, const char *name, bool *value)
{
    const json_t *json = json_member_find(object, name);
    if (json && !json_is_boolean(json))
        return json_member_wrong_type(object, name, "true or false");
    if (json)
        *value = json_is_true(json);
    return STATUS_OK;
}

enum status json_member_text(const struct json_members *object, const char *name,
                             const char **value)
{
    const json_t *json = json_member_find(object, name);
    if (json && !json_is_string(json))
        return json_member_wrong_type(object, name, "a string");
    if (json)
        *value = json_string_value(json);
    return STATUS_OK;
}
