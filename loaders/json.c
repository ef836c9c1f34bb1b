/* See json.h. */
#include "loaders/json.h"

#include <stdbool.h>
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
