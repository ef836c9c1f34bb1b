/* Words of the command line and of files that stand for a number: a table of names, and its index.
 */
#ifndef MIDASHI_BASE_NAMES_H
#define MIDASHI_BASE_NAMES_H

#include <string.h>

#define N_NAMES(table) ((int)(sizeof(table) / sizeof *(table)))

/* The place of word among the first n names, -1 where it is none of them. */
static inline int find_name(const char *const *names, int n, const char *word)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], word) == 0)
            return i;
    return -1;
}

#endif
