/* See farthest_rows.h. */
#include "host/farthest_rows.h"

#include <stdbool.h>

static bool is_before(const struct farthest_rows *rows, int32_t a, int32_t b)
{
    double of_a = rows->distance[a], of_b = rows->distance[b];
    return of_a > of_b || (of_a == of_b && a < b);
}

static void sink(struct farthest_rows *rows, int place)
{
    int32_t *order = rows->order, row = order[place];
    while (place < rows->n / 2) {
        int below = 2 * place + 1;
        if (below + 1 < rows->n && is_before(rows, order[below + 1], order[below]))
            below++;
        if (!is_before(rows, order[below], row))
            break;
        order[place] = order[below];
        place = below;
    }
    order[place] = row;
}

void farthest_rows_begin(struct farthest_rows *rows, const double *distance, int n)
{
    rows->distance = distance;
    rows->n = n;
    for (int i = 0; i < n; i++)
        rows->order[i] = i;
    for (int i = n / 2 - 1; i >= 0; i--)
        sink(rows, i);
}

int farthest_rows_next(struct farthest_rows *rows)
{
    if (rows->n == 0)
        return -1;
    int row = rows->order[0];
    rows->order[0] = rows->order[--rows->n];
    if (rows->n > 0)
        sink(rows, 0);
    return row;
}
