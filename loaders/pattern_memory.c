/* See pattern_memory.h. */
#include "loaders/pattern_memory.h"

#include "host/base/memory.h"

static void *pattern_alloc(size_t size, void *context)
{
    (void)context;
    return mem_alloc(size, 1);
}

static void pattern_free(void *pointer, void *context)
{
    (void)context;
    mem_free(pointer);
}

pcre2_general_context *pattern_memory(void)
{
    return pcre2_general_context_create(pattern_alloc, pattern_free, NULL);
}
