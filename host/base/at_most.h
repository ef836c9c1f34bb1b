/* A whole number that is held to a limit: the rows of a last block, a task of not too few. */
#ifndef MIDASHI_BASE_AT_MOST_H
#define MIDASHI_BASE_AT_MOST_H

static inline int at_most(int n, int limit)
{
    return n < limit ? n : limit;
}

static inline int at_least(int n, int limit)
{
    return n > limit ? n : limit;
}

#endif
