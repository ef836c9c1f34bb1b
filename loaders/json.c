/* See json.h. */
#include "loaders/json.h"

#include <math.h>
#include <stdbool.h>
#include "host/base/file.h"
#include "host/base/memory.h"

/* jansson does not tell. Where the lexer finds no memory for a string, it reports an invalid token,
 * and where its buffer cannot grow, it leaves a byte out and goes on. So the allocator keeps in
 * mind that it has refused. */
static _Thread_local bool memory_refused;

static void *allocate(size_t size)
{
    /* Values are small and many: mem_alloc's alignment would double them. */
    void *pointer = mem_resize(NULL, size, 1);
    if (!pointer)
        memory_refused = true;
    return pointer;
}

void json_use_memory(void)
{
    json_set_alloc_funcs(allocate, mem_free);
}

enum status json_parse(json_t **out, const char *data, size_t size, size_t flags,
                       json_error_t *error, const char *name, struct err *err)
{
    memory_refused = false;
    *out = json_loadb(data, size, flags, error);
    if (memory_refused) {
        json_decref(*out);
        *out = NULL;
        return err_no_memory(err, name, size);
    }
    return *out ? STATUS_OK : STATUS_BAD_DATA;
}

enum status json_read_file(json_t **out, const char *path, size_t largest, size_t flags,
                           struct err *err)
{
    struct file_map map;
    json_error_t error = {0};
    *out = NULL;
    TRY(file_map(&map, path, err));
    enum status status = STATUS_OK;
    if (map.size > largest) {
        status = err_set(err, STATUS_BAD_DATA,
                         "%s: %zu bytes are more than the %zu that such a file may have; fetch it "
                         "again",
                         path, map.size, largest);
    } else {
        status = json_parse(out, (const char *)map.data, map.size, JSON_REJECT_DUPLICATES | flags,
                            &error, path, err);
        if (status == STATUS_BAD_DATA)
            err_set(err, status, "%s: line %d: not good JSON: %s", path, error.line, error.text);
    }
    status = file_map_finish(&map, path, status, err);
    if (status != STATUS_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}

json_t *json_number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

double json_number_or(const json_t *value, double otherwise)
{
    return json_is_number(value) ? json_number_value(value) : otherwise;
}
