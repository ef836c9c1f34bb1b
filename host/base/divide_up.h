/* How many tiles cover a row, blocks a vector, texts a batch: a quotient, the last part included.
 */
#ifndef MIDASHI_BASE_DIVIDE_UP_H
#define MIDASHI_BASE_DIVIDE_UP_H

#include <stdint.h>

/* n >= 0 in parts of `size` >= 1, of which the last may be smaller. */
static inline int64_t divide_up(int64_t n, int64_t size)
{
    return n / size + (n % size != 0);
}

#endif
