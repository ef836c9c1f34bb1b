/* Rows by distance, the farthest first and the lowest number first of equals: a heap, since only a
 * few are asked for of many. */
#ifndef MIDASHI_HOST_FARTHEST_ROWS_H
#define MIDASHI_HOST_FARTHEST_ROWS_H

#include <stdint.h>

struct farthest_rows {
    int32_t *order; /* (n), room that the caller owns */
    const double *distance;
    int n; /* rows left */
};

/* distance (n), no NaN, borrowed, to stay as it is. */
void farthest_rows_begin(struct farthest_rows *rows, const double *distance, int n);
/* The next row, -1 when there is none left. */
int farthest_rows_next(struct farthest_rows *rows);

#endif
