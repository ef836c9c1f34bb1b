/* PCRE2 with the program's memory. */
#ifndef MIDASHI_LOADERS_PATTERN_MEMORY_H
#define MIDASHI_LOADERS_PATTERN_MEMORY_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* PCRE2's memory through host/base/memory; NULL: no memory. */
pcre2_general_context *pattern_memory(void);

#endif
